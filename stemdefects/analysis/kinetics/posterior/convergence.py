"""Whether several chains tell the same: rank-normalised split R-hat and effective samples.

Vehtari, Gelman, Simpson, Carpenter & Buerkner, Bayesian Anal. 16, 667 (2021).
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

SAME = 0.02  # of a count or a level: chains whose means lie closer say the same for any reader, whatever R-hat says


ROUGH_R_HAT = 1.4  # up to which chains that were begun apart tell the same with a wider interval
ROUGH = 10.0  # effective samples, at least: fewer do not tell their own spread


class Check(NamedTuple):
    """How well the chains agree on one quantity."""

    r_hat: float
    effective: float
    apart: float = np.nan  # largest less smallest mean of a chain, over the value; NaN: R-hat alone counts

    def roughly(self) -> bool:
        """Whether few samples stand behind it, yet enough to say how few: see `wider`."""
        return bool(self.r_hat <= ROUGH_R_HAT and self.effective >= ROUGH)

    def wider(self) -> float:
        """How much wider an interval is that allows for the number of effective samples: Student's t, and the error of
        their mean, over what is right for many (Gelman et al., Bayesian Data Analysis, 3rd ed., section 11.4)."""
        n = max(self.effective, 2.0)
        return float(stats.t.ppf(0.975, n - 1) / stats.norm.ppf(0.975) * np.sqrt(1 + 1 / n))

    def agrees(self, r_hat: float, effective: float) -> bool:
        """Whether R-hat and effective samples are as asked, or the chains' means differ by nothing that matters."""
        return bool((self.r_hat <= r_hat and self.effective >= effective) or self.apart <= SAME)


def check(draws: np.ndarray, least: float | None = None) -> Check:
    """Check of `(chains, draws)`.

    least: of counts and levels; differences are taken over the value, or over this where the value is smaller. R-hat of
    chains that hold a count of 4.00 to 4.04 is large, and nobody would care. None: R-hat alone counts.
    """
    mean = draws.mean(1)
    apart = np.nan if least is None else float(np.ptp(mean) / max(abs(mean.mean()), least))
    return Check(r_hat(draws), effective_samples(draws), apart)


def split(draws: np.ndarray) -> np.ndarray:
    """`(chains, draws)` to twice as many chains of half the length."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, draws.shape[1] - half :]])


def ranked(draws: np.ndarray) -> np.ndarray:
    """Normal scores of the pooled ranks."""
    rank = stats.rankdata(draws).reshape(draws.shape)
    return stats.norm.ppf((rank - 0.375) / (draws.size + 0.25))


def _r_hat(draws: np.ndarray) -> float:
    n = draws.shape[1]
    within = draws.var(1, ddof=1).mean()
    between = n * draws.mean(1).var(ddof=1)
    return float(np.sqrt(((n - 1) / n * within + between / n) / within)) if within > 0 else 1.0


def r_hat(draws: np.ndarray) -> float:
    """The larger of the R-hats of the bulk and of the spread; 1 of a constant, NaN of fewer than 8 draws a chain."""
    if draws.shape[1] < 8:
        return np.nan
    parts = split(draws)
    if np.ptp(parts) == 0:
        return 1.0
    folded = np.abs(parts - np.median(parts))
    return max(_r_hat(ranked(parts)), _r_hat(ranked(folded)))


def effective_samples(draws: np.ndarray) -> float:
    """Bulk effective sample size of `(chains, draws)`, by Geyer's initial monotone sequence of the ranked draws."""
    if draws.shape[1] < 8:
        return np.nan
    parts = split(draws)
    if np.ptp(parts) == 0:
        return float(parts.size)
    z = ranked(parts)
    m, n = z.shape
    z = z - z.mean(1, keepdims=True)
    size = 1 << (2 * n - 1).bit_length()
    power = np.abs(np.fft.rfft(z, size, axis=1)) ** 2
    covariance = np.fft.irfft(power, size, axis=1)[:, :n].mean(0) / n
    within = covariance[0] * n / (n - 1)
    total = within * (n - 1) / n + ranked(parts).mean(1).var(ddof=1)
    rho = 1 - (within - covariance) / total
    rho[0] = 1.0
    pairs = rho[: n // 2 * 2].reshape(-1, 2).sum(1)
    negative = np.flatnonzero(pairs < 0)
    pairs = np.minimum.accumulate(pairs[: negative[0] if len(negative) else len(pairs)])
    tau = max(-1 + 2 * pairs.sum(), 1 / np.log10(m * n))
    return float(m * n / tau)
