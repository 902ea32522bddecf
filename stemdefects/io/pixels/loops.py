"""What is done with every pixel of a frame that is read, as compiled loops. Images are (H, W) float32."""

import numpy as np

from stemdefects.compiled import entry


@entry
def extent(image: np.ndarray) -> tuple[int, float, float, int]:
    """How many pixels are finite, the least and the largest value of those, and how many have the largest."""
    finite, low, high, top = 0, np.inf, -np.inf, 0
    for row in image:
        for value in row:
            if np.isfinite(value):
                finite += 1
                low = min(low, value)
                if value > high:
                    high, top = value, 0
                top += value == high
    return finite, low, high, top


@entry
def constant_lines(image: np.ndarray, out: np.ndarray) -> np.ndarray:
    """(H,) bool: rows of one value in all columns that are not `out` (W,) bool, of which there must be one."""
    same = np.ones(len(image), np.bool_)
    first = 0
    while out[first]:
        first += 1
    for i in range(len(image)):
        for j in range(first + 1, image.shape[1]):
            if image[i, j] != image[i, first] and not out[j]:
                same[i] = False
                break
    return same


@entry
def runs_in_rows(image: np.ndarray, least: int) -> tuple[int, np.ndarray]:
    """In how many places `least` pixels of one value lie side by side, and (H,) bool in which rows."""
    count, lines = 0, np.zeros(len(image), np.bool_)
    for i in range(len(image)):
        length = 1
        for j in range(1, image.shape[1]):
            length = length + 1 if image[i, j] == image[i, j - 1] else 1
            if length >= least:
                count += 1
                lines[i] = True
    return count, lines


@entry
def runs_in_columns(image: np.ndarray, least: int) -> tuple[int, np.ndarray]:
    """The same one below the other, (W,) bool in which columns."""
    count, lines, length = 0, np.zeros(image.shape[1], np.bool_), np.ones(image.shape[1], np.int32)
    for i in range(1, len(image)):
        for j in range(image.shape[1]):
            length[j] = length[j] + 1 if image[i, j] == image[i - 1, j] else 1
            if length[j] >= least:
                count += 1
                lines[j] = True
    return count, lines


@entry
def sampled(image: np.ndarray, step: int) -> tuple[np.ndarray, np.ndarray]:
    """Every `step`-th pixel in reading order (n,), and its eight neighbours (n, 8) in rising order; at the border they
    are mirrored at its pixels."""
    height, width = image.shape
    n = (height * width + step - 1) // step
    value, near = np.empty(n, np.float32), np.empty((n, 8), np.float32)
    for k in range(n):
        i, j = k * step // width, k * step % width
        value[k] = image[i, j]
        count = 0
        for u in range(-1, 2):
            for v in range(-1, 2):
                if u == 0 and v == 0:
                    continue
                y, x = abs(i + u), abs(j + v)
                one = image[y if y < height else 2 * height - 2 - y, x if x < width else 2 * width - 2 - x]
                at = count
                while at and near[k, at - 1] > one:
                    near[k, at] = near[k, at - 1]
                    at -= 1
                near[k, at] = one
                count += 1
    return value, near


@entry
def standing_out(image: np.ndarray, above: float, below: float) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) row and column of pixels that are more than `above` over the mean of their four neighbours, and of those
    more than `below` under it."""
    height, width = image.shape
    over, under = np.empty((64, 2), np.int64), np.empty((64, 2), np.int64)
    n_over, n_under, upper, lower = 0, 0, np.float32(above), np.float32(-below)
    excess = np.empty(width, np.float32)
    for i in range(height):
        up, down = image[abs(i - 1)], image[i + 1 if i + 1 < height else height - 2]
        row = image[i]
        excess[0] = row[0] - (up[0] + down[0] + row[1] + row[1]) * np.float32(0.25)
        excess[-1] = row[-1] - (up[-1] + down[-1] + row[-2] + row[-2]) * np.float32(0.25)
        # parts of rows instead of j - 1 and j + 1: an index that might be negative keeps the loop from being vectorised
        middle, left, right, above_, below_ = row[1:-1], row[:-2], row[2:], up[1:-1], down[1:-1]
        inner = excess[1:-1]
        for j in range(len(inner)):
            inner[j] = middle[j] - (above_[j] + below_[j] + left[j] + right[j]) * np.float32(0.25)
        found = 0
        for j in range(width):
            found += (excess[j] > upper) | (excess[j] < lower)
        if not found:
            continue
        for j in range(width):
            if excess[j] > upper:
                if n_over == len(over):
                    over = np.concatenate((over, over))
                over[n_over, 0], over[n_over, 1] = i, j
                n_over += 1
            elif excess[j] < lower:
                if n_under == len(under):
                    under = np.concatenate((under, under))
                under[n_under, 0], under[n_under, 1] = i, j
                n_under += 1
    return over[:n_over], under[:n_under]
