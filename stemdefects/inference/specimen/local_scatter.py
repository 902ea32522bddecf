"""How far the light of columns scatters in places: under a film, or where there is no crystal, farther than elsewhere.

What a network shows no column at is judged by its light alone. Where the columns around it are not as bright as they
should be either, that light says little.
"""

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.inference.columns.lattice import neighbours
from stemdefects.inference.specimen import light_levels
from stemdefects.numerics import robust

LEAST = 6  # columns, to say how far they scatter


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
    around = np.append(off, np.nan)[neighbours.around(cell, site, material).same[asked]]
    known = np.isfinite(around).sum(1) >= LEAST
    if known.any():
        out[np.flatnonzero(asked)[known]] = np.maximum(robust.scatter(around[known], 0.0, axis=1), 1.0)
    return out
