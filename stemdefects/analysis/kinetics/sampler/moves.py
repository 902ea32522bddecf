"""A sweep: the paths of all slots drawn anew, wholly or in part, and tails exchanged (numba)."""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.sampler import entry, inner, tiny
from stemdefects.analysis.kinetics.sampler.board import FIRST, NO, YES, Vacancies
from stemdefects.analysis.kinetics.sampler.draws import below, uniform
from stemdefects.analysis.kinetics.sampler.exchange import apart, exchange_all, exchange_all_ends, rows_of
from stemdefects.analysis.kinetics.sampler.light.glow import light
from stemdefects.analysis.kinetics.sampler.path.boxes import Proposal, box_around, inside, whole
from stemdefects.analysis.kinetics.sampler.path.exact import first_after
from stemdefects.analysis.kinetics.sampler.potential import HOP
from stemdefects.analysis.kinetics.sampler.slots import assign, write_back
from stemdefects.analysis.kinetics.sampler.stretches import Spare, Stretch, propose_from, redraw

FULL = 1  # flag: the room did not suffice
BOX = np.int64(13)  # half of the largest box in lattice steps: one hop a frame stays inside for 100 frames
NEAR = np.int64(7)  # half of the box in which a gap is mended, and of a wide one around a pinned end
WIDE = 0.15  # share of updates in a wide box
FAR = 1.5  # half of a box in roots of the hops that are expected; a walk of n ends within 1.5 sqrt(n) in 9 of 10
PINNED, LOOSE = 2.0, 4.0  # steps more, around a path's pinned end, and where the path may be anywhere in the box
SHORT = 30  # frames of a stretch that is pinned at both ends, at most
BOXES = 4  # more updates over the whole movie, for each such box that the field holds
WHOLE = 0.3  # share of updates over the whole movie
SIMPLE = 0.6  # share of updates in which no double vacancy is made: cheaper, and enough for most paths
COLLAPSED = 0.4  # share of updates with the offsets integrated out: what is uncertain needs it, what is clear does not
MEND = 0.1  # share of pairs of two vacancies' places a few frames apart whose connection is drawn anew
REDO = 0.015  # the same of one vacancy's own: nearly all of them hold no gap, and longer parts are drawn anyway
MEND_FRAMES, MEND_HOPS = 6, 5  # between them, at most
CROWD = 8  # more slots, now and then, so that no number of vacancies is out of reach


@tiny
def mend_all(Q, V, L, spare):
    """Draw anew how vacancies at two places a few frames apart are connected: one that stays, or one that leaves and
    another that appears. Which pairs are tried follows from the two frames alone. Slots have no meaning afterwards.
    """
    S, who, rng = V.S, V.who, V.rng
    n_frames, n_slots = who.shape
    r, c = np.empty(n_slots, np.int64), np.empty(n_slots, np.int64)
    r_to, c_to = np.empty(n_slots, np.int64), np.empty(n_slots, np.int64)
    for first in range(n_frames - 1):
        last = min(first + 1 + below(rng, MEND_FRAMES), n_frames - 1)
        rows_of(who[first], S.shape[1], r, c)
        rows_of(who[last], S.shape[1], r_to, c_to)
        for i in range(n_slots):
            for j in range(n_slots):
                if who[first, i] < 0 or who[last, j] < 0 or apart(r[i] - r_to[j], c[i] - c_to[j]) > MEND_HOPS:
                    continue
                if uniform(rng) > (REDO if i == j else MEND):
                    continue
                if _connected(i, j, first, last, Q, V):
                    rows_of(who[last], S.shape[1], r_to, c_to)
                    stretch = Stretch(i, first, last, NO, NO, box_around(who[first, i], NEAR, S))
                    redraw(stretch, YES, NO, Q, V, L, spare)


@tiny
def _connected(i, j, first, last, Q, V):
    """Whether one gap at most lies between two places; then slot i holds all of it."""
    W, who, layers = V.W, V.who, V.layers
    gone, came, more, begun, other = 0, 0, 0, 0, 0.0
    e0, e1 = first_after(Q.times[first], W), first_after(Q.times[last], W)
    since = 0.0
    for e in range(e0, e1):
        s = W.ev[e, 3]
        if s == i and W.ev[e, 1] < 0:
            gone += 1
            since = W.time[e]
        elif s == i and W.ev[e, 0] < 0:
            begun += 1
        elif s == j and W.ev[e, 0] < 0:
            came += 1
            other = W.time[e]
        elif s == j and W.ev[e, 1] < 0:
            more += 1
    if i == j:
        return gone <= 1
    if gone != 1 or begun != 0 or came != 1 or more != 0 or since > other:
        return False
    for e in range(e0, W.n[0]):
        if W.time[e] > since and (W.ev[e, 3] == i or W.ev[e, 3] == j):
            W.ev[e, 3] = j if W.ev[e, 3] == i else i
    for f in range(len(Q.times)):
        if Q.times[f] > since:
            who[f, i], who[f, j] = who[f, j], who[f, i]
            layers[f, i], layers[f, j] = layers[f, j], layers[f, i]
    return True


