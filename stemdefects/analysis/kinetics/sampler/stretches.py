"""A stretch of one vacancy's path drawn anew, accepted or not (numba).

A Metropolis step whose proposal comes from the lattice without the other vacancies (`paths.py`), put right by
`exact.py`.
"""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import SHARE
from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.board import FIRST, NONE, PRIOR, Table, Work
from stemdefects.analysis.kinetics.sampler.collapse import (
    added,
    draw_offsets,
    lay,
    lift,
    reach,
    sums,
    take_offsets,
    worth,
)
from stemdefects.analysis.kinetics.sampler.draws import uniform
from stemdefects.analysis.kinetics.sampler.exact import log_weight
from stemdefects.analysis.kinetics.sampler.exchange import others_in
from stemdefects.analysis.kinetics.sampler.field import field, jumps, shade, shine_at
from stemdefects.analysis.kinetics.sampler.paths import Proposal, backward, draw_end, forward, inside, place_in, ways_in
from stemdefects.analysis.kinetics.sampler.potential import TO_DOUBLE, prior_odds
from stemdefects.analysis.kinetics.sampler.slots import own_events, replace


@tiny
def propose_from(two, S, P, level, times, seen, rest):
    """What the paths of one sweep are drawn from."""
    F, omega = field(S, P, two)
    n_frames, n = rest.shape
    glow = np.zeros((2, n_frames, F.shape[1]))
    shine_at(np.arange(n), n, FIRST, n_frames, two, glow, S, P, level, seen, rest)
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
    gain: np.ndarray  # (2, n) room for `field.shade`
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
    n_absent = np.int64(0)
    for s in range(who.shape[1]):
        n_absent += int(s != slot and who[first, s] < 0)
    slots = n_absent + 1.0
    if unbroken:
        n_absent, slots = NONE, 1.0
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
        crossed, of_box = reach(box, S)
        sums(crossed, C, pulls, precisions)
        lift(lit, dark, crossed, of_box, Q.two, C, pulls, precisions)
        R = Proposal(Q.F, C.glow, Q.jumps, Q.n_jumps, Q.times, Q.odds, Q.to_double, Q.omega, Q.two, Q.still)
    begin, layer_was = who[first, slot], layers[first, slot]
    A, fine = forward(
        first,
        last,
        free_end,
        PRIOR if free_start else begin,
        layer_was,
        slot,
        NONE,
        ways,
        box,
        slots,
        who,
        layers,
        S,
        C.P,
        R,
    )
    accepted, n_new, y, layer = 0, 0, NONE, FIRST
    if fine:
        if free_end:
            y, layer = draw_end(last - first, box, cols, A, C.rng)
        else:
            y, layer = who[last, slot], layers[last, slot]
            m = last - first
            fine = A.absent[m, 1] > 0.0 if y < 0 else A.ahead[m, layer - 1, place_in(y, box, cols)] > 0.0
    if fine:
        n_new, y, layer = backward(
            first, last, y, layer, slot, NONE, ways, box, slots, who, layers, S, C.P, R, A, W, C.rng
        )
        gaps = 0
        for k in range(max(n_new, 0)):
            gaps += int(W.new[k, 1] < 0)
        if n_new < 0:
            accepted = -1
        elif not (unbroken and gaps > 1):
            others_in(first, slot, NONE, S, W.occ, who, layers)
            others_in(first, slot, NONE, S, W.then, who, layers)
            x = np.int64(S.back[y]) if y >= 0 else NONE
            ratio = log_weight(
                x, layer, n_new, W.new_time, W.new, slot, NONE, first, last, n_absent, slots, W, S, C.P, R
            )
            others_in(first, slot, NONE, S, W.occ, who, layers)
            others_in(first, slot, NONE, S, W.then, who, layers)
            x = np.int64(S.back[begin]) if begin >= 0 else NONE
            ratio -= log_weight(
                x, layer_was, n_old, W.old_time, W.old, slot, NONE, first, last, n_absent, slots, W, S, C.P, R
            )
            if collapsed:
                where, what = np.empty((last + 1, 1), np.int64), np.empty((last + 1, 1), np.int64)
                _follow(n_new, y, layer, first, last, Q, S, W, where, what, FIRST)
                now[:] = 0.0
                added(FIRST, lit, dark, 1.0, S, C.P, C.level, C.seen, where, what, now)
                touched = (was != 0.0) | (now != 0.0)
                draw_offsets(touched, now, C.offset, pulls, precisions, C.rng, new)
                lay(FIRST, lit, dark, -1.0, S, C.P, C.level, C.seen, where, what, C.rest)
                ratio += worth(touched, now, new, C, pulls, precisions)
                lay(FIRST, lit, dark, 1.0, S, C.P, C.level, C.seen, where, what, C.rest)
                lay(slot, lit, dark, -1.0, S, C.P, C.level, C.seen, who, layers, C.rest)
                ratio -= worth(touched, was, C.offset, C, pulls, precisions)
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
                f, C.who[f, slot], C.layers[f, slot], sign, C.two, C.around_it, C.gain, Q.glow, C.S, C.P, C.level,
                C.seen, C.rest,
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
