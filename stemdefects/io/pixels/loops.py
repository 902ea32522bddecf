"""What is done with every pixel of a frame that is read, as compiled loops. Images are (H, W) float32."""

import numpy as np

from stemdefects.compiled import entry, inner


def extent(image: np.ndarray) -> tuple[int, float, float, int]:
    """How many pixels are finite, the least and the largest value of those, and how many have the largest."""
    finite = int(n_finite(image))
    known = image if finite == image.size else image[np.isfinite(image)]
    if not finite:
        return 0, np.inf, -np.inf, 0
    high = known.max()
    return finite, float(known.min()), float(high), int(np.count_nonzero(known == high))


@entry
def n_finite(image: np.ndarray) -> np.int32:
    """How many pixels are finite: there is a zero in their exponents; of whole numbers the loop is vectorised."""
    bits, exponent, known = image.ravel().view(np.int32), np.int32(0x7F800000), np.int32(0)
    for i in range(len(bits)):
        known += np.int32((bits[i] & exponent) != exponent)
    return known


@entry
def flat_squares(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns (n,) of the first pixels of all squares of 2 x 2 px of one value."""
    height, width = image.shape
    row, column, n = np.empty(64, np.int64), np.empty(64, np.int64), 0
    alike = np.empty(width - 1, np.bool_)
    for i in range(height - 1):
        upper, lower = image[i], image[i + 1]
        first, second, third, fourth = upper[:-1], upper[1:], lower[:-1], lower[1:]
        found = np.int32(0)
        for j in range(width - 1):
            alike[j] = (first[j] == second[j]) & (first[j] == third[j]) & (first[j] == fourth[j])
        for j in range(width - 1):
            found += np.int32(alike[j])
        if not found:
            continue
        for j in range(width - 1):
            if alike[j]:
                if n == len(row):
                    row, column = np.concatenate((row, row)), np.concatenate((column, column))
                row[n], column[n] = i, j
                n += 1
    return row[:n], column[:n]


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


@inner
def _runs(line: np.ndarray, least: int) -> int:
    """In how many places `least` values of a line (n,) that lie side by side are one."""
    count, length = 0, 1
    for j in range(1, len(line)):
        length = length + 1 if line[j] == line[j - 1] else 1
        count += length >= least
    return count


@entry
def runs_in_rows(image: np.ndarray, least: int) -> tuple[int, np.ndarray]:
    """In how many places `least` pixels of one value lie side by side, and (H,) bool in which rows."""
    count, lines, half = 0, np.zeros(len(image), np.bool_), least // 2
    for i in range(len(image)):
        row = image[i]
        for first in range(0, image.shape[1] - half + 1, half):  # a run holds one of these pieces, wherever it starts
            j = first + 1
            while j < first + half and row[j] == row[first]:
                j += 1
            if j == first + half:
                found = _runs(row, least)
                count += found
                lines[i] = found > 0
                break
    return count, lines


@entry
def runs_in_columns(image: np.ndarray, least: int) -> tuple[int, np.ndarray]:
    """The same one below the other, (W,) bool in which columns."""
    height, width, half, count = image.shape[0], image.shape[1], least // 2, 0
    pieces, lines = np.zeros(width, np.bool_), np.zeros(width, np.bool_)
    for first in range(0, height - half + 1, half):
        for j in range(width):
            if image[first + 1, j] == image[first, j]:
                i = first + 2
                while i < first + half and image[i, j] == image[first, j]:
                    i += 1
                pieces[j] |= i == first + half
    for j in range(width):
        if pieces[j]:
            found = _runs(image[:, j].copy(), least)
            count += found
            lines[j] = found > 0
    return count, lines


# comparisons that put eight values in order as far as the fourth and fifth are concerned
_MIDDLE_OF_EIGHT = np.array(
    [
        *[(0, 1), (2, 3), (4, 5), (6, 7), (0, 2), (1, 3), (4, 6), (5, 7), (1, 2), (5, 6)],
        *[(0, 4), (3, 7), (1, 5), (2, 6), (1, 4), (3, 6), (2, 4), (3, 5), (3, 4)],
    ]
)


@inner
def _middle_two(near: np.ndarray) -> None:
    """Puts the rows of `near` (8, n) in order, as far as the fourth and the fifth are concerned."""
    for c in range(len(_MIDDLE_OF_EIGHT)):
        low, high = near[_MIDDLE_OF_EIGHT[c, 0]], near[_MIDDLE_OF_EIGHT[c, 1]]
        for k in range(near.shape[1]):
            less = low[k] < high[k]
            a, b = low[k] if less else high[k], high[k] if less else low[k]
            low[k], high[k] = a, b


@entry
def around(image: np.ndarray, row: np.ndarray, column: np.ndarray, away: int) -> tuple[np.ndarray, np.ndarray]:
    """The fourth and the fifth in rising order (n,) of the eight pixels around each of the pixels (n,), `away` from it
    along both axes; at the border they are mirrored at its pixels."""
    height, width = image.shape
    near = np.empty((8, len(row)), np.float32)
    for k in range(len(row)):
        i, j = row[k], column[k]
        above, below = abs(i - away), i + away if i + away < height else 2 * height - 2 - i - away
        left, right = abs(j - away), j + away if j + away < width else 2 * width - 2 - j - away
        near[0, k], near[1, k], near[2, k] = image[above, left], image[above, j], image[above, right]
        near[3, k], near[4, k] = image[i, left], image[i, right]
        near[5, k], near[6, k], near[7, k] = image[below, left], image[below, j], image[below, right]
    _middle_two(near)
    return near[3], near[4]


@entry
def in_order(values: np.ndarray) -> np.ndarray:
    """Index (n,) of the `values` (n,) float32, none of them NaN, in rising order, of two alike the first one first."""
    n, size = len(values), 2048
    bits = (values + np.float32(0)).view(np.int32)  # -0 is 0
    key, order = np.empty(n, np.uint32), np.arange(n, dtype=np.int32)
    for k in range(n):
        key[k] = np.uint32(bits[k]) ^ (np.uint32(0x80000000) if bits[k] >= 0 else np.uint32(0xFFFFFFFF))
    for part in range(3):  # eleven bits at a time, the last ones first
        start, sorted_ = np.zeros(size + 1, np.int32), np.empty(n, np.int32)
        for k in range(n):
            start[((key[k] >> np.uint32(11 * part)) & np.uint32(size - 1)) + 1] += 1
        for b in range(size):
            start[b + 1] += start[b]
        for k in order:
            b = (key[k] >> np.uint32(11 * part)) & np.uint32(size - 1)
            sorted_[start[b]] = k
            start[b] += 1
        order = sorted_
    return order


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
