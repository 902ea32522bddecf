"""Draw one slot's whole history in a window: forward filtering, backward sampling on its timeline (numba).

Uniformisation with virtual jumps (Rao & Teh, J. Mach. Learn. Res. 14, 3295 (2013)), carried over to a path whose
presence changes the rates of others: at each grid point the path stays with weight 1 - potential / omega or jumps with
rate / omega. Frames multiply by what the light says, others' events by what they say of this path. Exact in continuous
time: any number of hops per frame, any interval between frames.
"""

import math

from stemdefects.analysis.kinetics.sampler import inner
from stemdefects.analysis.kinetics.sampler.potential import (
    BOND,
    FREE,
    HALVE,
    HOP_TWO,
    SCALE,
    SHARE,
    SHIFT,
    SINGLE,
    TO_DOUBLE,
    TURN,
    TURN_MORE,
    VANISH,
    birth_single,
    birth_still,
    death_single,
    held,
    hop_rate,
    other_factor,
    potential,
    prior_odds,
)
from stemdefects.analysis.kinetics.sampler.window import (
    ENTRY,
    FRAME,
    OTHER,
    PINNED,
    _apply,
    others_at,
    starts,
)

NEVER = -1e300  # log of zero


@inner
def _shine(f, two, window, now, S, P, level, seen, rest):
    """Multiply by the likelihood of a vacancy on each site in a frame, less that of none; `seen` is 1/variance or 0.

    A site that was not seen says nothing, of itself and of its neighbours.
    """
    one, both, shift = P[SCALE] * level[0], P[SCALE] * level[1], P[SHIFT]
    for y in range(len(window)):
        if now[0, y] + now[1, y] + now[2, y] <= 0.0:
            continue
        g = window[y]
        pull, weight = 0.0, 0.0
        for j in range(6):
            k = S.site[g, j]
            if k >= 0:
                pull += rest[f, k] * seen[f, k]
                weight += seen[f, k]
        here, w = rest[f, g], seen[f, g]
        value = (here - 0.5 * one) * one * w + (pull - 0.5 * shift * weight) * shift
        factor = math.exp(min(value, 300.0))
        now[0, y] *= factor
        now[1, y] *= factor
        if two:
            value = (here - 0.5 * both) * both * w + (pull - shift * weight) * 2.0 * shift
            now[2, y] *= math.exp(min(value, 300.0))


@inner
def _rescale(now, width):
    total = 0.0
    for k in range(3):
        for y in range(width + 1):
            total += now[k, y]
    if total > 0.0:
        for k in range(3):
            for y in range(width + 1):
                now[k, y] /= total
        return math.log(total)
    return NEVER


@inner
def _tabulate(y, window, vs, ways, W, S, P):
    """Potentials, rates of appearing and leaving, and of hops onto a site of the window that is empty."""
    g = window[y]
    vs[0, y], vs[1, y], vs[2, y] = potential(g, W.occ, S, P)
    vs[3, y], vs[4, y] = birth_single(g, W.occ, S, P), birth_still(g, S, P)
    vs[5, y] = death_single(g, W.occ, S, P)
    crowded = S.site[g, 24] == BOND and held(S.site[g, 25], W.occ, S.bonds) > 0
    for j in range(6):
        if S.site[g, j] >= 0:
            way = S.site[g, 12 + j]
            ways[y, j] = P[TURN_MORE] if crowded and way == TURN else P[way]


@inner
def _refresh(site, window, vs, ways, W, S, P):
    """The same at a site and those next to it, after its occupation changed."""
    if site < 0 or W.cell[site, 0] == -1:
        return
    for j in range(-1, 6):
        g = site if j < 0 else S.site[site, j]
        if g >= 0 and W.cell[g, 0] >= 0 and W.occ[g] == 0:
            _tabulate(W.cell[g, 0], window, vs, ways, W, S, P)


