"""What stands around each column, of places that the lattice repeats: looked up by cell numbers, not by distance.

All columns of a sublattice have the same steps to what is around them; what is missing (a border, a hole) stays so.
"""

import functools
from typing import NamedTuple

import numpy as np

from stemdefects.compiled import entry, inner
from stemdefects.inference.columns.lattice.sites import NOWHERE
from stemdefects.numerics import medians as ordered

REACH = 8  # cells that are looked at for the nearest


class Steps(NamedTuple):
    """cells: (G, m, 3) from a column of each sublattice to the nearest places: cell, and which place of the cell;
    away: (G, m) how far that is, in the unit of the lattice vectors."""

    cells: np.ndarray
    away: np.ndarray


@functools.lru_cache(maxsize=16)
def _steps(basis: bytes, places: bytes, lattice: bytes, m: int) -> Steps:
    origin, place, vectors = (np.frombuffer(b).reshape(-1, 2) for b in (basis, places, lattice))
    cell = np.stack(np.meshgrid(*[np.arange(-REACH, REACH + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
    which = np.repeat(np.arange(len(place)), len(cell))
    cell = np.tile(cell, (len(place), 1))
    cells, away = np.zeros((len(origin), m, 3), np.int64), np.zeros((len(origin), m))
    for g, at in enumerate(origin):
        distance = np.linalg.norm((cell + place[which] - at) @ vectors, axis=1)
        first = np.argsort(np.round(distance, 9), kind="stable")[:m]
        cells[g], away[g] = np.column_stack([cell, which])[first], distance[first]
    return Steps(cells, away)


def steps(basis: np.ndarray, places: np.ndarray, vectors: np.ndarray, m: int) -> Steps:
    """To the nearest `m` of the `places` (k, 2) of the cell and its repetitions, from the sublattices at `basis` (G, 2)
    of the cell. vectors: (2, 2) of the lattice, in any unit."""
    return _steps(*(np.ascontiguousarray(a, float).tobytes() for a in (basis, places, vectors)), m)


def medians(
    values: np.ndarray, source: np.ndarray, cell: np.ndarray, site: np.ndarray, around: Steps
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) median of the `values` (n,) of the columns of `source` (n,) that are `around` each column, NaN where there
    is none; (n,) how many these are. cell: (n, 2), NOWHERE: not looked at; site: (n,) sublattice."""
    network = ordered.network(around.cells.shape[1])
    return _medians(values, source, cell, np.asarray(site, np.int64), around.cells, network)


@inner
def _box(cell: np.ndarray, reach: int) -> tuple[int, int, int, int]:
    """First cell, height and width of what holds all cells and `reach` around; 0 where there is none."""
    top, left, bottom, right = 2**31, 2**31, -(2**31), -(2**31)
    for k in range(len(cell)):
        if cell[k, 0] != NOWHERE:
            top, bottom = min(top, cell[k, 0]), max(bottom, cell[k, 0])
            left, right = min(left, cell[k, 1]), max(right, cell[k, 1])
    if bottom < top:
        return 0, 0, 0, 0
    return top - reach, left - reach, bottom - top + 1 + 2 * reach, right - left + 1 + 2 * reach


@entry
def _medians(
    values: np.ndarray, source: np.ndarray, cell: np.ndarray, site: np.ndarray, around: np.ndarray, network: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    n, m = len(cell), around.shape[1]
    reach = max(np.abs(around[:, :, 0]).max(), np.abs(around[:, :, 1]).max())
    top, left, height, width = _box(cell, reach)
    out, count, grid = np.full(n, np.nan), np.zeros(n, np.int64), np.full(height * width, np.inf, np.float32)
    offset = around[:, :, 0] * width + around[:, :, 1]
    at, asked = np.empty(n, np.int64), np.empty(n, np.int64)
    n_asked = 0
    for k in range(n):
        if cell[k, 0] != NOWHERE:
            at[k] = (cell[k, 0] - top) * width + cell[k, 1] - left
            asked[n_asked] = k
            n_asked += 1
            if source[k]:
                grid[at[k]] = values[k]
    some = np.empty((m, ordered.LANES), np.float32)  # twice as many at once
    for first in range(0, n_asked, ordered.LANES):
        rows = min(ordered.LANES, n_asked - first)
        for row in range(rows):
            k = asked[first + row]
            here, steps = at[k], offset[site[k]]
            for j in range(m):
                some[j, row] = grid[here + steps[j]]
        ordered.in_order(some, network)
        for row in range(rows):
            k, there = asked[first + row], m  # what is missing comes last
            while there and some[there - 1, row] == np.inf:
                there -= 1
            count[k] = there
            if there:
                out[k] = 0.5 * (some[there // 2, row] + some[(there - 1) // 2, row])
    return out, count


@entry
def weighted_means(
    values: np.ndarray,
    where: np.ndarray,
    cell: np.ndarray,
    site: np.ndarray,
    around: np.ndarray,
    weight: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) mean of the `values` (k,) `around` (G, m, 3; of `Steps`) each column, with the `weight` (G, m); (n,) how
    many these are. where: (k, 3) cells of the values and which place of the cell; cell: (n, 2), NOWHERE: not looked
    at; site: (n,) sublattice."""
    n, n_places = len(cell), around[:, :, 2].max() + 1
    reach = max(np.abs(around[:, :, 0]).max(), np.abs(around[:, :, 1]).max())
    top, left, height, width = _box(cell, reach)
    grid, out, count = np.full(height * width * n_places, np.nan), np.full(n, np.nan), np.zeros(n, np.int64)
    for k in range(len(values)):
        i, j = where[k, 0] - top, where[k, 1] - left
        if where[k, 0] != NOWHERE and 0 <= i < height and 0 <= j < width:
            grid[(i * width + j) * n_places + where[k, 2]] = values[k]
    for k in range(n):
        if cell[k, 0] == NOWHERE:
            continue
        g, total, weights = site[k], 0.0, 0.0
        for j in range(around.shape[1]):
            i = (cell[k, 0] - top + around[g, j, 0]) * width + cell[k, 1] - left + around[g, j, 1]
            value = grid[i * n_places + around[g, j, 2]]
            if not np.isnan(value):
                total += weight[g, j] * value
                weights += weight[g, j]
                count[k] += 1
        if count[k]:
            out[k] = total / weights
    return out, count
