"""The detector's likelihood against its definition."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from stemdefects.limit import noise
from stemdefects.simulation.optics import detector as simulated


def detector(**values) -> simulated.Detector:
    default = {"dose_e_per_px": 1.0, "pulse_spread": 0.0, "afterglow_px": 0.0, "line_gain": 0.0, "read_noise_e": 0.0}
    default |= {"gain": 1.0, "offset": 0.0} | values
    return simulated.Detector(**{k: jnp.float32(default[k]) for k in simulated.Detector._fields})


def test_poisson_likelihood_is_exact():
    count = np.arange(30.0)
    like = noise.likelihood(count, 0.05, 40.0)
    for a, b in ((0.1, 1.0), (3.0, 4.0), (20.0, 39.0)):
        got = like(jnp.full(30, b)) - like(jnp.full(30, a))
        exact = stats.poisson.logpmf(count, b) - stats.poisson.logpmf(count, a)
        np.testing.assert_allclose(got, exact, atol=2e-3, rtol=1e-5)


def test_density_of_a_reading_adds_up_to_one_and_matches_samples():
    rng = np.random.default_rng(0)
    for mean, pulse, read in ((0.4, 0.3, 0.2), (6.0, 0.7, 0.5), (6.0, 0.1, 0.0)):
        grid = np.arange(-5, 60, 0.01)
        density = np.exp(noise.log_probability(grid, np.array([mean]), pulse, read))[:, 0]
        assert density.sum() * 0.01 == pytest.approx(1.0, abs=1e-3)
        n = rng.poisson(mean, 100_000)
        sample = n + rng.normal(size=n.size) * np.sqrt(pulse**2 * n + read**2)
        assert (density * grid).sum() * 0.01 == pytest.approx(sample.mean(), abs=0.05)
        assert (density * (grid - mean) ** 2).sum() * 0.01 == pytest.approx(sample.var(), rel=0.03)
        assert float(noise.variance(mean, detector(pulse_spread=pulse, read_noise_e=read))) == pytest.approx(
            mean * (1 + pulse**2) + read**2
        )


@pytest.mark.parametrize(
    ("pulse", "read", "high"), [(0.5, 0.5, 8.0), (0.7, 0.2, 60.0), (0.1, 0.0, 8.0), (0.0, 0.4, 60.0)]
)
def test_polynomial_follows_the_exact_likelihood(pulse, read, high):
    rng = np.random.default_rng(1)
    low = high / 100
    mean = np.exp(rng.uniform(np.log(low), np.log(high), 300))
    n = rng.poisson(mean)
    reading = n + rng.normal(size=300) * np.sqrt(pulse**2 * n + read**2)
    like = noise.likelihood(reading, low, high, pulse, read)
    for factor in (0.5, 0.9, 1.2, 2.0):
        other = np.clip(mean * factor, low, high)
        got = np.asarray(like(jnp.asarray(other)) - like(jnp.asarray(mean)))
        exact = [
            np.diff(noise.log_probability(reading[i : i + 1], np.array([mean[i], other[i]]), pulse, read))[0, 0]
            for i in range(300)
        ]
        assert np.sqrt(((got - exact) ** 2).mean()) < 0.01
        assert np.abs(got - exact).max() < 0.05


def test_electrons_undoes_gain_rows_and_afterglow():
    rng = np.random.default_rng(2)
    mean = jnp.asarray(rng.gamma(2.0, 1.0, (24, 32)), jnp.float32)
    given = detector(dose_e_per_px=1.0, afterglow_px=0.8, line_gain=0.05, gain=20.0, offset=50.0)
    key = jax.random.key(3)
    counts = jax.jit(lambda m: simulated.detect(key, m, given, False, False, None))(mean)
    rows = simulated.line_gain(key, given, 24)
    assert float(jnp.abs(counts / 20 - 2.5 - mean).max()) > 0.3
    np.testing.assert_allclose(jax.jit(noise.electrons)(counts, given, rows), mean, atol=2e-3)
