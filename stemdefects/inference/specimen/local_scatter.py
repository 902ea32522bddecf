"""How far the light of columns scatters in places: under a film, or where there is no crystal, farther than elsewhere.

What a network shows no column at is judged by its light alone. Where the columns around it are not as bright as they
should be either, that light says little.
"""

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.inference.columns.lattice import neighbours
from stemdefects.inference.specimen import light_levels

LEAST = 6  # columns, to say how far they scatter
SHARE = 0.75  # of them that scatter less: beside a rim half of the columns are strange, beside defects fewer
USUAL = 1.1503  # standard deviations, within which this share of a normal distribution lies


def of_places(
    ratio: np.ndarray,
    site: np.ndarray,
    cell: np.ndarray,
    asked: np.ndarray,
    levels: light_levels.Levels,
    material: Material,
) -> np.ndarray:
    """(n,) how many times as far as usual the columns of the same sublattice scatter around a place, about the levels
    of their bulk: 1 at least, NaN where few are known and where it is not `asked` (n,) bool.

    ratio: (n,) light, see `site_light`; site: (n,) sublattice; cell: (n, 2) of the lattice-site view."""
    out = np.full(len(site), np.nan)
    if not asked.any():
        return out
    kind = light_levels.of_bulk(ratio, site, levels)
    off = np.abs(ratio - levels.bulk[site, np.maximum(kind, 0), 0]) / levels.scatter[site]
    around = np.sort(np.append(off, np.nan)[neighbours.around(cell, site, material).same[asked]], axis=1)  # NaN last
    count = np.isfinite(around).sum(1)
    known = np.flatnonzero(count >= LEAST)
    at = SHARE * (count[known] - 1)  # the quantile by hand: NumPy's takes longer than all the rest
    below, above = (around[known, index.astype(int)] for index in (np.floor(at), np.ceil(at)))
    out[np.flatnonzero(asked)[known]] = np.maximum((below + (at % 1) * (above - below)) / USUAL, 1.0)
    return out