@inner
def _half(more, first, last, Q, P):
    """Half of a box that a path is likely to stay in; of frames and rates alone, so that the way back has the same."""
    hops = 6.0 * P[HOP] * (Q.times[last] - Q.times[first])
    return np.int64(min(more + FAR * math.sqrt(hops), BOX))


@inner
def _sometimes_wide(half, wide, rng):
    """Half of a box; of a few `wide`: a path that leads from one vacancy's place to another's fits in no small one."""
    return np.int64(max(half, wide)) if uniform(rng) < WIDE else half


@inner
def _anywhere(half, S, rng):
    """A box at random, which costs the less and fits the fewer paths the smaller it is, or a field that is hardly
    larger."""
    if len(S.back) <= 2 * (2 * half + 1) ** 2:
        return whole(S)
    return box_around(S.at[below(rng, len(S.at))], half, S)


@tiny
def _within(box, first, last, S, who, rng):
    """A slot at random of those that are in the box, or nowhere, in all frames first..last; -1: there is none.

    A path that is drawn in the box leaves a slot among them, so that each is as likely on the way back.
    """
    chosen, n = -1, 0
    for s in range(who.shape[1]):
        fits = True
        for f in range(first, last + 1):
            if who[f, s] >= 0 and not inside(who[f, s], box, S.shape[1]):
                fits = False
                break
        if fits:
            n += 1
            if below(rng, n) == 0:
                chosen = s
    return chosen


class Plan(NamedTuple):
    """What a sweep is made of."""

    n_slots: int  # for vacancies at a time
    n_swaps: int  # passes over the pairs that may exchange their fates
    two: bool  # two vacancies on a site are told from one


@entry
def sweep(plan, S, level, times, state, W, view):
    """Update the history of a `chain.Chain`. Returns FULL where the room did not suffice somewhere.

    `state.tally`: exchanges proposed and accepted, sweeps without room for all vacancies, sweeps, paths proposed and
    accepted. `state.offset`, and `rest` of `view` (`light.unknowns.View`), follow the history.
    """
    two, P, H, rng, tally = plan.two, state.parameters, state.history, state.rng, state.tally
    n_slots = plan.n_slots + CROWD * int(uniform(rng) < 0.1)
    n_frames = len(times)
    who, layers = np.full((n_frames, n_slots), -1, np.int64), np.zeros((n_frames, n_slots), np.int64)
    if not assign(H, W, S, times, who, layers, rng):
        tally[2] += 1
        return FULL if H.n[0] > W.time.shape[0] else 0
    V = Vacancies(S, P, W, who, layers, rng)
    L = light(S, P, level, view, state.offset, two)
    Q = propose_from(times, L)
    singles = Proposal(Q.F, Q.glow, Q.jumps, Q.n_jumps, Q.times, Q.odds, 0.0, Q.omega, False, Q.still)
    n = len(S.at)
    spare = Spare(np.zeros_like(Q.glow), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n))
    status = 0
    wide = 2 * _half(LOOSE, FIRST, n_frames - 1, Q, P) + 1
    n_all = n_slots + BOXES * len(S.at) // wide**2
    for k in range(n_all + n_slots):
        slot = below(rng, n_slots)
        first, last, free_start, free_end = 0, n_frames - 1, True, True
        pinned = -1
        if k >= n_all or (k < n_slots and uniform(rng) > WHOLE):
            kind = below(rng, 3)
            middle = below(rng, n_frames - 1)
            if k >= n_all:
                kind = 2
            if kind == 0:
                first, free_start = middle, False
            elif kind == 1:
                last, free_end = middle + 1, False
            else:
                first, last = middle, min(middle + 1 + below(rng, SHORT), n_frames - 1)
                free_start, free_end = False, False
            pinned = last if kind == 1 else first
        if pinned >= 0 and who[pinned, slot] >= 0:
            box = box_around(who[pinned, slot], _sometimes_wide(_half(PINNED, first, last, Q, P), NEAR, rng), S)
        elif k >= n_all:
            continue
        else:
            box = _anywhere(_sometimes_wide(_half(LOOSE, first, last, Q, P), BOX, rng), S, rng)
            slot = _within(box, first, last, S, who, rng)
            if slot < 0:
                continue
        simple = two and uniform(rng) < SIMPLE
        collapsed = uniform(rng) < COLLAPSED
        stretch = Stretch(slot, first, last, free_start, free_end, box)
        result = redraw(stretch, NO, collapsed, singles if simple else Q, V, L, spare)
        if result >= 0:
            tally[4] += 1
            tally[5] += result
        elif result == -1:
            status = FULL
    for _ in range(plan.n_swaps):
        exchange_all(Q, V, tally)
    mend_all(Q, V, L, spare)
    exchange_all_ends(Q, V)
    if not write_back(H, W, S, who, layers):
        status = FULL
    return status
