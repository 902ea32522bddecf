"""States of a defect over time: what the transition analysis counts.

A `Chain` is a flat list of (track, frame, state). Several labels of one frame are not successive steps, and a pair
of frames with a missed one between is not a step of one frame: both are kept apart here.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.data.looked import Looked
from stemdefects.analysis.tracking.tracks import Tracks

MISSING = -1  # no state was seen
ONE_STEP = 0.2  # relative: looks whose distance differs more from the usual interval are no step of it
RARE = 20  # sightings; what is rarer, and below 1%, is no state of the chain


@dataclass
class Chain:
    """Observed states, sorted by (track, frame).

    Attributes:
        names: state names.
        track, frame: (n,) integers; at most one entry per track and frame.
        state: (n,) index into `names`, or -1 when the state was seen but is undecided.
        how: what the states are, in words.
        interval: time of one step, by which transition probabilities are quoted.
        time: (n,) times of the entries, where frames are not evenly spaced; None: they are, and `frame` counts
            intervals.
        place: (n,) order of the entries' frames among those that were looked at; None: `frame`.
    """

    names: list[str]
    track: np.ndarray
    frame: np.ndarray
    state: np.ndarray
    how: str
    interval: float = 1.0
    time: np.ndarray | None = None
    place: np.ndarray | None = None

    @property
    def n_tracks(self) -> int:
        return len(np.unique(self.track))

    def steps(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pairs of decided states one interval apart: (from, to, track, frame of the first, by order of looking)."""
        one = (np.diff(self.track) == 0) & (np.diff(self.frame) == 1)
        if self.time is not None:
            one &= np.abs(np.diff(self.time) / self.interval - 1) < ONE_STEP
        first = np.flatnonzero(one)
        first = first[(self.state[first] >= 0) & (self.state[first + 1] >= 0)]
        place = self.frame if self.place is None else self.place
        return self.state[first], self.state[first + 1], self.track[first], place[first]

    def padded(self) -> np.ndarray:
        """(n_tracks, longest) states by frame since each track's first; -1 where missed, undecided or over."""
        tracks, owner = np.unique(self.track, return_inverse=True)
        if len(tracks) == 0:
            return np.empty((0, 0), int)
        start = np.full(len(tracks), np.iinfo(np.int64).max)
        np.minimum.at(start, owner, self.frame)
        place = self.frame - start[owner]
        out = np.full((len(tracks), int(place.max()) + 1), MISSING)
        out[owner, place] = self.state
        return out

    def window(self, first: int, last: int) -> "Chain":
        """The part with first <= frame < last."""
        ok = (self.frame >= first) & (self.frame < last)
        part = [None if v is None else v[ok] for v in (self.time, self.place)]
        return Chain(self.names, self.track[ok], self.frame[ok], self.state[ok], self.how, self.interval, *part)

    def timed(self, clock: Looked) -> "Chain":
        """The chain by the times of frames: `frame` in whole intervals where these are even, else with `time`."""
        place = clock.place[self.frame]
        time = clock.times[place]
        if clock.even:
            return replace(self, frame=clock.steps[place], interval=clock.usual, place=place)
        return replace(self, frame=place, interval=clock.usual, time=time, place=place)


class Span(NamedTuple):
    """What a chain was watched for: n_frames that were looked at; dt: time of one step; unit: of times; per: that step
    in words; lasts: time from the first to the last frame, None: n_frames x dt."""

    n_frames: int
    dt: float
    unit: str
    per: str = "per frame"
    lasts: float | None = None


