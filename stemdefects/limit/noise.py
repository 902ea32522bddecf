"""The likelihood of a detector reading: Poisson electrons, their pulse heights and read-out noise together."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike
from scipy.special import gammaln

from stemdefects.simulation.optics import detector as simulated

DEGREE = 6  # of the polynomial in the logarithm of the mean
_NODES = 20  # about three for each coefficient, at Chebyshev's places
_LEAST_NOISE_E = 0.05  # resolves single electrons all the same
_STEP_E = 0.02  # electrons, between places of the table


class Likelihood(NamedTuple):
    """log p(c | mean) = polynomial in u - mean with u = (log mean - middle) / half, exact to about 0.01 in its range.

    For Poisson numbers log p is linear in log mean but for the mean itself; noise on top bends it a little.
    """

    coefficients: jnp.ndarray  # (..., D + 1), rising powers of u, one set per pixel
    middle: jnp.ndarray
    half: jnp.ndarray

    def __call__(self, mean: jax.Array) -> jax.Array:
        """log p of each pixel at `mean` (...), up to a constant of the pixel."""
        return evaluate(self.coefficients, self.middle, self.half, mean)


def evaluate(coefficients: jax.Array, middle: jax.Array, half: jax.Array, mean: jax.Array) -> jax.Array:
    """`Likelihood.__call__` on plain arrays."""
    u = (jnp.log(mean) - middle) / half
    value = coefficients[..., -1]
    for power in range(coefficients.shape[-1] - 2, -1, -1):
        value = value * u + coefficients[..., power]
    return value - mean


def log_probability(reading: np.ndarray, mean: np.ndarray, pulse_spread: float, read_noise_e: float) -> np.ndarray:
    """Exact log density (m, k) of readings (m,) in electrons at expected numbers `mean` (k,).

    A reading is n + N(0, pulse_spread^2 n + read_noise_e^2) with Poisson n: the sum over n, in double precision.
    Read-out noise below 0.05 electrons counts as that, which keeps the density finite.
    """
    most = max(float(np.max(reading)), float(np.max(mean)), 1.0)
    n = np.arange(int(most * (1 + 3 * pulse_spread) + 8 * np.sqrt(most) + 6 * read_noise_e) + 12)
    variance = pulse_spread**2 * n + max(read_noise_e, _LEAST_NOISE_E) ** 2
    height = -0.5 * (np.asarray(reading, float)[:, None] - n) ** 2 / variance - 0.5 * np.log(2 * np.pi * variance)
    number = n[:, None] * np.log(mean) - mean - gammaln(n + 1.0)[:, None]
    top = height.max(1, keepdims=True)
    with np.errstate(under="ignore"):
        total = np.exp(height - top) @ np.exp(number)
    return np.log(np.maximum(total, 1e-300)) + top


def likelihood(
    electrons: ArrayLike, low: float, high: float, pulse_spread: float = 0.0, read_noise_e: float = 0.0
) -> Likelihood:
    """The likelihood of `electrons` (...) as a function of the expected number between `low` and `high`."""
    middle, half = 0.5 * (np.log(high) + np.log(low)), 0.5 * (np.log(high) - np.log(low)) + 1e-6
    electrons = np.asarray(electrons)
    if pulse_spread == 0 and read_noise_e == 0:
        pair = np.stack([electrons * middle, electrons * half], -1)
        return Likelihood(jnp.asarray(pair, jnp.float32), jnp.float32(middle), jnp.float32(half))
    u = np.cos(np.pi * (np.arange(_NODES) + 0.5) / _NODES)
    mean = np.exp(middle + half * u)
    start = np.floor(electrons.min() - 1)
    grid = np.arange(start, electrons.max() + 1, _STEP_E)
    exact = log_probability(grid, mean, pulse_spread, read_noise_e) + mean
    # Chebyshev nodes: the fit is near the best in the largest error, also where a state is far from the truth
    table = exact @ np.linalg.pinv(np.vander(u, DEGREE + 1, increasing=True)).T
    place = (electrons - start) / _STEP_E
    index = np.clip(place.astype(int), 0, len(grid) - 2)
    part = (place - index)[..., None]
    pixels = (table[index] * (1 - part) + table[index + 1] * part).astype(np.float32)
    return Likelihood(jnp.asarray(pixels), jnp.float32(middle), jnp.float32(half))


def variance(mean: jax.Array, detector: simulated.Detector) -> jax.Array:
    """Variance of a reading in electrons^2: the Gaussian limit of `likelihood`."""
    return mean * (1.0 + detector.pulse_spread**2) + detector.read_noise_e**2


def electrons(counts: jax.Array, detector: simulated.Detector, row_gain: jax.Array) -> jax.Array:
    """Undo offset, gain, the gain of each row (..., H, 1) and the afterglow: counts (..., H, W) to electrons."""
    signal = (counts - detector.offset) / (detector.gain * row_gain)
    spread = simulated.afterglow(jnp.eye(counts.shape[-1]), detector.afterglow_px)  # row i: what a unit at i becomes
    return signal @ jnp.linalg.inv(spread)
