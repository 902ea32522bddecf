"""The least-squares fit of `patch_light`, patch by patch, compiled.

Gauss-Newton in heights, plane and displacements. Every function is a product of one of y and one of x, and so is every
scalar product of two of them: no image is made, and what several functions share of one axis is worked out once.
"""

import math

import numpy as np

from stemdefects.compiled import entry, inner, rows

_LEAST_LEFT = 1e-9  # mean square per pixel: a patch without noise still lets columns move


@inner
def _bells(centre: np.ndarray, width: float, out: np.ndarray) -> None:
    """out (k, side) becomes Gaussians of `width` px around `centre` (k,), counted from the middle of the patch. From
    the pixel nearest to the centre outwards, the ratio of neighbours is an exponential of the place."""
    side = out.shape[1]
    step = math.exp(-1.0 / width**2)
    for j in range(len(centre)):
        middle = centre[j] + (side - 1) / 2
        nearest = int(min(max(np.rint(middle), 0), side - 1))
        off = nearest - middle
        first = math.exp(-0.5 * (off / width) ** 2)
        out[j, nearest] = first
        value, ratio = first, math.exp(-(off + 0.5) / width**2)
        for i in range(nearest + 1, side):
            value *= ratio
            ratio *= step
            out[j, i] = value
        value, ratio = first, math.exp((off - 0.5) / width**2)
        for i in range(nearest - 1, -1, -1):
            value *= ratio
            ratio *= step
            out[j, i] = value


@inner
def _functions(centre: np.ndarray, free: np.ndarray, width: float, out: np.ndarray) -> None:
    """out (k + 2 + f, side): the Gaussians, one, a slope, and the derivatives of the `free` Gaussians by the place."""
    k, side = len(centre), out.shape[1]
    _bells(centre, width, out[:k])
    for i in range(side):
        place = i - (side - 1) / 2
        out[k, i], out[k + 1, i] = 1.0, place / side
        for j in range(len(free)):
            out[k + 2 + j, i] = out[free[j], i] * (place - centre[free[j]]) / width**2


@rows
def _solved(matrix: np.ndarray, target: np.ndarray, m: int) -> None:
    """`target` becomes the solution of the first `m` equations. Of the symmetric, positive `matrix` the lower half is
    read, and becomes its Cholesky factor."""
    for i in range(m):
        for j in range(i):
            total = 0.0
            for c in range(j):
                total += matrix[i, c] * matrix[j, c]
            matrix[i, j] = (matrix[i, j] - total) / matrix[j, j]
        square = along = 0.0
        for c in range(i):
            square += matrix[i, c] * matrix[i, c]
            along += matrix[i, c] * target[c]
        matrix[i, i] = math.sqrt(matrix[i, i] - square)
        target[i] = (target[i] - along) / matrix[i, i]
    for i in range(m - 1, -1, -1):
        target[i] /= matrix[i, i]
        for j in range(i):
            target[j] -= matrix[i, j] * target[i]


@rows
def _explained(gram: np.ndarray, seen: np.ndarray, found: np.ndarray, m: int) -> float:
    """What of the square of the data the first `m` functions take, `found` being how much there is of each. Of the
    symmetric `gram` the lower half is read."""
    total = 0.0
    for p in range(m):
        below = 0.0
        for q in range(p):
            below += gram[p, q] * found[q]
        total += found[p] * (2 * seen[p] - gram[p, p] * found[p] - 2 * below)
    return total


@rows
def _sums(a: np.ndarray, b: np.ndarray, of_a: np.ndarray, of_b: np.ndarray, out: np.ndarray) -> None:
    """out[p] becomes the sum of the products of a[of_a[p]] and b[of_b[p]]."""
    for p in range(len(out)):
        i, j, total = of_a[p], of_b[p], 0.0
        for c in range(a.shape[1]):
            total += a[i, c] * b[j, c]
        out[p] = total


@entry
def fit(
    patches: np.ndarray, at: np.ndarray, free: np.ndarray, stiff: np.ndarray, width: float, ridge: float, rounds: int
) -> tuple:
    """Heights (n, k) of equal Gaussians of `width` px in patches (n, side, side), and what is left (n,), mean square
    per pixel.

    at: (n, k, 2) y, x from the middle of the patch; free: (f,) which of them move by themselves, the others by their
    mean; stiff: (f, f) inverse covariance of the displacements of either axis, px; ridge: added to the normal
    equations.
    """
    n, k, f, side = len(patches), at.shape[1], len(free), patches.shape[1]
    most = k + 3 + 2 * f
    heights, lefts = np.empty((n, k)), np.empty(n)
    y, x = np.empty((k + 2 + f, side)), np.empty((k + 2 + f, side))
    of_y, of_x = np.empty(most, np.int64), np.empty(most, np.int64)  # whose product each function is
    for j in range(k):
        of_y[j] = of_x[j] = j
    of_y[k : k + 3] = k
    of_x[k : k + 3] = k
    of_y[k + 1] = of_x[k + 2] = k + 1
    for j in range(f):
        of_y[k + 3 + j], of_x[k + 3 + j] = k + 2 + j, free[j]
        of_y[k + 3 + f + j], of_x[k + 3 + f + j] = free[j], k + 2 + j
    bound = np.ones(k, np.bool_)
    for j in range(f):
        bound[free[j]] = False
    scale, seen, found = np.ones(most), np.empty(most), np.empty(most)
    gram, normal = np.empty((most, most)), np.empty((most, most))
    place, moved = np.empty((2, k)), np.empty((2, k))
    for number in range(n):
        data = patches[number]
        square, left = (data * data).sum(), 0.0
        moved[:] = 0.0
        for round_ in range(rounds):
            m = most if round_ else k + 3
            for axis in range(2):
                for j in range(k):
                    place[axis, j] = at[number, j, axis] + moved[axis, j]
            _functions(place[0], free, width, y)
            _functions(place[1], free, width, x)
            of_rows, of_columns, along = np.dot(y, y.T), np.dot(x, x.T), np.dot(y, data)
            if round_:
                for j in range(f):
                    scale[k + 3 + j] = scale[k + 3 + f + j] = found[free[j]]
            _sums(along, x, of_y, of_x, seen)
            for p in range(m):
                a, b = of_y[p], of_x[p]
                seen[p] *= scale[p]
                for q in range(p + 1):
                    gram[p, q] = of_rows[a, of_y[q]] * of_columns[b, of_x[q]] * scale[p] * scale[q]
                    normal[p, q] = gram[p, q]
                normal[p, p] += ridge
                found[p] = seen[p]
            if round_:
                for axis in range(2):
                    first = k + 3 + axis * f
                    for j in range(f):
                        for i in range(f):
                            found[first + j] -= left * moved[axis, free[i]] * stiff[i, j]
                            if i <= j:
                                normal[first + j, first + i] += left * stiff[j, i]
            _solved(normal, found, m)
            left = max(max(square - _explained(gram, seen, found, m), 0.0) / side**2, _LEAST_LEFT)
            if round_:
                for axis in range(2):
                    mean = 0.0
                    for j in range(f):
                        step = found[k + 3 + axis * f + j]
                        moved[axis, free[j]] += min(max(step, -1.0), 1.0)
                        mean += moved[axis, free[j]] / f
                    for j in range(k):
                        if bound[j]:
                            moved[axis, j] = mean
        heights[number], lefts[number] = found[:k], left
    return heights, lefts
