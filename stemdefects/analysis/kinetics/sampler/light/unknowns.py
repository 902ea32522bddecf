"""The light's own unknowns given a history: offsets of sites, levels, neighbours' shift, noise (numba)."""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import (
    BASE,
    CLUSTER,
    DOUBLE,
    FREE,
    KNEE,
    NOISE,
    SCALE,
    SCALE_TWO,
    SHIFT,
    SHIFT_BOND,
    TAU,
    TAU_BOND,
)
from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.board import Table
from stemdefects.analysis.kinetics.sampler.draws import bounded_normal, gamma, normal, uniform
from stemdefects.analysis.kinetics.sampler.light.glow import (
    knee_of,
    light_of,
    misfit,
    pull_of,
    shift_of,
    spread_of,
)
from stemdefects.analysis.kinetics.sampler.light.noise import TRIES, draw_knee, draw_noise

# width of the levels' bounds in standard deviations of their prior: a level that a movie hardly shows is as expected
LOOSE = 4.0


class View(NamedTuple):
    """What follows from a chain's state, frame by frame."""

    shown: np.ndarray  # (T, n) int8 layer of every site
    rest: np.ndarray  # (T, n) what the expected light leaves of the line
    seen: np.ndarray  # (T, n) 1/variance, 0 where not seen


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
def residuals(S, D, P, offset, view):
    """What the expected light leaves of the line, into `view.rest`; 0 where `D.weight` (1/scatter^2) is 0: not seen."""
    shown, rest, line, weight = view.shown, view.rest, D.line, D.weight
    n_frames, n = shown.shape
    for f in range(n_frames):
        for g in range(n):
            rest[f, g] = line[f, g] - P[BASE + S.site[g, 24]] - offset[g] if weight[f, g] > 0 else 0.0
        for g in range(n):
            layer = shown[f, g]
            if layer == 0:
                continue
            two = layer == DOUBLE
            if weight[f, g] > 0:
                rest[f, g] -= light_of(two, P, D.level)
            for j in range(6):
                y = S.site[g, j]
                if y >= 0 and weight[f, y] > 0:
                    rest[f, y] -= shift_of(y, S, P) * (2.0 if two else 1.0)


class Lit(NamedTuple):
    """Readings with what is taken as given."""

    S: Table
    P: np.ndarray
    per: float  # 1/noise^2
    weight: np.ndarray  # (T, n)
    rest: np.ndarray  # (T, n)
    knee: float
    rng: np.ndarray  # (4,)


@inner
def _about_base(kind, change, precision, L):
    """Of the light of one kind of sites if its base changed: log-density, and mean and precision of a new change."""
    now = L.P[BASE + kind] + change
    total, pull, log = precision, -precision * now, -0.5 * precision * now**2
    for g in range(L.rest.shape[1]):
        if L.S.site[g, 24] != kind:
            continue
        for f in range(L.rest.shape[0]):
            w = L.weight[f, g] * L.per
            if w > 0.0:
                r = L.rest[f, g] - change
                total += w
                pull += pull_of(r, w, L.knee)
                log -= 0.5 * misfit(r, w, L.knee)
    return log, pull / total, total


@inner
def _draw_base(kind, deviation, L):
    """What the line of full sites of a kind is off zero, from the normal of the usual readings, put right as above."""
    precision = 1.0 / deviation**2
    log, step, total = _about_base(kind, 0.0, precision, L)
    change = step + normal(L.rng) / math.sqrt(total)
    log_then, back, total_then = _about_base(kind, change, precision, L)
    ratio = log_then - log + 0.5 * (math.log(total_then / total) - total_then * (change + back) ** 2)
    ratio += 0.5 * total * (change - step) ** 2
    if math.log(uniform(L.rng)) >= ratio:
        return
    L.P[BASE + kind] += change
    for g in range(L.rest.shape[1]):
        if L.S.site[g, 24] == kind:
            for f in range(L.rest.shape[0]):
                if L.weight[f, g] > 0.0:
                    L.rest[f, g] -= change


@inner
def _about_slope(index, effect, change, mean, precision, L):
    """Of the light if a parameter that adds `effect` (T, n) times itself to the expected line changed: log-density, and
    mean and precision of its proposed value."""
    value = L.P[index] + change
    total, pull = precision, precision * (mean - value)
    log = -0.5 * precision * (value - mean) ** 2
    for f in range(L.rest.shape[0]):
        for g in range(L.rest.shape[1]):
            w = L.weight[f, g] * L.per
            if effect[f, g] != 0.0 and w > 0.0:
                r = L.rest[f, g] - change * effect[f, g]
                total += w * effect[f, g] ** 2
                pull += pull_of(r, w, L.knee) * effect[f, g]
                log -= 0.5 * misfit(r, w, L.knee)
    return log, value + pull / total, total


@tiny
def _log_within(mean, deviation, bounds):
    """Log of the share of a normal that lies between the bounds."""
    a, b = (bounds[0] - mean) / deviation, (bounds[1] - mean) / deviation
    share = 0.5 * (math.erfc(-b / math.sqrt(2.0)) - math.erfc(-a / math.sqrt(2.0)))
    return math.log(max(share, 1e-300))


