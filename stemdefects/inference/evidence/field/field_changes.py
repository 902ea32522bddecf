"""Where a movie goes on with another field: two movies in one file, a stage that was moved away.

A frame whose defects the frames before did not lead to expect may be an accident. It is a change of field where the
frames after it are expected by what it shows, and not by what was seen before it.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import NamedTuple

import numpy as np

from stemdefects.inference.evidence.field import fields
from stemdefects.inference.evidence.field.registration import FrameSites, Registrar

WITNESSES = 4  # frames after a change that are asked; fewer at the end of a movie


class Placed(NamedTuple):
    """What the registration says of a frame: shift (2,) int, drift_px (2,), the number of its field."""

    shift: np.ndarray
    drift_px: np.ndarray
    field: int


class _Change:
    """A possible change: the map before it, the map begun with it, and what the frames since say of both."""

    def __init__(self, before: Registrar, after: Registrar, frame: FrameSites):
        self.before, self.after = deepcopy(before), after
        self.placed = [after.add(frame)]
        self.by_old = self.by_new = self.telling = 0.0

    def ask(self, frame: FrameSites) -> None:
        old, new = self.before.look(frame), self.after.look(frame)
        self.by_old += old.gain
        self.by_new += new.gain
        self.telling += new.telling
        self.placed.append(self.after.add(frame, new))

    @property
    def holds(self) -> bool:
        least = fields.ALIKE * self.telling
        return self.telling > fields.TELLING and self.by_old < least <= self.by_new


class Fields:
    """Takes the frames of a movie in order; `placed` has an entry for each, None without sites. make: an empty map."""

    def __init__(self, make: Callable[[], Registrar]):
        self._make, self._map, self._change, self._n = make, make(), None, 0
        self.kinship = self._map.kinship
        self.placed: list[Placed | None] = []
        self._since: list[int] = []  # frames of `placed` since the change that is asked about

    def add(self, frame: FrameSites | None) -> None:
        """The next frame; None: it shows no sites."""
        if frame is None:
            self.placed.append(None)
            return
        looked = self._map.look(frame)
        if self._change is not None:
            self._change.ask(frame)
            self._since.append(len(self.placed))
        elif self._map.strange(frame, looked):
            self._change, self._since = _Change(self._map, self._make(), frame), [len(self.placed)]
        self.placed.append(Placed(*self._map.add(frame, looked), self._n))
        if len(self._since) > WITNESSES:
            self.settle()

    def settle(self) -> None:
        """Decides about a change that is still open; to be called at the end."""
        change, since = self._change, self._since
        self._change, self._since = None, []
        if change is None or not change.holds:
            return
        self._n += 1
        self._map = change.after
        self._map.kinship = self.kinship
        for t, (shift, drift_px) in zip(since, change.placed, strict=True):
            self.placed[t] = Placed(shift, drift_px, self._n)

    def others(self) -> np.ndarray:
        """(n,) bool: frames that show another field than most do."""
        shown = np.array([-1 if p is None else p.field for p in self.placed], int)
        if not (shown >= 0).any():
            return np.zeros(len(shown), bool)
        return (shown >= 0) & (shown != np.bincount(shown[shown >= 0]).argmax())
