"""A stretch of one vacancy's path drawn anew, accepted or not (numba).

A Metropolis step whose proposal comes from the lattice without the other vacancies (`path/forward.py`,
`path/backward.py`), put right by `path/exact.py`.
"""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import SHARE
from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.board import FIRST, NONE, PRIOR
from stemdefects.analysis.kinetics.sampler.draws import uniform
from stemdefects.analysis.kinetics.sampler.exchange import others_in
from stemdefects.analysis.kinetics.sampler.light.collapse import (
    added,
    draw_offsets,
    lay,
    lift,
    take_offsets,
    worth,
)
from stemdefects.analysis.kinetics.sampler.light.glow import shade, shine_in
from stemdefects.analysis.kinetics.sampler.path.backward import backward, draw_end
from stemdefects.analysis.kinetics.sampler.path.boxes import Draft, Proposal, inside, near_box, place_in, whole
from stemdefects.analysis.kinetics.sampler.path.exact import Path, log_weight
from stemdefects.analysis.kinetics.sampler.path.field import field, jumps
from stemdefects.analysis.kinetics.sampler.path.forward import forward
from stemdefects.analysis.kinetics.sampler.potential import TO_DOUBLE, prior_odds
from stemdefects.analysis.kinetics.sampler.slots import own_events, replace


@tiny
def propose_from(times, L):
    """What the paths of one sweep are drawn from."""
    S, P, two = L.S, L.P, L.two
    F, omega = field(S, P, two)
    n_frames, n = L.rest.shape
    glow = np.zeros((2, n_frames, F.shape[1]))
    shine_in(whole(S), FIRST, n_frames, two, np.zeros(n), glow, L)
    odds = np.zeros((3, F.shape[1]))
    for g in range(n):
        for layer in range(1, 4 if two else 3):
            odds[layer - 1, S.at[g]] = prior_odds(g, layer, S, P)
    table, count = jumps(omega, times)
    return Proposal(F, glow, table, count, times, odds, P[TO_DOUBLE] / omega, omega, two, P[SHARE] > 0.0)


class Spare(NamedTuple):
    """Room that all updates of a sweep share."""

    glow: np.ndarray  # (2, T, G) room for a proposal's own
    change: np.ndarray  # (n,) room for `collapse.lift`
    was: np.ndarray  # (n,) what a path adds, `collapse.added`
    now: np.ndarray  # (n,) the same of the drawn one
    new: np.ndarray  # (n,) offsets


class Stretch(NamedTuple):
    """What is drawn anew: a slot's path between two frames, in a box."""

    slot: int
    first: int
    last: int
    free_start: bool | np.bool_  # the movie begins, or ends, here; else the path stays as it is there
    free_end: bool | np.bool_
    box: np.ndarray


