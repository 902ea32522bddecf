"""What is done for every column of every frame, as compiled loops. Arrays of n columns; places are (n, 2) y, x."""

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
    wy, wx, sums, middle = np.empty(size), np.empty(size), np.empty(size), np.empty(size)
    for b in range(size):
        middle[b] = math.exp(-0.5 * ((b - half) / width) ** 2)
    out = np.empty(len(place))
    for k in range(len(place)):
        i0, j0 = int(np.rint(place[k, 0])), int(np.rint(place[k, 1]))
        total = _bell(place[k, 0] - i0, width, middle, wy) * _bell(place[k, 1] - j0, width, middle, wx)
        sums[:] = 0.0
        inside = j0 >= half and j0 + half < across
        first = 0
        if inside and i0 >= half and i0 + half < height:
            for a in range(0, size - 3, 4):  # four rows at once: sums are loaded and stored once for all
                p, q, r, s = (
                    image[i0 + a - half, j0 - half : j0 + half + 1],
                    image[i0 + a + 1 - half, j0 - half : j0 + half + 1],
                    image[i0 + a + 2 - half, j0 - half : j0 + half + 1],
                    image[i0 + a + 3 - half, j0 - half : j0 + half + 1],
                )
                for b in range(size):
                    sums[b] += (wy[a] * p[b] + wy[a + 1] * q[b]) + (wy[a + 2] * r[b] + wy[a + 3] * s[b])
            first = size - size % 4
        for a in range(first, size):
            row = image[min(max(i0 + a - half, 0), height - 1)]
            if inside:
                part = row[j0 - half : j0 + half + 1]
                for b in range(size):
                    sums[b] += wy[a] * part[b]
            else:
                for b in range(size):
                    sums[b] += wy[a] * row[min(max(j0 + b - half, 0), across - 1)]
        value = 0.0
        for b in range(size):
            value += sums[b] * wx[b]
        out[k] = value / total
    return out


@inner
def _by_box(place: np.ndarray, reach: float) -> tuple:
    """Places in the order of boxes of side `reach`, row by row: which they are (n,), and in that order (n, 2); where
    each box begins (ny * nx + 2,), the box of each place (n,), and nx."""
    n, low_y, low_x, high_y, high_x = len(place), np.inf, np.inf, -np.inf, -np.inf
    for k in range(n):
        low_y, low_x = min(low_y, place[k, 0]), min(low_x, place[k, 1])
        high_y, high_x = max(high_y, place[k, 0]), max(high_x, place[k, 1])
    ny, nx = int((high_y - low_y) / reach) + 1, int((high_x - low_x) / reach) + 1
    box, start = np.empty(n, np.int64), np.zeros(ny * nx + 2, np.int64)
    for k in range(n):
        box[k] = int((place[k, 0] - low_y) / reach) * nx + int((place[k, 1] - low_x) / reach)
        start[box[k] + 2] += 1
    for b in range(ny * nx):
        start[b + 2] += start[b + 1]
    order, sorted_, its = np.empty(n, np.int64), np.empty((n, 2)), np.empty(n, np.int64)
    for k in range(n):
        at = start[box[k] + 1]  # ends as the first of the next box
        start[box[k] + 1] += 1
        order[at], its[at] = k, box[k]
        sorted_[at, 0], sorted_[at, 1] = place[k, 0], place[k, 1]
    return order, sorted_, start, its, nx


@inner
def _overlaps(place: np.ndarray, width: float, reach: float) -> tuple:
    """Upper half of the matrix of overlaps of the places in another order, which they are: first entry of each row
    (n + 1,), columns and values of its entries."""
    n = len(place)
    order, at, start, box, nx = _by_box(place, reach)
    last_row = (len(start) - 2) // nx - 1
    first = np.zeros(n + 1, np.int64)
    most = 8 * n
    column, value = np.empty(most, np.int64), np.empty(most)
    count = 0
    for k in range(n):
        y, x = box[k] // nx, box[k] % nx
        left, right = max(x - 1, 0), min(x + 1, nx - 1)
        for row in range(2 if y < last_row else 1):  # what comes later: the rest of this row of boxes, and the next row
            low = k + 1 if row == 0 else start[(y + 1) * nx + left]
            high = start[(y + row) * nx + right + 1]
            if count + high - low > most:
                most += max(most, high - low)
                before, known = column, value
                column, value = np.empty(most, np.int64), np.empty(most)
                for m in range(count):
                    column[m], value[m] = before[m], known[m]
            for other in range(low, high):
                distance2 = (at[k, 0] - at[other, 0]) ** 2 + (at[k, 1] - at[other, 1]) ** 2
                column[count], value[count] = other, distance2
                count += distance2 <= reach * reach
        for m in range(first[k], count):
            value[m] = math.exp(-value[m] / (4 * width * width))
        first[k + 1] = count
    return order, first, column, value


