"""Vacancy lines: rows of neighbouring defects along the lattice's directions, against defects put at random."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from stemdefects.analysis.tracking.lattice_sites import hop_vectors, reduce

SHORTEST = 3  # defects in a row that make a line
TOLERANCE = 0.3  # of a lattice constant


@dataclass
class Lines:
    """Lines of one kind, averaged over frames: `number` per frame, `length` mean number of defects in a line, `longest`
    in any frame, `share` of the defects that stand in lines; `null_*` the same for random sites with 95% bands
    (low, high); `p` of a share as large by chance. `histogram` maps length to lines per frame, and by chance."""

    number: float
    length: float
    longest: int
    share: float
    null_number: tuple[float, float, float]
    null_share: tuple[float, float, float]
    p: float
    n_frames: int
    histogram: dict[int, tuple[float, float]]


def rows(yx: np.ndarray, vectors: np.ndarray) -> list[np.ndarray]:
    """Members of each line of SHORTEST or more among points (n, 2); a point may stand in lines of several
    directions. vectors: (2, 2) lattice."""
    vectors = reduce(vectors)
    steps = hop_vectors(vectors)
    steps = steps[(steps[:, 0] > 0) | ((steps[:, 0] == 0) & (steps[:, 1] > 0))] @ vectors
    a = np.hypot(*vectors[0])
    if len(yx) < SHORTEST:
        return []
    pairs = cKDTree(yx).query_pairs(1.4 * a, output_type="ndarray")
    if not len(pairs):
        return []
    move = yx[pairs[:, 1]] - yx[pairs[:, 0]]
    out = []
    for step in steps:
        off = np.minimum(np.hypot(*(move - step).T), np.hypot(*(move + step).T))
        near = pairs[off < TOLERANCE * a]
        graph = coo_matrix((np.ones(len(near)), near.T), (len(yx), len(yx)))
        label = connected_components(graph, directed=False)[1]
        for k in np.flatnonzero(np.bincount(label) >= SHORTEST):
            out.append(np.flatnonzero(label == k))
    return out


def _figures(groups: list[list[np.ndarray]], sizes: list[int]):
    number = np.array([len(g) for g in groups], float)
    share = np.array([len(np.unique(np.concatenate(g))) / n if g else 0.0 for g, n in zip(groups, sizes, strict=True)])
    return number, share


def find(
    frame: np.ndarray,
    yx: np.ndarray,
    vectors: np.ndarray,
    sites: np.ndarray,
    n_frames: int = 20,
    n_null: int = 99,
    rng: np.random.Generator | None = None,
) -> Lines | None:
    """Lines of one kind against the same number of defects on random lattice sites.

    Frames repeat the same defects, so the band of the null is that of a single frame.

    Args:
        frame, yx: detections of one kind; vectors: (2, 2) lattice of its sublattice, in the unit of `yx`.
        sites: (m, 2) places a defect can have.

    Returns:
        None with fewer than 4 defects a frame.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    numbers = np.unique(frame)
    if len(numbers) == 0 or len(frame) / len(numbers) < 4 or len(sites) < 20:
        return None
    chosen = numbers[np.unique(np.linspace(0, len(numbers) - 1, n_frames).astype(int))]
    parts = [yx[frame == f] for f in chosen]
    groups = [rows(p, vectors) for p in parts]
    number, share = _figures(groups, [len(p) for p in parts])
    typical = min(int(np.median([len(p) for p in parts])), len(sites))
    random = [rows(sites[rng.choice(len(sites), typical, replace=False)], vectors) for _ in range(n_null)]
    null_number, null_share = _figures(random, [typical] * n_null)
    lengths = np.array([len(line) for g in groups for line in g], int)
    chance = np.array([len(line) for g in random for line in g], int)
    top = max(lengths.max(initial=SHORTEST), chance.max(initial=SHORTEST))
    histogram = {
        k: (float((lengths == k).sum() / len(parts)), float((chance == k).sum() / n_null))
        for k in range(SHORTEST, int(top) + 1)
    }
    band = lambda v: (float(v.mean()), *np.quantile(v, [0.025, 0.975]))  # noqa: E731
    p = (1 + (null_share >= share.mean()).sum()) / (1 + n_null)
    return Lines(
        number=float(number.mean()),
        length=float(lengths.mean()) if len(lengths) else np.nan,
        longest=int(lengths.max(initial=0)),
        share=float(share.mean()),
        null_number=band(null_number),
        null_share=band(null_share),
        p=float(p),
        n_frames=len(parts),
        histogram=histogram,
    )