@inner
def redraw(stretch, unbroken, collapsed, Q, V, L, spare):
    """Draw a stretch anew. Returns 1 accepted, 0 not, -1 no room, -2 not proposed.

    `unbroken`: at most one gap in the path, and slots have no meaning. `collapsed`: with the offsets integrated out.
    """
    slot, first, last, free_start, free_end, box = stretch
    was, now, new = spare.was, spare.now, spare.new
    S, W, who, layers = V.S, V.W, V.who, V.layers
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
    lit, dark = first + int(not free_start), last + int(free_end)
    touched = was != 0.0
    if collapsed:
        was[:] = 0.0
        added(slot, lit, dark, who, layers, L, was)
        lay(slot, lit, dark, 1.0, who, layers, L)
        L.pulls[:] += was
    else:
        _shade(slot, lit, dark, 1.0, Q.glow, V, L)
    R = Q
    if collapsed:
        R = Proposal(Q.F, spare.glow, Q.jumps, Q.n_jumps, Q.times, Q.odds, Q.to_double, Q.omega, Q.two, Q.still)
        lift(lit, dark, box, spare.change, R, L)
    begin, layer_was = who[first, slot], layers[first, slot]
    D = Draft(slot, NONE, first, last, n_absent, slots, box, near_box(box, first, last, slot, NONE, cols, who), cols)
    A, fine = forward(free_end, PRIOR if free_start else begin, layer_was, R, D, V)
    accepted, n_new, y, layer = 0, 0, NONE, FIRST
    if fine:
        if free_end:
            y, layer = draw_end(last - first, box, cols, A, V.rng)
        else:
            y, layer = who[last, slot], layers[last, slot]
            m = last - first
            fine = A.absent[m, 1] > 0.0 if y < 0 else A.ahead[m, layer - 1, place_in(y, box, cols)] > 0.0
    if fine:
        n_new, y, layer = backward(y, layer, A, R, D, V)
        gaps = 0
        for k in range(max(n_new, 0)):
            gaps += int(W.new[k, 1] < 0)
        if n_new < 0:
            accepted = -1
        elif not (unbroken and gaps > 1):
            others_in(first, slot, NONE, W.occ, V)
            others_in(first, slot, NONE, W.then, V)
            x = np.int64(S.back[y]) if y >= 0 else NONE
            ratio = log_weight(x, layer, Path(n_new, W.new_time, W.new), Q, D, V)
            others_in(first, slot, NONE, W.occ, V)
            others_in(first, slot, NONE, W.then, V)
            x = np.int64(S.back[begin]) if begin >= 0 else NONE
            ratio -= log_weight(x, layer_was, Path(n_old, W.old_time, W.old), Q, D, V)
            where, what = _followed(n_new, y, layer, Q.times, D, V)
            if collapsed:
                now[:] = 0.0
                added(FIRST, lit, dark, where, what, L, now)
                touched = (was != 0.0) | (now != 0.0)
                draw_offsets(touched, now, L, V.rng, new)
                lay(FIRST, lit, dark, -1.0, where, what, L)
                ratio += worth(touched, now, new, L)
                lay(FIRST, lit, dark, 1.0, where, what, L)
                lay(slot, lit, dark, -1.0, who, layers, L)
                ratio -= worth(touched, was, L.offset, L)
                lay(slot, lit, dark, 1.0, who, layers, L)
            if math.log(uniform(V.rng)) < ratio:
                accepted = 1 if replace(slot, low, high, n_new, W.new_time, W.new, W) else -1
            if accepted == 1:
                for f in range(first, last + 1):
                    who[f, slot], layers[f, slot] = where[f, 0], what[f, 0]
    if collapsed:  # the expected light of all others did not change: it does with the path, if that is taken
        lay(slot, lit, dark, -1.0, who, layers, L)
        L.pulls[:] -= now if accepted == 1 else was
        if accepted == 1:
            take_offsets(touched, new, Q.glow, L)
    else:
        _shade(slot, lit, dark, -1.0, Q.glow, V, L)
    return accepted


@inner
def _shade(slot, lit, dark, sign, glow, V, L):
    """Take a slot's path in the frames lit..dark-1 out of the expected light (sign +1), or put it in (-1)."""
    who, layers = V.who, V.layers
    for f in range(lit, dark):
        if who[f, slot] >= 0:
            shade(f, who[f, slot], layers[f, slot], sign, glow, L)


@inner
def _followed(n_new, y, layer, times, D, V):
    """Where the drawn path in `V.W.new`, which begins as `layer` at `y`, is in the frames first..last, and its layer:
    each like the column of a slot."""
    at, new_time, new = V.S.at, V.W.new_time, V.W.new
    where, what = np.empty((D.last + 1, 1), np.int64), np.empty((D.last + 1, 1), np.int64)
    k = n_new - 1
    for f in range(D.first, D.last + 1):
        while k >= 0 and new_time[k] < times[f]:
            y, layer = at[new[k, 1]] if new[k, 1] >= 0 else -1, new[k, 2]
            k -= 1
        where[f, 0], what[f, 0] = y, layer if y >= 0 else 0
    return where, what
