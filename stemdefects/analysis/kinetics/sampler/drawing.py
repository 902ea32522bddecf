"""Draw a path back through a filtered timeline (numba)."""

import numpy as np

from stemdefects.analysis.kinetics.sampler import inner
from stemdefects.analysis.kinetics.sampler.draws import uniform
from stemdefects.analysis.kinetics.sampler.potential import (
    DOUBLE_,
    FREE,
    HALVE,
    HOP_TWO,
    SHARE,
    SINGLE,
    STILL,
    TO_DOUBLE,
    VANISH,
    birth_single,
    birth_still,
    death_single,
    hop_rate,
    potential,
)
from stemdefects.analysis.kinetics.sampler.window import ENTRY, FRAME, GRID, OTHER, PINNED


@inner
def draw_end(now, width, rng):
    """State `(site number in the window or width, layer)` from filtered probabilities that sum to anything."""
    total = 0.0
    for k in range(3):
        for y in range(width + 1):
            total += now[k, y]
    u = uniform(rng) * total
    for k in range(3):
        for y in range(width + 1):
            u -= now[k, y]
            if u < 0.0 and now[k, y] > 0.0:
                return y, k + 1
    return width, 1


@inner
def backward(y, layer, n_items, omega, two, window, vs, W, S, P, rng):
    """Draw the path back from its last state; events go to `new`, latest first. Returns their number, state before."""
    width = len(window)
    n_new, n_grid = 0, 0
    for i in range(n_items):
        n_grid += int(W.item[i, 0] == GRID or W.item[i, 0] == PINNED)
    weights = np.zeros(width + 8)
    for i in range(n_items - 1, -1, -1):
        kind, ref = W.item[i, 0], W.item[i, 1]
        if kind == FRAME:
            continue
        if kind == OTHER:
            a, b = W.ev[ref, 0], W.ev[ref, 1]
            if b >= 0 and W.cell[b, 0] != -1:
                W.occ[b] = 0
            if a >= 0 and W.cell[a, 0] != -1:
                W.occ[a] = W.item[i, 2]
            continue
        n_grid -= 1
        alpha = W.alpha[n_grid]
        if kind == PINNED:
            a, b = W.ev[ref, 0], W.ev[ref, 1]
            if W.ev[ref, 4] == ENTRY:
                _note(n_new, W.at[i], a, window[y], layer, ref, W)
                y, layer = width, 1
                W.occ[a] = W.ev[ref, 2]
            else:
                W.occ[b] = 0
                layer = W.ev[ref, 2]
                total = 0.0
                for j in range(6):
                    g = S.site[b, j]
                    weights[j] = 0.0
                    if g >= 0 and W.cell[g, 0] >= 0 and W.occ[g] == 0:
                        rate = hop_rate(S.site[b, 12 + j], b, W.occ, S, P) if layer == SINGLE else P[HOP_TWO]
                        weights[j] = alpha[layer - 1, W.cell[g, 0]] * rate
                        total += weights[j]
                j = _choose(weights, 6, total, rng)
                _note(n_new, W.at[i], S.site[b, j], b, layer, ref, W)
                y = W.cell[S.site[b, j], 0]
            n_new += 1
            continue
        y2, layer2 = _before(y, layer, W.item[i, 3], alpha, weights, omega, window, W, S, P, rng)
        if y2 != y or layer2 != layer:
            a, b = window[y2] if y2 < width else -1, window[y] if y < width else -1
            _note(n_new, W.at[i], a, b, layer if y < width else layer2, -1, W)
            n_new += 1
        y, layer = y2, layer2
    return n_new, y, layer


@inner
def _note(k, time, a, b, layer, pinned, W):
    W.new_time[k] = time
    W.new[k, 0], W.new[k, 1], W.new[k, 2], W.new[k, 3] = a, b, layer, pinned


@inner
def _choose(weights, n, total, rng):
    u = uniform(rng) * total
    last = 0
    for k in range(n):
        if weights[k] > 0.0:
            last = k
            u -= weights[k]
            if u < 0.0:
                return k
    return last


@inner
def _before(y, layer, n_absent, alpha, weights, omega, window, W, S, P, rng):
    """State before a grid point, given that after it."""
    width = len(window)
    one = 1.0 / omega
    if y == width:  # gone: from anywhere, or absent before
        total = 0.0
        for x in range(width):
            weights[x] = 0.0
            if W.occ[window[x]] == 0:
                weights[x] = alpha[0, x] * one * death_single(window[x], W.occ, S, P) + alpha[1, x] * one * P[VANISH]
                total += weights[x]
        weights[width] = alpha[0, width]
        x = _choose(weights, width + 1, total + weights[width], rng)
        if x == width:
            return width, 1
        moving = alpha[0, x] * one * death_single(window[x], W.occ, S, P)
        return x, (SINGLE if uniform(rng) * weights[x] < moving else STILL)
    g, n_ways = window[y], 6
    born = alpha[0, width] * one / (n_absent + 1.0)
    v = potential(g, W.occ, S, P)
    for k in range(n_ways + 4):
        weights[k] = 0.0
    mine = alpha[layer - 1, y] * (1.0 - v[layer - 1] * one)
    if layer == SINGLE:
        for j in range(n_ways):
            x = S.site[g, j]
            if x >= 0 and W.cell[x, 0] >= 0 and W.occ[x] == 0:
                weights[j] = alpha[0, W.cell[x, 0]] * one * hop_rate(S.site[g, 12 + j], g, W.occ, S, P)
        weights[n_ways + 1] = born * birth_single(g, W.occ, S, P)
        weights[n_ways + 2] = alpha[2, y] * one * P[HALVE] * (1.0 - P[SHARE] if S.site[g, 24] == FREE else 1.0)
    elif layer == STILL:
        weights[n_ways + 1] = born * birth_still(g, S, P)
        weights[n_ways + 2] = alpha[2, y] * one * P[HALVE] * P[SHARE]
    else:
        for j in range(n_ways):
            x = S.site[g, j]
            if x >= 0 and W.cell[x, 0] >= 0 and W.occ[x] == 0:
                weights[j] = alpha[2, W.cell[x, 0]] * one * P[HOP_TWO]
        weights[n_ways + 2] = alpha[0, y] * one * P[TO_DOUBLE]
        weights[n_ways + 3] = alpha[1, y] * one * P[TO_DOUBLE]
    weights[n_ways] = mine
    total = 0.0
    for k in range(n_ways + 4):
        total += weights[k]
    k = _choose(weights, n_ways + 4, total, rng)
    if k < n_ways:
        return W.cell[S.site[g, k], 0], layer
    if k == n_ways:
        return y, layer
    if k == n_ways + 1:
        return width, 1
    if layer == DOUBLE_:
        return y, (SINGLE if k == n_ways + 2 else STILL)
    return y, DOUBLE_
