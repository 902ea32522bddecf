"""How much likelier a path is among the other vacancies than in the lattice without them (numba).

Both densities are products of the rates of events and exp(-integral of what the vacancy adds to the sum of all open
rates). With light and exclusion in the frames already in the proposal, their ratio is all that a Metropolis step needs.
"""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import SINGLE
from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.path.crowd import hushed
from stemdefects.analysis.kinetics.sampler.path.field import POTENTIAL
from stemdefects.analysis.kinetics.sampler.potential import (
    ATTACH,
    BOND,
    DETACH,
    DETACH_MORE,
    TURN,
    TURN_MORE,
    birth_single,
    held,
    other_factor,
    potential,
)

NEVER = -1e300  # log of zero
REACH = 3  # rows and columns from a site beyond which nothing changes its rates: neighbours, and its centre's bonds


class Path(NamedTuple):
    """The events of one vacancy, latest first."""

    n: int
    time: np.ndarray  # (capacity,)
    ev: np.ndarray  # (capacity, 3) from, to, layer


@inner
def log_weight(x, layer, path, Q, D, V):
    """Log of exact over proposed density of a path that begins as `layer` on site `x` (-1: absent) in frame `D.first`.

    `path` holds its events to frame `D.last`. Others are in `V.W.occ` as they are in frame `D.first`, and
    in `V.W.ev`; those of `D.slot` and `D.skip` are left out. `V.W.then`: the others whom the proposal knew in that
    frame. Both move on to frame `D.last`.
    """
    S, P, W, F, own_time, own = V.S, V.P, V.W, Q.F, path.time, path.ev
    slot, skip, n_absent, slots = D.slot, D.skip, D.absent, D.slots
    low, high = Q.times[D.first], Q.times[D.last]
    total, now, k = 0.0, low, path.n - 1
    e = first_after(low, W)
    f, known = D.first, e
    extra = _extra(x, layer, F, S, P, W) if x >= 0 else 0.0
    reach = REACH * (S.shape[1] + 1)
    while True:
        other = W.time[e] if e < W.n[0] else high
        mine = own_time[k] if k >= 0 else high
        until = min(min(other, mine), Q.times[f + 1])
        if x >= 0:
            total -= extra * (until - now)
        now, felt = until, False
        if now >= high:
            return total
        if now >= Q.times[f + 1]:  # the next interval was proposed with the others as they are now
            f += 1
            while known < e:
                a, b, who = W.ev[known, 0], W.ev[known, 1], W.ev[known, 3]
                if who != slot and who != skip:
                    if a >= 0:
                        W.then[a] = 0
                    if b >= 0:
                        W.then[b] = W.ev[known, 2]
                    felt |= _felt(x, a, b, reach, S)
                known += 1
        elif mine <= other:
            a, b, to = own[k, 0], own[k, 1], own[k, 2]
            k -= 1
            if b >= 0 and b != a and W.occ[b] > 0:
                return NEVER
            shared = math.log(slots / (n_absent + 1.0)) if a < 0 and n_absent >= 0 else 0.0
            total += shared + _own_ratio(a, b, layer, to, W.occ, S, P)
            x, layer, felt = b, to, True
        else:
            a, b, to, who = W.ev[e, 0], W.ev[e, 1], W.ev[e, 2], W.ev[e, 3]
            e += 1
            if who == slot or who == skip:
                continue
            if b >= 0 and b == x:
                return NEVER
            if x >= 0 and S.site[x, 25] >= 0:
                total += math.log(other_factor(x, a, b, W.occ[a] if a >= 0 else to, W.occ, S, P))
            if n_absent >= 0 and a < 0:
                total -= math.log(n_absent + (1.0 if x < 0 else 0.0))
                n_absent -= 1
            elif n_absent >= 0 and b < 0:
                n_absent += 1
            if a >= 0:
                W.occ[a] = 0
            if b >= 0:
                W.occ[b] = to
            felt = _felt(x, a, b, reach, S)
        if x >= 0 and felt:
            extra = _extra(x, layer, F, S, P, W)


@tiny
def _felt(x, a, b, reach, S):
    """Whether an event from `a` to `b` may be near enough to site `x` to change its rates: no more than `reach` places
    of the grid away, counted row by row."""
    return x >= 0 and ((a >= 0 and abs(S.at[a] - S.at[x]) <= reach) or (b >= 0 and abs(S.at[b] - S.at[x]) <= reach))


@inner
def first_after(time, W):
    """The first event at or after a time."""
    low, high = 0, W.n[0]
    while low < high:
        mid = (low + high) // 2
        if W.time[mid] < time:
            low = mid + 1
        else:
            high = mid
    return low


@inner
def _extra(x, layer, F, S, P, W):
    empty = F[POTENTIAL + layer - 1, S.at[x]] - hushed(x, layer, W.then, S, P)
    return potential(x, W.occ, S, P)[layer - 1] - empty


@inner
def _own_ratio(a, b, layer, to, occ, S, P):
    """Log of an own event's rate among others over that of the proposal, but for what slots have to do with it."""
    if a < 0:
        if to == SINGLE and S.site[b, 24] == BOND:
            return math.log(birth_single(np.int64(b), occ, S, P) / P[ATTACH])
        return 0.0
    if layer != SINGLE or a == b or S.site[a, 24] != BOND:
        return 0.0
    crowded = held(S.site[a, 25], occ, S.bonds) > 0
    if not crowded:
        return 0.0
    if b < 0:
        return math.log(P[DETACH_MORE] / P[DETACH])
    if S.site[b, 24] == BOND and S.site[b, 25] == S.site[a, 25]:
        return math.log(P[TURN_MORE] / P[TURN])
    return 0.0
