"""What the readings say of a vacancy on a site, over none, with all others as they are (numba)."""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import FREE, SCALE, SCALE_TWO, SHIFT, SHIFT_BOND, TAU, TAU_BOND
from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.board import Table

# squared residual over its variance beyond which a reading says no more: a frame is scanned row by row, so a vacancy
# that hops across the beam's row (2% of the hops, 1 in 500 frames of each) is seen twice or not at all, and that is no
# birth. So many nats (half of it) are more than chance asks for (1 in 500 frames, anywhere among ten scatters: 7.5), so
# that one that appears in the last frame still counts, and fewer than a birth and a death cost (17 and more).
UNUSUAL = 20.0
N_AROUND = 19  # a place, its six neighbours and the twelve beyond


class Light(NamedTuple):
    """Readings, with what the vacancies' expected light and the offsets leave of them."""

    S: Table
    P: np.ndarray
    level: np.ndarray  # (2,)
    seen: np.ndarray  # (T, n) 1/variance or 0: a site that was not seen says nothing, of itself and of its neighbours
    rest: np.ndarray  # (T, n) residuals
    offset: np.ndarray  # (n,)
    reach: np.ndarray  # (N_AROUND,) as `around` says
    gain: np.ndarray  # (2, n) room for `shade`, 0 before and after
    two: bool  # two vacancies on a site are told from one


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
def shine_at(sites, own, lit, dark, two, glow, L):
    """Likelihood of a vacancy, over that of none, at the first `own` of `sites` in frames lit..dark-1, into `glow`; all
    their neighbours are among `sites`.

    What a site says of itself and of its neighbours is worked out once, not by each of them.
    """
    S, P, seen, rest = L.S, L.P, L.seen, L.rest
    n = seen.shape[1]
    one, both = light_of(False, P, L.level), light_of(True, P, L.level)
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
def _said(g, f, sign, L):
    """Add to `L.gain` what a site's reading says of one and two vacancies there and on its neighbours."""
    S, P, gain = L.S, L.P, L.gain
    one, both = light_of(False, P, L.level), light_of(True, P, L.level)
    alone, alone_two, beside, beside_two = _told(L.rest[f, g], L.seen[f, g], shift_of(g, S, P), one, both)
    gain[0, g] += sign * alone
    gain[1, g] += sign * alone_two
    for j in range(6):
        y = S.site[g, j]
        if y >= 0:
            gain[0, y] += sign * beside
            gain[1, y] += sign * beside_two


@inner
def shade(f, i, layer, sign, glow, L):
    """Take a vacancy at place `i` out of the expected light of a frame (sign +1) or put it in (-1); `glow` follows.

    Seven readings change, and with each what it says of its site and the six around: `glow` by as much.
    """
    S, P, reach, gain = L.S, L.P, L.reach, L.gain
    g = S.back[i]
    for j in range(-1, 6):
        y = np.int64(g if j < 0 else S.site[g, j])
        if y < 0 or not L.seen[f, y] > 0:
            continue
        _said(y, f, -1.0, L)
        light = light_of(layer == 3, P, L.level) if j < 0 else shift_of(y, S, P) * (2.0 if layer == 3 else 1.0)
        L.rest[f, y] += sign * light
        _said(y, f, 1.0, L)
    for k in range(N_AROUND):
        y = S.back[i + reach[k]]
        if y >= 0:
            glow[0, f, i + reach[k]] *= math.exp(0.5 * gain[0, y])
            if L.two:
                glow[1, f, i + reach[k]] *= math.exp(0.5 * gain[1, y])
            gain[0, y] = gain[1, y] = 0.0
