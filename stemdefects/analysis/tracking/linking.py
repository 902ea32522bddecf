"""Linking detections into tracks: a linear assignment in every connected group of candidates.

Cost of a link: (distance / gate)^2 + kind cost + gap cost, taken only below 1; not linking costs 1. Groups that
hold one candidate pair, nearly all of them, need no solver; the others are small
(Jaqaman et al., Nat. Methods 5, 695 (2008) solve the same problem with one dense matrix).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from stemdefects.scoring.matching import assign


@dataclass
class Links:
    """Result of `link`: `track` (n,) identity per detection, `events`, a structured array of births, deaths, gaps and
    merges with frame, track, other track (or -1) and position, and `cuts` (c,) frames after which all tracks end."""

    track: np.ndarray
    events: np.ndarray
    cuts: np.ndarray = field(default_factory=lambda: np.empty(0, int))


EVENT_DTYPE = np.dtype([("frame", "i4"), ("event", "S8"), ("track", "i4"), ("other", "i4"), ("y", "f8"), ("x", "f8")])


class Points(NamedTuple):
    """Detections to be linked.

    frame: (n,) numbers of the frames that were looked at (0, 1, ... without those that were not), sorted; yx: (n, 2)
    drift-corrected positions; kind: (n,) labels, None: not used; site: (n,) sublattice of each, -1 unknown; times: (F,)
    start of each frame, None: a frame's number.
    """

    frame: np.ndarray
    yx: np.ndarray
    kind: np.ndarray | None = None
    site: np.ndarray | None = None
    times: np.ndarray | None = None


class Rules(NamedTuple):
    """What may be linked.

    gate: largest distance of a link, in the unit of the positions; memory: frames a defect may be missed and still be
    the same; kind_cost: of a change of label; gap_cost: of every missed frame; longest: no link spans more time than
    this, and where two successive frames are further apart, all tracks end.
    """

    gate: float
    memory: int = 3
    kind_cost: float = 0.4
    gap_cost: float = 0.1
    longest: float = np.inf


def link(points: Points, rules: Rules, progress: Callable | None = None) -> Links:
    """Link detections of successive frames; links between different sublattices are forbidden.

    progress: wraps the iterator over frames (tqdm).

    Returns:
        `Links`; tracks are numbered by first appearance.

    Raises:
        ValueError: `frame` is not sorted or the gate is not positive.
    """
    if not rules.gate > 0:
        raise ValueError(f"gate must be positive, not {rules.gate}")
    frame, yx = np.asarray(points.frame), points.yx
    if (np.diff(frame) < 0).any():
        raise ValueError("frame must be sorted")
    n = len(frame)
    track = np.full(n, -1, np.int64)
    times = np.arange(int(frame.max(initial=0)) + 1.0) if points.times is None else np.asarray(points.times, float)
    cuts = np.flatnonzero(np.diff(times) > rules.longest)
    if n == 0:
        return Links(track, np.empty(0, EVENT_DTYPE), cuts)
    labels = np.zeros(n, int) if points.kind is None else np.unique(points.kind, return_inverse=True)[1]
    sites = np.full(n, -1) if points.site is None else np.asarray(points.site)
    numbered = frame, yx, labels, sites
    frames, starts = np.unique(frame, return_index=True)
    bounds = np.append(starts, n)
    active = np.empty(0, int)  # index of the last detection of every open track
    n_tracks = 0
    for number, f in enumerate(progress(frames) if progress else frames):
        now = np.arange(bounds[number], bounds[number + 1])
        recent = (frame[active] >= f - rules.memory - 1) & (times[f] - times[frame[active]] <= rules.longest)
        active = active[recent]
        a, b = _assign(numbered, rules, active, now, f)
        track[now[b]] = track[active[a]]
        fresh = now[track[now] < 0]
        track[fresh] = n_tracks + np.arange(len(fresh))
        n_tracks += len(fresh)
        open_still = np.ones(len(active), bool)
        open_still[a] = False
        active = np.concatenate([active[open_still], now])
    return Links(track, events_of(frame, yx, track, rules.gate, cuts, len(times)), cuts)


def longest_step(times: np.ndarray, memory: int, reach: float = 0.0, D: float = np.inf) -> float:
    """Longest time that a link may span: one frame more than `memory` allows at the usual (median) interval, or that in
    which a defect of diffusion constant `D` moves by `reach` (rms), whichever is more.

    Linking gates are made for the usual interval. In a pause of a hundred of them all may have moved beyond the gate,
    and what lies within it is then another defect.
    """
    usual = float(np.median(np.diff(times))) if len(times) > 1 else 1.0
    return max((memory + 2) * usual, reach**2 / (4 * D) if D > 0 else np.inf)


def _assign(points: tuple[np.ndarray, ...], rules: Rules, active: np.ndarray, now: np.ndarray, f: int):
    """Best one-to-one links between open tracks and the detections of frame `f`: two index arrays."""
    frame, yx, labels, sites = points
    nothing = np.empty(0, int), np.empty(0, int)
    if len(active) == 0 or len(now) == 0:
        return nothing
    near = cKDTree(yx[active]).sparse_distance_matrix(cKDTree(yx[now]), rules.gate, output_type="ndarray")
    i, j = near["i"], near["j"]
    if len(i) == 0:
        return nothing
    old, new = active[i], now[j]
    other = rules.kind_cost * (labels[old] != labels[new])
    gain = 1 - (near["v"] / rules.gate) ** 2 - other - rules.gap_cost * (f - frame[old] - 1)
    both = (sites[old] >= 0) & (sites[new] >= 0)
    ok = (gain > 0) & ~(both & (sites[old] != sites[new]))
    i, j, gain = i[ok], j[ok], gain[ok]
    if len(i) == 0:
        return nothing
    chosen = assign(i, j, gain)
    return i[chosen], j[chosen]


def events_of(
    frame: np.ndarray, yx: np.ndarray, track: np.ndarray, gate: float, cuts: np.ndarray, n_frames: int
) -> np.ndarray:
    """Births, deaths, gaps and merges of the tracks, sorted by frame.

    Tracks begin and end with the movie and at the `cuts`; that says nothing of the defects and is no event.
    """
    part = np.searchsorted(cuts, np.arange(n_frames))  # the stretch between cuts that a frame belongs to
    has = np.zeros(n_frames, bool)
    has[frame] = True
    seen = np.flatnonzero(has)
    begins, finishes = np.full(len(cuts) + 1, n_frames), np.full(len(cuts) + 1, -1)
    np.minimum.at(begins, part[seen], seen)
    np.maximum.at(finishes, part[seen], seen)
    order = np.lexsort((frame, track))
    t, f = track[order], frame[order]
    first = np.r_[True, np.diff(t) != 0]
    last = np.r_[np.diff(t) != 0, True]
    out = []

    def add(where, name, other=None):
        rows = np.empty(len(where), EVENT_DTYPE)
        rows["frame"], rows["event"], rows["track"] = frame[where], name, track[where]
        rows["other"] = -1 if other is None else other
        rows["y"], rows["x"] = yx[where].T if len(where) else (0, 0)
        out.append(rows)

    add(order[first & (f > begins[part[f]])], b"birth")
    gaps = np.flatnonzero(~first)
    gaps = gaps[f[gaps] - f[gaps - 1] > 1]
    add(order[gaps], b"gap")
    ends = order[last & (f < finishes[part[f]])]
    add(ends, b"death")
    # a track that ends beside another one that goes on was swallowed by it
    merged, other = [], []
    starts = np.searchsorted(frame, np.arange(frame[-1] + 3))
    ends_frame = np.full(track.max() + 1, -1)
    np.maximum.at(ends_frame, track, frame)
    for index in ends:
        here = np.arange(starts[frame[index]], starts[frame[index] + 1])
        here = here[(track[here] != track[index]) & (ends_frame[track[here]] > frame[index])]
        distance = np.hypot(*(yx[here] - yx[index]).T)
        if len(here) and distance.min() < gate:
            merged.append(index)
            other.append(track[here[np.argmin(distance)]])
    add(np.array(merged, int), b"merge", np.array(other, int))
    events = np.concatenate(out)
    return events[np.argsort(events["frame"], kind="stable")]


def relinked(track: np.ndarray, frame: np.ndarray, joined: np.ndarray, parted: np.ndarray) -> np.ndarray:
    """Numbers of tracks (n,) as a person puts them right, from 0 on without gaps.

    joined: (k, 2) rows that are of one defect: from the later one's frame on the two tracks exchange what follows, so
    that two that were confused are put right by one pair; parted: (k,) rows at which a track of its own begins.
    """
    track, frame = np.asarray(track).copy(), np.asarray(frame)
    for pair in np.asarray(joined, int).reshape(-1, 2):
        early, late = pair[np.argsort(frame[pair], kind="stable")]
        one, other = track[early], track[late]
        if one == other:
            continue
        after = frame >= frame[late]
        mine, theirs = (track == one) & after, (track == other) & after
        goes_on = ((track == other) & ~after).any()
        track[theirs] = one
        track[mine] = other if goes_on else track.max() + 1
    for row in np.asarray(parted, int):
        same = track == track[row]
        if (frame[same] < frame[row]).any():
            track[same & (frame >= frame[row])] = track.max() + 1
    known = track >= 0
    track[known] = np.unique(track[known], return_inverse=True)[1]
    return track
