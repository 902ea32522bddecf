"""Peaks in the power of windowed frames: how far they stand above the noise at their frequency, and where they are."""

import functools
import itertools

import numpy as np
from scipy import fft, ndimage

MAX_FREQUENCY = 0.45  # cycles per px
SMOOTHING_PX = 1.0  # noise of single pixels has no part in the lattice's waves
CORNER = 0.7072  # cycles per px at the corner of a transform, rounded up


def apply_window(image: np.ndarray) -> np.ndarray:
    """`image` without its mean, extremes clipped (a bright impurity rings through the whole transform), Hann window."""
    # smoothed first: clipping shall take impurities out, not the tail of the shot noise
    image = ndimage.gaussian_filter(image, SMOOTHING_PX)
    window = [np.hanning(n + 2)[1:-1].astype(np.float32) for n in image.shape]
    sample = image[:: max(1, image.shape[0] // 256), :: max(1, image.shape[1] // 256)]
    low, high = np.quantile(sample, (0.01, 0.97))
    if high > low:  # else nearly all pixels are empty, and what is not is the signal
        image = np.clip(image, low, high)
    weight = window[0][:, None] * window[1]
    return (image - float((image * weight).sum() / weight.sum())) * weight


def whitened(power: np.ndarray, steep: bool = False) -> np.ndarray:
    """Power over the mean noise power at the same frequency, from the median of rings; (H, W // 2 + 1).

    steep: the noise falls within a ring too, as an amorphous film's does: its level is interpolated between rings.
    """
    height, half = power.shape
    ring, order, starts = _rings(height, half)
    values = power.ravel()[order]
    level = np.array([np.median(values[a:b]) if b > a else np.nan for a, b in itertools.pairwise(starts)])
    level = np.where(np.isfinite(level) & (level > 0), level, np.nanmax(np.append(level, 1e-30)))
    if steep:
        centre = (np.arange(len(level)) + 0.5) * CORNER / len(level)
        radius = np.hypot(fft.fftfreq(height)[:, None], np.arange(half)[None] / max(2 * (half - 1), 1))
        at = np.exp(np.interp(radius, centre, np.log(level)))
    else:
        at = level[ring]
    ratio = power / (at / np.log(2))  # the median of an exponential distribution is ln 2 of its mean
    length = max(9, height // 16) | 1
    for column in range(min(3, half)):
        along = ndimage.median_filter(ratio[:, column], length, mode="wrap") / np.log(2)
        ratio[:, column] /= np.maximum(along, 1)
    along = ndimage.median_filter(ratio[0], length, mode="nearest") / np.log(2)
    ratio[0] /= np.maximum(along, 1)
    ratio[0, :3] = ratio[1:3, 0] = ratio[-2:, 0] = 0
    return ratio


@functools.lru_cache(maxsize=4)
def _rings(height: int, half: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ring of each frequency (height, half), all of them in order of their rings, and where each ring starts there."""
    ky, kx = fft.fftfreq(height)[:, None], np.arange(half)[None] / max(2 * (half - 1), 1)
    n_rings = max(8, min(height, 2 * (half - 1)) // 8)
    ring = np.minimum((np.hypot(ky, kx) / CORNER * n_rings).astype(np.intp), n_rings - 1)
    order = np.argsort(ring, axis=None, kind="stable")
    return ring, order, np.searchsorted(ring.ravel()[order], np.arange(n_rings + 1))


def candidates(ratio: np.ndarray, low: float, high: float, threshold: float, number: int = 40) -> np.ndarray:
    """(n, 2) frequencies (y, x; cycles per px) of the strongest local maxima with low <= |k| <= high."""
    height, half = ratio.shape
    ky, kx = fft.fftfreq(height)[:, None], np.arange(half)[None] / (2 * (half - 1))
    length = np.hypot(ky, kx)
    allowed = (length >= low) & (length <= high)
    top = ndimage.maximum_filter(ratio, 3, mode=("wrap", "nearest"))
    score = np.where(allowed & (ratio >= top) & (ratio > threshold), ratio, 0)
    index = np.argsort(score, axis=None)[::-1][:number]
    index = index[score.ravel()[index] > 0]
    row, column = np.unravel_index(index, ratio.shape)
    return np.stack([fft.fftfreq(height)[row], column / (2 * (half - 1))], axis=1)


def largest_near(ratio: np.ndarray, frequency: np.ndarray, radius: float) -> tuple[float, np.ndarray]:
    """Largest ratio within `radius` (cycles per px) of `frequency`, and where; 0 outside the transform."""
    height, half = ratio.shape
    width = 2 * (half - 1)
    if frequency[1] < 0:
        value, where = largest_near(ratio, -frequency, radius)
        return value, -where
    if np.abs(frequency).max() > 0.49:
        return 0.0, frequency
    ry, rx = max(1, round(radius * height)), max(1, round(radius * width))
    row, column = round(frequency[0] * height), round(frequency[1] * width)
    rows, columns = np.arange(row - ry, row + ry + 1), np.arange(column - rx, column + rx + 1)
    # the half plane x < 0 is the mirrored other one
    yy, xx = np.meshgrid(rows, columns, indexing="ij")
    block = ratio[np.where(xx < 0, -yy, yy) % height, np.minimum(np.abs(xx), half - 1)]
    block = np.where(np.hypot((yy - row) / ry, (xx - column) / rx) > 1.3, 0, block)
    i = np.unravel_index(np.argmax(block), block.shape)
    return float(block[i]), np.array([yy[i] / height, xx[i] / width])


def peak_position(windowed: np.ndarray, start: np.ndarray, half_width: float = 1.2, number: int = 13) -> np.ndarray:
    """Frequency (y, x) of the largest Fourier amplitude within `half_width` bins of `start`, by two finer grids."""
    height, width = windowed.shape[1:]
    step_y, step_x = half_width / height, half_width / width
    y, x = np.arange(height) - height / 2, np.arange(width) - width / 2
    place = np.asarray(start, float)
    for _ in range(2):
        grid = np.linspace(-1, 1, number)
        fy, fx = place[0] + grid * step_y, place[1] + grid * step_x
        left = np.exp(-2j * np.pi * fy[:, None] * y[None]).astype(np.complex64)
        turn = (-2 * np.pi * x[:, None] * fx[None]).astype(np.float32)
        rows = windowed @ np.concatenate([np.cos(turn), np.sin(turn)], 1)  # real products are several times faster
        rows = rows[..., :number] + 1j * rows[..., number:]
        power = np.log((np.abs(left @ rows) ** 2).sum(0) + 1e-30)
        i, j = np.unravel_index(np.argmax(power), power.shape)
        i, j = np.clip((i, j), 1, number - 2)
        place = np.array(
            [
                fy[i] + _vertex(power[i - 1 : i + 2, j]) * (fy[1] - fy[0]),
                fx[j] + _vertex(power[i, j - 1 : j + 2]) * (fx[1] - fx[0]),
            ]
        )
        step_y, step_x = step_y / 4, step_x / 4
    return place


def _vertex(three: np.ndarray) -> float:
    curvature = three[0] - 2 * three[1] + three[2]
    return float(np.clip(0.5 * (three[0] - three[2]) / curvature, -1, 1)) if curvature < 0 else 0.0
