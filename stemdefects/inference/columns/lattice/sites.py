"""The lattice-site view: which cell and sublattice each detected column belongs to, and which columns were missed.

Columns are joined to their neighbours where the step between them is a lattice vector; walking along these steps
numbers the cells. Slow distortions of the scan and strain do no harm, since only steps to neighbours are compared.
"""

import functools
from dataclasses import dataclass

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from stemdefects.crystal.bragg import equivalent_cells
from stemdefects.inference.columns.lattice import site_loops

STEP_TOLERANCE = 0.22  # of a lattice vector, for a step between neighbours
ONE_LATTICE = 0.97  # share of the columns that must lie on it
SAME = 0.03  # fitted vectors this close (relative) to those walked along change no step
VOTERS = 300  # columns, spread over the frame, that say how the sublattices lie
MIN_COLUMNS = 12  # twice the six numbers (two vectors and an origin) that are fitted to them
NOWHERE = site_loops.NOWHERE


@dataclass(frozen=True)
class SiteView:
    """Columns on lattice sites.

    cell: (n, 2) int multiples of a1, a2 for each column, NOWHERE where it belongs to no site; vectors_px: (2, 2) rows
    a1, a2 (y, x) fitted to the columns; origin_px: (2,) place of cell (0, 0); residual_px: rms distance of the columns
    from the fitted lattice; duplicate: (n,) bool, another column was kept for the same site; n_sites: sites inside the
    lattice; missed: (m, 3) cell and sublattice of sites without a column although their neighbours are there;
    missed_px: (m, 2) where these should be.
    """

    cell: np.ndarray
    vectors_px: np.ndarray
    origin_px: np.ndarray
    residual_px: float
    duplicate: np.ndarray
    n_sites: int
    missed: np.ndarray
    missed_px: np.ndarray

    @property
    def on_lattice(self) -> np.ndarray:
        return self.cell[:, 0] != NOWHERE


def view(
    position_px: np.ndarray,
    site: np.ndarray,
    weight: np.ndarray,
    vectors_px: np.ndarray,
    basis: np.ndarray,
    lattice_nm: np.ndarray,
    told_apart: bool = False,
) -> SiteView | None:
    """Number the cells of detected columns; None when they form no lattice.

    position_px: (n, 2) y, x; site: (n,) sublattice; weight: (n,) how sure the column is (of two on one site the surer
    one stays); vectors_px: (2, 2) approximate lattice vectors; basis: (n_sites, 2) fractional positions; lattice_nm:
    the material's vectors, which decide among equivalent directions; told_apart: `vectors_px` put the sublattices where
    they are, so that no direction need be decided.
    """
    if len(position_px) < MIN_COLUMNS:
        return None
    position_px, vectors = np.ascontiguousarray(position_px, float), np.asarray(vectors_px, float)
    basis = np.ascontiguousarray(basis, float)
    if not told_apart:
        vectors = _handed(position_px, site, vectors, basis, lattice_nm)
    for again in (True, False):
        cell = _rounded(position_px, site, basis, vectors)
        if cell is None:
            cell = _walk(position_px - basis[site] @ vectors, vectors)
        known = cell[:, 0] != NOWHERE
        if known.sum() < MIN_COLUMNS:
            return None
        found, fitted, origin, rms = site_loops.fitted(position_px, cell, site, basis)
        if not found:
            return None
        moved = np.abs(fitted - vectors).max()
        vectors = fitted
        if not again or moved < SAME * np.abs(vectors).max():  # else once more with the fitted vectors
            break
    duplicate = site_loops.doubles(cell, site, weight)
    # missed: sites without a column among five or six neighbours of their own sublattice
    steps = _shortest_steps(vectors)
    n_sites, missed, missed_px = site_loops.gaps(cell, site, ~duplicate & known, position_px, steps)
    return SiteView(cell, vectors, origin, rms, duplicate, n_sites, missed, missed_px)


