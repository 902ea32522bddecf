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

STEP_TOLERANCE = 0.22  # of a lattice vector, for a step between neighbours
ONE_LATTICE = 0.97  # share of the columns that must lie on it
SAME = 0.03  # fitted vectors this close (relative) to those walked along change no step
VOTERS = 300  # columns, spread over the frame, that say how the sublattices lie
MIN_COLUMNS = 12
NOWHERE = np.iinfo(np.int32).min


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
    vectors = np.asarray(vectors_px, float)
    if not told_apart:
        vectors = _handed(position_px, site, vectors, basis, lattice_nm)
    for again in (True, False):
        cell = _rounded(position_px, site, basis, vectors)
        if cell is None:
            cell = _walk(position_px - basis[site] @ vectors, vectors)
        known = cell[:, 0] != NOWHERE
        if known.sum() < MIN_COLUMNS:
            return None
        fitted = _fit(position_px[known], cell[known] + basis[site[known]])
        if fitted is None:
            return None
        moved = np.abs(fitted[0] - vectors).max()
        vectors, origin = fitted
        if not again or moved < SAME * np.abs(vectors).max():  # else once more with the fitted vectors
            break
    residual = position_px[known] - (cell[known] + basis[site[known]]) @ vectors - origin
    duplicate = _duplicates(cell, site, weight)
    n_sites, missed, missed_px = _missed(cell, site, ~duplicate & known, position_px, vectors)
    rms = float(np.sqrt((residual**2).sum(1).mean()))
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
    cell = (position - basis[site] @ vectors) @ np.linalg.inv(vectors)
    phase = np.angle(np.exp(2j * np.pi * cell).mean(0)) / (2 * np.pi)
    whole = np.rint(cell - phase)
    for _ in range(2):
        off = _length((cell - phase - whole) @ vectors)
        good = off < STEP_TOLERANCE * shortest
        if good.mean() < ONE_LATTICE:
            return None
        fitted = _solved(position[good], whole[good] + basis[site[good]])
        if fitted is None:
            return None
        vectors, origin = fitted
        cell, phase = (position - origin - basis[site] @ vectors) @ np.linalg.inv(vectors), 0.0
        whole = np.rint(cell)
    off = _length((cell - whole) @ vectors)
    if (off < 0.5 * STEP_TOLERANCE * shortest).mean() < ONE_LATTICE:
        return None
    return np.where(off[:, None] < STEP_TOLERANCE * shortest, whole, NOWHERE).astype(np.int32)


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


def _fit(position: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Vectors and origin by least squares, columns far off left out in a second pass."""
    keep = np.ones(len(position), bool)
    for _ in range(2):
        solved = _solved(position[keep], index[keep])
        if solved is None:
            return None
        off = _length(index @ solved[0] + solved[1] - position)
        keep = off <= max(3 * np.median(off), 1e-6)
    return solved


def _solved(position: np.ndarray, index: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Vectors (2, 2) and origin (2,) by least squares; None where the points lie on one line."""
    mean_index, mean_place = index.mean(0), position.mean(0)
    design = index - mean_index
    normal = design.T @ design
    if not np.linalg.cond(normal) < 1e8:
        return None
    vectors = np.linalg.solve(normal, design.T @ (position - mean_place))
    return vectors, mean_place - mean_index @ vectors


def _length(vectors: np.ndarray) -> np.ndarray:
    """(n,) of (n, 2); a third of the time of the general norm."""
    return np.sqrt(vectors[:, 0] ** 2 + vectors[:, 1] ** 2)


def _duplicates(cell: np.ndarray, site: np.ndarray, weight: np.ndarray) -> np.ndarray:
    known = cell[:, 0] != NOWHERE
    low = cell[known].min(0)
    size = cell[known].max(0) - low + 1
    key = np.ravel_multi_index((*(np.where(known[:, None], cell - low, 0)).T, site), (*size, int(site.max()) + 1))
    again = np.zeros(len(cell), bool)
    if np.bincount(key[known]).max() > 1:
        order = np.lexsort((-weight, key, ~known))
        again[order[1:]] = key[order[1:]] == key[order[:-1]]
    return again & known


def _missed(
    cell: np.ndarray, site: np.ndarray, use: np.ndarray, position: np.ndarray, vectors: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of lattice sites, and those without a column among five or six neighbours of their own sublattice."""
    low = cell[use].min(0) - 1
    shape = tuple(cell[use].max(0) - low + 2)
    steps = _shortest_steps(vectors)
    n_sites, missed, places = 0, [], []
    for g in np.flatnonzero(np.bincount(site[use])):
        mine = use & (site == g)
        index = tuple((cell[mine] - low).T)
        there = np.zeros(shape, bool)
        there[index] = True
        y, x = np.zeros(shape), np.zeros(shape)
        y[index], x[index] = position[mine].T
        around, sum_y, sum_x = np.zeros(shape), np.zeros(shape), np.zeros(shape)
        for step in steps:
            shifted = np.roll(there, step, (0, 1))
            around += shifted
            sum_y += np.roll(y, step, (0, 1)) * shifted
            sum_x += np.roll(x, step, (0, 1)) * shifted
        gaps = np.argwhere(~there & (around >= len(steps) - 1))
        n_sites += int(there.sum()) + len(gaps)
        for gap in gaps:
            missed.append((*(gap + low), g))
            places.append((sum_y[tuple(gap)] / around[tuple(gap)], sum_x[tuple(gap)] / around[tuple(gap)]))
    return n_sites, np.array(missed, np.int32).reshape(-1, 3), np.array(places, float).reshape(-1, 2)


def _shortest_steps(vectors: np.ndarray) -> list[tuple[int, int]]:
    """Cell steps to the nearest columns of the same sublattice: six on a hexagonal lattice, four on a square one."""
    steps = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
    length = np.linalg.norm(np.array(steps) @ vectors, axis=1)
    return [s for s, d in zip(steps, length, strict=True) if d < 1.35 * length.min()]
