"""Bootstrap over tracks: the track, not the step, is what is independent."""

import numpy as np
from jaxtyping import Float
from scipy import stats

from stemdefects.analysis.estimates import LEVEL


def weights(n: int, n_resamples: int, rng: np.random.Generator) -> Float[np.ndarray, "{n_resamples} {n}"]:
    """Multinomial resampling weights; each row sums to n."""
    return rng.multinomial(n, np.full(n, 1.0 / n), size=n_resamples).astype(float)


def t_interval(
    value: float, resampled: Float[np.ndarray, " resamples"], n: int, level: float = LEVEL
) -> tuple[float, float]:
    """Interval `value` +- t(n - 1) times the standard deviation of the resampled values.

    For pooled averages over few, unequal tracks this covers better than percentiles (docs/statistics.md).

    Args:
        value: the estimate.
        resampled: (n_resamples,) estimates on resampled tracks; NaN are left out.
        n: number of independent units (tracks).

    Returns:
        (low, high); NaN when n < 3 or too few resamples are finite.
    """
    resampled = resampled[np.isfinite(resampled)]
    if n < 3 or resampled.size < 20:
        return np.nan, np.nan
    half = stats.t.ppf(0.5 + level / 2, n - 1) * resampled.std(ddof=1)
    return value - half, value + half


def degrees_of_freedom(
    weights: Float[np.ndarray, "resamples tracks"], resampled: Float[np.ndarray, " resamples"]
) -> float:
    """How well the bootstrap error itself is known: 2 n / (kurtosis - 1) of the tracks' influence on the estimate.

    With rare hops few tracks carry most of the scatter, and the error is known less well than n tracks suggest
    (Satterthwaite). The influences come from the resamples (infinitesimal jackknife).
    """
    n = weights.shape[1]
    influence = ((resampled - resampled.mean())[:, None] * (weights - 1)).mean(0)
    kurtosis = n * (influence**4).sum() / max((influence**2).sum() ** 2, 1e-300)
    return float(np.clip(2 * n / max(kurtosis - 1, 1.0), 2.0, n - 1))


def positive_interval(
    value: float,
    resampled: Float[np.ndarray, " resamples"],
    weights: Float[np.ndarray, "resamples tracks"],
    level: float = LEVEL,
) -> tuple[float, float]:
    """Interval of a positive rate: symmetric in its square root, where the scatter of rare events is even.

    On the straight scale a set that happens to hold few hops has both a low value and a small error, so that misses
    fall on one side. Falls back to the straight scale where the interval would reach zero.

    Args:
        value: the estimate.
        resampled: (n_resamples,) estimates on resampled tracks; NaN are left out.
        weights: (n_resamples, n_tracks) the resamples, from `weights`.

    Returns:
        (low, high); NaN with fewer than 3 tracks or too few finite resamples.
    """
    finite = np.isfinite(resampled)
    resampled, weights = resampled[finite], weights[finite]
    n = weights.shape[1]
    if n < 3 or resampled.size < 20 or not np.isfinite(value):
        return np.nan, np.nan
    spread = resampled.std(ddof=1) * np.sqrt(n / (n - 1))
    half = stats.t.ppf(0.5 + level / 2, degrees_of_freedom(weights, resampled)) * spread
    if half >= value:
        return (max(value - half, 0.0) if value > 0 else value - half), value + half
    # upwards from one event more, as the exact interval of a count does; value^2 / spread^2 events were seen
    root, upper = np.sqrt(value), np.sqrt(value + spread**2 / value)
    return (root - half / (2 * root)) ** 2, (upper + half / (2 * root)) ** 2


def percentile_interval(resampled: Float[np.ndarray, " resamples"], level: float = LEVEL) -> tuple[float, float]:
    """Central percentile interval of the resampled values; NaN when fewer than 20 are finite."""
    resampled = resampled[np.isfinite(resampled)]
    if resampled.size < 20:
        return np.nan, np.nan
    low, high = np.quantile(resampled, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)
