"""The light's own unknowns given a history: offsets of sites, levels, neighbours' shift, noise (numba)."""

import math

import numpy as np

from stemdefects.analysis.kinetics.lattice import DOUBLE
from stemdefects.analysis.kinetics.sampler import inner
from stemdefects.analysis.kinetics.sampler.draws import bounded_normal, gamma, normal
from stemdefects.analysis.kinetics.sampler.potential import NOISE, SCALE, SHIFT, TAU


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
                        near[f, y] += 2.0 if shown[f, g] == DOUBLE else 1.0
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
                lv = level[1 if shown[f, g] == DOUBLE else 0]
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
                    rest[f, g] -= (P[SCALE] - old) * level[1 if shown[f, g] == DOUBLE else 0]
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
