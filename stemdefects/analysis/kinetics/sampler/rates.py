"""Rates given a complete history: events and exposures of every process, and their conjugate draws (numba)."""

import math

import numpy as np

from stemdefects.analysis.kinetics.lattice import (
    BOND,
    CLUSTER,
    DOUBLE,
    FREE,
    MIXED,
    N_RATES,
    RHO,
    RHO_BOND,
    RHO_TWO,
    SHARE,
    SINGLE,
    STILL,
)
from stemdefects.analysis.kinetics.sampler import inner
from stemdefects.analysis.kinetics.sampler.draws import beta, gamma, uniform
from stemdefects.analysis.kinetics.sampler.potential import (
    APPEAR,
    ATTACH,
    ATTACH_MORE,
    DETACH,
    DETACH_MORE,
    HALVE,
    HOP,
    HOP_TWO,
    TO_DOUBLE,
    TURN,
    TURN_MORE,
    VANISH,
    held,
)

# places in the vector of sums of a history; the first 15 are events, the next 15 exposures (s)
EXPOSURE = 15
AXIS_COUNT, AXIS_EXPOSURE = 30, 33  # hops of the open lattice by direction
COUNT_OUT, COUNT_IN, EXPOSURE_OUT, EXPOSURE_IN = 36, 37, 38, 39  # over the border, part of HOP; IN is per density
TIME_SINGLE, TIME_STILL, TIME_DOUBLE, TIME_BOUND = 40, 41, 42, 43  # vacancy-seconds
BEGUN_SINGLE, BEGUN_STILL = 44, 45  # stays that began mobile or not, where both could be
START_FREE, START_BOUND, START_TWO = 46, 47, 48  # at the start of the movie
N_SUMS = 49  # places in all


@inner
def _open(n, occ, S, sums, sign):
    """Add the ways that are open to a site's vacancy, or to an empty site, to a vector laid out like the sums."""
    kind, layer = S.site[n, 24], occ[n]
    n_held = held(S.site[n, 25], occ, S.bonds) if kind == BOND else 0
    if layer == 0:
        if kind == BOND:
            sums[EXPOSURE + (ATTACH if n_held == 0 else ATTACH_MORE)] += sign
        elif kind == CLUSTER:
            sums[EXPOSURE + ATTACH_MORE] += sign
        else:
            sums[EXPOSURE + APPEAR] += sign
            sums[EXPOSURE_IN] += sign * S.missing[n]
        return
    if layer == DOUBLE:
        sums[EXPOSURE + HALVE] += sign
        sums[TIME_DOUBLE] += sign
    else:
        sums[EXPOSURE + TO_DOUBLE] += sign
        if kind == BOND:
            sums[EXPOSURE + (DETACH if n_held <= 1 else DETACH_MORE)] += sign
            sums[TIME_BOUND] += sign
        elif kind == CLUSTER:
            sums[EXPOSURE + DETACH_MORE] += sign
        else:
            sums[EXPOSURE + VANISH] += sign
            if kind == FREE:
                sums[TIME_SINGLE if layer == SINGLE else TIME_STILL] += sign
                if layer == SINGLE:
                    sums[EXPOSURE_OUT] += sign * S.missing[n]
    if layer == STILL:
        return
    for j in range(6):
        y = S.site[n, j]
        if y < 0 or occ[y] > 0:
            continue
        if layer == DOUBLE:
            sums[EXPOSURE + HOP_TWO] += sign
            continue
        way = S.site[n, 6 + j]
        if way == TURN and n_held > 1:
            way = TURN_MORE
        sums[EXPOSURE + way] += sign
        if way == HOP:
            sums[AXIS_EXPOSURE + S.site[n, 18 + j]] += sign


@inner
def _around(ends, occ, S, sums, sign, mark, stamp):
    for end in ends:
        if end < 0:
            continue
        for j in range(-1, 6):
            g = np.int64(end if j < 0 else S.site[end, j])
            if g >= 0 and mark[g] != stamp:
                mark[g] = stamp
                _open(g, occ, S, sums, sign)


@inner
def summarise(H, S, P, low, high, rng):
    """Events and exposures of a history, `(N_SUMS,)`. Comings and goings at the border are told apart at random."""
    n = S.site.shape[0]
    sums, now = np.zeros(N_SUMS), np.zeros(N_SUMS)
    occ, mark = H.start.copy(), np.full(n, -1, np.int64)
    for g in range(n):
        _open(g, occ, S, now, 1.0)
        if occ[g] == DOUBLE:
            sums[START_TWO] += 1
        elif occ[g] > 0 and S.site[g, 24] == FREE:
            sums[START_FREE] += 1
            sums[BEGUN_STILL if occ[g] == STILL else BEGUN_SINGLE] += 1
        elif occ[g] > 0:
            sums[START_BOUND] += 1
    before = low
    for e in range(H.n[0]):
        a, b, layer = H.ev[e, 0], H.ev[e, 1], H.ev[e, 2]
        for k in range(EXPOSURE, N_SUMS):
            sums[k] += now[k] * (H.time[e] - before)
        before = H.time[e]
        if a < 0:
            _count_birth(b, layer, occ, S, P, sums, rng)
        elif b < 0:
            _count_death(a, occ, S, P, sums, rng)
        else:
            _count_change(a, b, layer, occ, S, sums)
        _around((a, b), occ, S, now, -1.0, mark, 2 * e)
        if a >= 0:
            occ[a] = 0
        if b >= 0:
            occ[b] = layer
        _around((a, b), occ, S, now, 1.0, mark, 2 * e + 1)
    for k in range(EXPOSURE, N_SUMS):
        sums[k] += now[k] * (high - before)
    return sums


