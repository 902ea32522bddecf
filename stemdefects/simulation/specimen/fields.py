"""Smooth random fields: blotches, outlines of holes and patches, clustering."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from stemdefects.numerics.arrays import Scalar

CONTROL = 24  # control points per axis


def upsampling(n_px: int) -> Float[np.ndarray, "n_px control"]:
    """(n_px, CONTROL) cubic B-spline weights that spread control points over `n_px` pixels."""
    return np.asarray(_weights(np, n_px, 0.0), np.float32)


def moved_upsampling(n_px: int, shift_px: Scalar) -> Float[jax.Array, "n_px control"]:
    """`upsampling` of a field displaced by `shift_px` (traced); beyond its edge the field goes on as it ends."""
    return _weights(jnp, n_px, shift_px)


def _weights(xp, n_px: int, shift_px):
    place = (xp.arange(n_px) + 0.5 - shift_px) / n_px * CONTROL - 0.5
    distance = xp.abs(xp.clip(place, -0.5, CONTROL - 0.5)[:, None] - xp.arange(CONTROL)[None, :])
    near = (4 - 6 * distance**2 + 3 * distance**3) / 6
    far = xp.clip(2 - distance, 0, None) ** 3 / 6
    weights = xp.where(distance < 1, near, far)
    return weights / weights.sum(1, keepdims=True)


def control_points(key: jax.Array, length: Scalar) -> Float[jax.Array, "control control"]:
    """(CONTROL, CONTROL) Gaussian field of mean 0 and variance 1 with correlation length `length` (in fields)."""
    frequency = jnp.fft.fftfreq(CONTROL) * CONTROL  # cycles per field
    damping = jnp.exp(-0.5 * (np.pi * jnp.asarray(length) * frequency) ** 2)
    filtered = jnp.fft.fft2(jax.random.normal(key, (CONTROL, CONTROL))) * damping[:, None] * damping[None, :]
    field = jnp.fft.ifft2(filtered).real
    return (field - field.mean()) / (field.std() + 1e-6)


def sample(
    points: Float[jax.Array, "control control"], y: Float[jax.Array, "*places"], x: Float[jax.Array, "*places"]
) -> Float[jax.Array, "*places"]:
    """Field values at fractional places (0..1 across the field), bilinear between control points, clamped outside."""
    y = jnp.clip(y * CONTROL - 0.5, 0.0, CONTROL - 1.001)
    x = jnp.clip(x * CONTROL - 0.5, 0.0, CONTROL - 1.001)
    row, column = y.astype(jnp.int32), x.astype(jnp.int32)
    fy, fx = y - row, x - column
    top = points[row, column] * (1 - fx) + points[row, column + 1] * fx
    bottom = points[row + 1, column] * (1 - fx) + points[row + 1, column + 1] * fx
    return top * (1 - fy) + bottom * fy


def threshold(fraction: Scalar) -> Float[jax.Array, ""]:
    """Level above which a field of mean 0 and variance 1 has `fraction` of its area."""
    return -jax.scipy.special.ndtri(jnp.clip(fraction, 1e-4, 1 - 1e-4))
