"""The loops of `second_lattice`, compiled."""

from typing import NamedTuple

import numpy as np

from stemdefects.compiled import entry


class Ring(NamedTuple):
    """Bins of a half plane of frequencies, the origin in the middle row and the first column. power: (n, m) float32, 0
    outside of the ring; squares: (n, m) of the distance to the nearest own peak, in bins; far: (k,) the power of those
    that are farther than was asked for."""

    power: np.ndarray
    squares: np.ndarray
    far: np.ndarray


@entry
def windowed(image: np.ndarray, limits: tuple[float, float], window: np.ndarray, total: float) -> np.ndarray:
    """`image` (H, W) float32, cut at the `limits`, less its mean in the `window` (H, W), of which `total` is the sum,
    times the window."""
    height, width = image.shape
    low, high = np.float32(limits[0]), np.float32(limits[1])
    sums, out = np.zeros(width), np.empty((height, width), np.float32)
    for i in range(height):
        row, weight, one = image[i], window[i], out[i]
        for j in range(width):
            one[j] = min(max(row[j], low), high)
            sums[j] += one[j] * weight[j]
    mean = np.float32(sums.sum() / total)
    for i in range(height):
        weight, one = window[i], out[i]
        for j in range(width):
            one[j] = (one[j] - mean) * weight[j]
    return out


@entry
def ring(
    power: np.ndarray, reach: np.ndarray, shape: np.ndarray, limits: tuple[float, float], peaks: np.ndarray, away: float
) -> Ring:
    """Of `power` (H, W; the rows as an FFT has them) as far as `reach` (2,) bins, what lies between two `limits` of the
    frequency, in cycles per px of an image of this `shape` (2,). peaks: (K, 2) y, x in bins, whose opposites count too;
    away: bins."""
    height, width = 2 * reach[0] + 1, min(reach[1] + 1, power.shape[1])
    part, squares = np.zeros((height, width), np.float32), np.zeros((height, width))
    far, count = np.empty(height * width, np.float32), 0
    for i in range(height):
        y = i - reach[0]
        row = power[y % len(power)]
        for j in range(width):
            size = (y / shape[0]) ** 2 + (j / shape[1]) ** 2
            if not (limits[0] * limits[0] < size < limits[1] * limits[1]):
                continue
            least = np.inf
            for k in range(len(peaks)):
                least = min(least, (y - peaks[k, 0]) ** 2 + (j - peaks[k, 1]) ** 2)
                least = min(least, (y + peaks[k, 0]) ** 2 + (j + peaks[k, 1]) ** 2)
            part[i, j], squares[i, j] = row[j], least
            if least > away * away:
                far[count] = row[j]
                count += 1
    return Ring(part, squares, far[:count])


@entry
def standing_out(
    found: Ring, own: float, near: float, least: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The power of a `ring` without what is within `own` bins of its peaks; (n, m) what is enough, by whether a bin is
    `near` a peak or not; (k, 2) where it is enough, row by row."""
    part, enough, count = found.power.copy(), np.empty(found.power.shape), 0
    places = np.empty((part.size, 2), np.int64)
    for i in range(part.shape[0]):
        for j in range(part.shape[1]):
            enough[i, j] = least[1] if found.squares[i, j] < near * near else least[0]
            if found.squares[i, j] <= own * own:
                part[i, j] = 0
            if part[i, j] > enough[i, j]:
                places[count, 0], places[count, 1] = i, j
                count += 1
    return part, enough, places[:count]
