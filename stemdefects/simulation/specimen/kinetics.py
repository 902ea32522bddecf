"""Kinetic Monte Carlo of defects on a lattice: rejection-free, every event with its time (numpy, host).

Bortz, Kalos & Lebowitz, J. Comput. Phys. 17, 10 (1975). A column's visible history follows exactly from the events.
Processes: mobile vacancies hop to free neighbours of their sublattice; immobile centres (a dopant) catch, turn and
release vacancies by a Markov chain of their own with a known generator; the beam knocks out the first and the second
atom of a column (more easily beside a vacancy, where so set) and columns of other sublattices, what is missing is
filled, and hole edges are eaten; dopants exchange with a neighbour.
"""

from dataclasses import dataclass

import numpy as np

from stemdefects.crystal.lattice import Lattice
from stemdefects.crystal.material import Material
from stemdefects.simulation.specimen.center_chain import generator, stationary
from stemdefects.simulation.specimen.processes import Rates, Roles

LOST = 255  # state of a column that a hole has swallowed


@dataclass
class Event:
    """A column changes: at `time_s`, column `slot` takes `state` and holds the defect `identity` (-1: none)."""

    time_s: float
    slot: int
    state: int
    identity: int


class Kinetics:
    """The defects of a crystal and their moves. `advance` yields the events of the next seconds in order.

    `state` (n,) and `identity` (n,) are the present; `centers` the active centres. A centre is active when it is alone:
    complete bonds, no other defect bonded, no other centre next to it; mobile vacancies keep off its bonds.
    """

    def __init__(self, material: Material, lattice: Lattice, state: np.ndarray, roles: Roles, rates: Rates, seed: int):
        self.rng = np.random.default_rng(seed)
        self.material, self.lattice, self.roles, self.rates = material, lattice, roles, rates
        self.ideal = material.ideal_states[lattice.site]
        self.state = np.asarray(state, np.int32).copy()
        self.time_s = 0.0
        self.hops = np.where(lattice.hops >= 0, lattice.hops, len(state))
        self.active_site = material.states[roles.mobile].site
        self.matrix, self.center_states = generator(rates, lattice.bonds.shape[1])
        self.centers = self._choose_centers()
        self.blocked = np.zeros(len(state) + 1, bool)
        self.blocked[-1] = True
        bonded = lattice.bonds[self.centers].ravel()
        self.blocked[bonded] = True
        self.state[bonded] = self.ideal[bonded]
        chosen = self.rng.choice(len(self.matrix), len(self.centers), p=stationary(self.matrix))
        self.chain = chosen.astype(int)
        for center, number in zip(self.centers, self.chain, strict=True):
            self.state[lattice.bonds[center, list(self.center_states[number])]] = roles.mobile
        defective = np.flatnonzero(self.state != self.ideal)
        self.identity = np.full(len(state), -1, np.int32)
        self.identity[defective] = np.arange(len(defective))
        self.next_identity = len(defective)
        self.lost = np.zeros(len(state) + 1, bool)
        self._refresh()

    def _choose_centers(self) -> np.ndarray:
        lattice, center = self.lattice, self.roles.center
        if center < 0 or not np.any(self.matrix):
            return np.zeros(0, int)
        defective = np.append(self.state != self.ideal, False)
        candidates = np.flatnonzero(
            (self.state == center) & (lattice.bonds >= 0).all(1) & ~defective[lattice.hops].any(1)
        )
        return candidates

    def _refresh(self) -> None:
        """Recompute the list of free mobile vacancies and all hop rates."""
        self.mobile = np.flatnonzero((self.state == self.roles.mobile) & ~self.blocked[:-1] & ~self.lost[:-1])
        self._hop_rates()

    def _hop_rates(self) -> None:
        near = self.hops[self.mobile]
        padded = np.append(self.state, -1)
        ideal = np.append(self.ideal, -2)
        free = (padded[near] == ideal[near]) & ~self.blocked[near] & ~self.lost[near]
        vacant = (padded[near] == self.roles.mobile) & ~self.blocked[near]
        n_ways = near.shape[1]
        opposite = vacant & np.roll(vacant, n_ways // 2, axis=1)
        factor = np.where(vacant.any(1), self.rates.pair_factor, 1.0)
        factor = np.where(opposite.any(1), self.rates.line_factor, factor)
        self.hop_rates = self.rates.hop * factor[:, None] * free

    def advance(self, duration_s: float) -> list[Event]:
        """Run for `duration_s`; returns the list of `Event` in time order. `state` and `identity` are then the end."""
        end = self.time_s + duration_s
        events: list[Event] = []
        leaving = -np.diag(self.matrix)
        while True:
            totals = np.array(
                [
                    self.hop_rates.sum(),
                    leaving[self.chain].sum() if len(self.centers) else 0.0,
                    self._damage_rates().sum() if self.rates.damage > 0 or self.rates.damage_second else 0.0,
                    self.rates.fill * len(self._fillable()) if self.rates.fill > 0 else 0.0,
                    self.rates.other * len(self._others()) if self.rates.other > 0 else 0.0,
                    self.rates.nucleation * int((~self.lost[:-1]).sum()),
                    self._edge_total(),
                    self._exchange_total(),
                ]
            )
            total = totals.sum()
            if total <= 0:
                break
            step = self.rng.exponential(1.0 / total)
            if self.time_s + step > end:
                break  # memoryless: the next call draws anew
            self.time_s += step
            process = self.rng.choice(len(totals), p=totals / total)
            (
                self._hop,
                self._turn,
                self._damage,
                self._fill,
                self._lose_other,
                self._nucleate,
                self._eat,
                self._exchange,
            )[process](events)
        self.time_s = end
        return events

    def _set(self, events, slot, state, identity) -> None:
        self.state[slot] = state
        self.identity[slot] = identity
        events.append(Event(self.time_s, int(slot), int(state), int(identity)))

    def _new_identity(self) -> int:
        self.next_identity += 1
        return self.next_identity - 1

    def _hop(self, events) -> None:
        flat = self.hop_rates.ravel()
        number, way = np.divmod(self.rng.choice(len(flat), p=flat / flat.sum()), self.hop_rates.shape[1])
        source = self.mobile[number]
        target = self.hops[source, way]
        identity = self.identity[source]
        self._set(events, source, self.ideal[source], -1)
        self._set(events, target, self.roles.mobile, identity)
        self.mobile[number] = target
        self._hop_rates()

    def _turn(self, events) -> None:
        leaving = -np.diag(self.matrix)[self.chain]
        number = self.rng.choice(len(self.centers), p=leaving / leaving.sum())
        row = np.clip(self.matrix[self.chain[number]], 0, None)
        after = self.rng.choice(len(row), p=row / row.sum())
        before_set = set(self.center_states[self.chain[number]])
        after_set = set(self.center_states[after])
        bonds = self.lattice.bonds[self.centers[number]]
        gone, came = sorted(before_set - after_set), sorted(after_set - before_set)
        identities = [self.identity[bonds[k]] for k in gone]
        for k in gone:
            self._set(events, bonds[k], self.ideal[bonds[k]], -1)
        for n, k in enumerate(came):  # a vacancy that turns stays itself; a caught one is new
            self._set(events, bonds[k], self.roles.mobile, identities[n] if n < len(gone) else self._new_identity())
        self.chain[number] = after

    def _of_mobile(self) -> np.ndarray:
        """(n,) bool: columns of the mobile sublattice that are there and belong to no active centre."""
        return (self.lattice.site == self.active_site) & ~self.blocked[:-1] & ~self.lost[:-1]

    def _damage_rates(self) -> np.ndarray:
        """(n,) rate at which each column loses an atom."""
        r, lacking = self.rates, np.append(np.isin(self.state, [self.roles.mobile, self.roles.emptied]), False)
        second = r.damage if r.damage_second is None else r.damage_second
        rate = np.where(self.state == self.ideal, r.damage, 0.0)
        if self.roles.emptied >= 0:
            rate = np.where(self.state == self.roles.mobile, second, rate)
        factor = np.where(lacking[self.hops].any(1), r.damage_beside, 1.0) if r.damage_beside != 1 else 1.0
        return rate * factor * self._of_mobile()

    def _damage(self, events) -> None:
        rates = self._damage_rates()
        slot = self.rng.choice(len(rates), p=rates / rates.sum())
        if self.state[slot] == self.roles.mobile:
            self._set(events, slot, self.roles.emptied, self.identity[slot])
        else:
            self._set(events, slot, self.roles.mobile, self._new_identity())
        self._refresh()

    def _fillable(self) -> np.ndarray:
        return np.flatnonzero(np.isin(self.state, [self.roles.mobile, self.roles.emptied]) & self._of_mobile())

    def _fill(self, events) -> None:
        slot = self.rng.choice(self._fillable())
        if self.state[slot] == self.roles.mobile:
            self._set(events, slot, self.ideal[slot], -1)
        else:
            self._set(events, slot, self.roles.mobile, self.identity[slot])
        self._refresh()

    def _others(self) -> np.ndarray:
        """Ideal columns that become something else when they are lost."""
        becomes = np.array(self.roles.other_lost or (-1,) * (int(self.lattice.site.max()) + 1))
        return np.flatnonzero((self.state == self.ideal) & (becomes[self.lattice.site] >= 0) & ~self.lost[:-1])

    def _lose_other(self, events) -> None:
        slot = self.rng.choice(self._others())
        self._set(events, slot, self.roles.other_lost[self.lattice.site[slot]], self._new_identity())

    def open_hole(self, slots: np.ndarray) -> list[Event]:
        """Take `slots` away at once; returns the events. Hole edges then recede with the rate `hole`."""
        events: list[Event] = []
        for slot in slots:
            self._lose(events, slot)
        self._refresh()
        return events

    def _nucleate(self, events) -> None:
        place = self.lattice.position_nm[self.rng.choice(np.flatnonzero(~self.lost[:-1]))]
        near = np.linalg.norm(self.lattice.position_nm - place, axis=1) < self.rates.hole_radius_nm
        for slot in np.flatnonzero(near & ~self.lost[:-1]):
            self._lose(events, slot)
        self._refresh()

    def _lose(self, events, slot) -> None:
        self.lost[slot] = True
        self._set(events, slot, LOST, -1)
        keep = ~(self.lattice.bonds[self.centers] == slot).any(1) & (self.centers != slot)
        self.centers, self.chain = self.centers[keep], self.chain[keep]

    def _edge_rates(self) -> np.ndarray:
        around = self.lost[np.where(self.lattice.bonds >= 0, self.lattice.bonds, len(self.state))].sum(1)
        return self.rates.hole * around * ~self.lost[:-1]

    def _edge_total(self) -> float:
        return float(self._edge_rates().sum()) if self.rates.hole > 0 and self.lost.any() else 0.0

    def _eat(self, events) -> None:
        rates = self._edge_rates()
        self._lose(events, self.rng.choice(len(rates), p=rates / rates.sum()))
        self._refresh()

    def _exchangeable(self) -> tuple[np.ndarray, np.ndarray]:
        center = self.roles.center
        movers = np.flatnonzero((self.state == center) & ~np.isin(np.arange(len(self.state)), self.centers))
        near = self.hops[movers]
        padded, ideal = np.append(self.state, -1), np.append(self.ideal, -2)
        return movers, (padded[near] == ideal[near])

    def _exchange_total(self) -> float:
        if self.rates.exchange <= 0 or self.roles.center < 0:
            return 0.0
        return float(self.rates.exchange * self._exchangeable()[1].sum())

    def _exchange(self, events) -> None:
        movers, free = self._exchangeable()
        flat = free.ravel().astype(float)
        number, way = np.divmod(self.rng.choice(len(flat), p=flat / flat.sum()), free.shape[1])
        source, target = movers[number], self.hops[movers[number], way]
        identity = self.identity[source]
        self._set(events, source, self.ideal[source], -1)
        self._set(events, target, self.roles.center, identity)