@entry
def unmixed(seen: np.ndarray, place: np.ndarray, width: float, ridge: float, tolerance: float) -> np.ndarray:
    """(n,) heights of equal Gaussians of `width` px at the places that, smoothed by the same Gaussian, add up to `seen`
    (n,) there. The overlaps are small: some ten steps of conjugate gradients, a fraction of a factorisation."""
    n = len(seen)
    order, first, column, value = _overlaps(place, width, 5 * width)
    x, rest, direction, made, norm2 = np.zeros(n), np.empty(n), np.empty(n), np.empty(n), 0.0
    for k in range(n):
        rest[k] = direction[k] = seen[order[k]]
        norm2 += rest[k] * rest[k]
    enough = tolerance * tolerance * norm2
    for _ in range(200):
        if norm2 <= enough:
            break
        for k in range(n):
            made[k] = (1 + ridge) * direction[k]
        along = 0.0
        for k in range(n):
            own, total = direction[k], 0.0
            for m in range(first[k], first[k + 1]):
                total += value[m] * direction[column[m]]
                made[column[m]] += value[m] * own
            made[k] += total  # whole: what comes before has been added
            along += made[k] * own
        step, before, norm2 = norm2 / along, norm2, 0.0
        for k in range(n):
            x[k] += step * direction[k]
            rest[k] -= step * made[k]
            norm2 += rest[k] * rest[k]
        for k in range(n):
            direction[k] = rest[k] + norm2 / before * direction[k]
    out = np.empty(n)
    for k in range(n):
        out[order[k]] = x[k]
    return out


@entry
def robust_means(of: np.ndarray, index: np.ndarray, outlier: float) -> np.ndarray:
    """(n,) mean of of[index] (n, k), outliers left out: beyond `outlier` standard deviations by their quartiles. NaN,
    and nobody (-1), are left out; NaN is the mean of nothing."""
    n, k = index.shape
    known, ordered, out = np.empty(k + 1), np.empty(k), np.empty(n)
    for row in range(n):
        count = 0
        for j in range(k):
            known[count] = of[index[row, j]] if index[row, j] >= 0 else np.nan
            count += known[count] == known[count]
        for j in range(count):  # a value's place in order is how many are smaller
            value, at = known[j], 0
            for i in range(j):
                at += known[i] <= value
            for i in range(j + 1, count):
                at += known[i] < value
            ordered[at] = value
        if not count:
            out[row] = np.nan
            continue
        low, middle, high = ordered[count // 4], ordered[count // 2], ordered[min(3 * count // 4, count - 1)]
        limit, total, kept = outlier * (high - low) / 1.349, 0.0, 0
        for j in range(count):
            if abs(ordered[j] - middle) <= limit:
                total += ordered[j]
                kept += 1
        out[row] = total / kept
    return out


@entry
def sums(of: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(n,) sum of of[index] (n, k); NaN, and nobody (-1), are left out."""
    out = np.zeros(len(index))
    for row in range(len(index)):
        for j in index[row]:
            if j >= 0 and not np.isnan(of[j]):
                out[row] += of[j]
    return out


@entry
def means(of: np.ndarray, index: np.ndarray) -> np.ndarray:
    """(n,) mean of of[index] (n, k); NaN, and nobody (-1), are left out; NaN is the mean of nothing."""
    out = np.empty(len(index))
    for row in range(len(index)):
        total, count = 0.0, 0
        for j in index[row]:
            if j >= 0 and not np.isnan(of[j]):
                total += of[j]
                count += 1
        out[row] = total / count if count else np.nan
    return out


@entry
def normal(value: np.ndarray, terms: np.ndarray, use: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations, (k, k) and (k,), of `value` (n,) by the `terms` (k, n), over those of `use` (n,) whose value is
    no more than `limit` from zero."""
    k = len(terms)
    left, right = np.zeros((k, k)), np.zeros(k)
    for n in range(len(value)):
        if use[n] and abs(value[n]) <= limit:
            for a in range(k):
                right[a] += terms[a, n] * value[n]
                for b in range(k):
                    left[a, b] += terms[a, n] * terms[b, n]
    return left, right


@entry
def summed(slopes: np.ndarray, site: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """(n,) sum of the `terms` (k, n), each times the slope (G, k) that it has on the `site` (n,)."""
    out = np.zeros(len(site))
    for n in range(len(site)):
        for k in range(len(terms)):
            out[n] += slopes[site[n], k] * terms[k, n]
    return out


@entry
def squares(image: np.ndarray, centres: np.ndarray, side: float, n: int) -> np.ndarray:
    """(m, n, n) float32 squares of `image` (H, W), `side` px wide, around the centres (m, 2), bilinear; 0 outside, to
    which the image falls off within a pixel."""
    height, width = image.shape
    out = np.empty((len(centres), n, n), np.float32)
    for k in range(len(centres)):
        for r in range(n):
            y = centres[k, 0] + (r - (n - 1) / 2) * side / n
            i = math.floor(y)
            a = y - i
            for c in range(n):
                x = centres[k, 1] + (c - (n - 1) / 2) * side / n
                j = math.floor(x)
                b, value = x - j, 0.0
                if 0 <= i < height - 1 and 0 <= j < width - 1:
                    upper = image[i, j] * (1 - b) + image[i, j + 1] * b
                    value = upper * (1 - a) + (image[i + 1, j] * (1 - b) + image[i + 1, j + 1] * b) * a
                else:
                    for u in range(2):
                        for v in range(2):
                            if 0 <= i + u < height and 0 <= j + v < width:
                                value += image[i + u, j + v] * (a if u else 1 - a) * (b if v else 1 - b)
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
