"""What one vacancy does in a lattice without others, on the grid: the proposal's generator and its light (numba).

The generator is uniformised: R = 1 + (rates - potential) / omega, and one interval between frames is the sum over k of
Poisson(k; omega dt) R^k, so that jumps need no times before a path is drawn (Jensen, J. R. Stat. Soc. B 15, 87 (1953)).
What other vacancies change is put right by the acceptance of a path (`exact.py`).
"""

import math

import numpy as np

from stemdefects.analysis.kinetics.lattice import FREE, SCALE, SCALE_TWO, SHARE, SHIFT, SHIFT_BOND, TAU, TAU_BOND
from stemdefects.analysis.kinetics.sampler import inner, rows, tiny
from stemdefects.analysis.kinetics.sampler.potential import (
    HALVE,
    HOP_TWO,
    VANISH,
    birth_single,
    birth_still,
    death_single,
    potential,
)

# squared residual over its variance beyond which a reading says no more: a frame is scanned row by row, so a vacancy
# that hops across the beam's row (2% of the hops, 1 in 500 frames of each) is seen twice or not at all, and that is no
# birth. So many nats (half of it) are more than chance asks for (1 in 500 frames, anywhere among ten scatters: 7.5), so
# that one that appears in the last frame still counts, and fewer than a birth and a death cost (17 and more).
UNUSUAL = 20.0
TAIL = 1e-5  # probability of more jumps in an interval than are counted
# rows of the field: rates are over omega, "stay" is 1 - potential / omega
STAY, BORN, DIES, HALVES, POTENTIAL, COMES, COMES_TWO = 0, 3, 5, 7, 9, 12, 18
N_FIELDS = 24  # rows in all
N_AROUND = 19  # a place, its six neighbours and the twelve beyond
SMALLEST = 1e-36  # of a filtered probability: below, single precision gets slow


@tiny
def field(S, P, two):
    """The generator on the grid, `(N_FIELDS, G)`, and omega."""
    n = len(S.at)
    empty = np.zeros(n, np.int8)
    F = np.zeros((N_FIELDS, len(S.back)))
    omega = 1e-12
    for g in range(n):
        i = S.at[g]
        F[POTENTIAL, i], F[POTENTIAL + 1, i], F[POTENTIAL + 2, i] = potential(g, empty, S, P)
        for layer in range(3):
            omega = max(omega, F[POTENTIAL + layer, i])
    one = 1.0 / omega
    for g in range(n):
        i = S.at[g]
        for layer in range(3):
            F[STAY + layer, i] = 1.0 - F[POTENTIAL + layer, i] * one
        F[BORN, i], F[BORN + 1, i] = birth_single(g, empty, S, P) * one, birth_still(g, S, P) * one
        F[DIES, i], F[DIES + 1, i] = death_single(g, empty, S, P) * one, P[VANISH] * one
        share = P[SHARE] if S.site[g, 24] == FREE else 0.0
        F[HALVES, i], F[HALVES + 1, i] = P[HALVE] * (1.0 - share) * one, P[HALVE] * share * one
        for j in range(6):
            if S.site[g, j] >= 0:
                F[COMES + j, i] = P[S.site[g, 12 + j]] * one
                F[COMES_TWO + j, i] = P[HOP_TWO] * one if two else 0.0
    return F, omega


@tiny
def jumps(omega, times):
    """Poisson probabilities of 0, 1, ... jumps in each interval, `(T - 1, most + 1)`, and how many count in each."""
    n = len(times) - 1
    count = np.zeros(n, np.int64)
    for f in range(n):
        m = omega * (times[f + 1] - times[f])
        k, p, left = 0, math.exp(-min(m, 600.0)), 1.0
        left -= p
        while (left > TAIL or k < m) and k < 4 * m + 60:
            k += 1
            p *= m / k
            left -= p
        count[f] = max(k, 1)
    table = np.zeros((n, count.max() + 1 if n else 1))
    for f in range(n):
        m = omega * (times[f + 1] - times[f])
        for k in range(count[f] + 1):
            table[f, k] = math.exp(k * math.log(m) - m - math.lgamma(k + 1.0))
    return table, count


