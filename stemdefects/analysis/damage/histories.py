"""What happened to the sites in each sampled history, and for how long it could have (compiled).

Exposure is site-seconds in the state that a process begins from; the layers are those of the lattice model's sampler.
Sites that lack neighbours (at the border of what is judged) take no part: what comes over the border cannot be told
from what the beam makes there.
"""

from enum import IntEnum
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import BOND, DOUBLE, Sites
from stemdefects.analysis.kinetics.result import Kinetics
from stemdefects.compiled import entry


class Process(IntEnum):
    """What can happen to a site. `BESIDE`: a neighbouring site lacks an atom."""

    FIRST = 0  # a whole site off the centres loses an atom, no neighbour lacks one
    FIRST_BESIDE = 1
    SECOND = 2  # a site that lacks an atom loses another
    SECOND_BESIDE = 3
    FILL_ONE = 4  # the atom that a site lacks comes back
    FILL_TWO = 5  # one of the two that a site lacks
    ARRIVE = 6  # a vacancy hops onto a whole site: no damage
    FIRST_CENTRE = 7  # a vacancy appears on a centre's bond: made there, or caught from where it was not seen
    SECOND_CENTRE = 8
    FILL_CENTRE = 9  # it goes from there to nowhere that is seen


N_PROCESSES = len(Process)


class Field(NamedTuple):
    """Sites of a history: their neighbours `near` (n, 6), -1 for none, and which (n,) are on a `bond` of a centre, and
    `inner`, with all their neighbours."""

    near: np.ndarray
    bond: np.ndarray
    inner: np.ndarray


def _field(place: Sites) -> Field:
    return Field(place.near, place.kind == BOND, np.all(place.near >= 0, axis=1))


class Tally(NamedTuple):
    """Of H sampled histories: number of events and exposure in site-seconds of every process, `(H, 10)` each."""

    events: np.ndarray
    exposure_s: np.ndarray


def tally(answer: Kinetics) -> Tally:
    """Events and exposures of all sampled histories of the lattice model."""
    field = _field(answer.sites)
    low, high = float(answer.times_s[0]), float(answer.times_s[-1])
    found = [_count(start, time, events, field, low, high) for start, time, events in answer.histories]
    both = np.array(found, float).reshape(-1, 2, N_PROCESSES)
    return Tally(both[:, 0], both[:, 1])


def of_true(start: np.ndarray, time: np.ndarray, events: np.ndarray, place: Sites, span_s: tuple) -> Tally:
    """The same of one history that is known (a simulation's)."""
    n, t = _count(start, time, events, _field(place), float(span_s[0]), float(span_s[1]))
    return Tally(n[None], t[None])


@entry
def _state(site, occ, field):
    """Which of the processes' exposures a site adds to: up to three, -1."""
    if not field.inner[site]:
        return -1, -1, -1
    if field.bond[site]:
        if occ[site] == 0:
            return 7, -1, -1
        return (-1, -1, -1) if occ[site] == DOUBLE else (8, 9, -1)
    beside = 0
    for j in range(6):
        if occ[field.near[site, j]] > 0:
            beside = 1
    if occ[site] == 0:
        return beside, 6, -1
    return (5, -1, -1) if occ[site] == DOUBLE else (2 + beside, 4, -1)


@entry
def _count(start, time, events, field, low, high):
    """(events, exposures) (10,) each of one history."""
    n_sites = len(start)
    occ = start.astype(np.int8)
    n, total, now = np.zeros(10), np.zeros(10), np.zeros(10)
    for g in range(n_sites):
        for k in _state(g, occ, field):
            if k >= 0:
                now[k] += 1.0
    before = low
    mark = np.full(n_sites, -1, np.int64)
    around = np.zeros(16, np.int64)
    for e in range(len(time)):
        a, b, layer = events[e, 0], events[e, 1], events[e, 2]
        for k in range(10):
            total[k] += now[k] * (time[e] - before)
        before = time[e]
        if a < 0 or (b >= 0 and a != b):
            target = _state(b, occ, field)
            if a >= 0 and target[0] >= 0 and not field.bond[b]:
                n[6] += 1.0
            elif a < 0 and target[0] >= 0:
                n[target[0]] += 1.0
        else:
            k = _state(a, occ, field)
            if b < 0 and k[0] >= 0:
                n[k[1] if k[1] >= 0 else 5] += 1.0
            elif b >= 0 and k[0] >= 0:
                n[k[0]] += 1.0  # a second atom is lost, or one of two comes back
        n_around = 0
        for end in (a, b):
            if end < 0:
                continue
            for j in range(-1, 6):
                g = end if j < 0 else field.near[end, j]
                if g >= 0 and mark[g] != e:
                    mark[g] = e
                    around[n_around] = g
                    n_around += 1
        for i in range(n_around):
            for k in _state(around[i], occ, field):
                if k >= 0:
                    now[k] -= 1.0
        if a >= 0:
            occ[a] = 0
        if b >= 0:
            occ[b] = layer
        for i in range(n_around):
            for k in _state(around[i], occ, field):
                if k >= 0:
                    now[k] += 1.0
    for k in range(10):
        total[k] += now[k] * (high - before)
    return n, total
