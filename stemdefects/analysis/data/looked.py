"""The frames that were looked at, in their order: what tracks, chains and rates count by."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from stemdefects.analysis.data.detections import Detections

EVEN = 0.05  # relative scatter of intervals that a clock's rounding explains: such frames are evenly spaced


class Looked(NamedTuple):
    """frames: (m,) numbers of the frames that were looked at; place: (n_frames,) their order, -1 for the others; times:
    (m,) their starts; longest: time that a track spans at most from one sighting to the next."""

    frames: np.ndarray
    place: np.ndarray
    times: np.ndarray
    longest: float = np.inf

    @property
    def usual(self) -> float:
        """Median time from one to the next, 1 where there is only one."""
        return float(np.median(np.diff(self.times))) if len(self.times) > 1 else 1.0

    @property
    def even(self) -> bool:
        """Whether all times are whole multiples of the usual interval apart (frames that were skipped are), but for
        pauses that no track spans."""
        step = np.diff(self.times)
        step = step[step <= self.longest] / self.usual
        return bool((np.abs(step - np.round(step)) <= EVEN).all() and (step > 1 - EVEN).all())

    @property
    def steps(self) -> np.ndarray:
        """(m,) usual intervals passed since the first frame, in whole numbers."""
        return np.concatenate([[0], np.cumsum(np.round(np.diff(self.times) / self.usual).astype(int))])


def looked(found: Detections) -> Looked:
    """The frames of a table that were observed, and those that rows are of all the same."""
    has = found.observed.copy()
    has[found.rows["frame"]] = True
    frames = np.flatnonzero(has)
    place = np.full(found.n_frames, -1)
    place[frames] = np.arange(len(frames))
    return Looked(frames, place, np.asarray(found.times, float)[frames])


def step_in_words(found: Detections) -> str:
    """The usual interval between frames that were looked at: `per frame`, or `in 4.5 s` where
    that is not the movie's frame time."""
    usual, frame = looked(found).usual, found.frame_time_s or 1.0
    return "per frame" if abs(usual / frame - 1) < EVEN else f"in {usual:.4g} {found.time_unit}"
