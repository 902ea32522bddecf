"""Bootstrap over tracks: the track, not the step, is what is independent."""

import numpy as np
from scipy import stats

from stemdefects.analysis.estimates import LEVEL


def weights(n: int, n_resamples: int, rng: np.random.Generator) -> np.ndarray:
    """Multinomial resampling weights, shape (n_resamples, n); each row sums to n."""
    return rng.multinomial(n, np.full(n, 1.0 / n), size=n_resamples).astype(float)


def t_interval(value: float, resampled: np.ndarray, n: int, level: float = LEVEL) -> tuple[float, float]:
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


def percentile_interval(resampled: np.ndarray, level: float = LEVEL) -> tuple[float, float]:
    """Central percentile interval of the resampled values; NaN when fewer than 20 are finite."""
    resampled = resampled[np.isfinite(resampled)]
    if resampled.size < 20:
        return np.nan, np.nan
    low, high = np.quantile(resampled, [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)
