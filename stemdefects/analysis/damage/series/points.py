"""What a run says of a rate, in the form in which several are fitted together: equivalent events over an exposure."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

SCALE_STEPS = 8  # of Newton's method for the common error of the dose: from 0 it is there to 1e-6 where it matters
STEEPEST = 1e6  # ratio of an interval's ends beyond which its Gamma is that of no event


class Point(NamedTuple):
    """One run: `x` (kV or K), equivalent events and the exposure they came from (per barn, or in s)."""

    x: float
    events: float
    exposure: float


def point(x: float, draws: np.ndarray, none: bool, relative_sigma: float = 0.0) -> Point:
    """A run's equivalent events and exposure from draws of its rate.

    none: the draws are those of an upper limit (shape 1: no event). relative_sigma: of an error that all draws share.
    """
    return of_moments(x, float(draws.mean()), float(draws.var()), none, relative_sigma)


def of_moments(x: float, mean: float, variance: float, none: bool, relative_sigma: float = 0.0) -> Point:
    """The same from the draws' mean and variance."""
    if none:
        return Point(x, 0.0, 1 / mean)
    variance = variance + (relative_sigma * mean) ** 2
    return Point(x, max(mean**2 / variance - 0.5, 0.0), mean / variance)  # the reference prior taken off


def of_interval(x: float, value: float, low: float, high: float) -> Point:
    """The same from a median and its 95% interval, by the Gamma with that ratio of its ends; 0 with an upper limit
    (one-sided 95%): no event."""
    if value <= 0 or low <= 0 or high / low > STEEPEST:
        return Point(x, 0.0, -np.log(0.05) / high)

    def excess(log_shape: float) -> float:
        low_end, high_end = stats.gamma.ppf([0.025, 0.975], np.exp(log_shape))
        return float(np.log(high_end / low_end) - np.log(high / low))

    shape = float(np.exp(optimize.brentq(excess, np.log(0.25), np.log(1e8))))
    return Point(x, max(shape - 0.5, 0.0), float(stats.gamma.ppf(0.5, shape)) / value)


def log_likelihood(points: Sequence[Point], rates: np.ndarray, shared_sigma: float = 0.0) -> np.ndarray:
    """`(...)` of rates `(..., R)`. shared_sigma: relative error that all exposures have in common; it takes its best
    value, against its normal prior."""
    n = np.array([p.events for p in points])
    t = np.array([p.exposure for p in points])
    shift = np.zeros(np.shape(rates)[:-1])
    if shared_sigma > 0:
        expected = (rates * t).sum(-1)
        for _ in range(SCALE_STEPS):
            scaled = expected * np.exp(shift)
            shift = shift + (n.sum() - scaled - shift / shared_sigma**2) / (scaled + 1 / shared_sigma**2)
            shift = np.clip(shift, -6 * shared_sigma, 6 * shared_sigma)  # beyond: never within an interval
        rates = rates * np.exp(shift)[..., None]
    with np.errstate(divide="ignore", invalid="ignore"):
        term = np.where(n > 0, n * np.log(rates * t / np.where(n > 0, n, 1)), 0.0)
    prior = 0.5 * (shift / shared_sigma) ** 2 if shared_sigma > 0 else 0.0
    return (term - rates * t + n).sum(-1) - prior
