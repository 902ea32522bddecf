"""Exact continuous-time kinetics of vacancies on a triangular sublattice with centres (Gillespie 1977), plain numpy.

Independent of stemdefects/simulation. Every change of a site is an event with its time; between events nothing moves.
"""

from dataclasses import dataclass, field

import numpy as np

FULL, SINGLE, EMPTY = 0, 1, 2  # atoms missing from a chalcogen column
HOP_CELLS = ((1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1))  # neighbours of a triangular lattice, in its cells
BOND_CELLS = ((0, 0), (-1, 0), (0, -1))  # chalcogens bonded to the metal of cell (0, 0); chalcogen at (a1 + a2) / 3


@dataclass(frozen=True)
class Rates:
    """All in 1/s.

    hop: of a free vacancy to one given free neighbour. attach: at a centre, per bond: `reservoir`: a vacancy appears
    on one given bond of an empty centre; `lattice`: a vacancy next to a bonded site hops there, per such way. detach:
    a caught vacancy leaves (in all). turn: it goes to one given other bond of its centre. create: per full column.
    knock: a vacancy loses its other atom (V_S2). fill: per single vacancy. pair: of two neighbouring vacancies one
    moves onto the other, per ordered pair. split: a V_S2 gives a vacancy to a neighbour (in all).
    """

    hop: float = 0.0
    attach: float = 0.0
    detach: float = 0.0
    turn: float = 0.0
    create: float = 0.0
    knock: float = 0.0
    fill: float = 0.0
    pair: float = 0.0
    split: float = 0.0


@dataclass
class Events:
    """What happened, in order: one entry per event; `source` or `target` is -1 where there is none."""

    time_s: list[float] = field(default_factory=list)
    process: list[str] = field(default_factory=list)
    source: list[int] = field(default_factory=list)
    target: list[int] = field(default_factory=list)


class Lattice:
    """Sites of a block of `n` x `n` cells: chalcogen k and metal k belong to cell (k // n, k % n).

    `hops` (N, 6) neighbours of a chalcogen and `bonds` (N, 3) chalcogens of a metal; -1 beyond the border, which
    nothing passes.
    """

    def __init__(self, n: int):
        self.n = n
        self.cells = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), -1).reshape(-1, 2)
        self.hops, self.bonds = self._number(HOP_CELLS), self._number(BOND_CELLS)

    def _number(self, steps) -> np.ndarray:
        there = self.cells[:, None] + np.array(steps)
        inside = ((there >= 0) & (there < self.n)).all(-1)
        return np.where(inside, there[..., 0] * self.n + there[..., 1], -1)


class Walk:
    """States of all chalcogens from time 0; `advance` runs on, `events` and the sites' histories grow.

    missing: (N,) atoms missing at the start. centres: numbers of the metals that catch vacancies. mobile: (N,) bool,
    whether the vacancy that starts here moves. Vacancies that come later all move. reservoir: see `Rates.attach`.
    """

    def __init__(self, lattice: Lattice, missing, centres, mobile, rates: Rates, reservoir: bool, rng):
        self.lattice, self.rates, self.reservoir, self.rng = lattice, rates, reservoir, rng
        self.near = [[t for t in row if t >= 0] for row in lattice.hops.tolist()]
        self.bonds = lattice.bonds.tolist()
        self.missing = [int(m) for m in missing]
        self.start = np.array(self.missing)
        self.time_s, self.events = 0.0, Events()
        self.defective = {s for s, m in enumerate(self.missing) if m}
        self.still = {s for s in self.defective if self.missing[s] == SINGLE and not mobile[s]}
        self.identity = [-1] * len(self.missing)
        for who, s in enumerate(sorted(self.defective)):
            self.identity[s] = who
        self.next_identity = len(self.defective)
        self.centres = [int(c) for c in centres]
        self.centre_of = [-1] * len(self.missing)  # the centre that a site is bonded to; centres share none
        for metal in self.centres:
            for s in self.bonds[metal]:
                self.centre_of[s] = metal
        self.history = [[(0.0, m, i)] for m, i in zip(self.missing, self.identity, strict=True)]

    def ways(self) -> list[tuple[float, str, int, int]]:
        """All that can happen now: (rate, process, source, target)."""
        out, r, missing, centre_of = [], self.rates, self.missing, self.centre_of
        for s in sorted(self.defective):
            near = self.near[s]
            free = [t for t in near if missing[t] == FULL]
            outward = [t for t in free if centre_of[t] < 0]
            home = centre_of[s]
            if missing[s] == EMPTY:
                out += [(r.split / len(outward), "split", s, t) for t in outward]
                continue
            if s in self.still:
                continue
            out += [(r.fill, "fill", s, -1), (r.knock, "knock", -1, s)]
            if home >= 0:
                out += [(r.turn, "turn", s, t) for t in free if centre_of[t] == home]
                if self.reservoir:
                    out.append((r.detach, "detach", s, -1))
                else:
                    out += [(r.detach / len(outward), "detach", s, t) for t in outward]
                continue
            out += [(r.hop, "hop", s, t) for t in outward]
            if not self.reservoir:
                caught = [t for t in free if centre_of[t] >= 0 and not self.taken(centre_of[t])]
                out += [(r.attach, "attach", s, t) for t in caught]
            if r.pair > 0:
                paired = [t for t in near if missing[t] == SINGLE and centre_of[t] < 0 and t not in self.still]
                out += [(r.pair, "pair", s, t) for t in paired]
        if self.reservoir and r.attach > 0:
            out += [(r.attach, "attach", -1, t) for c in self.centres if not self.taken(c) for t in self.bonds[c]]
        if r.create > 0:
            whole = [s for s, m in enumerate(missing) if m == FULL and centre_of[s] < 0]
            out.append((r.create * len(whole), "create", -1, int(self.rng.choice(whole))))
        return [w for w in out if w[0] > 0]

    def taken(self, centre: int) -> bool:
        """Whether a vacancy sits at this centre: it catches one at a time."""
        return any(self.missing[s] for s in self.bonds[centre])

    def advance(self, until_s: float) -> None:
        """Run to `until_s`."""
        while True:
            ways = self.ways()
            total = sum(w[0] for w in ways)
            step = self.rng.exponential(1 / total) if total > 0 else np.inf
            if self.time_s + step > until_s:
                self.time_s = until_s  # memoryless: drawn anew from here
                return
            self.time_s += step
            u, number = self.rng.random() * total, 0
            while u > ways[number][0] and number < len(ways) - 1:
                u -= ways[number][0]
                number += 1
            self._happen(*ways[number][1:])

    def _happen(self, process: str, source: int, target: int) -> None:
        who = self.identity[source] if source >= 0 else -1
        if source >= 0:
            left = SINGLE if process == "split" else FULL
            self._set(source, left, self.identity[source] if left else -1)
        if target >= 0:
            if who < 0 or process == "split":
                who, self.next_identity = self.next_identity, self.next_identity + 1
            was = self.missing[target]
            self._set(target, was + 1, self.identity[target] if was else who)
        for name, value in zip(
            ("time_s", "process", "source", "target"), (self.time_s, process, int(source), int(target)), strict=True
        ):
            getattr(self.events, name).append(value)

    def _set(self, site: int, missing: int, identity: int) -> None:
        self.missing[site], self.identity[site] = missing, identity
        (self.defective.add if missing else self.defective.discard)(site)
        self.history[site].append((self.time_s, missing, identity))

    def at(self, site: int, time_s) -> tuple[np.ndarray, np.ndarray]:
        """(missing, identity) of one site at these times (n,), from its history."""
        times, missing, identity = zip(*self.history[site], strict=True)
        k = np.searchsorted(times, time_s, side="right") - 1
        return np.array(missing)[k], np.array(identity)[k]


