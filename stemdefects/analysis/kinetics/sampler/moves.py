"""A sweep: the paths of all slots drawn anew, wholly or in part, and tails exchanged (numba).

Both are Metropolis steps whose proposals come from the lattice without the other vacancies (`paths.py`), put right by
`exact.py`.
"""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.sampler import entry, inner, tiny
from stemdefects.analysis.kinetics.sampler.board import PAD, Table, Work
from stemdefects.analysis.kinetics.sampler.collapse import added, draw_offsets, lay, lift, sums, take_offsets, worth
from stemdefects.analysis.kinetics.sampler.draws import below, uniform
from stemdefects.analysis.kinetics.sampler.exact import first_after, log_weight
from stemdefects.analysis.kinetics.sampler.exchange import distance, exchange_all, exchange_all_ends, others_in
from stemdefects.analysis.kinetics.sampler.field import around, field, jumps, shade, shine
from stemdefects.analysis.kinetics.sampler.paths import (
    Proposal,
    backward,
    box_around,
    draw_end,
    forward,
    inside,
    place_in,
    ways_in,
)
from stemdefects.analysis.kinetics.sampler.potential import SHARE, TO_DOUBLE, prior_odds
from stemdefects.analysis.kinetics.sampler.slots import assign, own_events, replace, write_back

FULL = 1  # flag: the room did not suffice
SMALL_FIELD = 1600  # places of a grid that is drawn as a whole: beyond, boxes keep the cost of a path constant
BOX = 13  # half of a large field's box in lattice steps: one hop a frame stays inside for 100 frames
NEAR = 7  # half of a box around a path's pinned end: cheap, and wide enough for most
WHOLE = 0.3  # share of updates over the whole movie
SIMPLE = 0.6  # share of updates in which no double vacancy is made: cheaper, and enough for most paths
COLLAPSED = 0.2  # share of updates with the offsets integrated out: what is uncertain needs it, what is clear does not
MEND = 0.1  # share of pairs of two vacancies' places a few frames apart whose connection is drawn anew
REDO = 0.015  # the same of one vacancy's own: nearly all of them hold no gap, and longer parts are drawn anyway
MEND_FRAMES, MEND_HOPS = 6, 5  # between them, at most
CROWD = 8  # more slots, now and then, so that no number of vacancies is out of reach


@tiny
def propose_from(two, S, P, level, times, seen, rest):
    """What the paths of one sweep are drawn from."""
    F, omega = field(S, P, two)
    n_frames, n = rest.shape
    glow = np.zeros((2, n_frames, F.shape[1]))
    for f in range(n_frames):
        for g in range(n):
            shine(f, S.at[g], two, glow, S, P, level, seen, rest)
    odds = np.zeros((3, F.shape[1]))
    for g in range(n):
        for layer in range(1, 4 if two else 3):
            odds[layer - 1, S.at[g]] = prior_odds(g, layer, S, P)
    table, count = jumps(omega, times)
    return Proposal(F, glow, table, count, times, odds, P[TO_DOUBLE] / omega, omega, two, P[SHARE] > 0.0)


class Scene(NamedTuple):
    """What all updates of a sweep share."""

    S: Table
    P: np.ndarray
    W: Work
    who: np.ndarray  # (T, slots) place of the grid of each slot's vacancy, -1
    layers: np.ndarray  # (T, slots)
    level: np.ndarray
    seen: np.ndarray  # (T, n) 1/variance
    rest: np.ndarray  # (T, n) residuals
    offset: np.ndarray  # (n,)
    around_it: np.ndarray
    rng: np.ndarray
    glow: np.ndarray  # (2, T, G) room for a proposal's own
    sites: np.ndarray  # (5, n) room for `collapse`
    two: bool


