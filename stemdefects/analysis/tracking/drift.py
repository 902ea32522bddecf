"""Drift of the field of view.

A periodic lattice cannot tell a shift from the shift plus a lattice vector, and plain phase correlation jumps
between them. Defects can: their pattern is not periodic. `from_points` registers each frame's detections with the
recent ones by a vote over displacements, then fits all frames together. Convention everywhere: a defect that rests in
the sample is seen at `rest + drift[frame]`, and `drift` of the first frame with detections is 0.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.linalg import spsolve
from scipy.spatial import cKDTree

MAX_PAIRS = 50_000  # of points of two frames whose displacements are counted: half a second


@dataclass
class Drift:
    """Drift per frame: `yx` (n_frames, 2) and its 1-sigma error `sigma` (n_frames,), both in the unit of the points.

    `filled` (n_frames,) marks frames whose drift is interpolated. `method` says how it was found.
    """

    yx: np.ndarray
    sigma: np.ndarray
    filled: np.ndarray
    method: str
    note: str = ""


def none(n_frames: int, note: str = "") -> Drift:
    """No correction."""
    return Drift(np.zeros((n_frames, 2)), np.full(n_frames, np.nan), np.zeros(n_frames, bool), "none", note)


class Rules(NamedTuple):
    """How points are registered.

    radius: two sightings of a resting defect lie this close (about 3 sigma of a position difference); max_step: largest
    step between neighbouring frames; min_points: fewer matches than this, and the frame's drift is interpolated;
    memory: frames of the recent past that a frame is registered with.
    """

    radius: float
    max_step: float
    min_points: int = 4
    memory: int = 5


class _Points(NamedTuple):
    """yx, labels: of all points; members: (n_frames) their indices by frame; elapsed, observed: (n_frames,)."""

    yx: np.ndarray
    labels: np.ndarray
    members: list[np.ndarray]
    elapsed: np.ndarray
    observed: np.ndarray


def from_points(
    frame: np.ndarray,
    yx: np.ndarray,
    n_frames: int,
    rules: Rules,
    kind: np.ndarray | None = None,
    observed: np.ndarray | None = None,
    elapsed: np.ndarray | None = None,
) -> Drift:
    """Drift from the point pattern of the detections.

    Args:
        frame: (n,) frame of each detection, sorted.
        yx: (n, 2) positions.
        kind: (n,) labels; only points of the same kind vote. None: all do.
        observed: (n_frames,) bool, frames that were looked at; None: all. The others' drift is interpolated unsaid.
        elapsed: (n_frames,) start of each frame in usual frame times, for pauses; None: evenly spaced.

    Returns:
        `Drift` in the unit of `yx`.
    """
    if len(yx) == 0 or n_frames < 2:
        return none(n_frames, "Too few detections for a drift estimate.")
    elapsed = np.arange(n_frames, dtype=float) if elapsed is None else elapsed
    labels = np.zeros(len(frame), int) if kind is None else np.unique(kind, return_inverse=True)[1]
    members = np.split(np.arange(len(frame)), np.searchsorted(frame, np.arange(1, n_frames)))
    coarse = np.zeros((n_frames, 2))
    found = np.zeros(n_frames, bool)
    used: list[int] = []
    for t in range(n_frames):
        now = members[t]
        if len(now) == 0:
            continue
        if not used:
            found[t] = True
            used.append(t)
            continue
        last = used[-1]
        predicted = coarse[last]
        recent = used[-rules.memory :]
        past = np.concatenate([members[s] for s in recent])
        past_yx = np.concatenate([yx[members[s]] - coarse[s] for s in recent])
        reach = rules.max_step * min(max(elapsed[t] - elapsed[last], 1), 3)
        step, votes = _vote(past_yx, labels[past], yx[now] - predicted, labels[now], rules.radius, reach)
        if votes >= min(rules.min_points, max(2, len(now) // 3)) * 0.999:
            coarse[t] = predicted + step
            found[t] = True
            used.append(t)
    observed = np.ones(n_frames, bool) if observed is None else observed
    return _refine(_Points(yx, labels, members, elapsed, observed), coarse, found, rules)


def _vote(past, past_kind, now, now_kind, radius, reach) -> tuple[np.ndarray, float]:
    """The displacement now - past that most points agree on, and how many points of `now` do.

    In a dense pattern some of the points, evenly chosen, vote for all: MAX_PAIRS bounds the work.
    """
    tree = cKDTree(past)
    every = int(np.ceil(tree.count_neighbors(cKDTree(now), reach + radius) / MAX_PAIRS)) or 1
    now, now_kind = now[::every], now_kind[::every]
    pairs = cKDTree(now).query_ball_tree(tree, reach + radius)
    i = np.repeat(np.arange(len(now)), [len(p) for p in pairs])
    j = np.fromiter((k for p in pairs for k in p), int, len(i))
    same = now_kind[i] == past_kind[j]
    if same.sum() < 2:
        same = np.ones(len(i), bool)
    i, j = i[same], j[same]
    if len(i) == 0:
        return np.zeros(2), 0
    moves = now[i] - past[j]
    tree = cKDTree(moves)
    counts = tree.query_ball_point(moves, radius, return_length=True)
    # of equally good candidates the smallest step is the likeliest
    score = counts - 0.5 * np.hypot(*moves.T) / max(reach, 1e-9)
    centre = moves[np.argmax(score)]
    for _ in range(5):
        near = np.hypot(*(moves - centre).T) < radius
        centre = moves[near].mean(0)
    near = np.hypot(*(moves - centre).T) < radius
    return centre, every * len(np.unique(i[near]))


def _refine(points: _Points, coarse: np.ndarray, found: np.ndarray, rules: Rules) -> Drift:
    """Fit the drift of all frames together to mean shifts of matched points over several lags."""
    yx, labels, members, elapsed, looked = points
    n_frames = len(coarse)
    drift, used = coarse.copy(), np.flatnonzero(found)
    sigma = np.full(n_frames, np.nan)
    links = np.zeros((0, 6))
    for _ in range(2):
        shifts = []
        for lag in (1, 2, 3, 5, 8, 13, 21, 34):
            for s, t in zip(used[:-lag], used[lag:], strict=True):
                a, b = yx[members[s]] - drift[s], yx[members[t]] - drift[t]
                shift = _matched_shift(a, labels[members[s]], b, labels[members[t]], rules.radius)
                if shift is not None:
                    shifts.append((s, t, *(shift[0] + drift[t] - drift[s]), shift[1], shift[2]))
        links = np.array(shifts).reshape(-1, 6)
        if not shifts:
            break
        drift, sigma = _solve(links, n_frames, drift)
    matched = np.zeros(n_frames)
    if len(links):
        np.maximum.at(matched, links[:, 0].astype(int), links[:, 5])
        np.maximum.at(matched, links[:, 1].astype(int), links[:, 5])
    good = found & (matched >= min(rules.min_points, 2))
    if not good.any():
        return none(n_frames, "No defect was recognised from frame to frame; drift was not corrected.")
    for axis in range(2):
        drift[~good, axis] = np.interp(elapsed[~good], elapsed[good], drift[good, axis])
    drift = drift - drift[good][0]
    note = ""
    if (looked & ~good).any():
        note = (
            f"In {int((looked & ~good).sum())} of {int(looked.sum())} frames too few defects were recognised; "
            "their drift is interpolated."
        )
    return Drift(drift, np.where(good, sigma, np.nan), ~good, "points", note)


def _matched_shift(a, a_kind, b, b_kind, radius):
    """Mean shift of mutual nearest neighbours within `radius`: (shift (2,), variance, n) or None.

    A mean, not a median: positions rounded to pixels would hold a median at zero however the field drifts.
    """
    if len(a) == 0 or len(b) == 0:
        return None
    distance, j = cKDTree(b).query(a, distance_upper_bound=radius)
    _, back = cKDTree(a).query(b)
    ok = np.isfinite(distance)
    ok[ok] = (back[j[ok]] == np.flatnonzero(ok)) & (a_kind[ok] == b_kind[j[ok]])
    n = int(ok.sum())
    if n < 2:
        return None
    moves = b[j[ok]] - a[ok]
    shift = moves.mean(0)
    if n > 4:
        # hops and wrong neighbours pull a mean: leave out what is far off, with a fixed share, not a fixed distance
        distance = np.hypot(*(moves - np.median(moves, 0)).T)
        near = distance <= np.quantile(distance, 0.9)
        shift = moves[near].mean(0)
    spread = max(np.sqrt(((moves - shift) ** 2).mean()), radius / 20)
    return shift, spread**2 / n, n


def _solve(links, n_frames, start):
    """Weighted least squares for the drift of every linked frame, robust against single bad shifts."""
    s, t = links[:, 0].astype(int), links[:, 1].astype(int)
    touched = np.zeros(n_frames, bool)
    touched[s] = touched[t] = True
    index = np.cumsum(touched) - 1
    n, m = int(touched.sum()), len(links)
    design = coo_matrix(
        (np.r_[np.ones(m), -np.ones(m)], (np.r_[np.arange(m), np.arange(m)], np.r_[index[t], index[s]])), (m, n)
    ).tocsc()
    weight = 1 / links[:, 4]
    anchor = coo_matrix(([weight.max() * 1e-6] * n, (range(n), range(n))), (n, n)).tocsc()  # unlinked islands stay put
    solution = np.zeros((n, 2))
    for _ in range(4):
        normal = design.T @ design.multiply(weight[:, None]) + anchor
        right = design.T @ (links[:, 2:4] * weight[:, None]) + anchor @ start[touched]
        solution = np.column_stack([spsolve(normal.tocsc(), right[:, k]) for k in range(2)])
        residual = np.hypot(*(links[:, 2:4] - design @ solution).T) / np.sqrt(links[:, 4])
        weight = 1 / links[:, 4] / np.maximum(1, residual / 2)
    drift, sigma = start.copy(), np.full(n_frames, np.nan)
    drift[touched] = solution
    best = np.full(n_frames, np.inf)
    for side in (s, t):
        np.minimum.at(best, side, links[:, 4])
    sigma[touched] = np.sqrt(best[touched])
    return drift, sigma
