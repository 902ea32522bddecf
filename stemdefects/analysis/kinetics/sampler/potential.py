"""Rates of one vacancy among given others, and what its presence changes in theirs (numba).

A history's density is the product of the rates of its events times exp(-integral of the sum of all open rates). All
here is that sum's change when one more vacancy sits on a site, so that exclusion, blocked hops and the centres' states
that others feel are counted exactly. Layers of a site: SINGLE moves, STILL is immobile, DOUBLE are two on the site.
"""

from stemdefects.analysis.kinetics.lattice import BOND, CLUSTER, DOUBLE, FREE, RHO, RHO_BOND, RHO_TWO, SHARE, SINGLE
from stemdefects.analysis.kinetics.sampler import inner

# `lattice.Rate` as plain numbers, which compiled code takes
HOP, TURN, TURN_MORE, ATTACH, ATTACH_MORE, DETACH, DETACH_MORE = 0, 3, 4, 6, 7, 8, 9
APPEAR, VANISH, TO_DOUBLE, HALVE, HOP_TWO = 10, 11, 12, 13, 14  # the same


@inner
def held(centre, occ, bonds):
    """Occupied bonds of a centre."""
    return (occ[bonds[centre, 0]] > 0) + (occ[bonds[centre, 1]] > 0) + (occ[bonds[centre, 2]] > 0)


@inner
def birth_single(x, occ, S, P):
    """Rate of a mobile vacancy's appearance on an empty site, by all ways."""
    if S.site[x, 24] == BOND:
        return P[ATTACH_MORE] if held(S.site[x, 25], occ, S.bonds) > 0 else P[ATTACH]
    if S.site[x, 24] == FREE:
        return P[APPEAR] * (1.0 - P[SHARE]) + P[HOP] * P[RHO] * S.missing[x]
    return P[ATTACH_MORE]  # of centres that touch, or that the border cuts


@inner
def birth_still(x, S, P):
    """The same of an immobile one."""
    return P[APPEAR] * P[SHARE] if S.site[x, 24] == FREE else 0.0


@inner
def death_single(x, occ, S, P):
    """Rate at which a mobile vacancy on `x` leaves for good; it is not in `occ`."""
    if S.site[x, 24] == BOND:
        return P[DETACH_MORE] if held(S.site[x, 25], occ, S.bonds) > 0 else P[DETACH]
    if S.site[x, 24] == CLUSTER:
        return P[DETACH_MORE]
    return P[VANISH] + P[HOP] * S.missing[x]


@inner
def prior_odds(x, layer, S, P):
    """Probability of a layer at the start over that of an empty site."""
    two = P[RHO_TWO] / (1.0 - P[RHO_TWO])
    if layer == DOUBLE:
        return two
    if S.site[x, 24] != FREE:
        return P[RHO_BOND] / ((1.0 - P[RHO_BOND]) * (1.0 - P[RHO_TWO])) if layer == SINGLE else 0.0
    one = P[RHO] / ((1.0 - P[RHO]) * (1.0 - P[RHO_TWO]))
    return one * (1.0 - P[SHARE]) if layer == SINGLE else one * P[SHARE]


@inner
def potential(x, occ, S, P):
    """What a vacancy on `x` (empty in `occ`) adds to the sum of all open rates, for each layer."""
    single, double, shared = P[TO_DOUBLE], P[HALVE], 0.0
    kind = S.site[x, 24]
    n_held = held(S.site[x, 25], occ, S.bonds) if kind == BOND else 0
    for j in range(6):
        y = S.site[x, j]
        if y < 0:
            continue
        if occ[y] == 0:
            way = S.site[x, 6 + j]
            single += P[TURN_MORE] if way == TURN and n_held > 0 else P[way]
            double += P[HOP_TWO]
        elif occ[y] == SINGLE:  # its hop onto x is closed
            way = S.site[x, 12 + j]
            shared -= P[TURN_MORE] if way == TURN and n_held > 1 else P[way]
        elif occ[y] == DOUBLE:
            shared -= P[HOP_TWO]
    if kind == BOND:
        c = S.site[x, 25]
        single += P[DETACH_MORE] if n_held > 0 else P[DETACH]
        shared -= P[ATTACH_MORE] if n_held > 0 else P[ATTACH]
        n_open = 2 - n_held
        if n_held == 0:
            shared += n_open * (P[ATTACH_MORE] - P[ATTACH])
        elif n_held == 1:  # the one that is there is no longer alone
            for k in range(3):
                if occ[S.bonds[c, k]] == SINGLE:
                    shared += n_open * (P[TURN_MORE] - P[TURN]) + P[DETACH_MORE] - P[DETACH]
    else:
        single += death_single(x, occ, S, P)
        shared -= birth_single(x, occ, S, P) + birth_still(x, S, P)
    return single + shared, P[VANISH] + P[TO_DOUBLE] + shared, double + shared


@inner
def other_factor(x, a, b, before, occ, S, P):
    """Factor on the rate of another vacancy's event (`a` -> `b`, -1: nowhere) when one more sits on the bond `x`.

    `occ` is that before the event, without the one on `x`; `before` the mover's layer.
    """
    c = S.site[x, 25]
    if b >= 0 and a < 0 and S.site[b, 24] == BOND and S.site[b, 25] == c:
        return P[ATTACH_MORE] / P[ATTACH] if held(c, occ, S.bonds) == 0 else 1.0
    if a < 0 or S.site[a, 24] != BOND or S.site[a, 25] != c or before != SINGLE:
        return 1.0
    if b < 0:
        return P[DETACH_MORE] / P[DETACH] if held(c, occ, S.bonds) == 1 else 1.0
    if b != a and S.site[b, 24] == BOND and S.site[b, 25] == c:
        return P[TURN_MORE] / P[TURN] if held(c, occ, S.bonds) == 1 else 1.0
    return 1.0
