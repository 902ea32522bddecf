"""What happened on the sites of the material's headline kind so far: losses, fillings, hops, and how long each could.

A change of a site's state counts once its new state is sure and has stayed for a few frames. Where a vacancy goes from
a site as one comes to a near one, it hopped; one that comes from nowhere near was made there. Sites at the border of
the field take no part, nor do those that lack a neighbour. This is the quick answer: the lattice model
(docs/kinetics.md) weighs what cannot be told so.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from stemdefects.crystal.material import Material
from stemdefects.live.causal import Sites

SURE = 0.9  # least chance of a new state
STAYS = 2  # frames for which it must still be likelier than all others
TOGETHER = 6  # frames that a vacancy's going and coming may lie apart: noise moves both by some
REACH = 2.05  # lattice constants between the sites of a hop: two steps may fall into one frame
STARTS = 5  # frames in which a site was seen before its state is believed
RING, N_RING = 1.05, 6  # lattice constants to the first neighbours, and how many these are


@dataclass
class Change:
    """A site's state went from `old` to `new` (missing atoms) at `frame`; settled: it is known what it was."""

    frame: int
    row: int
    old: int
    new: int


@dataclass
class Tally:
    """Events, and the exposures of what can happen, in site frames. area_nm2: sum of the squares of hops' lengths."""

    first: int = 0
    second: int = 0
    filled: int = 0
    hops: int = 0
    area_nm2: float = 0.0
    whole: float = 0.0  # site frames of sites that lack nothing
    lacking: float = 0.0  # that lack one atom
    vacancies: float = 0.0  # that lack any
    frames: int = 0
    step_nm2: float = 0.0  # square of the shortest hop


class Events:
    """Takes the sites of one sublattice frame by frame. missing: (K,) atoms that each state of the plan lacks."""

    def __init__(self, material: Material, states: np.ndarray, lattice_nm: np.ndarray):
        atoms = np.array([sum(n for _, n in material.states[s].atoms) for s in states])
        self.missing = atoms[0] - atoms
        self.n_atoms = int(atoms[0])  # of an ideal column
        self.tally = Tally(step_nm2=float(lattice_nm[0] @ lattice_nm[0]))
        self._lattice = lattice_nm
        self._a = float(np.linalg.norm(lattice_nm[0]))
        self._called = np.zeros(0, int)  # missing atoms, -1: not known yet
        self._since = np.zeros(0, int)  # frame since which another state is sure, -1: none is
        self._next = np.zeros(0, int)
        self._open: list[Change] = []
        self._inner = np.zeros(0, bool)

    def add(self, frame: int, sites: Sites) -> None:
        """The sites after frame number `frame`."""
        self._grow(sites)
        best = sites.chances.argmax(1)
        state = self.missing[best]
        sure = sites.chances.max(1) >= SURE
        ready = sites.seen & (sites.age >= STARTS)
        begins = ready & (self._called < 0) & sure
        self._called[begins] = state[begins]
        known = self._called >= 0
        differs = known & sites.seen & (state != self._called)
        self._since[known & sites.seen & ~differs] = -1
        starts = differs & sure & ((self._since < 0) | (self._next != state))
        self._since[starts], self._next[starts] = frame, state[starts]
        for row in np.flatnonzero(differs & (self._since >= 0) & (frame - self._since >= STAYS)):
            if self._inner[row]:
                self._open.append(Change(int(self._since[row]), int(row), int(self._called[row]), int(state[row])))
            self._called[row], self._since[row] = state[row], -1
        here = ready & known & self._inner
        self.tally.whole += float((self._called[here] == 0).sum())
        self.tally.lacking += float((self._called[here] == 1).sum())
        self.tally.vacancies += float((self._called[here] > 0).sum())
        self.tally.frames += 1
        self._settle(frame - STAYS - TOGETHER, sites.cell)

    def _grow(self, sites: Sites) -> None:
        new = len(sites.age) - len(self._called)
        if new <= 0:
            return
        nothing = np.full(new, -1)
        self._called, self._since, self._next = (
            np.concatenate([part, nothing]) for part in (self._called, self._since, self._next)
        )
        place = sites.cell @ self._lattice
        near = cKDTree(place).query_ball_point(place, RING * self._a, return_length=True)
        self._inner = np.array(near) > N_RING

    def _settle(self, before: int, cell: np.ndarray) -> None:
        """Decide what the changes up to the frame `before` were; those since may still find their other half."""
        self._open.sort(key=lambda one: one.frame)
        while self._open and self._open[0].frame <= before:
            one = self._open.pop(0)
            other = self._other_half(one, cell)
            if other is None:
                self._alone(one)
                continue
            distance = float(np.linalg.norm((cell[one.row] - cell[other.row]) @ self._lattice))
            self._open.remove(other)
            self.tally.hops += 1
            self.tally.area_nm2 += distance**2

    def _other_half(self, one: Change, cell: np.ndarray) -> Change | None:
        """The change nearby that makes a hop of this one: the nearest."""
        up = one.new > one.old
        near = [
            (float(np.linalg.norm((cell[one.row] - cell[other.row]) @ self._lattice)), abs(other.frame - one.frame), k)
            for k, other in enumerate(self._open)
            if other.row != one.row and (other.new > other.old) != up and abs(other.frame - one.frame) <= TOGETHER
        ]
        near = [found for found in near if found[0] <= REACH * self._a]
        return self._open[min(near)[2]] if near else None

    def _alone(self, one: Change) -> None:
        if one.new < one.old:
            self.tally.filled += one.old - one.new
            return
        self.tally.first += one.old == 0
        self.tally.second += one.new == 2