@inner
def _draw_slope(index, effect, mean, precision, bounds, L):
    """A parameter that adds `effect` (T, n) times itself to the expected line, from the normal that its readings' pull
    gives, put right by what the likelihood is. mean, precision: of a normal prior."""
    old = L.P[index]
    log, ahead, total = _about_slope(index, effect, 0.0, mean, precision, L)
    deviation = 1.0 / math.sqrt(total)
    new = bounded_normal(L.rng, ahead, deviation, bounds[0], bounds[1])
    log_then, back, _ = _about_slope(index, effect, new - old, mean, precision, L)
    ratio = log_then - log + 0.5 * total * ((new - ahead) ** 2 - (old - back) ** 2)
    ratio += _log_within(ahead, deviation, bounds) - _log_within(back, deviation, bounds)
    if math.log(uniform(L.rng)) >= ratio:
        return
    L.P[index] = new
    for f in range(L.rest.shape[0]):
        for g in range(L.rest.shape[1]):
            if L.weight[f, g] > 0.0:
                L.rest[f, g] -= (new - old) * effect[f, g]


@inner
def _about_offset(g, value, change, per_offset, L):
    """Of a site's light if its offset `value` changed: log-density, and mean and precision of a new change."""
    now = value + change
    total, pull, log = per_offset, -per_offset * now, -0.5 * per_offset * now**2
    for f in range(L.rest.shape[0]):
        w = L.weight[f, g] * L.per
        if w > 0.0:
            r = L.rest[f, g] - change
            total += w
            pull += pull_of(r, w, L.knee)
            log -= 0.5 * misfit(r, w, L.knee)
    return log, pull / total, total


@inner
def _draw_offset(g, offset, L):
    """A site's offset, likewise."""
    per_offset = 1.0 / spread_of(g, L.S, L.P) ** 2
    log, step, total = _about_offset(g, offset[g], 0.0, per_offset, L)
    change = step + normal(L.rng) / math.sqrt(total)
    log_then, back, _ = _about_offset(g, offset[g], change, per_offset, L)
    ratio = log_then - log + 0.5 * total * ((change - step) ** 2 - (change + back) ** 2)
    if math.log(uniform(L.rng)) >= ratio:
        return
    offset[g] += change
    for f in range(L.rest.shape[0]):
        if L.weight[f, g] > 0.0:
            L.rest[f, g] -= change


@inner
def _share_out(kind, deviation, S, P, offset, rng):
    """Move light between the base of a kind of sites and the offsets of all of them, which nothing seen tells apart: in
    turn, each would hold the other where it is."""
    precision = 1.0 / deviation**2
    pull = -P[BASE + kind] * precision
    for g in range(len(offset)):
        if S.site[g, 24] == kind:
            per = 1.0 / spread_of(g, S, P) ** 2
            precision += per
            pull += per * offset[g]
    change = pull / precision + normal(rng) / math.sqrt(precision)
    P[BASE + kind] += change
    for g in range(len(offset)):
        if S.site[g, 24] == kind:
            offset[g] -= change


@inner
def _draw_spread(index, typical, S, P, offset, rng):
    """Spread of the offsets: inverse Gamma of shape 2 whose mean is the typical variance."""
    squares, n = 0.0, 0
    for g in range(len(offset)):
        if (S.site[g, 24] == FREE) == (index == TAU):
            squares += offset[g] ** 2
            n += 1
    P[index] = math.sqrt((typical**2 + 0.5 * squares) / gamma(rng, 2.0 + 0.5 * n))


@inner
def draw_light(S, D, P, offset, view, rng):
    """New offsets, their spread, bases, scale, shift, noise and knee; `view.rest` and `view.seen` follow.

    Noise and knee take random steps. Each other draw is about that of normal light, with readings that fit nothing
    (`glow.UNUSUAL`) left out and those beyond the knee pulling no more than one at it, and is taken or not as the
    likelihood says (Metropolis and Hastings).
    `D.light` (6,): spread of the shift (line units), typical tau, shape and rate of the inverse noise variance (about
    1), spread of the bases (line units), what the weights were multiplied by.
    """
    shown, rest, weight, level, free, prior = view.shown, view.rest, D.weight, D.level, D.free, D.light
    n_frames, n = shown.shape
    for _ in range(TRIES):
        if free[NOISE]:
            draw_noise(P, weight, rest, prior, knee_of(P, level), rng)
        if free[KNEE]:
            draw_knee(P, weight, rest, prior, level[0], rng)
    per = 1.0 / P[NOISE] ** 2
    L = Lit(S, P, per, weight, rest, knee_of(P, level), rng)
    for kind in range(CLUSTER + 1):
        if free[BASE + kind]:
            _draw_base(kind, prior[4], L)
    near, lit = np.zeros((2, n_frames, n)), np.zeros((2, n_frames, n))
    for f in range(n_frames):
        for g in range(n):
            if shown[f, g] > 0:
                two = shown[f, g] == DOUBLE
                lit[1 if two else 0, f, g] = level[1 if two else 0]
                for j in range(6):
                    y = S.site[g, j]
                    if y >= 0:
                        near[0 if S.site[y, 24] == FREE else 1, f, y] += 2.0 if two else 1.0
    for k in range(2):
        index = SCALE_TWO if k == 1 else SCALE
        if free[index]:
            tight = (LOOSE / (D.bounds[1] - D.bounds[0])) ** 2
            _draw_slope(index, lit[k], 1.0, tight, D.bounds, L)
    wide = np.array([-1e3, 1e3]) * prior[0]
    for k in range(2):
        index = SHIFT_BOND if k == 1 else SHIFT
        if free[index]:
            _draw_slope(index, near[k], 0.0, 1.0 / prior[0] ** 2, wide, L)
    for g in range(n):
        _draw_offset(g, offset, L)
    for kind in range(CLUSTER + 1):
        if free[BASE + kind]:
            _share_out(kind, prior[4], S, P, offset, rng)
    for k in range(2):
        index = TAU_BOND if k == 1 else TAU
        if free[index]:
            _draw_spread(index, prior[1], S, P, offset, rng)
    for f in range(n_frames):
        for g in range(n):
            view.seen[f, g] = weight[f, g] * per
