"""Tracks as flat arrays sorted by track and frame: what every estimator takes."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Real, Shaped

ALL = "all kinds"  # what belongs to no single kind


@dataclass
class Tracks:
    """Detections of linked defects, sorted by (track, frame).

    Attributes:
        track: dense track numbers 0..n_tracks-1.
        frame: frame numbers, strictly increasing within a track.
        yx: drift-corrected positions.
        index: row of the defect table each entry came from.
        sigma: stated position error per axis, NaN when unknown.
    """

    track: Int[np.ndarray, " linked"]
    frame: Int[np.ndarray, " linked"]
    time: Real[np.ndarray, " linked"]
    yx: Float[np.ndarray, "linked 2"]
    index: Int[np.ndarray, " linked"]
    sigma: Float[np.ndarray, " linked"]

    @property
    def n_tracks(self) -> int:
        return int(self.track[-1]) + 1 if len(self.track) else 0

    @property
    def lengths(self) -> Int[np.ndarray, " tracks"]:
        """Detections in each track."""
        return np.bincount(self.track, minlength=self.n_tracks)

    def select(self, keep: Bool[np.ndarray, " tracks"]) -> "Tracks":
        """The tracks for which `keep` is true, renumbered."""
        mask = keep[self.track]
        renumber = np.cumsum(keep) - 1
        return Tracks(
            renumber[self.track[mask]],
            self.frame[mask],
            self.time[mask],
            self.yx[mask],
            self.index[mask],
            self.sigma[mask],
        )

    def cut(self, longest: float) -> "Tracks":
        """The same detections, in tracks that end where the next detection comes more than `longest` later."""
        ends = (np.diff(self.track) != 0) | (np.diff(self.time) > longest)
        track = np.concatenate([[0], np.cumsum(ends)]) if len(self.track) else self.track
        return replace(self, track=track)


def build(
    track: Int[np.ndarray, " detections"],
    frame: Int[np.ndarray, " detections"],
    time: Real[np.ndarray, " detections"],
    yx: Real[np.ndarray, "detections 2"],
    sigma: Real[np.ndarray, " detections"] | None = None,
) -> Tracks:
    """Tracks from detections in any order; those with `track` < 0 are left out.

    Args:
        track: identity of each detection.
        yx: drift-corrected positions.
        sigma: position errors.
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
        dense,
        frame[order],
        np.asarray(time, float)[order],
        np.asarray(yx, float).reshape(-1, 2)[order],
        order,
        sigma[order],
    )


def majority(some: Tracks, names: Shaped[np.ndarray, " rows"]) -> Shaped[np.ndarray, " tracks"]:
    """Most frequent label of each track; names: labels of the table's rows."""
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
