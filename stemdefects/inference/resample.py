"""Frames to the model's sampling, and tiles out of them. Pure JAX, fixed shapes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class Grid(NamedTuple):
    """How a frame is cut into tiles of one shape, all at the model's sampling.

    shape: (h, w) of the resampled frame; tile: (h, w) of a tile; starts: (n, 2) first pixel of each tile, possibly
    negative; owned: (n, 4) top, bottom, left, right of the part of the frame (half open) that the tile answers for.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    starts: np.ndarray
    owned: np.ndarray


def resampled_shape(shape: tuple[int, int], scale: float) -> tuple[int, int]:
    """Size of a frame of `shape` after resampling by `scale` (model px per frame px); both first pixels coincide."""
    return tuple(int(np.floor((n - 1) * scale + 1e-6)) + 1 for n in shape)


def resample(frames: jax.Array, scale: float, shape: tuple[int, int]) -> jax.Array:
    """(B, H, W) -> (B, *shape) by cubic interpolation, averaging where pixels get larger.

    Pixel (i, j) of the result lies at (i, j) / scale of the frame: the first pixels have the same centre.
    """
    if abs(scale - 1) < 1e-9 and tuple(frames.shape[1:]) == tuple(shape):
        return frames
    factor = jnp.full(2, scale, jnp.float32)
    shift = 0.5 - 0.5 * factor  # scale_and_translate puts pixel edges, not centres, on top of each other
    one = lambda frame: jax.image.scale_and_translate(frame, shape, (0, 1), factor, shift, "cubic", antialias=True)  # noqa: E731
    return jax.vmap(one)(frames)


def plan(shape: tuple[int, int], tile_px: int, overlap_px: int, divisor: int) -> Grid:
    """Tiles for a frame of `shape`. A frame up to `tile_px` is one tile, filled up to a multiple of 64 px.

    Larger frames get equal tiles that overlap by at least `overlap_px`; each answers for what is nearest to its centre.
    """
    step = int(np.lcm(64, divisor))
    axes = []
    for n in shape:
        tile = min(-(-n // step), max(1, tile_px // step)) * step
        if n <= tile:
            axes.append((tile, np.array([-((tile - n) // 2)]), np.array([[0, n]])))
            continue
        count = 1 + int(np.ceil((n - tile) / (tile - min(overlap_px, tile // 2))))
        starts = np.round(np.linspace(0, n - tile, count)).astype(int)
        cuts = (starts[1:] + starts[:-1] + tile) // 2
        edges = np.concatenate([[0], cuts, [n]])
        axes.append((tile, starts, np.stack([edges[:-1], edges[1:]], 1)))
    (height, ys, own_y), (width, xs, own_x) = axes
    starts = np.array([(y, x) for y in ys for x in xs], np.int32)
    owned = np.array([(*a, *b) for a in own_y for b in own_x], np.int32)
    return Grid(tuple(shape), (height, width), starts, owned)


def cut(frames: jax.Array, grid: Grid) -> jax.Array:
    """(B, h, w) -> (B, n_tiles, *grid.tile); outside the frame it is mirrored at its edge pixels."""
    rows = np.stack([_mirrored(np.arange(grid.tile[0]) + start, grid.shape[0]) for start in grid.starts[:, 0]])
    columns = np.stack([_mirrored(np.arange(grid.tile[1]) + start, grid.shape[1]) for start in grid.starts[:, 1]])
    return frames[:, rows[:, :, None], columns[:, None, :]]


def _mirrored(index: np.ndarray, n: int) -> np.ndarray:
    if n == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * n - 2)
    return np.minimum(index, 2 * n - 2 - index)
