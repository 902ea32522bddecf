"""A rate from events and exposures of sampled histories: each history gives a Gamma, the answer is their mixture.

Given a complete history, events are Poisson with rate times exposure, so that a Gamma prior (shape; scale: a prior
exposure) stays a Gamma, and the marginal likelihood of the events is known in closed form.
"""

import numpy as np
from scipy.special import gammaln

DRAWS = 200  # of the rate in each history: the quantiles' own error is below 2% of the interval with 16 histories
LEAST = 3.0  # exposures of the prior: with less the prior would be the answer
STEEPEST = 50.0  # log of a Bayes factor of one history: beyond, exp() would overflow and nothing would change


def interval(
    events: np.ndarray, exposure_s: np.ndarray, shape: float, scale: float, rng: np.random.Generator
) -> tuple[float, float, float]:
    """Median and 95% interval of a rate (1/s) from (H,) events and exposures; NaN where its prior would answer."""
    a, b = shape + events, scale + exposure_s
    low, value, high = np.quantile(rng.gamma(a[:, None], 1 / b[:, None], (len(a), DRAWS)), [0.025, 0.5, 0.975])
    if np.median(exposure_s) < LEAST * scale:
        return np.nan, np.nan, np.nan
    return float(value), float(low), float(high)


def log_factor(events: np.ndarray, exposure_s: np.ndarray, shape: float, scale: float) -> np.ndarray:
    """(...) log Bayes factor of a rate for each part against one for all, from (..., parts) events and exposures."""

    def log_marginal(n, t):
        return gammaln(shape + n) - gammaln(shape) + shape * np.log(scale) - (shape + n) * np.log(scale + t)

    return log_marginal(events, exposure_s).sum(-1) - log_marginal(events.sum(-1), exposure_s.sum(-1))


def probability(log_factors: np.ndarray) -> float:
    """Posterior probability, prior 1/2, of what the Bayes factors speak for: these are of histories drawn under the
    other model, so that their mean is the factor."""
    factor = float(np.exp(np.clip(log_factors, -STEEPEST, STEEPEST)).mean())
    return factor / (1 + factor)
