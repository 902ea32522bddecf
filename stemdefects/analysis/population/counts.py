"""Counts and densities of defects against time."""

from dataclasses import dataclass

import numpy as np

from stemdefects.analysis import bootstrap
from stemdefects.analysis.data.detections import Detections


@dataclass
class Counts:
    """Defects per frame: `kinds` (K names), `counts` (n_frames, K), `area_nm2` (n_frames,) or None, `times`."""

    kinds: list[str]
    counts: np.ndarray
    times: np.ndarray
    area_nm2: np.ndarray | None
    skipped: np.ndarray  # (n_frames,) bool: frames that nobody looked at, or that could not be used


def count(found: Detections, field_nm2: float | None = None) -> Counts:
    """Detections of every kind in every frame; frames that were not observed are marked, not counted as empty."""
    kinds, index = np.unique(found.kinds, return_inverse=True)
    table = np.zeros((found.n_frames, len(kinds)), int)
    np.add.at(table, (found.rows["frame"], index), 1)
    area = None if field_nm2 is None else np.full(found.n_frames, float(field_nm2))
    if found.frames is not None and "frame" in found.frames:
        where = found.frames["frame"].to_numpy(int)
        ok = (where >= 0) & (where < found.n_frames)
        if area is not None and "fraction_lattice" in found.frames:
            share = np.full(found.n_frames, np.nan)
            share[where[ok]] = found.frames["fraction_lattice"].to_numpy(float)[ok]
            area = area * np.where(np.isfinite(share) & (share > 0.05), share, np.nan)
    return Counts([str(k) for k in kinds], table, found.times, area, ~found.observed)


@dataclass
class Trend:
    """Straight-line change of a count: `mean` and `slope` per time unit, with 95% intervals."""

    mean: float
    mean_low: float
    mean_high: float
    slope: float
    slope_low: float
    slope_high: float
    n_frames: int


def trend(
    times: np.ndarray, values: np.ndarray, n_bootstrap: int = 500, rng: np.random.Generator | None = None
) -> Trend:
    """Mean and slope of a series whose neighbours are alike; intervals from a moving-block bootstrap of the
    residuals (blocks of n^(1/3) frames, at least the residuals' own memory)."""
    rng = np.random.default_rng(0) if rng is None else rng
    ok = np.isfinite(values)
    t, y = times[ok], np.asarray(values, float)[ok]
    n = len(t)
    if n < 3:
        mean = float(y.mean()) if n else np.nan
        return Trend(mean, np.nan, np.nan, np.nan, np.nan, np.nan, n)
    centred = t - t.mean()
    slope = (centred * y).sum() / (centred**2).sum()
    residual = y - y.mean() - slope * centred
    r1 = (residual[1:] * residual[:-1]).sum() / max((residual**2).sum(), 1e-12)
    memory = (1 + r1) / max(1 - r1, 0.05) if r1 > 0 else 1.0
    block = int(np.clip(max(round(n ** (1 / 3)), np.ceil(memory)), 1, max(n // 3, 1)))
    starts = rng.integers(0, n - block + 1, (n_bootstrap, int(np.ceil(n / block))))
    index = (starts[..., None] + np.arange(block)).reshape(n_bootstrap, -1)[:, :n]
    noise = residual[index]
    means = y.mean() + noise.mean(1)
    slopes = slope + (noise * centred).sum(1) / (centred**2).sum()
    low, high = bootstrap.t_interval(y.mean(), means, max(n // block, 3))
    slope_low, slope_high = bootstrap.t_interval(slope, slopes, max(n // block, 3))
    return Trend(float(y.mean()), max(low, 0.0), high, float(slope), slope_low, slope_high, n)


def growth_rate(
    times: np.ndarray, values: np.ndarray, n_bootstrap: int = 200, rng: np.random.Generator | None = None
) -> tuple[float, float, float]:
    """Rate k of exponential growth or decay, counts ~ exp(k t), by Poisson regression: (k, low, high).

    The interval resamples blocks of the Pearson residuals, since the same defects are counted again and again. NaN with
    fewer than 10 frames or 20 counts.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    ok = np.isfinite(values)
    t, y = times[ok] - np.mean(times[ok]), np.asarray(values, float)[ok]
    n = len(t)
    if n < 10 or y.sum() < 20:
        return np.nan, np.nan, np.nan
    design = np.column_stack([np.ones(n), t / np.ptp(t)])

    def fit(counts):
        beta = np.array([np.log(max(counts.mean(), 0.1)), 0.0])
        for _ in range(30):
            mean = np.exp(np.clip(design @ beta, -20, 20))
            step = np.linalg.solve(design.T @ (design * mean[:, None]) + 1e-9 * np.eye(2), design.T @ (counts - mean))
            beta = beta + np.clip(step, -2, 2)
            if np.abs(step).max() < 1e-8:
                break
        return beta

    beta = fit(y)
    mean = np.exp(design @ beta)
    residual = (y - mean) / np.sqrt(mean)
    r1 = (residual[1:] * residual[:-1]).sum() / max((residual**2).sum(), 1e-12)
    block = int(np.clip(max(round(n ** (1 / 3)), np.ceil((1 + r1) / max(1 - r1, 0.05))), 1, max(n // 3, 1)))
    again = []
    for _ in range(n_bootstrap):
        starts = rng.integers(0, n - block + 1, int(np.ceil(n / block)))
        noise = residual[(starts[:, None] + np.arange(block)).ravel()[:n]]
        again.append(fit(np.maximum(mean + noise * np.sqrt(mean), 0))[1])
    scale = np.ptp(t)
    low, high = bootstrap.t_interval(beta[1], np.array(again), max(n // block, 3))
    return float(beta[1] / scale), float(low / scale), float(high / scale)
