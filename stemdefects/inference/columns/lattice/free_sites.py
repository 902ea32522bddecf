"""Sites of a lattice that no column is on, as a compiled loop."""

from typing import NamedTuple

import numpy as np

from stemdefects.compiled import entry
from stemdefects.crystal.complexes import NOWHERE


class Lattice(NamedTuple):
    """basis: (G, 2) places of the sublattices in the cell, NaN for those that are not asked for; vectors: (2, 2) px;
    origin: (2,) px of cell (0, 0)."""

    basis: np.ndarray
    vectors: np.ndarray
    origin: np.ndarray


@entry
def free(
    position: np.ndarray,
    cell: np.ndarray,
    site: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    lattice: Lattice,
    frame: tuple[float, float, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sites from the cell `low` (2,) to the cell `high` that are none of the columns' (n): cells (m, 2), sublattices
    (m,) and places (m, 2) px. position: (n, 2) of the columns, cell: (n, 2), NOWHERE: on no site; frame: largest y and
    x px, and how far from the border the sites are at least, less what any column is displaced by."""
    height, width = high[0] - low[0] + 1, high[1] - low[1] + 1
    there, farthest = np.zeros((len(lattice.basis), height, width), np.bool_), 0.0
    vectors, basis = lattice.vectors, lattice.basis
    for k in range(len(cell)):
        g = site[k]
        if cell[k, 0] == NOWHERE or np.isnan(basis[g, 0]):
            continue
        a, b = cell[k, 0] + basis[g, 0], cell[k, 1] + basis[g, 1]
        for i in range(2):
            even = a * vectors[0, i] + b * vectors[1, i] + lattice.origin[i]
            farthest = max(farthest, abs(position[k, i] - even))
        y, x = cell[k, 0] - low[0], cell[k, 1] - low[1]
        if 0 <= y < height and 0 <= x < width:
            there[g, y, x] = True
    margin = frame[2] - farthest
    most = there.size
    cells, its, places, count = np.empty((most, 2), np.int64), np.empty(most, np.int64), np.empty((most, 2)), 0
    for g in range(len(there)):
        if np.isnan(basis[g, 0]):
            continue
        for i in range(height):
            for j in range(width):
                if there[g, i, j]:
                    continue
                a, b = low[0] + i + basis[g, 0], low[1] + j + basis[g, 1]
                y = a * vectors[0, 0] + b * vectors[1, 0] + lattice.origin[0]
                x = a * vectors[0, 1] + b * vectors[1, 1] + lattice.origin[1]
                if min(min(y, frame[0] - y), min(x, frame[1] - x)) >= margin:
                    cells[count, 0], cells[count, 1], its[count] = low[0] + i, low[1] + j, g
                    places[count, 0], places[count, 1] = y, x
                    count += 1
    return cells[:count], its[:count], places[:count]