def exposure(walk: Walk, seen: np.ndarray, times_s: np.ndarray, until_s: float) -> dict[str, float]:
    """How often each process happened in the field, and how long (s) it could have.

    The walk's states at `times_s` (n,), evenly spaced from 0 to `until_s`, are what the times are summed over; that
    leaves the ratio of both without bias. seen: (n, N) bool, whether a chalcogen lies in the field then.

    Keys: `single`, `empty`, `free` (mobile, at no centre), `caught`: seconds of such vacancies. `hop_way`,
    `attach_way`, `turn_way`, `pair_way`: seconds of open ways, so that n_hop / hop_way estimates the rate `hop`.
    `n_<process>`: events whose source (target, where there is none) lay in the field.
    """
    lattice, e, step = walk.lattice, walk.events, until_s / len(times_s)
    missing, k = walk.start.copy(), 0
    hops = np.where(lattice.hops >= 0, lattice.hops, len(missing))
    home = np.append(walk.centre_of, -2)  # beyond the border: nothing goes there
    centres = np.array(walk.centres, int)
    still = np.zeros(len(missing), bool)
    still[list(walk.still)] = True
    out = dict.fromkeys(
        ("single", "empty", "free", "caught", "hop_way", "attach_way", "turn_way", "pair_way", "whole"), 0.0
    )
    for row, time in enumerate(times_s):
        while k < len(e.time_s) and e.time_s[k] <= time:
            _replay(missing, e, k, out, seen[row])
            k += 1
        single, here = (missing == SINGLE), seen[row]
        bound = home[:-1] >= 0
        free, caught = single & ~bound & ~still & here, single & bound & here
        near = np.append(missing, -1)[hops]
        taken = np.zeros(len(missing) + 1, bool)  # by cell of the centre
        taken[centres] = (missing[lattice.bonds[centres]] > 0).any(1)
        target_home = home[hops]
        out["single"] += step * (single & here).sum()
        out["empty"] += step * ((missing == EMPTY) & here).sum()
        out["whole"] += step * ((missing == FULL) & ~bound & here).sum()
        out["free"] += step * free.sum()
        out["caught"] += step * caught.sum()
        out["hop_way"] += step * ((near == FULL) & (target_home == -1))[free].sum()
        out["pair_way"] += step * ((near == SINGLE) & (target_home == -1) & ~np.append(still, True)[hops])[free].sum()
        out["turn_way"] += step * ((near == FULL) & (target_home == home[:-1, None]))[caught].sum()
        if walk.reservoir:
            open_to = centres[~taken[centres]]
            out["attach_way"] += step * here[lattice.bonds[open_to]].sum()
        else:
            out["attach_way"] += step * ((near == FULL) & (target_home >= 0) & ~taken[target_home])[free].sum()
    while k < len(e.time_s):
        _replay(missing, e, k, out, seen[-1])
        k += 1
    return {key: float(value) for key, value in out.items()}


def _replay(missing: np.ndarray, e: Events, k: int, out: dict, here: np.ndarray) -> None:
    """Event `k` on `missing`; counted where it was seen."""
    source, target, process = e.source[k], e.target[k], e.process[k]
    if source >= 0:
        missing[source] = SINGLE if process == "split" else FULL
    if target >= 0:
        missing[target] += 1
    out[f"n_{process}"] = out.get(f"n_{process}", 0) + int(here[source if source >= 0 else target])
