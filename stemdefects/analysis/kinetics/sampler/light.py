"""The light's own unknowns given a history: offsets of sites, levels, neighbours' shift, noise (numba).

A vacancy that stays and an offset of its site look alike: drawn one given the other, a chain would keep what it began
with. Where nothing happens on a site for the whole movie, its layer and its offset are also drawn together.
"""

import math

import numpy as np

from stemdefects.analysis.kinetics.sampler import inner
from stemdefects.analysis.kinetics.sampler.draws import below, bounded_normal, gamma, normal, uniform
from stemdefects.analysis.kinetics.sampler.potential import (
    DOUBLE_,
    NOISE,
    SCALE,
    SHIFT,
    TAU,
    other_factor,
    potential,
    prior_odds,
)


@inner
def snapshots(H, times, shown):
    """Layer of every site in every frame, into `shown` (T, n)."""
    occ, e = H.start.copy(), 0
    for f in range(len(times)):
        while e < H.n[0] and H.time[e] < times[f]:
            if H.ev[e, 0] >= 0:
                occ[H.ev[e, 0]] = 0
            if H.ev[e, 1] >= 0:
                occ[H.ev[e, 1]] = H.ev[e, 2]
            e += 1
        for g in range(len(occ)):
            shown[f, g] = occ[g]


@inner
def residuals(shown, S, P, level, line, weight, offset, rest):
    """What the expected light leaves of the line, into `rest`; 0 where `weight` (1/scatter^2) is 0: not seen."""
    n_frames, n = shown.shape
    for f in range(n_frames):
        for g in range(n):
            rest[f, g] = line[f, g] - offset[g] if weight[f, g] > 0 else 0.0
        for g in range(n):
            layer = shown[f, g]
            if layer == 0:
                continue
            two = layer == DOUBLE_
            if weight[f, g] > 0:
                rest[f, g] -= P[SCALE] * level[1 if two else 0]
            for j in range(6):
                y = S.site[g, j]
                if y >= 0 and weight[f, y] > 0:
                    rest[f, y] -= P[SHIFT] * (2.0 if two else 1.0)


@inner
def draw_light(shown, S, P, level, bounds, line, weight, offset, rest, seen, free, prior, rng):
    """New offsets, their spread, scale, shift and noise; `rest` and `seen` (1/variance) follow.

    `prior` (4,): spread of the shift (line units), typical tau, shape and rate of the inverse noise variance (about 1).
    """
    n_frames, n = shown.shape
    near = np.zeros((n_frames, n))
    for f in range(n_frames):
        for g in range(n):
            if shown[f, g] > 0:
                for j in range(6):
                    y = S.site[g, j]
                    if y >= 0 and weight[f, y] > 0:
                        near[f, y] += 2.0 if shown[f, g] == DOUBLE_ else 1.0
    n_seen, squares = 0, 0.0
    xx, xy, zz, zy = 0.0, 0.0, 0.0, 0.0
    for f in range(n_frames):
        for g in range(n):
            w = weight[f, g]
            if w == 0.0:
                continue
            n_seen += 1
            r = rest[f, g]
            squares += w * r * r
            if shown[f, g] > 0:
                lv = level[1 if shown[f, g] == DOUBLE_ else 0]
                xx += w * lv * lv
                xy += w * lv * r
    if free[NOISE]:
        P[NOISE] = math.sqrt((prior[3] + 0.5 * squares) / gamma(rng, prior[2] + 0.5 * n_seen))
    per = 1.0 / P[NOISE] ** 2
    if free[SCALE]:
        old = P[SCALE]
        if xx * per > 1e-9:
            mean, sd = old + xy / xx, 1.0 / math.sqrt(xx * per)
            P[SCALE] = bounded_normal(rng, mean, sd, bounds[0], bounds[1])
        else:
            P[SCALE] = bounded_normal(rng, 0.5 * (bounds[0] + bounds[1]), 1e3, bounds[0], bounds[1])
        for f in range(n_frames):
            for g in range(n):
                if shown[f, g] > 0 and weight[f, g] > 0:
                    rest[f, g] -= (P[SCALE] - old) * level[1 if shown[f, g] == DOUBLE_ else 0]
    if free[SHIFT]:
        for f in range(n_frames):
            for g in range(n):
                if near[f, g] > 0:
                    zz += weight[f, g] * near[f, g] ** 2
                    zy += weight[f, g] * near[f, g] * (rest[f, g] + P[SHIFT] * near[f, g])
        precision = zz * per + 1.0 / prior[0] ** 2
        new = zy * per / precision + normal(rng) / math.sqrt(precision)
        for f in range(n_frames):
            for g in range(n):
                if near[f, g] > 0:
                    rest[f, g] -= (new - P[SHIFT]) * near[f, g]
        P[SHIFT] = new
    spread, n_sites = 0.0, 0
    sums, counts = np.zeros(n), np.zeros(n)
    for f in range(n_frames):
        for g in range(n):
            if weight[f, g] > 0:
                sums[g] += weight[f, g] * per * (rest[f, g] + offset[g])
                counts[g] += weight[f, g] * per
    for g in range(n):
        precision = counts[g] + 1.0 / P[TAU] ** 2
        sums[g] = sums[g] / precision + normal(rng) / math.sqrt(precision) - offset[g]
        offset[g] += sums[g]
        spread += offset[g] ** 2
        n_sites += 1
    if free[TAU]:  # inverse gamma of shape 2 whose mean is the typical variance
        P[TAU] = math.sqrt((prior[1] ** 2 + 0.5 * spread) / gamma(rng, 2.0 + 0.5 * n_sites))
    for f in range(n_frames):
        for g in range(n):
            if weight[f, g] > 0:
                rest[f, g] -= sums[g]
                seen[f, g] = weight[f, g] * per


