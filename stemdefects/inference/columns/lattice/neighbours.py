"""Which columns stand around each column, looked up by the cell numbers of the lattice-site view (`sites.view`).

A search tree does the same for any points at many times the cost; on a lattice neighbours are known beforehand. What
is missing (a border, a hole, a column not found) stays missing instead of being replaced by one farther away.
"""

import functools
from typing import NamedTuple

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.inference.columns.lattice import site_loops
from stemdefects.inference.columns.lattice.sites import NOWHERE
from stemdefects.numerics.medians import of_columns

SAME = 18  # of the same sublattice: three rings
NEAREST = 9  # of all sublattices of the lattice: the bonded columns and the first ring
NOBODY = -1  # no index of a column
STEPS = 500  # spread over the frame, that say how far a neighbour is: to a fiftieth of their scatter


class Neighbours(NamedTuple):
    """Index of the columns around each of n columns, nearest first, `NOBODY` where there is none.

    same: (n, 18) of its own sublattice; near: (n, 9) of all; whole: (n,) bool, none of the first ring of its own
    sublattice is missing; first: how many of `same` make that ring. Columns on no site of the lattice, and of floating
    sites, are alone.
    """

    same: np.ndarray
    near: np.ndarray
    whole: np.ndarray
    first: int = 6


def around(cell: np.ndarray, site: np.ndarray, material: Material) -> Neighbours:
    """Neighbours of columns with the cells (n, 2) (`sites.NOWHERE`: none) and sublattices (n,); at most one a site."""
    use, same_steps, near_steps, n_first = _asked(cell, site, material)
    same, near = site_loops.looked_up(cell, site, use, same_steps, near_steps)
    return Neighbours(same, near, site_loops.missing(same, n_first) == 0, n_first)


def ring(cell: np.ndarray, site: np.ndarray, material: Material) -> np.ndarray:
    """(n, k) index of the nearest columns of the same sublattice, `NOBODY` where there is none.

    Arguments as of `around`."""
    use, same_steps, near_steps, n_first = _asked(cell, site, material)
    return site_loops.looked_up(cell, site, use, same_steps[:n_first], near_steps[:, :1].copy())[0]


def _asked(cell: np.ndarray, site: np.ndarray, material: Material) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(n,) bool, columns that have neighbours at all, and `_steps` to them."""
    floating = np.array([s.floating for s in material.sites])
    lattice = np.asarray(material.lattice_nm, float).tobytes()
    steps = _steps(lattice, material.basis.tobytes(), tuple(floating.tolist()))
    return (cell[:, 0] != NOWHERE) & ~floating[site], *steps


def cut_by_border(place_px: np.ndarray, found: Neighbours, shape: tuple[int, ...], margin_px: float) -> np.ndarray:
    """(n,) bool, all that is missing of a column's first ring lies outside the image (or within `margin_px` of its
    border), and half of the ring is there: what is usual around the column can still be told.

    place_px: (n, 2); found: `around` of the same columns.
    """
    there = [np.flatnonzero(found.same[:, k] >= 0) for k in range(found.first)]
    if not all(map(len, there)):
        return np.zeros(len(place_px), bool)
    some = [one[:: -(-len(one) // STEPS)] for one in there]
    steps = [of_columns(place_px[found.same[rows, k]] - place_px[rows]) for k, rows in enumerate(some)]
    return site_loops.cut(place_px, found.same, np.array(steps), (float(shape[0]), float(shape[1])), margin_px)


def values(of: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(n, k) of[index], NaN where there is nobody. of: (n,) float; index: (n, k)."""
    return np.append(of, np.nan)[index]


@functools.lru_cache(maxsize=8)
def _steps(lattice: bytes, position: bytes, floating: tuple[bool, ...]) -> tuple[np.ndarray, np.ndarray, int]:
    """Steps (SAME, 2) within a sublattice, (n_sites, NEAREST, 3) to all (cells and target), and how many of the former
    make the first ring."""
    vectors, positions = (np.frombuffer(b).reshape(-1, 2) for b in (lattice, position))
    index = np.stack(np.meshgrid(*[np.arange(-3, 4)] * 2, indexing="ij"), -1).reshape(-1, 2)
    length = np.linalg.norm(index @ vectors, axis=1)
    order = np.argsort(length, kind="stable")[1 : SAME + 1]
    n_first = int((length[order] < 1.1 * length[order[0]]).sum())
    near = np.zeros((len(floating), NEAREST, 3), int)
    targets = np.flatnonzero(~np.array(floating))
    steps = np.concatenate([np.column_stack([index, np.full(len(index), t)]) for t in targets])
    for g in targets:
        moved = steps[:, :2] + positions[steps[:, 2]] - positions[g]
        distance = np.linalg.norm(moved @ vectors, axis=1)
        near[g] = steps[np.argsort(distance, kind="stable")[1 : NEAREST + 1]]  # the nearest is the column itself
    return index[order], near, n_first


def first_ring(material: Material) -> np.ndarray:
    """(n, 2) cell steps from a column to the nearest of its own sublattice: six on a hexagonal lattice."""
    floating = tuple(s.floating for s in material.sites)
    same, _, n_first = _steps(np.asarray(material.lattice_nm, float).tobytes(), material.basis.tobytes(), floating)
    return same[:n_first]
