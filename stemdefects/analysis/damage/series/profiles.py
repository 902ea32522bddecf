"""Intervals of two parameters from the likelihood of several runs, and whether the runs fit the model.

Intervals are where the profile likelihood falls by 1.92 (95%); a parameter whose profile does not fall that far towards
one end has a limit instead, 1.35 down (one-sided 95%).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from stemdefects.analysis.damage.series.points import Point
from stemdefects.analysis.notes import Code, Note

TWO_SIDED, ONE_SIDED = 0.5 * stats.chi2.ppf(0.95, 1), 0.5 * stats.chi2.ppf(0.90, 1)
LEAST_FIT = 0.01  # p-value of the deviance below which the model is said not to describe the runs


class Parameter(NamedTuple):
    """`low` or `high` is None where the data set no such limit, `value` too where neither holds."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    unit: str
    said: str = ""


class Fit(NamedTuple):
    """Of one quantity: parameters, correlation of the first two (NaN: not determined), p-value of the deviance (NaN:
    no run more than parameters), curve (x, y, lower and upper end of its 95% band), what the data cannot support."""

    parameters: tuple[Parameter, ...]
    correlation: float
    p_value: float
    curve: np.ndarray
    cannot: tuple[str, ...]


def profile_of(
    name: str,
    grid: np.ndarray,
    profile: np.ndarray,
    unit: str,
    open_low: bool = False,
    open_high: bool = False,
    floor: float | None = None,
) -> Parameter:
    """Value and limits from a profile of the log-likelihood on a grid."""
    best = profile.max()
    k = int(profile.argmax())
    if open_low and open_high:
        return Parameter(name, None, None, None, unit, "not determined")
    down = ONE_SIDED if open_low or open_high else TWO_SIDED
    low = None if open_low else crossing(grid[: k + 1], profile[: k + 1], best - down)
    high = None if open_high else crossing(grid[k:][::-1], profile[k:][::-1], best - down)
    if open_high:
        return Parameter(name, low, low, None, unit, "lower limit")
    if open_low:
        value = floor if floor is not None else high
        return Parameter(name, value, floor, high, unit, "upper limit")
    return Parameter(name, float(grid[k]), low, high, unit)


def crossing(grid: np.ndarray, profile: np.ndarray, level: float) -> float:
    """Where a profile that rises along the grid comes over a level."""
    above = int(np.argmax(profile >= level))
    if above == 0:
        return float(grid[0])
    share = (level - profile[above - 1]) / (profile[above] - profile[above - 1])
    return float(grid[above - 1] + share * (grid[above] - grid[above - 1]))


def widened(log_value: float, log_end: float, shared_sigma: float) -> float:
    """An end of a 95% interval, both in logarithms, with an error in it that is common to all runs."""
    off = log_end - log_value
    return log_value + float(np.copysign(np.hypot(off, stats.norm.ppf(0.975) * shared_sigma), off))


def envelope(
    curves: np.ndarray, unit: np.ndarray | float, amounts: np.ndarray, allowed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest (K,) of `curves` (n, K) plus so much of `unit` (K,) as `allowed` (n, m) bool says of each,
    of the rising `amounts` (m,)."""
    least, most = amounts[allowed.argmax(1)], amounts[len(amounts) - 1 - allowed[:, ::-1].argmax(1)]
    return (curves + least[:, None] * unit).min(0), (curves + most[:, None] * unit).max(0)


def correlation(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> float:
    """Of two parameters on their grids (A,) and (B,), by the posterior's weight (A, B); NaN: one does not vary."""
    total = weight.sum()
    if not total > 0:
        return np.nan
    mean_a, mean_b = (weight.sum(1) @ a) / total, (weight.sum(0) @ b) / total
    covariance = ((a - mean_a)[:, None] * (b - mean_b) * weight).sum() / total
    spread = np.sqrt((weight.sum(1) @ (a - mean_a) ** 2) * (weight.sum(0) @ (b - mean_b) ** 2)) / total
    return float(covariance / spread) if spread > 0 else np.nan


def deviance(points: Sequence[Point], best: float, n_parameters: int) -> float:
    """p-value of the best log-likelihood; NaN: no run more than parameters."""
    free = len(points) - n_parameters
    return float(stats.chi2.sf(-2 * best, free)) if free > 0 else np.nan


def described(points: Sequence[Point], best: float, n_parameters: int) -> list[Note]:
    """What there is to say of whether the model describes the runs."""
    p = deviance(points, best, n_parameters)
    if not np.isfinite(p):
        why = f"{len(points)} runs for {n_parameters} parameters: whether the model describes them cannot be tested."
        return [Note(why, Code.JOINT_UNTESTED)]
    if p < LEAST_FIT:
        why = f"The model does not describe the runs (p = {p:.1g}): its parameters are not to be quoted."
        return [Note(why, Code.JOINT_REFUSED)]
    return []