@inner
def redraw(slot, first, last, free_start, free_end, unbroken, collapsed, box, Q, C):
    """Draw a slot's path between two frames anew. Returns 1 accepted, 0 not, -1 no room, -2 not proposed.

    `unbroken`: at most one gap in the path, and slots have no meaning. `collapsed`: with the offsets integrated out.
    """
    S, W, who, layers = C.S, C.W, C.who, C.layers
    cols, low, high = S.shape[1], Q.times[first], Q.times[last]
    for f in range(first, last + 1):
        if who[f, slot] >= 0 and (not inside(who[f, slot], box, cols) or (layers[f, slot] == 3 and not Q.two)):
            return -2
    n_old = own_events(slot, low, high, W)
    for k in range(n_old):
        if W.old[k, 2] == 3 and not Q.two:
            return -2
        for q in range(2):
            if W.old[k, q] >= 0 and not inside(S.at[W.old[k, q]], box, cols):
                return -2
    n_absent = 0
    for s in range(who.shape[1]):
        n_absent += int(s != slot and who[first, s] < 0)
    slots = n_absent + 1.0
    if unbroken:
        n_absent, slots = -1, 1.0
    ways = ways_in(box, S)
    lit, dark = first + int(not free_start), last + int(free_end)
    pulls, precisions, was, now, new = C.sites[0], C.sites[1], C.sites[2], C.sites[3], C.sites[4]
    touched = was != 0.0
    if collapsed:
        was[:] = 0.0
        added(slot, lit, dark, 1.0, S, C.P, C.level, C.seen, who, layers, was)
    _shade(slot, lit, dark, 1.0, Q, C)
    R = Q
    if collapsed:
        sums(C.P, C.seen, C.rest, C.offset, pulls, precisions)
        lift(lit, dark, box, C.two, C.glow, S, C.P, C.level, C.seen, C.rest, C.offset, pulls, precisions)
        R = Proposal(Q.F, C.glow, Q.jumps, Q.count, Q.times, Q.odds, Q.to_double, Q.omega, Q.two, Q.still)
    begin, layer_was = who[first, slot], layers[first, slot]
    A, fine = forward(
        first,
        last,
        free_end,
        -2 if free_start else begin,
        layer_was,
        slot,
        -1,
        ways,
        box,
        slots,
        who,
        layers,
        S,
        C.P,
        R,
    )
    accepted, n_new = 0, 0
    if fine:
        if free_end:
            y, layer = draw_end(last - first, box, cols, A, C.rng)
        else:
            y, layer = who[last, slot], layers[last, slot]
            m = last - first
            fine = A.absent[m, 1] > 0.0 if y < 0 else A.ahead[m, layer - 1, place_in(y, box, cols)] > 0.0
    if fine:
        n_new, y, layer = backward(
            first, last, y, layer, slot, -1, ways, box, slots, who, layers, S, C.P, R, A, W, C.rng
        )
        gaps = 0
        for k in range(max(n_new, 0)):
            gaps += int(W.new[k, 1] < 0)
        if n_new < 0:
            accepted = -1
        elif not (unbroken and gaps > 1):
            others_in(first, slot, -1, S, W.occ, who, layers)
            others_in(first, slot, -1, S, W.then, who, layers)
            x = S.back[y] if y >= 0 else -1
            ratio = log_weight(x, layer, n_new, W.new_time, W.new, slot, -1, first, last, n_absent, slots, W, S, C.P, R)
            others_in(first, slot, -1, S, W.occ, who, layers)
            others_in(first, slot, -1, S, W.then, who, layers)
            x = S.back[begin] if begin >= 0 else -1
            ratio -= log_weight(
                x, layer_was, n_old, W.old_time, W.old, slot, -1, first, last, n_absent, slots, W, S, C.P, R
            )
            if collapsed:
                where, what = np.empty((last + 1, 1), np.int64), np.empty((last + 1, 1), np.int64)
                _follow(n_new, y, layer, first, last, Q, S, W, where, what, 0)
                now[:] = 0.0
                added(0, lit, dark, 1.0, S, C.P, C.level, C.seen, where, what, now)
                touched = (was != 0.0) | (now != 0.0)
                draw_offsets(touched, now, C.offset, pulls, precisions, C.rng, new)
                lay(0, lit, dark, -1.0, S, C.P, C.level, C.seen, where, what, C.rest)
                ratio += worth(touched, now, new, C.P, C.seen, C.rest, C.offset, pulls, precisions)
                lay(0, lit, dark, 1.0, S, C.P, C.level, C.seen, where, what, C.rest)
                lay(slot, lit, dark, -1.0, S, C.P, C.level, C.seen, who, layers, C.rest)
                ratio -= worth(touched, was, C.offset, C.P, C.seen, C.rest, C.offset, pulls, precisions)
                lay(slot, lit, dark, 1.0, S, C.P, C.level, C.seen, who, layers, C.rest)
            if math.log(uniform(C.rng)) < ratio:
                accepted = 1 if replace(slot, low, high, n_new, W.new_time, W.new, W) else -1
    if accepted == 1:
        _follow(n_new, y, layer, first, last, Q, S, W, who, layers, slot)
    _shade(slot, lit, dark, -1.0, Q, C)
    if collapsed and accepted == 1:
        take_offsets(touched, new, C.two, Q.glow, S, C.P, C.level, C.seen, C.rest, C.offset)
    return accepted


@inner
def _shade(slot, lit, dark, sign, Q, C):
    """Take a slot's path in the frames lit..dark-1 out of the expected light (sign +1), or put it in (-1)."""
    for f in range(lit, dark):
        if C.who[f, slot] >= 0:
            shade(
                f, C.who[f, slot], C.layers[f, slot], sign, C.two, C.around_it, Q.glow, C.S, C.P, C.level, C.seen,
                C.rest,
            )  # fmt: skip


