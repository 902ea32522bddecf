"""Distortions of the scan: drift within the frame, flyback, row jitter."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Complex, Float

from stemdefects.numerics.arrays import Scalar


class Scan(NamedTuple):
    """Scalars in pixels."""

    row_jitter_px: jnp.ndarray
    slow_jitter_px: jnp.ndarray
    slow_jitter_rows: jnp.ndarray
    row_jitter_y_px: jnp.ndarray
    drift_y_px: jnp.ndarray  # during one frame
    drift_x_px: jnp.ndarray
    flyback_px: jnp.ndarray
    flyback_length_px: jnp.ndarray


class Rows(NamedTuple):
    """How far each row's content is displaced, (H,), in pixels."""

    y_px: jnp.ndarray
    x_px: jnp.ndarray


def distort(
    scan: Scan, y_px: Float[jax.Array, " columns"], x_px: Float[jax.Array, " columns"], height: int
) -> tuple[Float[jax.Array, " columns"], Float[jax.Array, " columns"]]:
    """Column positions as the drifting, settling scan sees them (all but the jitter of single rows)."""
    time = y_px / height - 0.5
    settled = jnp.maximum(x_px + 2.0, 0.0)  # what lies further left is never seen, and must not be thrown far
    y = y_px + scan.drift_y_px * time
    x = x_px + scan.drift_x_px * time + scan.flyback_px * jnp.exp(-settled / scan.flyback_length_px)
    return y, x


def rows(key: jax.Array, scan: Scan, height: int) -> Rows:
    """Random displacement of each row: white, and slow over `slow_jitter_rows`."""
    key_x, key_slow, key_y = jax.random.split(key, 3)
    frequency = jnp.fft.rfftfreq(height)
    damping = jnp.exp(-0.5 * (2.0 * np.pi * 0.3 * scan.slow_jitter_rows * frequency) ** 2)
    slow = jnp.fft.irfft(jnp.fft.rfft(jax.random.normal(key_slow, (height,))) * damping, height)
    slow = slow / (slow.std() + 1e-6) * scan.slow_jitter_px
    x = slow + scan.row_jitter_px * jax.random.normal(key_x, (height,))
    return Rows(scan.row_jitter_y_px * jax.random.normal(key_y, (height,)), x)


def shift_rows(
    spectrum_rows: Complex[jax.Array, "padded frequencies"],
    rows: Rows,
    frequency_x: Float[np.ndarray, " frequencies"],
    pad_px: int,
    height: int,
) -> Complex[jax.Array, "height frequencies"]:
    """Apply row jitter to rows given by their 1-D spectra (padded, width // 2 + 1): exact along x, cubic along y."""
    first = pad_px - 1
    t = -rows.y_px  # a row displaced by +d shows what lies at y - d
    step = jnp.floor(t).astype(jnp.int32)
    t = (t - step)[:, None]
    base = first + jnp.arange(height) + step
    weights = (
        0.5 * (-t + 2 * t**2 - t**3),
        0.5 * (2 - 5 * t**2 + 3 * t**3),
        0.5 * (t + 4 * t**2 - 3 * t**3),
        0.5 * (t**3 - t**2),
    )
    mixed = sum(weight * spectrum_rows[base + n] for n, weight in enumerate(weights))
    phase = 2.0 * np.pi * frequency_x[None, :] * rows.x_px[:, None]
    return mixed * jax.lax.complex(jnp.cos(phase), -jnp.sin(phase))


def at_columns(
    rows: Rows, y_px: Float[jax.Array, " columns"], blur_px: Scalar, height: int
) -> tuple[Float[jax.Array, " columns"], Float[jax.Array, " columns"]]:
    """Displacement (y, x) of columns at `y_px` by row jitter: the mean of the rows that show them."""
    taps = jnp.arange(-3, 4)
    near = jnp.round(y_px).astype(jnp.int32)[:, None] + taps
    weight = jnp.exp(-0.5 * ((near - y_px[:, None]) / blur_px) ** 2)
    weight = jnp.where((near >= 0) & (near < height), weight, 0.0)
    weight = weight / (weight.sum(1, keepdims=True) + 1e-9)
    near = jnp.clip(near, 0, height - 1)
    return (weight * rows.y_px[near]).sum(1), (weight * rows.x_px[near]).sum(1)
