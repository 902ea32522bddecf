"""What is read of the pixels around every column, as compiled loops. Places are (n, 2) y, x."""

import math

import numpy as np

from stemdefects.compiled import entry, inner


@inner
def _bell(offset: float, width: float, middle: np.ndarray, weight: np.ndarray) -> float:
    """`weight` becomes the Gaussian of `width` at whole steps around -offset, up to a factor; returns its sum. middle:
    the one of offset 0; of the two the ratio is an exponential of the place: a product instead of an exponential."""
    half = len(weight) // 2
    up = math.exp(offset / (width * width))
    down, above, below = 1 / up, 1.0, 1.0
    weight[half] = total = middle[half]
    for i in range(1, half + 1):
        above *= up
        below *= down
        weight[half + i] = middle[half + i] * above
        weight[half - i] = middle[half - i] * below
        total += weight[half + i] + weight[half - i]
    return total


@entry
def blurred(image: np.ndarray, place: np.ndarray, width: float) -> np.ndarray:
    """(n,) mean of `image` (H, W) around each place, weighed by a Gaussian of standard deviation `width` px that is cut
    at four of them. Pixels outside are as those at the border."""
    height, across = image.shape
    half = int(4 * width + 0.5) + 1
    size = 2 * half + 1
    lanes = (size + 7) // 8 * 8  # whole vectors; the last ones count nothing
    padded = np.empty((height + 4 * half, across + 4 * half + lanes), np.float32)
    for i in range(len(padded)):
        row, one = image[min(max(i - 2 * half, 0), height - 1)], padded[i]
        one[: 2 * half], one[2 * half : 2 * half + across], one[2 * half + across :] = row[0], row, row[across - 1]
    pixels, step = padded.ravel(), padded.shape[1]
    wy, wx, sums, middle = np.empty(size), np.zeros(lanes), np.empty(lanes), np.empty(size)
    for b in range(size):
        middle[b] = math.exp(-0.5 * ((b - half) / width) ** 2)
    out = np.empty(len(place))
    for k in range(len(place)):
        i0, j0 = int(np.rint(place[k, 0])), int(np.rint(place[k, 1]))
        total = _bell(place[k, 0] - i0, width, middle, wy) * _bell(place[k, 1] - j0, width, middle, wx[:size])
        at = (min(max(i0, -half), height - 1 + half) + half) * step + min(max(j0, -half), across - 1 + half) + half
        first = pixels[at : at + lanes]
        for b in range(lanes):
            sums[b] = wy[0] * first[b]
        for a in range(1, size - 3, 4):  # four rows at once: sums are loaded and stored once for all
            here = at + a * step
            p, q = pixels[here : here + lanes], pixels[here + step : here + step + lanes]
            r, s = pixels[here + 2 * step : here + 2 * step + lanes], pixels[here + 3 * step : here + 3 * step + lanes]
            for b in range(lanes):
                sums[b] += (wy[a] * p[b] + wy[a + 1] * q[b]) + (wy[a + 2] * r[b] + wy[a + 3] * s[b])
        for a in range(1 + (size - 1) // 4 * 4, size):
            row = pixels[at + a * step : at + a * step + lanes]
            for b in range(lanes):
                sums[b] += wy[a] * row[b]
        value = 0.0
        for b in range(lanes):
            value += sums[b] * wx[b]
        out[k] = value / total
    return out


@entry
def squares(image: np.ndarray, centres: np.ndarray, side: float, n: int) -> np.ndarray:
    """(m, n, n) float32 squares of `image` (H, W), `side` px wide, around the centres (m, 2), bilinear; 0 outside, to
    which the image falls off within a pixel."""
    height, width = image.shape
    out = np.empty((len(centres), n, n), np.float32)
    left, part = np.empty(n, np.int64), np.empty(n)
    for k in range(len(centres)):
        for c in range(n):
            x = centres[k, 1] + (c - (n - 1) / 2) * side / n
            left[c] = math.floor(x)
            part[c] = x - left[c]
        across = left[0] >= 0 and left[n - 1] < width - 1
        for r in range(n):
            y = centres[k, 0] + (r - (n - 1) / 2) * side / n
            i = math.floor(y)
            a = y - i
            if across and 0 <= i < height - 1:
                first, second, one = image[i], image[i + 1], out[k, r]
                for c in range(n):
                    j, b = left[c], part[c]
                    upper = first[j] * (1 - b) + first[j + 1] * b
                    one[c] = upper * (1 - a) + (second[j] * (1 - b) + second[j + 1] * b) * a
                continue
            for c in range(n):
                value = 0.0
                for u in range(2):
                    for v in range(2):
                        if 0 <= i + u < height and 0 <= left[c] + v < width:
                            value += image[i + u, left[c] + v] * (a if u else 1 - a) * (part[c] if v else 1 - part[c])
                out[k, r, c] = value
    return out


@entry
def near_means(image: np.ndarray, place: np.ndarray) -> np.ndarray:
    """(n,) mean of the 3 x 3 px of `image` (H, W) around each place; at the border its pixels count again."""
    height, width = image.shape
    out = np.empty(len(place))
    for k in range(len(place)):
        i, j = (np.rint(place[k, 0]), np.rint(place[k, 1]))
        total = 0.0
        for u in range(-1, 2):
            for v in range(-1, 2):
                total += image[int(min(max(i + u, 0), height - 1)), int(min(max(j + v, 0), width - 1))]
        out[k] = total / 9
    return out
