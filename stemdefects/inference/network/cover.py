"""What lies on the crystal and is far brighter than it: left out of a frame's mean and contrast.

A network that labels of a movie taught has seen the crystal at the contrast of frames without much dirt. Dirt of four
times the crystal's brightness over a fifth of a frame makes its contrast four times as small, and nothing is called.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from stemdefects.models.frames.normalization import BLOCK_PX

BRIGHT, WINDOW = 1.5, 1.5  # times the crystal's intensity, in a window of so many lattice spacings (`labels.regions`)
CONTRAST = 2.0  # times that of the crystal, that it has to be brighter too: a crystal of strong contrast is not upset
MOST = 0.8  # of a frame: with more of it covered there is no crystal to take the contrast from


class Cover(NamedTuple):
    """level, contrast: of the crystal of a movie, in the frames' units; sigma_px: (y, x) width of the window."""

    level: float
    contrast: float
    sigma_px: tuple[float, float]

    def of(self, frame: np.ndarray) -> np.ndarray | None:
        """(H, W) bool: what lies on the crystal in `frame` (H, W); None: nothing, or hardly anything else."""
        bright = _smooth(_blocks(frame), self.sigma_px) > max(
            BRIGHT * self.level, self.level + CONTRAST * self.contrast
        )
        if not bright.any() or bright.mean() > MOST:
            return None
        whole = np.kron(bright, np.ones((BLOCK_PX, BLOCK_PX), bool))
        beyond = [(0, n - m) for n, m in zip(frame.shape, whole.shape, strict=True)]
        return np.pad(whole, beyond, mode="edge")


def measured(frames: np.ndarray, vectors_px: np.ndarray, aspect: float = 1.0) -> Cover:
    """What the crystal of `frames` (n, H, W) usually looks like; its lattice is `vectors_px` (2, 2), square pixels.

    aspect: height over width of a pixel of the frames.
    """
    width = WINDOW * float(np.sqrt(np.linalg.norm(vectors_px, axis=1).prod()))
    sigma_px = (width / aspect, width)
    levels, contrasts = [], []
    for frame in frames:
        blocks = _blocks(frame)
        slow = _smooth(blocks, sigma_px)
        levels.append(np.median(slow))
        contrasts.append(0.5 * float(np.subtract(*np.quantile(blocks - slow, (0.84, 0.16)))))
    return Cover(float(np.median(levels)), float(np.median(contrasts)), sigma_px)


def _blocks(frame: np.ndarray) -> np.ndarray:
    """Means of `BLOCK_PX` x `BLOCK_PX` px."""
    height, width = (n // BLOCK_PX for n in frame.shape)
    part = np.asarray(frame[: height * BLOCK_PX, : width * BLOCK_PX], np.float32)
    return part.reshape(height, BLOCK_PX, width, BLOCK_PX).mean((1, 3))


def _smooth(blocks: np.ndarray, sigma_px: tuple[float, float]) -> np.ndarray:
    return ndimage.gaussian_filter(blocks, [s / BLOCK_PX for s in sigma_px])
