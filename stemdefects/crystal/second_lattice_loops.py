"""The loop of `second_lattice`, compiled."""

import math

import numpy as np

from stemdefects.compiled import entry


@entry
def nearest_bins(height: int, width: int, zero: int, peaks: np.ndarray) -> np.ndarray:
    """(height, width) distance of each bin, row `zero` and column 0 being the origin, to the nearest of the `peaks`
    (K, 2; y, x, in bins) and of their opposites."""
    out = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            least = np.inf
            for k in range(len(peaks)):
                y, x = peaks[k]
                least = min(least, (i - zero - y) ** 2 + (j - x) ** 2, (i - zero + y) ** 2 + (j + x) ** 2)
            out[i, j] = math.sqrt(least)
    return out
