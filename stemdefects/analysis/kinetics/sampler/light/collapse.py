"""A path drawn while the offsets of the sites it crosses are integrated out (numba).

A persistent offset of a site and a vacancy that is there for part of a movie explain the same light. Drawn in turn,
each keeps the other where it is: at 1,200 e/px a vacancy seen for twenty frames took a hundred sweeps to be taken out
or put in. Given a history, offsets are independent normals, so that both can be drawn together: a path from light that
is freed of half of what the offsets would be without it, accepted by the likelihood with offsets integrated out, then
new offsets.

With r the residuals without the path, m what the path adds, w = 1/variance, S = sum(w r), M = sum(w m) and
A = sum(w) + 1/tau^2 of a site, offsets given a path are normal about (S - M) / A with variance 1/A, and paths are drawn
with offsets S/2A: both are exact for light without bound, and for the bound on what a reading says (`glow.misfit`) the
acceptance weighs target over proposal, path and new offsets together. Without bound that is M (M - S) / 2A: 0 for a
path that explains all of S, and for none.
"""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import DOUBLE
from stemdefects.analysis.kinetics.sampler import inner
from stemdefects.analysis.kinetics.sampler.board import FIRST
from stemdefects.analysis.kinetics.sampler.draws import normal
from stemdefects.analysis.kinetics.sampler.light.glow import light_of, misfit, shift_of, shine_at, spread_of
from stemdefects.analysis.kinetics.sampler.path.boxes import inside


class Fit(NamedTuple):
    """Of the light without the path, site by site."""

    pulls: np.ndarray  # (n,) S
    precisions: np.ndarray  # (n,) A


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
def reach(box, S):
    """Sites whose light a path in the box may change: those of the box and one place around it; how many are its own.

    The box's own come first. What lies farther keeps its light, and work on a large field stays that of the box.
    """
    rows, cols = S.shape[0], S.shape[1]
    found = np.empty((box[2] - box[0] + 2) * box[4], np.int64)
    n = 0
    for r in range(box[0], box[2]):
        for c in range(box[1], box[3]):
            if S.back[r * cols + c] >= 0:
                found[n] = S.back[r * cols + c]
                n += 1
    own = n
    for r in range(max(box[0] - 1, 0), min(box[2] + 1, rows)):
        for c in range(max(box[1] - 1, 0), min(box[3] + 1, cols)):
            if S.back[r * cols + c] >= 0 and not inside(r * cols + c, box, cols):
                found[n] = S.back[r * cols + c]
                n += 1
    return found[:n], own


@inner
def sums(sites, L, fit):
    """S and A of `sites`, from residuals that are free of their offsets."""
    seen, pulls, precisions = L.seen, fit.pulls, fit.precisions
    for g in sites:
        pulls[g], precisions[g] = 0.0, 1.0 / spread_of(g, L.S, L.P) ** 2
    for f in range(seen.shape[0]):
        for g in sites:
            if seen[f, g] > 0:
                pulls[g] += seen[f, g] * (L.rest[f, g] + L.offset[g])
                precisions[g] += seen[f, g]


@inner
def lift(lit, dark, sites, own, fit, R, L):
    """Fill `R.glow` of frames lit..dark-1 at the first `own` of `sites` with the likelihoods under half of the offsets
    that fit without the path."""
    for f in range(lit, dark):
        for g in sites:
            if L.seen[f, g] > 0:
                L.rest[f, g] += L.offset[g] - 0.5 * fit.pulls[g] / fit.precisions[g]
    shine_at(sites, own, lit, dark, R.two, R.glow, L)
    for f in range(lit, dark):
        for g in sites:
            if L.seen[f, g] > 0:
                L.rest[f, g] -= L.offset[g] - 0.5 * fit.pulls[g] / fit.precisions[g]


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
def worth(touched, total, given, fit, L):
    """Log of target over proposal of a path, which is in `L.rest` and adds `total`, with the offsets `given`."""
    pulls, precisions = fit.pulls, fit.precisions
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
                twice += misfit(r - proposed, w) - misfit(r - given[g], w)
        value += 0.5 * twice
    return value


@inner
def draw_offsets(touched, total, offset, fit, rng, into):
    """Offsets that fit the light without bound, where a path that adds `total` counts."""
    pulls, precisions = fit.pulls, fit.precisions
    for g in range(len(offset)):
        into[g] = offset[g]
        if touched[g]:
            into[g] = (pulls[g] - total[g]) / precisions[g] + normal(rng) / math.sqrt(precisions[g])


@inner
def take_offsets(touched, new, glow, L):
    """The `new` offsets from now on; `L.rest` and `glow` follow."""
    seen, rest, offset = L.seen, L.rest, L.offset
    n_frames, n = seen.shape
    for g in range(n):
        if touched[g]:
            for f in range(n_frames):
                if seen[f, g] > 0:
                    rest[f, g] -= new[g] - offset[g]
            offset[g] = new[g]
    dim, own = _with_neighbours(touched, L.S)
    shine_at(dim, own, FIRST, n_frames, L.two, glow, L)


@inner
def _with_neighbours(touched, S):
    """Touched sites and their neighbours, whose light says something else now, then those beside them; how many of
    the former."""
    found, there = np.flatnonzero(touched), touched.copy()
    own = known = len(found)
    found = np.append(found, np.zeros(len(touched) - known, np.int64))
    for _ in range(2):
        own = known
        for m in range(own):
            for j in range(6):
                k = S.site[found[m], j]
                if k >= 0 and not there[k]:
                    found[known], there[k] = k, True
                    known += 1
    return found[:known], own
