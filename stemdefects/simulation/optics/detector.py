"""From the scattered fraction of the beam to counts: dose, Poisson noise, pulse heights, afterglow, read-out."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from stemdefects.numerics.arrays import Scalar

_EXACT_BELOW = 10.0  # mean counts up to which the Poisson distribution is summed term by term
_STEPS = 30  # P(n >= 30) is 3e-7 at a mean of 10
_AFTERGLOW_TAPS = 8  # px that an afterglow lasts at most


class Detector(NamedTuple):
    """Scalars. Noise in detected electrons; `gain` and `offset` turn them into counts."""

    dose_e_per_px: jnp.ndarray
    pulse_spread: jnp.ndarray
    afterglow_px: jnp.ndarray
    line_gain: jnp.ndarray
    read_noise_e: jnp.ndarray
    gain: jnp.ndarray
    offset: jnp.ndarray


def poisson(key: jax.Array, mean: Float[jax.Array, "*shape"]) -> Float[jax.Array, "*shape"]:
    """Poisson numbers by inversion, float32 of the shape of `mean`; vectorises, unlike rejection.

    Exact (to the 2^-23 of the uniform number) below a mean of 10, above it the Cornish-Fisher quantile, whose
    distribution function is off by less than 1e-3 (Giles, ACM Trans. Math. Softw. 42, 7 (2016), eq. 3-6).
    """
    uniform = jax.random.uniform(key, mean.shape, minval=1e-7, maxval=1.0)
    small = jnp.minimum(mean, _EXACT_BELOW)
    term = jnp.exp(-small)
    below = term
    count = jnp.zeros_like(mean)
    for n in range(1, _STEPS):
        count += uniform > below
        term = term * (small / n)
        below = below + term
    z = jax.scipy.special.ndtri(uniform)
    large = jnp.maximum(mean, 1.0)
    root = jnp.sqrt(large)
    quantile = large + root * z + 1.0 / 3.0 + z**2 / 6.0 - (z / 36.0 + z**3 / 72.0) / root
    return jnp.where(mean < _EXACT_BELOW, count, jnp.maximum(jnp.floor(quantile), 0.0))


def detect(
    key: jax.Array,
    fraction: Float[jax.Array, "height width"],
    detector: Detector,
    use_poisson: bool,
    integer: bool,
    saturation: float | None,
) -> Float[jax.Array, "height width"]:
    """Counts (H, W) float32 from the expected `fraction` (H, W) of the beam on the detector."""
    key_dose, key_pulse, key_line = jax.random.split(key, 3)
    expected = jnp.maximum(detector.dose_e_per_px * fraction, 0.0)
    electrons = poisson(key_dose, expected) if use_poisson else expected
    noise = jax.random.normal(key_pulse, fraction.shape)
    spread = detector.pulse_spread**2 * electrons * (1.0 if use_poisson else 0.0)
    # pulse heights and read-out are both Gaussian and independent: one draw of their joint variance; the read-out
    # share is taken through the afterglow too, which is too small to see
    signal = electrons + noise * jnp.sqrt(spread + detector.read_noise_e**2)
    signal = afterglow(signal, detector.afterglow_px)
    counts = detector.gain * _line_gain(key_line, detector, fraction.shape[0]) * signal + detector.offset
    if integer:
        counts = jnp.round(counts)
    if integer or saturation is not None:
        counts = jnp.clip(counts, 0.0, jnp.inf if saturation is None else saturation)
    return counts.astype(jnp.float32)


def line_gain(key: jax.Array, detector: Detector, height: int) -> Float[jax.Array, "height 1"]:
    """(H, 1) gain of each row that `detect` draws from `key`."""
    return _line_gain(jax.random.split(key, 3)[2], detector, height)


def _line_gain(key: jax.Array, detector: Detector, height: int) -> Float[jax.Array, "height 1"]:
    return 1.0 + detector.line_gain * jax.random.normal(key, (height, 1))


def afterglow(signal: Float[jax.Array, "height width"], length_px: Scalar) -> Float[jax.Array, "height width"]:
    """Exponential decay of the signal along the fast axis, (H, W) -> (H, W); the sum of a row stays."""
    signal = jax.lax.optimization_barrier(signal)  # else every tap computes the noise again
    keep = jnp.exp(-1.0 / jnp.maximum(length_px, 1e-2))
    padded = jnp.pad(signal, ((0, 0), (_AFTERGLOW_TAPS - 1, 0)), mode="reflect")
    out, norm = jnp.zeros_like(signal), jnp.zeros(())
    for tap in range(_AFTERGLOW_TAPS):
        start = _AFTERGLOW_TAPS - 1 - tap
        out = out + keep**tap * padded[:, start : start + signal.shape[1]]
        norm = norm + keep**tap
    return out / norm


def delay_px(length_px: Scalar) -> Float[jax.Array, ""]:
    """How far afterglow moves everything along the fast axis: the mean of its decay."""
    weight = jnp.exp(-jnp.arange(_AFTERGLOW_TAPS) / jnp.maximum(length_px, 1e-2))
    return (weight * jnp.arange(_AFTERGLOW_TAPS)).sum() / weight.sum()