@inner
def forward(slot, skip, low, first, n_items, n_slots, omega, two, window, bufs, H, W, S, P, level, seen, rest):
    """Filter along a timeline from `low`; `first`: (site, layer), site -1 absent, or -2 for the prior of the start.

    `now` (3, width + 1) ends as the filtered probabilities (absent at [0, width]); returns the log of the total weight.
    """
    now, nxt, vs, near, ways = bufs
    width = len(window)
    absent_at = width
    _, _, n_absent = others_at(low, slot, skip, n_slots, H, W)
    now[:, :] = 0.0
    for y in range(width):
        if W.occ[window[y]] == 0:
            _tabulate(y, window, vs, ways, W, S, P)
    if first[0] == -2:
        now[0, absent_at] = 1.0
        for y in range(width):
            g = window[y]
            if W.occ[g] == 0:
                for layer in range(1, 4 if two else 3):
                    now[layer - 1, y] = prior_odds(g, layer, S, P) / (n_absent + 1.0)
    elif first[0] == -1:
        now[0, absent_at] = 1.0
    else:
        now[first[1] - 1, W.cell[first[0], 0]] = 1.0
    total, n_grid = 0.0, 0
    for i in range(n_items):
        kind, ref = W.item[i, 0], W.item[i, 1]
        if kind == FRAME:
            _shine(ref, two, window, now, S, P, level, seen, rest)
            total += _rescale(now, width)
        elif kind == OTHER:
            a, b = W.ev[ref, 0], W.ev[ref, 1]
            for k in range(-1, 3):  # only bonds of one centre feel each other's events
                end = a if a >= 0 and W.cell[a, 0] != -1 and S.site[a, 25] >= 0 else b
                if end < 0 or W.cell[end, 0] == -1 or S.site[end, 25] < 0:
                    break
                g = end if k < 0 else S.bonds[S.site[end, 25], k]
                if k < 0 or W.cell[g, 0] < 0 or g == b or W.occ[g] > 0:
                    continue
                factor = other_factor(g, a, b, W.item[i, 2], W.occ, S, P)
                for layer in range(3):
                    now[layer, W.cell[g, 0]] *= factor
            if starts(ref, W) and W.ev[ref, 3] >= 0:
                m = W.item[i, 3]
                if m <= 0:  # the slot itself must have been busy: only this one was absent
                    now[:, :width] = 0.0
                    return NEVER
                for layer in range(3):
                    for y in range(width):
                        now[layer, y] *= (m + 1.0) / m
            if b >= 0 and W.cell[b, 0] >= 0:
                now[0, W.cell[b, 0]] = now[1, W.cell[b, 0]] = now[2, W.cell[b, 0]] = 0.0
            _apply(ref, False, W)
            _refresh(a, window, vs, ways, W, S, P)
            _refresh(b, window, vs, ways, W, S, P)
        else:
            for k in range(3):
                for y in range(width + 1):
                    W.alpha[n_grid, k, y] = now[k, y]
            n_grid += 1
            if kind == PINNED:
                _cross(ref, now, nxt, width, W, S, P)
                _apply(ref, True, W)
                _refresh(W.ev[ref, 0], window, vs, ways, W, S, P)
                _refresh(W.ev[ref, 1], window, vs, ways, W, S, P)
            else:
                _step(W.item[i, 3], omega, two, window, now, nxt, vs, near, ways, W, S, P)
            for k in range(3):
                for y in range(width + 1):
                    now[k, y] = nxt[k, y]
            if kind == PINNED or n_grid % 16 == 0:
                total += _rescale(now, width)
        if total <= NEVER:
            return NEVER
    return total


@inner
def _cross(ref, now, nxt, width, W, S, P):
    """The slot's vacancy comes in from, or goes to, a given site outside."""
    nxt[:, :] = 0.0
    a, b, layer = W.ev[ref, 0], W.ev[ref, 1], W.ev[ref, 2]
    if W.ev[ref, 4] == ENTRY:
        W.occ[a] = 0
        for j in range(6):
            g = S.site[a, j]
            if g >= 0 and W.cell[g, 0] >= 0 and W.occ[g] == 0:
                rate = hop_rate(S.site[a, 6 + j], a, W.occ, S, P) if layer == SINGLE else P[HOP_TWO]
                nxt[layer - 1, W.cell[g, 0]] = now[0, width] * rate
        W.occ[a] = layer
        return
    for j in range(6):
        g = S.site[b, j]
        if g >= 0 and W.cell[g, 0] >= 0 and W.occ[g] == 0:
            rate = hop_rate(S.site[b, 12 + j], b, W.occ, S, P) if layer == SINGLE else P[HOP_TWO]
            nxt[0, width] += now[layer - 1, W.cell[g, 0]] * rate


@inner
def _step(n_absent, omega, two, window, now, nxt, vs, near, ways, W, S, P):
    """One grid point: stay, jump, appear or leave."""
    width = len(window)
    one = 1.0 / omega
    gone = now[0, width]
    born = gone * one / (n_absent + 1.0)
    share, vanish, double_rate, halve, hop_two = P[SHARE], P[VANISH], P[TO_DOUBLE], P[HALVE], P[HOP_TWO]
    for y in range(width):
        g = window[y]
        if W.occ[g] > 0:
            nxt[0, y] = nxt[1, y] = nxt[2, y] = 0.0
            continue
        come, double = 0.0, 0.0
        for j in range(6):
            k = near[y, j]
            if k >= 0:
                come += now[0, k] * ways[y, j]
                double += now[2, k]
        single = now[0, y] * (1.0 - vs[0, y] * one) + come * one + born * vs[3, y]
        still = now[1, y] * (1.0 - vs[1, y] * one) + born * vs[4, y]
        gone += (now[0, y] * vs[5, y] + now[1, y] * vanish) * one
        if two:
            double = double * hop_two * one + now[2, y] * (1.0 - vs[2, y] * one)
            double += (now[0, y] + now[1, y]) * one * double_rate
            back = now[2, y] * one * halve
            if S.site[g, 24] == FREE:
                single += back * (1.0 - share)
                still += back * share
            else:
                single += back
        nxt[0, y], nxt[1, y], nxt[2, y] = single, still, double if two else 0.0
    nxt[0, width] = gone
    nxt[1, width] = nxt[2, width] = 0.0