@inner
def _beside(a, g, S):
    """Whether a site is a neighbour of `g`."""
    for j in range(6):
        if S.site[g, j] == a and a >= 0:
            return True
    return False


@inner
def _path(g, H, S, P, low, high, occ, log_weight):
    """Log prior of each layer on `g` throughout, over that of an empty site, into `log_weight` (4,); False where
    something happens on the site. `occ` is scratch.
    """
    log_weight[:] = 0.0
    for j in range(6):
        if S.site[g, j] >= 0:
            occ[S.site[g, j]] = H.start[S.site[g, j]]
    occ[g] = 0
    single, still, double = potential(g, occ, S, P)
    before, factor = low, 0.0
    for e in range(H.n[0]):
        a, b = H.ev[e, 0], H.ev[e, 1]
        if a == g or b == g:
            return False
        if not (_beside(a, g, S) or _beside(b, g, S)):
            continue
        span = H.time[e] - before
        log_weight[1] -= single * span
        log_weight[2] -= still * span
        log_weight[3] -= double * span
        before = H.time[e]
        if S.site[g, 25] >= 0:  # only bonds of one centre feel each other's events
            factor += math.log(other_factor(g, a, b, occ[a] if _beside(a, g, S) else 0, occ, S, P))
        if _beside(a, g, S):
            occ[a] = 0
        if _beside(b, g, S):
            occ[b] = H.ev[e, 2]
        single, still, double = potential(g, occ, S, P)
    log_weight[1] -= single * (high - before)
    log_weight[2] -= still * (high - before)
    log_weight[3] -= double * (high - before)
    for layer in range(1, 4):
        odds = prior_odds(g, layer, S, P)
        log_weight[layer] += factor + math.log(odds) if odds > 0.0 else -np.inf
    return True


@inner
def draw_standing(n_tries, two, H, S, P, level, times, offset, rest, seen, rng):
    """Draw layer and offset of sites chosen at random, where nothing happens on them; `rest` follows."""
    n_frames, n = rest.shape
    occ, weight, light = np.zeros(n, np.int8), np.zeros(4), np.zeros(4)
    light[1] = light[2] = P[SCALE] * level[0]
    light[3] = P[SCALE] * level[1]
    for _ in range(n_tries):
        g = below(rng, n)
        if not _path(g, H, S, P, times[0], times[-1], occ, weight):
            continue
        was = H.start[g]
        left, precision, pull, per = 0.0, 1.0 / P[TAU] ** 2, 0.0, 0.0
        beside = P[SHIFT] * (0.0 if was == 0 else (2.0 if was == DOUBLE_ else 1.0))
        for f in range(n_frames):
            left += seen[f, g] * (rest[f, g] + offset[g] + light[was])
            precision += seen[f, g]
            for j in range(6):
                k = S.site[g, j]
                if k >= 0:
                    pull += seen[f, k] * (rest[f, k] + beside)
                    per += seen[f, k]
        own = precision - 1.0 / P[TAU] ** 2
        best = -np.inf
        for layer in range(4 if two else 3):
            # the offset is summed over: what is left is the mean's density
            rest_sum = left - light[layer] * own
            shift = P[SHIFT] * (0.0 if layer == 0 else (2.0 if layer == DOUBLE_ else 1.0))
            weight[layer] += 0.5 * rest_sum**2 / precision + light[layer] * (left - 0.5 * light[layer] * own)
            weight[layer] += shift * (pull - 0.5 * shift * per)
            best = max(best, weight[layer])
        total = 0.0
        for layer in range(4):
            weight[layer] = math.exp(weight[layer] - best) if layer < 3 or two else 0.0
            total += weight[layer]
        u, new = uniform(rng) * total, int(was)
        for layer in range(4):
            u -= weight[layer]
            if u < 0.0 and weight[layer] > 0.0:
                new = layer
                break
        H.start[g] = new
        before = offset[g]
        offset[g] = (left - light[new] * own) / precision + normal(rng) / math.sqrt(precision)
        change = P[SHIFT] * (0.0 if new == 0 else (2.0 if new == DOUBLE_ else 1.0)) - beside
        for f in range(n_frames):
            if seen[f, g] > 0:
                rest[f, g] += light[was] - light[new] + before - offset[g]
            for j in range(6):
                k = S.site[g, j]
                if change != 0.0 and k >= 0 and seen[f, k] > 0:
                    rest[f, k] -= change
