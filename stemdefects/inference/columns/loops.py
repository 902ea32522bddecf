"""What is done for every column of every frame, as compiled loops. Arrays of n columns; places are (n, 2) y, x."""

import math

import numpy as np

from stemdefects.compiled import entry, inner
from stemdefects.numerics import medians


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


def robust_means(of: np.ndarray, index: np.ndarray, outlier: float) -> np.ndarray:
    """(n,) mean of of[index] (n, k), outliers left out: beyond `outlier` standard deviations by their quartiles. NaN,
    and nobody (-1), are left out; NaN is the mean of nothing."""
    return _robust_means(of, index, outlier, medians.network(index.shape[1]))


@entry
def _robust_means(of: np.ndarray, index: np.ndarray, outlier: float, network: np.ndarray) -> np.ndarray:
    n, k = index.shape
    out, values, some = np.empty(n), np.empty((k, medians.LANES)), np.empty(len(of) + 1)
    for i in range(len(of)):
        some[i] = np.inf if np.isnan(of[i]) else of[i]
    some[len(of)] = np.inf  # nobody
    for first in range(0, n, medians.LANES):
        rows = min(medians.LANES, n - first)
        for row in range(rows):
            for j in range(k):
                at = index[first + row, j]
                values[j, row] = some[at if at >= 0 else len(of)]
        medians.in_order(values, network)
        for row in range(rows):
            count = k  # what is missing comes last
            while count and values[count - 1, row] == np.inf:
                count -= 1
            if not count:
                out[first + row] = np.nan
                continue
            low, middle = values[count // 4, row], values[count // 2, row]
            limit = outlier * (values[min(3 * count // 4, count - 1), row] - low) / 1.349
            total, kept = 0.0, 0
            for j in range(count):
                if abs(values[j, row] - middle) <= limit:
                    total += values[j, row]
                    kept += 1
            out[first + row] = total / kept
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
def three(one: np.ndarray, two: np.ndarray, last: np.ndarray) -> np.ndarray:
    """(3, n) the three of them, 0 where one is NaN."""
    out = np.empty((3, len(one)))
    for n in range(len(one)):
        out[0, n] = 0.0 if np.isnan(one[n]) else one[n]
        out[1, n] = 0.0 if np.isnan(two[n]) else two[n]
        out[2, n] = 0.0 if np.isnan(last[n]) else last[n]
    return out


@entry
def normal(
    value: np.ndarray, terms: np.ndarray, site: np.ndarray, g: int, limit: float
) -> tuple[np.ndarray, np.ndarray]:
    """Normal equations, (k, k) and (k,), of `value` (n,) by the `terms` (k, n), over those of sublattice `g` whose
    value is no more than `limit` from zero."""
    k = len(terms)
    left, right = np.zeros((k, k)), np.zeros(k)
    for n in range(len(value)):
        if site[n] == g and abs(value[n]) <= limit:
            for a in range(k):
                right[a] += terms[a, n] * value[n]
                for b in range(k):
                    left[a, b] += terms[a, n] * terms[b, n]
    return left, right


@entry
def solved(left: np.ndarray, right: np.ndarray, dependent: float) -> tuple[bool, np.ndarray]:
    """(k,) solution of few normal equations (k, k), (k,); False where one of them follows from the others to within
    the part `dependent` of it."""
    k = len(right)
    rest, out = left.copy(), right.copy()
    for c in range(k):
        if not rest[c, c] > dependent * left[c, c]:
            return False, out
        for r in range(c + 1, k):
            part = rest[r, c] / rest[c, c]
            out[r] -= part * out[c]
            for d in range(c, k):
                rest[r, d] -= part * rest[c, d]
    for c in range(k - 1, -1, -1):
        for d in range(c + 1, k):
            out[c] -= rest[c, d] * out[d]
        out[c] /= rest[c, c]
    return True, out


@entry
def summed(slopes: np.ndarray, site: np.ndarray, terms: np.ndarray) -> np.ndarray:
    """(n,) sum of the `terms` (k, n), each times the slope (G, k) that it has on the `site` (n,)."""
    out = np.zeros(len(site))
    for n in range(len(site)):
        for k in range(len(terms)):
            out[n] += slopes[site[n], k] * terms[k, n]
    return out


@entry
def classified(prob: np.ndarray, states: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sum of the posteriors `prob` (n, S) over the `states` (K,), no more than 1; which of them is the most probable,
    the first of several, and its posterior: (n,) each."""
    n = len(prob)
    total, best, its = np.zeros(n, prob.dtype), np.zeros(n, np.int64), np.zeros(n, prob.dtype)
    for k in range(n if len(states) else 0):
        its[k] = prob[k, states[0]]
        for s in range(len(states)):
            one = prob[k, states[s]]
            total[k] += one
            if one > its[k]:
                best[k], its[k] = s, one
        total[k] = min(max(total[k], 0), 1)
    return total, best, its