def from_labels(tracks: Tracks, labels: np.ndarray, max_states: int, how: str) -> Chain:
    """States from one label (str) per table row; the `max_states` most frequent, the others undecided, as those seen
    fewer than 20 times in less than 1% of the rows: nothing could be said of their rates."""
    of_entry = np.asarray(labels)[tracks.index]
    names, counts = np.unique(of_entry[of_entry != ""], return_counts=True)
    enough = (counts >= RARE) | (counts >= 0.01 * counts.sum())
    names, counts = names[enough], counts[enough]
    names = sorted(names[np.argsort(-counts, kind="stable")[:max_states]])
    state = np.full(len(of_entry), MISSING)
    for number, name in enumerate(names):
        state[of_entry == name] = number
    return Chain([str(n) for n in names], tracks.track, tracks.frame, state, how)


def complex_labels(rows: np.ndarray, centre: str) -> np.ndarray:
    """State of each `centre` defect from the vacancies joined to it.

    Args:
        rows: defect table rows; rows of one `complex` and frame are one complex.
        centre: kind of the resting part, e.g. Mo_W.

    Returns:
        (n,) str: `Mo_W` alone, `Mo_W+V_S@0..2` by the bond that leads to the vacancy, `Mo_W+2V_S@0..2` by the bond
        that is left; without `@` when the orientation is undecided; empty for other kinds.
    """
    kinds = np.char.decode(rows["kind"], "utf-8")
    labels = np.full(len(rows), "", dtype="U48")
    is_centre = kinds == centre
    labels[is_centre] = centre
    joined = np.flatnonzero(rows["complex"] >= 0)
    order = joined[np.lexsort((rows["complex"][joined], rows["frame"][joined]))]
    key = np.stack([rows["frame"][order], rows["complex"][order]], 1)
    groups = np.split(order, np.flatnonzero((np.diff(key, axis=0) != 0).any(1)) + 1) if len(order) else []
    for group in groups:
        middle = group[is_centre[group]]
        others = group[~is_centre[group]]
        if len(middle) != 1 or len(others) == 0:
            continue
        orientation = max(rows["orientation"][others].max(), rows["orientation"][middle[0]])
        many = str(len(others)) if len(others) > 1 else ""
        labels[middle] = f"{centre}+{many}{_common(kinds[others])}" + (f"@{orientation}" if orientation >= 0 else "")
    return labels


def _common(names: np.ndarray) -> str:
    values, counts = np.unique(names, return_counts=True)
    return str(values[np.argmax(counts)])


def build(
    tracks: Tracks, rows: np.ndarray, mode: str, centre: str | None, max_states: int, clock: Looked | None = None
) -> Chain | None:
    """The chain of states that `mode` asks for; `auto` takes complexes (where there is a `centre`), else kinds, else
    clusters.

    clock: the frames that were looked at, with their times; None: frames are evenly spaced.

    Returns None when there are fewer than two states to switch between.

    Raises:
        ValueError: unknown mode.
    """
    if mode not in ("auto", "complexes", "kind", "cluster"):
        raise ValueError(f"unknown states: {mode}")
    for candidate in ("complexes", "kind", "cluster") if mode == "auto" else (mode,):
        if candidate == "complexes":
            if not centre:
                continue
            labels = complex_labels(rows, centre)
            # an undecided orientation is a missing observation, not a state of its own
            if (np.char.find(labels, "@") >= 0).any():
                labels[np.char.startswith(labels, f"{centre}+") & (np.char.find(labels, "@") < 0)] = ""
            keep = np.char.startswith(labels, centre)
            on_centre = np.bincount(tracks.track, keep[tracks.index], tracks.n_tracks) > 0
            chain = from_labels(tracks.select(on_centre), labels, max_states, f"{centre} and vacancies beside it")
        elif candidate == "kind":
            chain = from_labels(tracks, np.char.decode(rows["kind"], "utf-8"), max_states, "kind of the detection")
        else:
            labels = np.where(rows["cluster"] >= 0, np.char.add("class ", rows["cluster"].astype(str)), "")
            chain = from_labels(tracks, labels, max_states, "class of the image patch")
        chain = chain if clock is None else chain.timed(clock)
        if len(chain.names) >= 2 and len(chain.steps()[0]):
            return chain
    return None