@inner
def _follow(n_new, y, layer, first, last, Q, S, W, who, layers, slot):
    """Where the drawn path in `W.new`, which begins as `layer` at `y`, is in the frames first..last: into a slot's
    column."""
    k = n_new - 1
    for f in range(first, last + 1):
        while k >= 0 and W.new_time[k] < Q.times[f]:
            y, layer = S.at[W.new[k, 1]] if W.new[k, 1] >= 0 else -1, W.new[k, 2]
            k -= 1
        who[f, slot], layers[f, slot] = y, layer if y >= 0 else 0


@tiny
def mend_all(Q, C):
    """Draw anew how vacancies at two places a few frames apart are connected: one that stays, or one that leaves and
    another that appears. Which pairs are tried follows from the two frames alone. Slots have no meaning afterwards.
    """
    S, who, rng = C.S, C.who, C.rng
    n_frames, n_slots = who.shape
    for first in range(n_frames - 1):
        last = min(first + 1 + below(rng, MEND_FRAMES), n_frames - 1)
        for i in range(n_slots):
            for j in range(n_slots):
                if who[first, i] < 0 or who[last, j] < 0 or uniform(rng) > (REDO if i == j else MEND):
                    continue
                if distance(who[first, i], who[last, j], S.shape[1]) > MEND_HOPS:
                    continue
                if _connected(i, j, first, last, Q, C.W, who, C.layers):
                    redraw(i, first, last, False, False, True, False, box_around(who[first, i], NEAR, S), Q, C)


@tiny
def _connected(i, j, first, last, Q, W, who, layers):
    """Whether one gap at most lies between two places; then slot i holds all of it."""
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
def _whole(S):
    box = np.empty(5, np.int64)
    box[0], box[1], box[2], box[3] = PAD, PAD, S.shape[0] - PAD, S.shape[1] - PAD
    box[4] = box[3] - box[1] + 2
    return box


@inner
def _anywhere(S, rng):
    """The whole of a small field, else a box at random."""
    if len(S.back) <= SMALL_FIELD:
        return _whole(S)
    return box_around(S.at[below(rng, len(S.at))], BOX, S)


@entry
def sweep(n_slots, n_swaps, two, H, W, S, P, level, times, seen, rest, offset, rng, tally):
    """Update the histories. Returns FULL where the room did not suffice somewhere.

    `tally`: exchanges proposed and accepted, sweeps without room for all vacancies, sweeps, paths proposed and
    accepted. `rest` and `offset` follow the histories.
    """
    n_slots += CROWD * int(uniform(rng) < 0.1)
    n_frames = len(times)
    who, layers = np.full((n_frames, n_slots), -1, np.int64), np.zeros((n_frames, n_slots), np.int64)
    if not assign(n_slots, H, W, S, times, who, layers, rng):
        tally[2] += 1
        return FULL if H.n[0] > W.time.shape[0] else 0
    Q = propose_from(two, S, P, level, times, seen, rest)
    singles = Proposal(Q.F, Q.glow, Q.jumps, Q.count, Q.times, Q.odds, 0.0, Q.omega, False, Q.still)
    C = Scene(
        S, P, W, who, layers, level, seen, rest, offset, around(S), rng, np.zeros_like(Q.glow),
        np.zeros((5, len(S.at))), two,
    )  # fmt: skip
    status = 0
    n_boxes = 1 + len(S.at) // 700
    for k in range(n_slots + 4 * (n_boxes - 1)):
        slot = below(rng, n_slots)
        first, last, free_start, free_end = 0, n_frames - 1, True, True
        box = _anywhere(S, rng)
        if k < n_slots and uniform(rng) > WHOLE:
            kind = below(rng, 3)
            middle = below(rng, n_frames - 1)
            if kind == 0:
                first, free_start = middle, False
            elif kind == 1:
                last, free_end = middle + 1, False
            else:
                first, last = middle, min(middle + 1 + below(rng, 30), n_frames - 1)
                free_start, free_end = False, False
            pinned = last if kind == 1 else first
            if who[pinned, slot] >= 0:
                box = box_around(who[pinned, slot], NEAR, S)
        simple = two and uniform(rng) < SIMPLE
        collapsed = uniform(rng) < COLLAPSED
        result = redraw(slot, first, last, free_start, free_end, False, collapsed, box, singles if simple else Q, C)
        if result >= 0:
            tally[4] += 1
            tally[5] += result
        elif result == -1:
            status = FULL
    for _ in range(n_swaps):
        exchange_all(S, P, Q, W, who, layers, rng, tally)
    mend_all(Q, C)
    exchange_all_ends(S, P, Q, W, who, layers, rng)
    if not write_back(H, W, S, who, layers):
        status = FULL
    return status
