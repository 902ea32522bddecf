"""The light's own unknowns given a history: offsets of sites, levels, neighbours' shift, noise (numba)."""

import math

import numpy as np

from stemdefects.analysis.kinetics.lattice import DOUBLE, NOISE, SCALE, SHIFT, TAU
from stemdefects.analysis.kinetics.sampler import inner
from stemdefects.analysis.kinetics.sampler.draws import bounded_normal, gamma, normal
from stemdefects.analysis.kinetics.sampler.field import UNUSUAL


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
            two = layer == DOUBLE
            if weight[f, g] > 0:
                rest[f, g] -= P[SCALE] * level[1 if two else 0]
            for j in range(6):
                y = S.site[g, j]
                if y >= 0 and weight[f, y] > 0:
                    rest[f, y] -= P[SHIFT] * (2.0 if two else 1.0)


@inner
def _crosses(r, weight, used):
    """Whether a reading would begin, or cease, to be one that fits nothing."""
    return (r * r * weight < UNUSUAL) != (used > 0.0)


@inner
def _draw_noise(P, weight, used, rest, prior, rng):
    n_seen, squares = 0, 0.0
    for f in range(rest.shape[0]):
        for g in range(rest.shape[1]):
            if used[f, g] > 0.0:
                n_seen += 1
                squares += used[f, g] * rest[f, g] ** 2 / prior[4]
    new = math.sqrt((prior[3] + 0.5 * squares) / gamma(rng, prior[2] + 0.5 * n_seen))
    for f in range(rest.shape[0]):
        for g in range(rest.shape[1]):
            if weight[f, g] > 0.0 and _crosses(rest[f, g], weight[f, g] / new**2, used[f, g]):
                return
    P[NOISE] = new


@inner
def _draw_slope(index, effect, mean, precision, bounds, P, per, weight, used, rest, rng):
    """A parameter that adds `effect` (T, n) times itself to the expected line. mean, precision: of a normal prior."""
    total, pull = precision, precision * (mean - P[index])
    for f in range(rest.shape[0]):
        for g in range(rest.shape[1]):
            if effect[f, g] != 0.0:
                w = used[f, g] * per * effect[f, g]
                total += w * effect[f, g]
                pull += w * rest[f, g]
    if total > 1e-9:
        change = bounded_normal(rng, P[index] + pull / total, 1.0 / math.sqrt(total), bounds[0], bounds[1]) - P[index]
    else:
        change = bounded_normal(rng, 0.5 * (bounds[0] + bounds[1]), 1e3, bounds[0], bounds[1]) - P[index]
    for f in range(rest.shape[0]):
        for g in range(rest.shape[1]):
            if effect[f, g] != 0.0 and weight[f, g] > 0.0:
                if _crosses(rest[f, g] - change * effect[f, g], weight[f, g] * per, used[f, g]):
                    return
    P[index] += change
    for f in range(rest.shape[0]):
        for g in range(rest.shape[1]):
            if weight[f, g] > 0.0:
                rest[f, g] -= change * effect[f, g]


@inner
def _draw_offset(g, P, per, weight, used, offset, rest, rng):
    total, pull = 1.0 / P[TAU] ** 2, 0.0
    for f in range(rest.shape[0]):
        w = used[f, g] * per
        total += w
        pull += w * (rest[f, g] + offset[g])
    change = pull / total + normal(rng) / math.sqrt(total) - offset[g]
    for f in range(rest.shape[0]):
        if weight[f, g] > 0.0 and _crosses(rest[f, g] - change, weight[f, g] * per, used[f, g]):
            return
    offset[g] += change
    for f in range(rest.shape[0]):
        if weight[f, g] > 0.0:
            rest[f, g] -= change


@inner
def draw_light(shown, S, P, level, bounds, line, weight, offset, rest, seen, free, prior, rng):
    """New offsets, their spread, scale, shift and noise; `rest` and `seen` (1/variance) follow.

    Readings that fit nothing (`field.UNUSUAL`) take no part. Each draw is that of normal light; one by which a reading
    would join them or leave them is not taken, so that each is a valid Metropolis step.
    `prior` (5,): spread of the shift (line units), typical tau, shape and rate of the inverse noise variance (about 1);
    what the weights were multiplied by.
    """
    n_frames, n = shown.shape
    used, near, lit = np.zeros((n_frames, n)), np.zeros((n_frames, n)), np.zeros((n_frames, n))
    for f in range(n_frames):
        for g in range(n):
            if rest[f, g] * rest[f, g] * seen[f, g] < UNUSUAL:
                used[f, g] = weight[f, g]
            if shown[f, g] > 0:
                two = shown[f, g] == DOUBLE
                lit[f, g] = level[1 if two else 0]
                for j in range(6):
                    y = S.site[g, j]
                    if y >= 0:
                        near[f, y] += 2.0 if two else 1.0
    if free[NOISE]:
        _draw_noise(P, weight, used, rest, prior, rng)
    per = 1.0 / P[NOISE] ** 2
    if free[SCALE]:
        _draw_slope(SCALE, lit, 0.0, 0.0, bounds, P, per, weight, used, rest, rng)
    if free[SHIFT]:
        wide = np.array([-1e3, 1e3]) * prior[0]
        _draw_slope(SHIFT, near, 0.0, 1.0 / prior[0] ** 2, wide, P, per, weight, used, rest, rng)
    spread = 0.0
    for g in range(n):
        _draw_offset(g, P, per, weight, used, offset, rest, rng)
        spread += offset[g] ** 2
    if free[TAU]:  # inverse gamma of shape 2 whose mean is the typical variance
        P[TAU] = math.sqrt((prior[1] ** 2 + 0.5 * spread) / gamma(rng, 2.0 + 0.5 * n))
    for f in range(n_frames):
        for g in range(n):
            seen[f, g] = weight[f, g] * per
