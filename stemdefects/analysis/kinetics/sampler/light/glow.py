"""What the readings say of a vacancy on a site, over none, with all others as they are (numba)."""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import FREE, KNEE, SCALE, SCALE_TWO, SHIFT, SHIFT_BOND, TAU, TAU_BOND
from stemdefects.analysis.kinetics.sampler import inner, rows, tiny
from stemdefects.analysis.kinetics.sampler.board import Table
from stemdefects.analysis.kinetics.sampler.path.boxes import ways_in

# squared residual over its variance beyond which a reading says no more: a frame is scanned row by row, so a vacancy
# that hops across the beam's row (2% of the hops, 1 in 500 frames of each) is seen twice or not at all, and that is no
# birth. So many nats (half of it) are more than chance asks for (1 in 500 frames, anywhere among ten scatters: 7.5), so
# that one that appears in the last frame still counts, and fewer than a birth and a death cost (17 and more).
UNUSUAL = 20.0
NO_KNEE = 1e9  # scatters: normal throughout
MOST = 1000  # powers of two either way: no light is as strong
POWERS = np.ldexp(1.0, np.arange(-MOST, MOST + 1))
LOG2_E, LN_2 = 1.0 / math.log(2.0), math.log(2.0)
N_AROUND = 19  # a place, its six neighbours and the twelve beyond


class Light(NamedTuple):
    """Readings, with what the vacancies' expected light and the offsets leave of them."""

    S: Table
    P: np.ndarray
    level: np.ndarray  # (2,)
    seen: np.ndarray  # (T, n) 1/variance or 0: a site that was not seen says nothing, of itself and of its neighbours
    rest: np.ndarray  # (T, n) residuals
    offset: np.ndarray  # (n,)
    knee: float  # as `knee_of` says
    reach: np.ndarray  # (N_AROUND,) as `around` says
    gain: np.ndarray  # (2, n) room for `shade`, 0 before and after
    pulls: np.ndarray  # (n,) sum over frames of seen x (rest + offset): what offsets are drawn from
    precisions: np.ndarray  # (n,) sum over frames of seen, and the prior's
    two: bool  # two vacancies on a site are told from one
    linked: bool | np.bool_  # sites on neighbouring places of the grid are all neighbours


@inner
def light(S, P, level, view, offset, two):
    """The light of a `unknowns.View` as a sweep finds it."""
    seen, rest = view.seen, view.rest
    n_frames, n = seen.shape
    pulls, precisions = np.zeros(n), np.zeros(n)
    for g in range(n):
        precisions[g] = 1.0 / spread_of(g, S, P) ** 2
    for f in range(n_frames):
        for g in range(n):
            pulls[g] += seen[f, g] * (rest[f, g] + offset[g])
            precisions[g] += seen[f, g]
    reach, linked = around(S), True
    for g in range(n):
        for j in range(6):
            if S.site[g, j] < 0 and S.back[S.at[g] + S.steps[j, 0] * S.shape[1] + S.steps[j, 1]] >= 0:
                linked = False
    return Light(
        S, P, level, seen, rest, offset, knee_of(P, level), reach, np.zeros((2, n)), pulls, precisions, two, linked
    )


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
def exponential(x):
    """exp(x) as a few sums and a power of two from a table, which a loop does for several numbers at a time.

    The rest, ln(2)/2 at most, by its series to 1e-11: what is proposed by it is off by as much.
    """
    scaled = min(max(x * LOG2_E, -1.0 * MOST), 1.0 * MOST)
    whole = np.floor(scaled + 0.5)
    r = (scaled - whole) * LN_2
    s = 1.0 + r * (1.0 / 9.0)
    s = 1.0 + r * (1.0 / 8.0) * s
    s = 1.0 + r * (1.0 / 7.0) * s
    s = 1.0 + r * (1.0 / 6.0) * s
    s = 1.0 + r * (1.0 / 5.0) * s
    s = 1.0 + r * (1.0 / 4.0) * s
    s = 1.0 + r * (1.0 / 3.0) * s
    s = 1.0 + r * (1.0 / 2.0) * s
    return (1.0 + r * s) * POWERS[np.uint64(np.int32(whole) + MOST)]


@tiny
def knee_of(P, level):
    """From where on residuals are no longer normal, in scatters, with the sign of the side: that of vacancies.

    A column loses light in more ways than it gains some (rows that are shifted, a column that is off its place): full
    sites look like a vacancy for one frame more often than normal ones would. Beyond three scatters there are 1.3 to
    2.3 times as many in ten movies of an independent simulator, and no more than normal on the other side. Taken as
    normal they are a crowd of vacancies that hop and turn.
    """
    return math.copysign(P[KNEE] if P[KNEE] > 0.0 else NO_KNEE, level[0])


@tiny
def per_scatter(weight, knee):
    """What a residual is multiplied by to be in scatters, positive towards vacancies."""
    return math.copysign(math.sqrt(weight), knee)


@tiny
def unlikely(z, knee):
    """Twice the negative log-likelihood of a residual in scatters, positive towards vacancies: normal, beyond the knee
    exponential (Huber, Ann. Math. Stat. 35, 73 (1964), on one side), bounded."""
    within = min(z, abs(knee))
    return min(within * (2.0 * z - within), UNUSUAL)


@tiny
def misfit(r, weight, knee):
    """`unlikely` of a residual with a weight (1/variance)."""
    return unlikely(r * per_scatter(weight, knee), knee)