@inner
def _count_birth(b, layer, occ, S, P, sums, rng):
    if S.site[b, 24] == BOND:
        sums[ATTACH if held(S.site[b, 25], occ, S.bonds) == 0 else ATTACH_MORE] += 1
        return
    if S.site[b, 24] == CLUSTER:
        sums[ATTACH_MORE] += 1
        return
    over = P[HOP] * P[RHO] * S.missing[b] if layer == SINGLE and S.site[b, 24] == FREE else 0.0
    alike = P[APPEAR] * (1.0 - P[SHARE]) if S.site[b, 24] == FREE else P[APPEAR]
    if over > 0.0 and uniform(rng) * (over + alike) < over:
        sums[COUNT_IN] += 1
        return
    sums[APPEAR] += 1
    if S.site[b, 24] == FREE:
        sums[BEGUN_STILL if layer == STILL else BEGUN_SINGLE] += 1


@inner
def _count_death(a, occ, S, P, sums, rng):
    if S.site[a, 24] == BOND:
        sums[DETACH if held(S.site[a, 25], occ, S.bonds) <= 1 else DETACH_MORE] += 1
        return
    if S.site[a, 24] == CLUSTER:
        sums[DETACH_MORE] += 1
        return
    over = P[HOP] * S.missing[a] if occ[a] == SINGLE and S.site[a, 24] == FREE else 0.0
    if over > 0.0 and uniform(rng) * (over + P[VANISH]) < over:
        sums[COUNT_OUT] += 1
    else:
        sums[VANISH] += 1


@inner
def _count_change(a, b, layer, occ, S, sums):
    """A hop, or another layer on the same site."""
    if a == b:
        if layer == DOUBLE:
            sums[TO_DOUBLE] += 1
        else:
            sums[HALVE] += 1
            if S.site[a, 24] == FREE:
                sums[BEGUN_STILL if layer == STILL else BEGUN_SINGLE] += 1
    elif layer == DOUBLE:
        sums[HOP_TWO] += 1
    else:
        for j in range(6):
            if S.site[a, j] == b:
                way = S.site[a, 6 + j]
                if way == TURN and held(S.site[a, 25], occ, S.bonds) > 1:
                    way = TURN_MORE
                sums[way] += 1
                if way == HOP:
                    sums[AXIS_COUNT + S.site[a, 18 + j]] += 1


@inner
def draw_rates(sums, S, P, D, rng):
    """New rates and densities given a history's sums; `D.free` says which parameters are drawn.

    `D.shape`, `D.scale` (15,): Gamma priors, scale in s (a prior exposure). `D.density` (3, 2): Beta priors of the
    densities at the start, off centres, of double ones, at bonds. `D.mixing` (3,): prior probability that some are
    immobile, and Beta prior of their share.
    """
    shape, scale, free, density, mixing = D.shape, D.scale, D.free, D.density, D.mixing
    for k in range(N_RATES):
        if not free[k]:
            continue
        count, exposure = sums[k], sums[EXPOSURE + k]
        if k == HOP:
            count += sums[COUNT_OUT] + sums[COUNT_IN]
            exposure += sums[EXPOSURE_OUT] + P[RHO] * sums[EXPOSURE_IN]
        P[k] = max(gamma(rng, shape[k] + count) / (scale[k] + exposure), 1e-12)
    n_all = S.site.shape[0]
    n_free = 0
    for g in range(n_all):
        n_free += int(S.site[g, 24] == FREE)
    if free[RHO]:
        a = density[0, 0] + sums[START_FREE]
        b = density[0, 1] + n_free - sums[START_FREE]
        # the density outside the border is that at the start: comings are Poisson with hop rate x density x ways in
        expected = P[HOP] * sums[EXPOSURE_IN]
        proposal = beta(rng, a + sums[COUNT_IN], b + expected)
        now = P[RHO]
        ratio = expected * ((-proposal - math.log1p(-proposal)) - (-now - math.log1p(-now)))
        if math.log(uniform(rng)) < ratio:
            P[RHO] = proposal
    n_single = sums[START_FREE] + sums[START_BOUND]
    if free[RHO_TWO]:
        P[RHO_TWO] = beta(rng, density[1, 0] + sums[START_TWO], density[1, 1] + n_all - n_single - sums[START_TWO])
    if free[RHO_BOND]:
        empty = n_all - n_free - sums[START_BOUND]
        P[RHO_BOND] = beta(rng, density[2, 0] + sums[START_BOUND], density[2, 1] + max(empty, 0.0))
    if free[SHARE]:
        still, moving = sums[BEGUN_STILL], sums[BEGUN_SINGLE]
        a, b = mixing[1], mixing[2]
        odds = (
            mixing[0]
            / (1.0 - mixing[0])
            * math.exp(math.lgamma(b + moving) + math.lgamma(a + b) - math.lgamma(b) - math.lgamma(a + b + moving))
        )
        P[MIXED] = 1.0 if still > 0 or uniform(rng) * (1.0 + odds) < odds else 0.0
        P[SHARE] = beta(rng, a + still, b + moving) if P[MIXED] > 0 else 0.0