@inner
def cut(box, cols, F):
    """The field of a box, `(N_FIELDS, places of the box)`; 0 on the places around it. Single precision: twice as many
    places at a time, and what it rounds is far below what a Metropolis step could notice."""
    L = np.zeros((F.shape[0], (box[2] - box[0] + 2) * box[4]), np.float32)
    for k in range(F.shape[0]):
        for r in range(box[0], box[2]):
            at = (r - box[0] + 1) * box[4] + 1
            for c in range(box[3] - box[1]):
                L[k, at + c] = F[k, r * cols + box[1] + c]
    return L


@tiny
def product(to, x, y):
    for k in range(len(to)):
        to[k] = x[k] * y[k]


@tiny
def add(to, x, factor):
    part = np.float32(factor)
    for k in range(len(to)):
        to[k] += x[k] * part


@rows
def sum_of(x):
    total = 0.0
    for k in range(len(x)):
        total += x[k]
    return total


@rows
def rescale(to, x, factor):
    """Multiply; what is too small ever to be drawn becomes 0, before numbers become denormal and slow."""
    for k in range(len(x)):
        y = x[k] * factor
        to[k] = np.float32(y if y > SMALLEST else 0.0)


@tiny
def _spread(to, x, w0, w1, w2, w3, w4, w5, L, stay, come, a, b):
    """What stays and what comes from the six neighbours, in one pass; unsigned places are never negative."""
    for k in range(a, b):
        i = np.uint64(k)
        to[i] = (
            x[i] * L[stay, i]
            + x[np.uint64(k + w0)] * L[come, i]
            + x[np.uint64(k + w1)] * L[come + 1, i]
            + x[np.uint64(k + w2)] * L[come + 2, i]
            + x[np.uint64(k + w3)] * L[come + 3, i]
            + x[np.uint64(k + w4)] * L[come + 4, i]
            + x[np.uint64(k + w5)] * L[come + 5, i]
        )


@rows
def step(a, b, ways, src, dst, gone, L, to_double, two, still):
    """`dst = src R` at places a..b-1 of a box; vectors `(3, places)`, `L` the box's field. Returns what leaves.

    `gone`: of the absent, over the number of slots that could take a birth.
    """
    w0, w1, w2, w3, w4, w5 = ways[0], ways[1], ways[2], ways[3], ways[4], ways[5]
    one, to, gone, to_double = src[0], dst[0], np.float32(gone), np.float32(to_double)
    _spread(to, one, w0, w1, w2, w3, w4, w5, L, STAY, COMES, a, b)
    died = np.float32(0.0)
    for k in range(a, b):
        i = np.uint64(k)
        to[i] += gone * L[BORN, i]
        died += one[i] * L[DIES, i]
    if still:
        rest, rest_to = src[1], dst[1]
        for k in range(a, b):
            i = np.uint64(k)
            rest_to[i] = rest[i] * L[STAY + 1, i] + gone * L[BORN + 1, i]
            died += rest[i] * L[DIES + 1, i]
    if two:
        both, both_to = src[2], dst[2]
        _spread(both_to, both, w0, w1, w2, w3, w4, w5, L, STAY + 2, COMES_TWO, a, b)
        for k in range(a, b):
            i = np.uint64(k)
            both_to[i] += one[i] * to_double
            to[i] += both[i] * L[HALVES, i]
        if still:
            for k in range(a, b):
                i = np.uint64(k)
                both_to[i] += src[1, i] * to_double
                dst[1, i] += both[i] * L[HALVES + 1, i]
    return died


@inner
def around(S):
    """Steps on the grid to a place and the 18 within two hops of it."""
    cols = S.shape[1]
    out = np.zeros(N_AROUND, np.int64)
    n = 1
    for j in range(6):
        ahead = S.steps[j, 0] * cols + S.steps[j, 1]
        turned = S.steps[(j + 1) % 6, 0] * cols + S.steps[(j + 1) % 6, 1]
        out[n], out[n + 1], out[n + 2] = ahead, 2 * ahead, ahead + turned
        n += 3
    return out


@tiny
def misfit(r, weight):
    """Twice the negative log-likelihood of a residual with a weight (1/variance), bounded."""
    return min(r * r * weight, UNUSUAL)


