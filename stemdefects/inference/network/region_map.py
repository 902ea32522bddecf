"""Where the network sees lattice, holes, contamination or 1T: a coarse map of every frame, small enough to keep."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from stemdefects.models.frames.resample import Grid

CELL_PX = 8  # model pixels
UNKNOWN = 255  # frames that were skipped


def cell_px(tile: tuple[int, int], stride: int) -> int:
    """Model pixels per cell of the maps: `CELL_PX` where tiles (h, w) of cells of `stride` divide so, else fewer."""
    return stride * math.gcd(*(n // stride for n in tile), max(1, CELL_PX // stride))


def coarse(hot: jax.Array, k: int) -> jax.Array:
    """(n, h, w, 4) one-hot regions -> (n, h / k, w / k) uint8, the most frequent of k x k cells."""
    n, height, width, kinds = hot.shape
    pooled = hot.reshape(n, height // k, k, width // k, k, kinds).sum((2, 4))
    return jnp.argmax(pooled, -1).astype(jnp.uint8)


def stitched(tiles: np.ndarray, grid: Grid) -> np.ndarray:
    """(n_tiles, h', w') maps of the tiles of one frame -> (ny, nx) map of the frame in cells of the same size, the
    first at the frame's first pixel."""
    step = grid.tile[0] // tiles.shape[1]
    centres = [np.arange(-(-n // step)) * step + (step - 1) / 2 for n in grid.shape]
    found = np.full([len(c) for c in centres], UNKNOWN, np.uint8)
    for tile, (y0, x0), (top, bottom, left, right) in zip(tiles, grid.starts, grid.owned, strict=True):
        # the last cell may reach beyond the frame
        rows, columns = (
            np.flatnonzero((c >= low) & ((c < high) | (high == n)))
            for c, low, high, n in zip(centres, (top, left), (bottom, right), grid.shape, strict=True)
        )
        y = ((centres[0][rows] - y0) // step).astype(int).clip(0, tile.shape[0] - 1)
        x = ((centres[1][columns] - x0) // step).astype(int).clip(0, tile.shape[1] - 1)
        found[np.ix_(rows, columns)] = tile[np.ix_(y, x)]
    return found
