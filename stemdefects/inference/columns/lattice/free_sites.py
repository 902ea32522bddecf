"""Sites of a lattice that no column is on, as a compiled loop."""

from typing import NamedTuple

import numpy as np

from stemdefects.compiled import entry


class Lattice(NamedTuple):
    """basis: (G, 2) places of the sublattices in the cell, NaN for those that are not asked for; vectors: (2, 2) px;
    origin: (2,) px of cell (0, 0)."""

    basis: np.ndarray
    vectors: np.ndarray
    origin: np.ndarray


@entry
def free(
    cell: np.ndarray,
    site: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    lattice: Lattice,
    frame: tuple[float, float, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sites from the cell `low` (2,) to the cell `high` that are none of the columns' (n): cells (m, 2), sublattices
    (m,) and places (m, 2) px. frame: largest y and x px, and how far from the border the sites are at least."""
    height, width = high[0] - low[0] + 1, high[1] - low[1] + 1
    there = np.zeros((len(lattice.basis), height, width), np.bool_)
    for k in range(len(cell)):
        i, j = cell[k, 0] - low[0], cell[k, 1] - low[1]
        if 0 <= i < height and 0 <= j < width:
            there[site[k], i, j] = True
    most = there.size
    cells, its, places, count = np.empty((most, 2), np.int64), np.empty(most, np.int64), np.empty((most, 2)), 0
    vectors = lattice.vectors
    for g in range(len(there)):
        if np.isnan(lattice.basis[g, 0]):
            continue
        for i in range(height):
            for j in range(width):
                if there[g, i, j]:
                    continue
                a, b = low[0] + i + lattice.basis[g, 0], low[1] + j + lattice.basis[g, 1]
                y = a * vectors[0, 0] + b * vectors[1, 0] + lattice.origin[0]
                x = a * vectors[0, 1] + b * vectors[1, 1] + lattice.origin[1]
                if min(min(y, frame[0] - y), min(x, frame[1] - x)) >= frame[2]:
                    cells[count, 0], cells[count, 1], its[count] = low[0] + i, low[1] + j, g
                    places[count, 0], places[count, 1] = y, x
                    count += 1
    return cells[:count], its[:count], places[:count]