@tiny
def light_of(two, P, level):
    """What one or two vacancies on a site add to its line."""
    return P[SCALE_TWO] * level[1] if two else P[SCALE] * level[0]


@tiny
def shift_of(g, S, P):
    """What a neighbouring vacancy adds to a site's line: beside centres not the same as elsewhere (measured)."""
    return P[SHIFT] if S.site[g, 24] == FREE else P[SHIFT_BOND]


@tiny
def spread_of(g, S, P):
    """Spread of the persistent offsets: beside centres up to twice that of other sites (measured)."""
    return P[TAU] if S.site[g, 24] == FREE else P[TAU_BOND]


@tiny
def _told(r, w, shift, one, both):
    """What a reading says of one and of two vacancies on its site, and of one and two on a neighbour, over none."""
    dim = misfit(r, w)
    return (
        dim - misfit(r - one, w),
        dim - misfit(r - both, w),
        dim - misfit(r - shift, w),
        dim - misfit(r - 2.0 * shift, w),
    )


@inner
def shine_at(sites, own, lit, dark, two, glow, S, P, level, seen, rest):
    """Likelihood of a vacancy, over that of none, at the first `own` of `sites` in frames lit..dark-1; all their
    neighbours are among `sites`. `seen` is 1/variance or 0: a site that was not seen says nothing, of itself and of its
    neighbours.

    What a site says of itself and of its neighbours is worked out once, not by each of them.
    """
    n = seen.shape[1]
    one, both = light_of(False, P, level), light_of(True, P, level)
    alone, alone_two = np.zeros(n), np.zeros(n)
    beside, beside_two = np.zeros(n + 1), np.zeros(n + 1)  # the last of no site
    for f in range(lit, dark):
        for g in sites:
            alone[g], alone_two[g], beside[g], beside_two[g] = _told(
                rest[f, g], seen[f, g], shift_of(g, S, P), one, both
            )
        for m in range(own):
            g = sites[m]
            single, double = alone[g], alone_two[g]
            for j in range(6):
                k = S.site[g, j]
                single += beside[k]  # -1: the last
                double += beside_two[k]
            glow[0, f, S.at[g]] = math.exp(0.5 * single)
            if two:
                glow[1, f, S.at[g]] = math.exp(0.5 * double)


@tiny
def _said(g, f, sign, gain, S, P, level, seen, rest):
    """Add to `gain` (2, n) what a site's reading says of one and two vacancies there and on its neighbours."""
    one, both = light_of(False, P, level), light_of(True, P, level)
    alone, alone_two, beside, beside_two = _told(rest[f, g], seen[f, g], shift_of(g, S, P), one, both)
    gain[0, g] += sign * alone
    gain[1, g] += sign * alone_two
    for j in range(6):
        y = S.site[g, j]
        if y >= 0:
            gain[0, y] += sign * beside
            gain[1, y] += sign * beside_two


@inner
def shade(f, i, layer, sign, two, reach, gain, glow, S, P, level, seen, rest):
    """Take a vacancy out of the expected light of a frame (sign +1) or put it in (-1); `glow` follows.

    Seven readings change, and with each what it says of its site and the six around: `glow` by as much. `gain` (2, n):
    room, 0 before and after.
    """
    g = S.back[i]
    for j in range(-1, 6):
        y = np.int64(g if j < 0 else S.site[g, j])
        if y < 0 or not seen[f, y] > 0:
            continue
        _said(y, f, -1.0, gain, S, P, level, seen, rest)
        light = light_of(layer == 3, P, level) if j < 0 else shift_of(y, S, P) * (2.0 if layer == 3 else 1.0)
        rest[f, y] += sign * light
        _said(y, f, 1.0, gain, S, P, level, seen, rest)
    for k in range(N_AROUND):
        y = S.back[i + reach[k]]
        if y >= 0:
            glow[0, f, i + reach[k]] *= math.exp(0.5 * gain[0, y])
            if two:
                glow[1, f, i + reach[k]] *= math.exp(0.5 * gain[1, y])
            gain[0, y] = gain[1, y] = 0.0
