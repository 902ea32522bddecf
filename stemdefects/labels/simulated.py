"""Training targets from the simulation's exact truth.

The heat map is a dense map, made by one small matrix product per sublattice because a Gaussian is separable. State,
offset and uncertainty are only defined where a column is, so their targets are lists over columns with the four cells
around each: gathering the network's answers there costs far less than painting dense maps.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of the four cells around a place, (y, x): bilinear weights


class Targets(NamedTuple):
    """What the network should answer for one image; (h, w) cells, N columns."""

    presence: jax.Array  # (h, w, G) 0..1 Gaussian heat map of valid columns, occupied or vacant
    region: jax.Array  # (h, w, R) fractions of the cell in each region
    cell: jax.Array  # (N, 4) int32 flat index of the four cells around the column
    weight: jax.Array  # (N, 4) bilinear weights, 0 for columns that are not valid and cells outside
    offset: jax.Array  # (N, 4, 2) from each cell's centre to the column, image px
    site: jax.Array  # (N,) int32
    state: jax.Array  # (N,) int32


def heat_map(
    y_px: jax.Array, x_px: jax.Array, weight: jax.Array, shape: tuple[int, int], stride: int, sigma_px: float
) -> jax.Array:
    """Sum of Gaussians of height `weight` (N, G) at (y_px, x_px) (N,), sampled at the centres of (h, w) cells.

    Returns (h, w, G). Source: Zhou et al., arXiv:1904.07850, without rounding positions to cells.
    """

    def profile(position, n):
        centre = jnp.arange(n) * stride + (stride - 1) / 2
        return jnp.exp(-0.5 * ((centre[None, :] - position[:, None]) / sigma_px) ** 2)

    rows, columns = profile(y_px, shape[0]), profile(x_px, shape[1])
    return jnp.stack([(rows * w[:, None]).T @ columns for w in weight.T], axis=-1)


def targets(truth: Any, *, n_sites: int, n_regions: int, stride: int, heat_sigma_px: float) -> Targets:
    """Targets of one image from its `Truth` (see simulation/images.py; vmap for a batch).

    Columns outside the image or without a defined state (`valid` false) have no target: the network must say that no
    column is there. Vacant sites of the crystal do count as present.
    """
    height, width = truth.regions.shape
    h, w = height // stride, width // stride
    valid = truth.valid.astype(jnp.float32)
    presence = heat_map(
        truth.y_px, truth.x_px, jax.nn.one_hot(truth.site, n_sites) * valid[:, None], (h, w), stride, heat_sigma_px
    )
    blocks = jax.nn.one_hot(truth.regions, n_regions).reshape(h, stride, w, stride, n_regions)

    position = (jnp.stack([truth.y_px, truth.x_px], -1) - (stride - 1) / 2) / stride  # in cells
    corner = jnp.floor(position)[:, None, :] + jnp.array(CORNERS, jnp.float32)
    distance = jnp.abs(position[:, None, :] - corner)
    weight = jnp.prod(1 - distance, -1) * valid[:, None]
    index = corner.astype(jnp.int32)
    inside = ((index >= 0) & (index < jnp.array([h, w]))).all(-1)
    index = jnp.clip(index, 0, jnp.array([h - 1, w - 1]))
    return Targets(
        presence=jnp.minimum(presence, 1.0),
        region=blocks.mean((1, 3)),
        cell=index[..., 0] * w + index[..., 1],
        weight=jnp.where(inside, weight, 0.0),
        offset=(position[:, None, :] - corner) * stride,
        site=truth.site.astype(jnp.int32),
        state=truth.state.astype(jnp.int32),
    )
