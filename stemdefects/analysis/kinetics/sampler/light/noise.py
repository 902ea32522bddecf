"""How readings scatter about the expected light: their variance, and where they cease to be normal (numba)."""

import math

from stemdefects.analysis.kinetics.lattice import KNEE, NOISE
from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.draws import normal, uniform
from stemdefects.analysis.kinetics.sampler.light.glow import misfit, per_scatter, unlikely

# bounds of the knee in scatters: 1.8 to 2.8 in independent movies; beyond five hardly a reading would tell
KNEES = (1.5, 5.0)
KNEE_STEP = 0.1  # of its logarithm, about what a movie of 60 frames of 600 sites leaves open
NOISE_STEP = 2.4  # standard deviations: best for one number (Gelman et al., Bayesian Statistics 5, 599 (1996))
TRIES = 2  # of each in a sweep


@inner
def _misfits(weight, rest, variance, knee):
    """Sum of the misfits at a noise variance, number of readings."""
    total, n_seen = 0.0, 0
    for f in range(rest.shape[0]):
        for g in range(rest.shape[1]):
            if weight[f, g] > 0.0:
                n_seen += 1
                total += misfit(rest[f, g], weight[f, g] / variance, knee)
    return total, n_seen


@inner
def draw_noise(P, weight, rest, prior, knee, rng):
    """The variance, by a random walk of its logarithm in steps as long as many normal readings leave it open."""
    old = P[NOISE] ** 2
    total, n_seen = _misfits(weight, rest, old, knee)
    shape = prior[2] + 0.5 * n_seen
    new = old * math.exp(normal(rng) * NOISE_STEP / math.sqrt(shape))
    ratio = -shape * math.log(new / old) - prior[3] * (1.0 / new - 1.0 / old)
    ratio += 0.5 * (total - _misfits(weight, rest, new, knee)[0]) / prior[5]
    if math.log(uniform(rng)) < ratio:
        P[NOISE] = math.sqrt(new)


@tiny
def log_norm(knee):
    """Log of the integral of exp(-misfit / 2) over readings in scatters, but for the bound."""
    within = math.sqrt(0.5 * math.pi) * (2.0 - math.erfc(knee / math.sqrt(2.0)))
    return math.log(within + math.exp(-0.5 * knee * knee) / knee)


@inner
def draw_knee(P, weight, rest, prior, toward, rng):
    """Where the readings cease to be normal, by a random walk of its logarithm, whose prior is even between the bounds.

    Weights are smaller than 1/variance by prior[5], and so is the square of a knee in their scatters."""
    root, per = math.sqrt(prior[5]), 1.0 / P[NOISE] ** 2
    old = P[KNEE]
    new = old * math.exp(KNEE_STEP * normal(rng))
    if not KNEES[0] * root < new < KNEES[1] * root:
        return
    least, change, n_seen = min(old, new), 0.0, 0
    for f in range(rest.shape[0]):
        for g in range(rest.shape[1]):
            if weight[f, g] > 0.0:
                n_seen += 1
                z = rest[f, g] * per_scatter(weight[f, g] * per, toward)
                if z > least:
                    change += unlikely(z, new) - unlikely(z, old)
    ratio = -0.5 * change / prior[5] - n_seen * (log_norm(new / root) - log_norm(old / root))
    if math.log(uniform(rng)) < ratio:
        P[KNEE] = new
