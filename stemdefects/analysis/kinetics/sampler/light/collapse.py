"""A path drawn while the offsets of the sites it crosses are integrated out (numba).

A persistent offset of a site and a vacancy that is there for part of a movie explain the same light. Drawn in turn,
each keeps the other where it is: at 1,200 e/px a vacancy seen for twenty frames took a hundred sweeps to be taken out
or put in. Given a history, offsets are independent normals, so that both can be drawn together: a path from light that
is freed of half of what the offsets would be without it, accepted by the likelihood with offsets integrated out, then
new offsets.

With r the residuals without the path, m what the path adds, w = 1/variance, S = sum(w r), M = sum(w m) and
A = sum(w) + 1/tau^2 of a site, offsets given a path are normal about (S - M) / A with variance 1/A, and paths are drawn
with offsets S/2A: both are exact for normal light without bound, and for what a reading says (`glow.misfit`) the
acceptance weighs target over proposal, path and new offsets together. Without bound that is M (M - S) / 2A: 0 for a
path that explains all of S, and for none.
"""

import math

import numpy as np

from stemdefects.analysis.kinetics.lattice import DOUBLE
from stemdefects.analysis.kinetics.sampler import inner
from stemdefects.analysis.kinetics.sampler.board import FIRST, PAD
from stemdefects.analysis.kinetics.sampler.draws import normal
from stemdefects.analysis.kinetics.sampler.light.glow import light_of, misfit, shift_of, shine_in, spread_of


@inner
def added(slot, lit, dark, who, layers, L, total):
    """Add to `total` (n,) the sum over frames of weight x what a slot's path adds to each site's expected light."""
    S, P, seen = L.S, L.P, L.seen
    for f in range(lit, dark):
        if who[f, slot] < 0:
            continue
        g = S.back[who[f, slot]]
        two = layers[f, slot] == DOUBLE
        total[g] += seen[f, g] * light_of(two, P, L.level)
        for j in range(6):
            y = S.site[g, j]
            if y >= 0:
                total[y] += seen[f, y] * shift_of(y, S, P) * (2.0 if two else 1.0)


@inner
def lift(lit, dark, box, change, R, L):
    """Fill `R.glow` of frames lit..dark-1 in a box with the likelihoods under half of the offsets that fit without the
    path. `change` (n,): room."""
    back, cols = L.S.back, L.S.shape[1]
    for r in range(box[0] - 1, box[2] + 1):
        for c in range(box[1] - 1, box[3] + 1):
            g = back[r * cols + c]
            if g >= 0:
                change[g] = L.offset[g] - 0.5 * L.pulls[g] / L.precisions[g]
    shine_in(box, lit, dark, R.two, change, R.glow, L)


@inner
def lay(slot, lit, dark, sign, who, layers, L):
    """Take a slot's path out of the residuals (sign +1) or put it in (-1)."""
    S, P, seen, rest = L.S, L.P, L.seen, L.rest
    for f in range(lit, dark):
        if who[f, slot] < 0:
            continue
        g = S.back[who[f, slot]]
        two = layers[f, slot] == DOUBLE
        if seen[f, g] > 0:
            rest[f, g] += sign * light_of(two, P, L.level)
        for j in range(6):
            y = S.site[g, j]
            if y >= 0 and seen[f, y] > 0:
                rest[f, y] += sign * shift_of(y, S, P) * (2.0 if two else 1.0)


@inner
def worth(touched, total, given, L):
    """Log of target over proposal of a path, which is in `L.rest` and adds `total`, with the offsets `given`."""
    pulls, precisions = L.pulls, L.precisions
    value = 0.0
    for g in range(len(L.offset)):
        if not touched[g]:
            continue
        per = 1.0 / spread_of(g, L.S, L.P) ** 2
        proposed = 0.5 * pulls[g] / precisions[g]
        twice = precisions[g] * (given[g] - (pulls[g] - total[g]) / precisions[g]) ** 2 - per * given[g] ** 2
        for f in range(L.seen.shape[0]):
            w = L.seen[f, g]
            if w > 0:
                r = L.rest[f, g] + L.offset[g]
                twice += misfit(r - proposed, w, L.knee) - misfit(r - given[g], w, L.knee)
        value += 0.5 * twice
    return value


@inner
def draw_offsets(touched, total, L, rng, into):
    """Offsets that fit the light without bound, where a path that adds `total` counts."""
    offset, pulls, precisions = L.offset, L.pulls, L.precisions
    for g in range(len(offset)):
        into[g] = offset[g]
        if touched[g]:
            into[g] = (pulls[g] - total[g]) / precisions[g] + normal(rng) / math.sqrt(precisions[g])


@inner
def take_offsets(touched, new, glow, L):
    """The `new` offsets from now on, and a path that changed the light of the `touched` sites; `L.rest` and `glow`
    follow."""
    S, seen, rest, offset = L.S, L.seen, L.rest, L.offset
    n_frames, n = seen.shape
    box = np.array([S.shape[0], S.shape[1], 0, 0, 0])
    for g in range(n):
        if touched[g]:
            for f in range(n_frames):
                if seen[f, g] > 0:
                    rest[f, g] -= new[g] - offset[g]
            offset[g] = new[g]
            r, c = S.at[g] // S.shape[1], S.at[g] % S.shape[1]
            box[0], box[1] = min(box[0], max(r - 1, PAD)), min(box[1], max(c - 1, PAD))
            box[2], box[3] = max(box[2], min(r + 2, S.shape[0] - PAD)), max(box[3], min(c + 2, S.shape[1] - PAD))
    if box[2] > 0:  # a touched site's light says something of its neighbours too
        box[4] = box[3] - box[1] + 2
        shine_in(box, FIRST, n_frames, L.two, np.zeros(n), glow, L)