@tiny
def pull_of(r, weight, knee):
    """Weight times what of a residual pulls at its mean: the slope of the log-likelihood."""
    scale = per_scatter(weight, knee)
    z = r * scale
    return scale * min(z, abs(knee)) if unlikely(z, knee) < UNUSUAL else 0.0


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
def _told(r, scale, adds, knee):
    """What a reading says of one and of two vacancies on its site, and of one and two on a neighbour, over none. adds:
    (one, two, neighbour's shift), in the line's units as `r`; scale: as `per_scatter` says."""
    one, both, shift = adds
    dim = unlikely(r * scale, knee)
    return (
        dim - unlikely((r - one) * scale, knee),
        dim - unlikely((r - both) * scale, knee),
        dim - unlikely((r - shift) * scale, knee),
        dim - unlikely((r - 2.0 * shift) * scale, knee),
    )


@rows
def _tell(f, places, light, two, L, told):
    """Fill `told` (4, places) with what each reading of a frame says, as `_told`."""
    site, there, change = places
    one, both, shift = light
    seen, rest, knee = L.seen, L.rest, L.knee
    for k in range(len(site)):
        scale = per_scatter(seen[f, site[k]] * there[k], knee)
        r, aside = (rest[f, site[k]] + change[k]) * scale, shift[k] * scale
        dim = unlikely(r, knee)
        told[0, k] = dim - unlikely(r - one * scale, knee)
        told[1, k] = dim - unlikely(r - aside, knee)
        if two:
            told[2, k] = dim - unlikely(r - both * scale, knee)
            told[3, k] = dim - unlikely(r - 2.0 * aside, knee)


@rows
def _gather(own, beside, ways, there, wide, said):
    """Likelihoods of all places but the outermost rows, from what they and their six neighbours say."""
    w0, w1, w2, w3, w4, w5 = ways
    for k in range(wide + 1, len(said) - wide - 1):
        i = np.uint64(k)
        log = own[i] + beside[np.uint64(k + w0)] + beside[np.uint64(k + w1)] + beside[np.uint64(k + w2)]
        log += beside[np.uint64(k + w3)] + beside[np.uint64(k + w4)] + beside[np.uint64(k + w5)]
        said[i] = exponential(0.5 * log) * there[i]


@inner
def _gather_linked(own, beside, ways, site, there, S, said):
    """The same where sites on neighbouring places are not all neighbours (at a dislocation)."""
    for k in range(len(said)):
        if there[k] > 0.0:
            log = own[k]
            for j in range(6):
                if S.site[site[k], j] >= 0:
                    log += beside[k + ways[j]]
            said[k] = exponential(0.5 * log)


@inner
def shine_in(box, lit, dark, two, change, glow, L):
    """Likelihood of a vacancy, over that of none, in a box in frames lit..dark-1, into `glow`; 0 where no site is.

    `change` (n,): what the residuals are taken to be larger by. What a site says of itself and of its neighbours is
    worked out once, not by each of them, and on the grid, where a neighbour is the same step from every place.
    """
    S, cols, wide = L.S, L.S.shape[1], box[4]
    n_places = (box[2] - box[0] + 2) * wide
    site, there = np.zeros(n_places, np.int64), np.zeros(n_places)
    more, shift, ways = np.zeros(n_places), np.zeros(n_places), ways_in(box, S)
    told, said = np.zeros((4, n_places)), np.zeros(n_places)
    for r in range(box[0] - 1, box[2] + 1):
        for c in range(box[1] - 1, box[3] + 1):
            g, k = S.back[r * cols + c], (r - box[0] + 1) * wide + c - box[1] + 1
            if g >= 0:
                site[k], there[k], more[k], shift[k] = g, 1.0, change[g], shift_of(g, S, L.P)
    light = (light_of(False, L.P, L.level), light_of(True, L.P, L.level), shift)
    steps = (ways[0], ways[1], ways[2], ways[3], ways[4], ways[5])
    for f in range(lit, dark):
        _tell(f, (site, there, more), light, two, L, told)
        for layer in range(2 if two else 1):
            if L.linked:
                _gather(told[2 * layer], told[2 * layer + 1], steps, there, wide, said)
            else:
                _gather_linked(told[2 * layer], told[2 * layer + 1], ways, site, there, S, said)
            for r in range(box[0], box[2]):
                at = (r - box[0] + 1) * wide + 1
                for c in range(box[3] - box[1]):
                    glow[layer, f, r * cols + box[1] + c] = said[at + c]


@tiny
def _said(g, f, sign, L):
    """Add to `L.gain` what a site's reading says of one and two vacancies there and on its neighbours."""
    S, P, gain = L.S, L.P, L.gain
    adds = light_of(False, P, L.level), light_of(True, P, L.level), shift_of(g, S, P)
    alone, alone_two, beside, beside_two = _told(L.rest[f, g], per_scatter(L.seen[f, g], L.knee), adds, L.knee)
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
        more = light_of(layer == 3, P, L.level) if j < 0 else shift_of(y, S, P) * (2.0 if layer == 3 else 1.0)
        L.rest[f, y] += sign * more
        L.pulls[y] += sign * more * L.seen[f, y]
        _said(y, f, 1.0, L)
    for k in range(N_AROUND):
        y = S.back[i + reach[k]]
        if y >= 0:
            glow[0, f, i + reach[k]] *= exponential(0.5 * gain[0, y])
            if L.two:
                glow[1, f, i + reach[k]] *= exponential(0.5 * gain[1, y])
            gain[0, y] = gain[1, y] = 0.0
