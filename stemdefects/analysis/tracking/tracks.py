"""Tracks as flat arrays sorted by track and frame: what every estimator takes."""

from dataclasses import dataclass, replace

import numpy as np

ALL = "all kinds"  # what belongs to no single kind


@dataclass
class Tracks:
    """Detections of linked defects, sorted by (track, frame).

    Attributes:
        track: (n,) dense track numbers 0..n_tracks-1.
        frame: (n,) frame numbers, strictly increasing within a track.
        time: (n,) times.
        yx: (n, 2) drift-corrected positions.
        index: (n,) row of the defect table each entry came from.
        sigma: (n,) stated position error per axis, NaN when unknown.
    """

    track: np.ndarray
    frame: np.ndarray
    time: np.ndarray
    yx: np.ndarray
    index: np.ndarray
    sigma: np.ndarray

    @property
    def n_tracks(self) -> int:
        return int(self.track[-1]) + 1 if len(self.track) else 0

    @property
    def lengths(self) -> np.ndarray:
        """(n_tracks,) detections in each track."""
        return np.bincount(self.track, minlength=self.n_tracks)

    def select(self, keep: np.ndarray) -> "Tracks":
        """The tracks for which `keep` (n_tracks,) is true, renumbered."""
        mask = keep[self.track]
        renumber = np.cumsum(keep) - 1
        return Tracks(
            renumber[self.track[mask]], self.frame[mask], self.time[mask], self.yx[mask], self.index[mask],
            self.sigma[mask],
        )  # fmt: skip

    def cut(self, longest: float) -> "Tracks":
        """The same detections, in tracks that end where the next detection comes more than `longest` later."""
        ends = (np.diff(self.track) != 0) | (np.diff(self.time) > longest)
        track = np.concatenate([[0], np.cumsum(ends)]) if len(self.track) else self.track
        return replace(self, track=track)


def build(
    track: np.ndarray, frame: np.ndarray, time: np.ndarray, yx: np.ndarray, sigma: np.ndarray | None = None
) -> Tracks:
    """Tracks from detections in any order; those with `track` < 0 are left out.

    Args:
        track: (n,) identity of each detection.
        frame: (n,) frame numbers.
        time: (n,) times.
        yx: (n, 2) drift-corrected positions.
        sigma: (n,) position errors or None.
    """
    track, frame = np.asarray(track), np.asarray(frame)
    order = np.lexsort((frame, track))
    order = order[track[order] >= 0]
    # one detection per track and frame: tables from elsewhere may hold two
    same = np.zeros(len(order), bool)
    same[1:] = (np.diff(track[order]) == 0) & (np.diff(frame[order]) == 0)
    order = order[~same]
    dense = np.unique(track[order], return_inverse=True)[1] if len(order) else np.empty(0, int)
    sigma = np.full(len(track), np.nan) if sigma is None else np.asarray(sigma, float)
    return Tracks(
        dense, frame[order], np.asarray(time, float)[order], np.asarray(yx, float).reshape(-1, 2)[order], order,
        sigma[order],
    )  # fmt: skip


def majority(some: Tracks, names: np.ndarray) -> np.ndarray:
    """(n_tracks,) most frequent label of each track; names: (n,) labels of the table's rows."""
    if some.n_tracks == 0:
        return np.empty(0, "U40")
    kinds, index = np.unique(names, return_inverse=True)
    votes = np.zeros((some.n_tracks, len(kinds)))
    np.add.at(votes, (some.track, index[some.index]), 1)
    return kinds[votes.argmax(1)]


def from_lists(
    positions: list[np.ndarray], frames: list[np.ndarray], dt: float, times: np.ndarray | None = None
) -> Tracks:
    """Tracks from one (m, 2) position array and one (m,) frame array per track.

    times: start of each frame; None: `dt` apart.
    """
    track = np.repeat(np.arange(len(positions)), [len(p) for p in positions])
    frame = np.concatenate(frames) if frames else np.empty(0, int)
    yx = np.concatenate(positions) if positions else np.empty((0, 2))
    return build(track, frame, frame * dt if times is None else times[frame], yx)
