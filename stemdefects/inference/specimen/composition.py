"""How the kinds of columns of an alloy lie beside each other: a map of the composition, and its order over distance.

The Warren-Cowley parameter of two kinds A and B is 1 - P(AB) / (x_A x_B), P(AB) the share of pairs at a distance whose
first column is A and second B: 0 where chance mixes them, above 0 where like columns gather, below 0 where they avoid
each other (Cowley, Phys. Rev. 77, 669 (1950)). It is the correlation of what the two columns are. What they are is read
from their light, so a reading's variance is less than that of the kinds; the correlation of readings is divided by that
share. Its interval is by leaving out one part of the field at a time (jackknife over blocks: neighbours repeat what
their neighbours say).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from stemdefects.crystal.material import Material
from stemdefects.inference.specimen import light_levels, prevalence

SHELLS = 6  # distances on the lattice, nearest first: up to 3.5 lattice constants on a hexagonal one
BLOCKS = 4  # parts along each side of the field, each left out once
KIND = 3.0  # scatters: a column this far from every level of the bulk is a defect, and none of its kinds
MAP_CELLS, MAP_NM = 24, 1.0  # of the map along its longer side at most; no finer, that a cell holds ten columns


class Composition(NamedTuple):
    """Of an alloyed sublattice. site: its name; distance_nm, order, low, high, n_pairs: (K,) Warren-Cowley parameter of
    pairs at K distances, and its 95% interval; field: (h, w) mean of the columns in each cell of the frame, 0 all of
    the faintest and 1 all of the brightest kind, NaN where there is none; cell_nm: side of a cell."""

    site: str
    distance_nm: np.ndarray
    order: np.ndarray
    low: np.ndarray
    high: np.ndarray
    n_pairs: np.ndarray
    field: np.ndarray
    cell_nm: float

    def to_plain(self) -> dict[str, Any]:
        """For JSON; NaN as None."""
        arrays = {k: light_levels.plain(np.round(v, 4)) for k, v in self._asdict().items() if isinstance(v, np.ndarray)}
        return self._asdict() | arrays

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Composition":
        read: dict[str, Any] = {k: np.array(v, float) if isinstance(v, list) else v for k, v in plain.items()}
        return cls(**read)


def learn(founds: Sequence[Any], levels: light_levels.Levels, material: Material) -> tuple[Composition, ...]:
    """The composition of every alloyed sublattice of some frames (`defects.FrameDefects`), the map of the first."""
    out = []
    for g in np.flatnonzero(levels.alloyed):
        seen = [one for one in (_read(f, int(g), levels, material) for f in founds if f.sites is not None) if one]
        if not seen:
            continue
        spread = _spread_of_kinds(levels.bulk[g])
        found = order([one[:3] for one in seen], np.asarray(material.lattice_nm, float), spread)
        place_nm, value = seen[0][1:3]
        field, cell_nm = mapped(place_nm, value)
        out.append(Composition(material.sites[g].name, *found, field, cell_nm))
    return tuple(out)


def doubtful(levels: light_levels.Levels, material: Material) -> list[tuple[str, float, float]]:
    """Kinds of defects that columns of an alloy are as bright as, with their level and share: it may be them."""
    out = []
    for g in np.flatnonzero(levels.alloyed):
        ideal = levels.level[material.sites[g].ideal]
        for level, share in levels.bulk[g][np.isfinite(levels.bulk[g, :, 0])]:
            out += [
                (kind.name, float(level), float(share))
                for kind in prevalence.as_bright(level / ideal, int(g), material)
            ]
    return out


def order(
    frames: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]], lattice_nm: np.ndarray, spread: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distances (K,) nm, Warren-Cowley parameter (K,), its 95% interval (K,), (K,), and numbers of pairs (K,).

    frames: cell (n, 2) int, place (n, 2) nm and reading (n,) of the columns of each; lattice_nm: (2, 2); spread:
    variance of the kinds themselves, in units of the reading's squared.
    """
    steps, shell, distance = _half_shells(lattice_nm)
    middle = np.mean(np.concatenate([value for *_, value in frames]))
    n_blocks = BLOCKS**2
    product, number = (np.zeros((n_blocks, SHELLS)) for _ in range(2))
    square, count = np.zeros(n_blocks), np.zeros(n_blocks)
    for cell, place, value in frames:
        x, block = value - middle, _blocks(place)
        square += np.bincount(block, x**2, n_blocks)
        count += np.bincount(block, minlength=n_blocks)
        low = cell.min(0) - np.abs(steps).max()
        at = np.full(np.ptp(cell, axis=0) + 1 + 2 * np.abs(steps).max(), -1)
        at[tuple((cell - low).T)] = np.arange(len(cell))
        for step, k in zip(steps, shell, strict=True):
            other = at[tuple((cell - low + step).T)]
            there = other >= 0
            product[:, k] += np.bincount(block[there], x[there] * x[other[there]], n_blocks)
            number[:, k] += np.bincount(block[there], minlength=n_blocks)

    def of_blocks(use: np.ndarray) -> np.ndarray:
        """(K,) by the blocks `use`."""
        variance = square[use].sum() / count[use].sum()
        reliable = min(variance / spread, 1.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return product[use].sum(0) / number[use].sum(0) / (variance * reliable)

    used = np.flatnonzero(count)
    whole = of_blocks(used)
    without = np.array([of_blocks(np.delete(used, i)) for i in range(len(used))])
    error = np.sqrt((len(used) - 1) / len(used) * ((without - without.mean(0)) ** 2).sum(0))
    reach = special.stdtrit(max(len(used) - 1, 1), 0.975) * error
    return distance, whole, whole - reach, whole + reach, number.sum(0)


def mapped(place_nm: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, float]:
    """(h, w) mean of `value` (n,) in square cells of the field, NaN where there is no column, and their side in nm.

    place_nm: (n, 2) y, x from the corner of the field.
    """
    side = max(MAP_NM, float(place_nm.max()) / MAP_CELLS)
    at = (place_nm / side).astype(int)
    shape = tuple(at.max(0) + 1)
    flat = np.ravel_multi_index(tuple(at.T), shape)
    count = np.bincount(flat, minlength=int(np.prod(shape)))
    with np.errstate(invalid="ignore"):
        mean = np.bincount(flat, value, minlength=len(count)) / count
    return mean.reshape(shape), side


def _read(found: Any, g: int, levels: light_levels.Levels, material: Material) -> tuple | None:
    """Cell, place in nm and reading, 0 faintest to 1 brightest, of the columns of sublattice g; None: there are few."""
    bulk = levels.bulk[g][np.isfinite(levels.bulk[g, :, 0])]
    near = np.abs(found.ratio[:, None] - bulk[:, 0]).min(1) < KIND * levels.scatter[g]
    use = (found.columns.site == g) & found.sites.on_lattice & near
    if use.sum() < light_levels.column_intensity.MIN_COLUMNS:
        return None
    weight = light_levels.bell(found.ratio[use, None], bulk[:, 0], (float(levels.scatter[g]), 0.0)) * bulk[:, 1]
    value = weight @ _scaled(bulk) / weight.sum(1)
    pixel_nm = np.sqrt(abs(np.linalg.det(material.lattice_nm) / np.linalg.det(found.sites.vectors_px)))
    place = np.stack([found.columns.y_px, found.columns.x_px], 1)[use].astype(float) * pixel_nm
    return found.sites.cell[use].astype(int), place, value


def _scaled(bulk: np.ndarray) -> np.ndarray:
    """(K,) levels of the bulk, 0 the faintest, 1 the brightest."""
    return (bulk[:, 0] - bulk[:, 0].min()) / np.ptp(bulk[:, 0])


def _spread_of_kinds(bulk: np.ndarray) -> float:
    """Variance of the kinds of the columns, of which `bulk` (K, 2) has level and share."""
    known = bulk[np.isfinite(bulk[:, 0])]
    value, share = _scaled(known), known[:, 1] / known[:, 1].sum()
    return float(share @ value**2 - (share @ value) ** 2)


def _half_shells(lattice_nm: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(m, 2) cell steps of the first `SHELLS` distances, one of each two opposite ones, (m,) their shell, and the
    distances in nm (SHELLS,)."""
    reach = np.arange(-SHELLS, SHELLS + 1)
    steps = np.stack(np.meshgrid(reach, reach, indexing="ij"), -1).reshape(-1, 2)
    steps = steps[(steps[:, 0] > 0) | ((steps[:, 0] == 0) & (steps[:, 1] > 0))]
    length = np.linalg.norm(steps @ lattice_nm, axis=1)
    distance = np.unique(np.round(length, 6))[:SHELLS]
    shell = np.abs(length[:, None] - distance).argmin(1)
    use = np.abs(length - distance[shell]) < 1e-5
    return steps[use], shell[use], distance


def _blocks(place_nm: np.ndarray) -> np.ndarray:
    """(n,) which of `BLOCKS` x `BLOCKS` parts of the field each place lies in."""
    low, size = place_nm.min(0), np.maximum(np.ptp(place_nm, axis=0), 1e-9)
    part = ((place_nm - low) / size * BLOCKS).astype(int).clip(0, BLOCKS - 1)
    return part[:, 0] * BLOCKS + part[:, 1]
