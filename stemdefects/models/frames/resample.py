"""Frames to the model's sampling, and tiles out of them. Pure JAX, fixed shapes."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int32, Real, Shaped

LOBES = 6  # of the interpolation kernel to either side: white noise keeps .94 of its variance in the mean, .89 at least
SLACK = 1.25  # times `tile_px`, that a single tile may have


class Grid(NamedTuple):
    """How a frame is cut into tiles of one shape, all at the model's sampling.

    shape: (h, w) of the resampled frame; tile: (h, w) of a tile; starts: (n, 2) first pixel of each tile, possibly
    negative; owned: (n, 4) top, bottom, left, right of the part of the frame (half open) that the tile answers for.
    """

    shape: tuple[int, int]
    tile: tuple[int, int]
    starts: np.ndarray
    owned: np.ndarray


def resampled_shape(shape: tuple[int, int], scale: float | tuple[float, float]) -> tuple[int, int]:
    """Size of a frame of `shape` after resampling by `scale` (model px per frame px, of both axes or of each); both
    first pixels coincide."""
    scales = np.broadcast_to(scale, 2)
    height, width = (int(np.floor((n - 1) * by + 1e-6)) + 1 for n, by in zip(shape, scales, strict=True))
    return height, width


def weights(n: int, scale: float, n_out: int) -> Float32[np.ndarray, "{n_out} {n}"]:
    """(n_out, n) float32 interpolation weights along one axis: output pixel j lies at j / scale of the input.

    A windowed sinc (Duchon, J. Appl. Meteorol. 18, 1016 (1979)), widened where pixels get larger so that they are
    averaged. A shorter kernel blurs the more the farther between two pixels it falls: frames resampled by a hair would
    lose a third of their noise, in stripes.
    """
    width = max(1.0, 1.0 / scale)
    x = np.abs(np.arange(n)[None] - np.arange(n_out)[:, None] / scale) / width
    kernel = np.where(x < LOBES, np.sinc(x) * np.sinc(x / LOBES), 0)
    return (kernel / kernel.sum(1, keepdims=True)).astype(np.float32)


def nearest(n: int, scale: float, n_out: int) -> Int32[np.ndarray, " {n_out}"]:
    """(n_out,) int32 index of the input pixel nearest to each output pixel along one axis."""
    return np.rint(np.arange(n_out) / scale).astype(np.int32).clip(0, n - 1)


def resample(
    frames: Float[jax.Array, "frames height width"],
    rows: Float[jax.Array, "new_height height"],
    columns: Float[jax.Array, "new_width width"],
) -> Float[jax.Array, "frames new_height new_width"]:
    """(B, H, W) -> (B, h, w) with `weights` (h, H) for the rows and (w, W) for the columns.

    The weights are arguments, not constants: one program serves every sampling, and the compiler has nothing to fold.
    """
    half = jnp.einsum("bHW,hH->bhW", frames, rows, precision="highest")
    return jnp.einsum("bhW,wW->bhw", half, columns, precision="highest")


def square_pixels(
    frames: Real[np.ndarray, "frames height width"], aspect: float
) -> Real[np.ndarray, "frames new_height width"]:
    """(n, H, W) with pixels `aspect` times as high as wide -> (n, h, W) with square ones; first rows coincide."""
    if aspect == 1:
        return frames
    n_out = resampled_shape(frames.shape[1:], (aspect, 1.0))[0]
    return np.einsum("nHW,hH->nhW", frames, weights(frames.shape[1], aspect, n_out), optimize=True)


def plan(shape: tuple[int, int], tile_px: int, overlap_px: int, divisor: int) -> Grid:
    """The fewest tiles for a frame of `shape`, and no larger than they need be (multiples of `divisor`).

    A frame up to `SLACK` times `tile_px` is one tile: two would hold more pixels, for their overlap. Larger frames get
    equal tiles that overlap by at least `overlap_px`; each answers for what is nearest to its centre.
    """
    largest = max(1, int(SLACK * tile_px) // divisor) * divisor
    overlap = min(overlap_px, largest // 2)
    axes = []
    for n in shape:
        count = 1 if n <= largest else -(-(n - overlap) // (largest - overlap))
        tile = -(-(n + (count - 1) * overlap) // (count * divisor)) * divisor
        if count == 1:
            axes.append((tile, np.array([-((tile - n) // 2)]), np.array([[0, n]])))
            continue
        starts = np.arange(count) * (n - tile) // (count - 1)
        cuts = (starts[1:] + starts[:-1] + tile) // 2
        edges = np.concatenate([[0], cuts, [n]])
        axes.append((tile, starts, np.stack([edges[:-1], edges[1:]], 1)))
    (height, ys, own_y), (width, xs, own_x) = axes
    starts = np.array([(y, x) for y in ys for x in xs], np.int32)
    owned = np.array([(*a, *b) for a in own_y for b in own_x], np.int32)
    return Grid((shape[0], shape[1]), (height, width), starts, owned)


def cut(
    frames: Shaped[jax.Array, "frames height width"], grid: Grid
) -> Shaped[jax.Array, "frames tiles tile_height tile_width"]:
    """(B, h, w) -> (B, n_tiles, *grid.tile); outside the frame it is mirrored at its edge pixels."""
    rows = np.stack([_mirrored(np.arange(grid.tile[0]) + start, grid.shape[0]) for start in grid.starts[:, 0]])
    columns = np.stack([_mirrored(np.arange(grid.tile[1]) + start, grid.shape[1]) for start in grid.starts[:, 1]])
    return frames[:, rows[:, :, None], columns[:, None, :]]


def _mirrored(index: np.ndarray, n: int) -> np.ndarray:
    if n == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * n - 2)
    return np.minimum(index, 2 * n - 2 - index)
