"""What one column adds to each pixel around it: the probe, moved by the scan's distortions to its exact place."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from stemdefects.simulation.optics import probe as optics
from stemdefects.simulation.optics.scan import Rows

FINE = 16  # samples per pixel


class Windows(NamedTuple):
    """Unit columns in windows of P x P pixels; `corner` is the pixel of the image a window starts at."""

    value: jnp.ndarray  # (N, P, P) sum over an endless window is 1; 0 outside the image
    corner: jnp.ndarray  # (N, 2) int32


def fine_probe(
    probe: optics.Probe, table: optics.Optics, pixel_size_nm: jax.Array, reach_px: int
) -> Float[jax.Array, "fine fine"]:
    """(M, M) probe intensity with blur, FINE samples per pixel out to `reach_px`, sum over whole pixels 1."""
    transfer = optics.transfer(probe, table, pixel_size_nm)
    place = jnp.arange(-reach_px * FINE, reach_px * FINE + 1) / FINE
    height, width = table.padded_px
    twice = np.full(len(table.frequency_x), 2.0)
    twice[0] = twice[-1] = 1.0  # the half spectrum stands for both halves; the padded width is even
    rows = jnp.exp(2j * np.pi * place[:, None] * table.frequency_y[None, :]) / height
    columns = jnp.exp(2j * np.pi * table.frequency_x[:, None] * place[None, :]) * (twice[:, None] / width)
    return (rows @ (transfer @ columns)).real


Places = Sequence[Float[jax.Array, " columns"]]  # y, x


def windows(
    fine: Float[jax.Array, "fine fine"],
    place_px: Places,
    jitter: Rows,
    near_px: Places,
    size_px: tuple[int, int],
    radius_px: int,
) -> Windows:
    """Windows of columns at `place_px` (y, x: (N,) each), placed before row jitter, around `near_px` (the same),
    where they appear.

    `fine` from `fine_probe` (or its derivative), with a reach of at least `radius_px` + 2.
    """
    height, width = size_px
    y_px, x_px = place_px
    taps = jnp.arange(2 * radius_px + 1)
    corner = jnp.round(jnp.stack(near_px, 1)).astype(jnp.int32) - radius_px
    row, column = corner[:, :1] + taps, corner[:, 1:] + taps  # (N, P)
    inside_y, inside_x = (row >= 0) & (row < height), (column >= 0) & (column < width)
    known = jnp.clip(row, 0, height - 1)
    v = row - jitter.y_px[known] - y_px[:, None]
    u = column[:, None, :] - jitter.x_px[known][:, :, None] - x_px[:, None, None]
    value = _bilinear(fine, v[:, :, None], u)
    return Windows(jnp.where(inside_y[:, :, None] & inside_x[:, None, :], value, 0.0), corner)


def _bilinear(fine, y_px, x_px):
    half = (fine.shape[0] - 1) // 2
    y = jnp.clip(y_px * FINE + half, 0.0, 2 * half - 1e-3)
    x = jnp.clip(x_px * FINE + half, 0.0, 2 * half - 1e-3)
    row, column = y.astype(jnp.int32), x.astype(jnp.int32)
    fy, fx = y - row, x - column
    first = row * fine.shape[1] + column
    flat = fine.ravel()
    top = flat[first] * (1 - fx) + flat[first + 1] * fx
    below = flat[first + fine.shape[1]] * (1 - fx) + flat[first + fine.shape[1] + 1] * fx
    return top * (1 - fy) + below * fy


def gather(image: jax.Array, corner: Int[jax.Array, "columns 2"], size: int) -> jax.Array:
    """(N, size, size, ...) windows of an image (H, W, ...) that hold whole windows at each of `corner` (N, 2)."""
    taps = jnp.arange(size)
    rows = (corner[:, 0, None] + taps)[:, :, None]
    columns = (corner[:, 1, None] + taps)[:, None, :]
    return image[rows, columns]


def scatter(
    image: Float[jax.Array, "height width"],
    corner: Int[jax.Array, "columns 2"],
    values: Float[jax.Array, "columns size size"],
) -> Float[jax.Array, "height width"]:
    """Add windows (N, P, P) to an image (H, W) that holds them whole."""
    taps = jnp.arange(values.shape[-1])
    rows = (corner[:, 0, None] + taps)[:, :, None]
    columns = (corner[:, 1, None] + taps)[:, None, :]
    return image.at[rows, columns].add(values)
