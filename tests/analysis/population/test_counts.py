"""Counts against time: trends and growth rates of simulated series."""

import numpy as np
import pytest

from stemdefects.analysis.population import counts


def test_growth_rate_of_counts_and_of_none():
    times = np.arange(100) * 2.0
    inside = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        value, low, high = counts.growth_rate(times, rng.poisson(15 * np.exp(0.006 * times)), 60, rng)
        assert value == pytest.approx(0.006, abs=0.0015)
        inside.append(low <= 0.006 <= high)
    assert np.mean(inside) > 0.8
    assert np.isnan(counts.growth_rate(times[:5], np.ones(5))[0])
    assert np.isnan(counts.growth_rate(times, np.zeros(100))[0])


def test_trend_of_a_slow_series_has_a_wide_interval():
    times = np.arange(200.0)
    inside = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        noise = np.zeros(200)
        for k in range(1, 200):
            noise[k] = 0.7 * noise[k - 1] + rng.standard_normal()
        t = counts.trend(times, 20 + 0.01 * times + noise, 200, rng)
        inside.append(t.slope_low <= 0.01 <= t.slope_high)
        assert t.mean == pytest.approx(21, abs=2)
    assert np.mean(inside) > 0.8  # white-noise errors would cover about 60%


def test_trend_of_almost_nothing():
    t = counts.trend(np.array([0.0, 1.0]), np.array([1.0, np.nan]))
    assert t.n_frames == 1 and np.isnan(t.slope)
