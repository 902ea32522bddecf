"""Where defects are relative to each other: pair correlation against a random null, neighbours in lines,
deformation."""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from stemdefects.analysis.tracking.tracks import Tracks

REACH = 8.0  # lattice constants: largest distance of a pair that counts
MOST_FRAMES = 20  # used, evenly chosen: neighbouring frames show the same defects
MAX_PAIRS = 20_000_000  # of points put at random, in all: some seconds


@dataclass
class PairCorrelation:
    """`g` (bins,) density of pairs over that of points put at random, with the 95% band of the null: `low`, `high`.

    `r` (bins,) are bin centres. `p` tests the nearest bins (closer than `near`) for attraction or repulsion.
    """

    r: np.ndarray
    g: np.ndarray
    low: np.ndarray
    high: np.ndarray
    near: float
    ratio_near: float
    p: float
    n_frames: int


def pair_correlation(
    frame: np.ndarray,
    yx: np.ndarray,
    sites: np.ndarray | None,
    a: float,
    n_null: int = 99,
    rng: np.random.Generator | None = None,
) -> PairCorrelation | None:
    """Pairs of defects by distance, against the same number put at random on sites.

    The null puts each frame's points at random on the lattice sites (or, without `sites`, anywhere in the field), so
    that the shape of the field and the discreteness of the lattice cancel.

    Args:
        frame, yx: detections of one kind.
        sites: (m, 2) positions a defect could have, in the same frame of reference; None: the rectangle of the field.
        a: lattice constant; bins are half of it wide.
        n_null: times that points are put at random.

    Returns:
        None with fewer than 4 defects a frame on average.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    numbers = np.unique(frame)
    if len(numbers) == 0 or len(frame) / len(numbers) < 4:
        return None
    chosen = numbers[np.unique(np.linspace(0, len(numbers) - 1, MOST_FRAMES).astype(int))]
    edges = np.arange(0.25, REACH, 0.5) * a
    low_corner, high_corner = yx.min(0), yx.max(0)

    def counts(points):
        pairs = cKDTree(points).query_pairs(edges[-1], output_type="ndarray")
        return np.histogram(np.hypot(*(points[pairs[:, 0]] - points[pairs[:, 1]]).T), edges)[0]

    def random_points(n):
        if sites is not None and len(sites) >= n:
            return sites[rng.choice(len(sites), n, replace=False)]
        return rng.uniform(low_corner, high_corner, (n, 2))

    groups = [yx[frame == f] for f in chosen]
    groups = [g for g in groups if len(g) > 1]
    if not groups:
        return None
    at_most = max(3, int(MAX_PAIRS / (n_null * max(counts(groups[0]).sum(), 1))))  # of dense frames fewer are enough
    groups = groups[:: -(-len(groups) // at_most)]
    seen = np.sum([counts(g) for g in groups], 0)
    null = np.array([np.sum([counts(random_points(len(g))) for g in groups], 0) for _ in range(n_null)])
    # frames repeat the same defects: the null's scatter is that of one frame's worth of pairs
    typical = int(np.median([len(g) for g in groups]))
    single = np.array([counts(random_points(typical)) for _ in range(n_null)])
    possible = null.mean(0) > 0.5  # on a lattice some distances do not occur
    mean = np.where(possible, null.mean(0), np.nan)
    scale = single / np.where(possible, np.maximum(single.mean(0), 1e-9), np.nan)
    near = possible & (edges[1:] <= 1.3 * a)
    if not near.any():
        return None
    ratio = seen[near].sum() / mean[near].sum()
    chance = single[:, near].sum(1) / max(single[:, near].sum(1).mean(), 1e-9)
    p = (1 + np.sum(np.abs(chance - 1) >= abs(ratio - 1))) / (1 + n_null)
    low, high = np.quantile(scale[:, possible], [0.025, 0.975], axis=0)
    middle = ((edges[1:] + edges[:-1]) / 2)[possible]
    return PairCorrelation(middle, (seen / mean)[possible], low, high, 1.3 * a, float(ratio), float(p), len(groups))


@dataclass
class Deformation:
    """Uneven motion of the field: `gradient` (2, 2) of the velocity (1/time), its share of the long-lived tracks'
    velocity variance, the largest relative displacement over the field and the movie, and the number of tracks."""

    gradient: np.ndarray
    share: float
    relative: float
    p: float
    n_tracks: int


def deformation(tracks: Tracks, min_length: int = 20, rng: np.random.Generator | None = None) -> Deformation | None:
    """Do long-lived defects move apart, beyond the common drift? An affine velocity field fitted to their velocities.

    The p-value comes from giving the tracks' velocities to each other at random. None with fewer than 12 long tracks.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    long = np.flatnonzero(tracks.lengths >= min_length)
    if len(long) < 12:
        return None
    velocity, middle, weight = [], [], []
    for k in long:
        own = tracks.track == k
        t = tracks.time[own] - tracks.time[own].mean()
        velocity.append(t @ tracks.yx[own] / (t @ t))
        middle.append(tracks.yx[own].mean(0))
        weight.append(np.sqrt(t @ t))
    velocity, middle, weight = np.array(velocity), np.array(middle), np.array(weight)[:, None]
    design = np.column_stack([np.ones(len(long)), middle - middle.mean(0)])

    def explained(v):
        fit = design @ np.linalg.lstsq(design * weight, v * weight, rcond=None)[0]
        centre = (weight**2 * v).sum(0) / (weight**2).sum()
        return 1 - (weight**2 * (v - fit) ** 2).sum() / max((weight**2 * (v - centre) ** 2).sum(), 1e-300)

    share = explained(velocity)
    chance = [explained(velocity[rng.permutation(len(long))]) for _ in range(199)]
    gradient = np.linalg.lstsq(design * weight, velocity * weight, rcond=None)[0][1:].T
    field, duration = np.ptp(middle, axis=0), float(np.ptp(tracks.time))
    relative = float(np.linalg.norm(gradient @ field) * duration)
    p = (1 + np.sum(np.array(chance) >= share)) / 200
    return Deformation(gradient, float(share), relative, float(p), len(long))