def _handed(
    position: np.ndarray, site: np.ndarray, vectors: np.ndarray, basis: np.ndarray, lattice_nm: np.ndarray
) -> np.ndarray:
    """Of the equivalent cells that put the sublattices where they are seen, the nearest to the material's axes."""
    choices = _equivalent(vectors.tobytes(), np.asarray(lattice_nm, float).tobytes())
    if len(choices) == 1 or len(basis) == 1:
        return choices[0]
    first = np.flatnonzero(site == 0)
    first = first[:: max(1, len(first) // VOTERS)]
    votes = np.zeros(len(choices))
    for other in range(1, len(basis)):
        there = np.flatnonzero(site == other)
        if not len(there) or not len(first):
            continue
        tree = cKDTree(position[there])
        reach = STEP_TOLERANCE * np.sqrt(abs(np.linalg.det(vectors)))
        for i, choice in enumerate(choices):
            distance, _ = tree.query(position[first] + (basis[other] - basis[0]) @ choice, distance_upper_bound=reach)
            votes[i] += np.isfinite(distance).sum()
    return choices[int(np.flatnonzero(votes >= 0.9 * votes.max())[0])]


@functools.lru_cache(maxsize=64)  # frames of a movie start from the same vectors
def _equivalent(vectors: bytes, lattice: bytes) -> list[np.ndarray]:
    return equivalent_cells(*(np.frombuffer(b).reshape(2, 2) for b in (vectors, lattice)))


def _rounded(position: np.ndarray, site: np.ndarray, basis: np.ndarray, vectors: np.ndarray) -> np.ndarray | None:
    """(n, 2) cells of columns that all lie on one lattice, NOWHERE for the few that do not; None where it is not so.

    One lattice fits a whole frame where the crystal is whole and the scan steady; then no steps need be followed. A
    lattice that was wrong by more than half a cell anywhere would pass through every misfit on the way there.
    """
    shortest = min(np.linalg.norm(vectors, axis=1).min(), np.linalg.norm(vectors[0] - vectors[1]))
    cell = site_loops.numbered(position, site, basis, vectors, STEP_TOLERANCE * shortest, ONE_LATTICE)
    return cell if len(cell) else None


def _walk(origins: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """(n, 2) cells of points that lie on one lattice, found along steps between neighbours."""
    n = len(origins)
    longest = max(np.linalg.norm(vectors, axis=1).max(), np.linalg.norm(vectors[0] - vectors[1]))
    shortest = min(np.linalg.norm(vectors, axis=1).min(), np.linalg.norm(vectors[0] - vectors[1]))
    pairs = cKDTree(origins).query_pairs(min(longest, 1.2 * shortest) * (1 + STEP_TOLERANCE), output_type="ndarray")
    cell = np.full((n, 2), NOWHERE, np.int32)
    if not len(pairs):
        return cell
    step = (origins[pairs[:, 1]] - origins[pairs[:, 0]]) @ np.linalg.inv(vectors)
    whole = np.rint(step)
    off = _length((step - whole) @ vectors)
    good = off < STEP_TOLERANCE * shortest
    pairs, whole, off = pairs[good], whole[good].astype(np.int32), off[good]
    # small misfits first: the tree then avoids doubtful steps
    graph = sparse.coo_matrix((off + 1e-3, (pairs[:, 0], pairs[:, 1])), (n, n)).tocsr()
    tree = csgraph.minimum_spanning_tree(graph)
    _, label = csgraph.connected_components(tree, directed=False)
    largest = np.argmax(np.bincount(label))
    root = int(np.flatnonzero(label == largest)[0])
    order, parent = csgraph.breadth_first_order(tree, root, directed=False)
    child, above = order[1:], parent[order[1:]]
    low, high = np.minimum(child, above), np.maximum(child, above)
    key = pairs.min(1).astype(np.int64) * n + pairs.max(1)
    by_key = np.argsort(key)
    step_index = by_key[np.searchsorted(key, low.astype(np.int64) * n + high, sorter=by_key)]
    move = np.where((pairs[step_index, 0] == above)[:, None], whole[step_index], -whole[step_index])
    # sum the steps along each path to the root by doubling the reach; a tree of n has paths of n at most: log2 n rounds
    total = np.zeros((n, 2), np.int64)
    total[child] = move
    up = np.arange(n)
    up[child] = above
    while True:
        total_next = total + total[up]
        up_next = up[up]
        if (up_next == up).all():
            break
        total, up = total_next, up_next
    cell[order] = total[order]
    return cell


def _length(vectors: np.ndarray) -> np.ndarray:
    """(n,) of (n, 2); a third of the time of the general norm."""
    return np.sqrt(vectors[:, 0] ** 2 + vectors[:, 1] ** 2)


def _shortest_steps(vectors: np.ndarray) -> np.ndarray:
    """(k, 2) cell steps to the nearest of the same sublattice: six on a hexagonal lattice, four on a square one."""
    steps = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)])
    length = np.linalg.norm(steps @ vectors, axis=1)
    return steps[length < 1.35 * length.min()]
