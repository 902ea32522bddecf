"""The loops of `sites`, compiled. n columns; positions are (n, 2) y, x; cells (n, 2) multiples of a1, a2."""

import math

import numpy as np

from stemdefects.compiled import entry, inner
from stemdefects.crystal.complexes import NOWHERE
from stemdefects.numerics.medians import smallest

VOTERS = 500  # columns, spread over the frame, that say where the lattice begins
CONDITION = 1e8  # of the normal matrix, above which the points lie on one line


@inner
def _inverse(m: np.ndarray) -> np.ndarray:
    det = m[0, 0] * m[1, 1] - m[0, 1] * m[1, 0]
    return np.array([[m[1, 1] / det, -m[0, 1] / det], [-m[1, 0] / det, m[0, 0] / det]])


@inner
def _solved(position: np.ndarray, index: np.ndarray, use: np.ndarray) -> tuple[bool, np.ndarray, np.ndarray]:
    """Vectors (2, 2) and origin (2,) with index @ vectors + origin = position by least squares over `use` (n,); False
    where the points lie on one line."""
    mean, place, n = np.zeros(2), np.zeros(2), 0
    for k in range(len(use)):
        if use[k]:
            n += 1
            for i in range(2):
                mean[i] += index[k, i]
                place[i] += position[k, i]
    mean /= max(n, 1)
    place /= max(n, 1)
    normal, right = np.zeros((2, 2)), np.zeros((2, 2))
    for k in range(len(use)):
        if use[k]:
            for i in range(2):
                for j in range(2):
                    normal[i, j] += (index[k, i] - mean[i]) * (index[k, j] - mean[j])
                    right[i, j] += (index[k, i] - mean[i]) * (position[k, j] - place[j])
    middle = 0.5 * (normal[0, 0] + normal[1, 1])
    half = math.hypot(0.5 * (normal[0, 0] - normal[1, 1]), normal[0, 1])
    if not middle - half > 0 or not middle + half < CONDITION * (middle - half):
        return False, normal, mean
    inverse, vectors, origin = _inverse(normal), np.zeros((2, 2)), place.copy()
    for i in range(2):
        for j in range(2):
            vectors[i, j] = inverse[i, 0] * right[0, j] + inverse[i, 1] * right[1, j]
    for j in range(2):
        origin[j] -= mean[0] * vectors[0, j] + mean[1] * vectors[1, j]
    return True, vectors, origin


@entry
def fitted(
    position: np.ndarray, cell: np.ndarray, site: np.ndarray, basis: np.ndarray
) -> tuple[bool, np.ndarray, np.ndarray, float]:
    """Vectors and origin by least squares over the columns with a cell, those far off left out in a second pass, and
    the rms distance of all from that lattice; False where they lie on one line. basis: (G, 2) of the sublattices."""
    n, count = len(position), 0
    known, off, index = np.empty(n, np.bool_), np.empty(n), np.zeros((n, 2))
    room, squares = np.empty((3, n + 1)), 0.0
    for k in range(n):
        known[k] = cell[k, 0] != NOWHERE
        if known[k]:
            count += 1
            for i in range(2):
                index[k, i] = cell[k, i] + basis[site[k], i]
    keep, vectors, origin = known.copy(), np.zeros((2, 2)), np.zeros(2)
    for again in range(2):
        found, vectors, origin = _solved(position, index, keep)
        if not found:
            return False, vectors, origin, np.nan
        some, squares = 0, 0.0
        for k in range(n):
            if known[k]:
                y = index[k, 0] * vectors[0, 0] + index[k, 1] * vectors[1, 0] + origin[0] - position[k, 0]
                x = index[k, 0] * vectors[0, 1] + index[k, 1] * vectors[1, 1] + origin[1] - position[k, 1]
                squares += y * y + x * x
                off[k] = room[0, some] = math.sqrt(y * y + x * x)
                some += 1
        if again:
            break
        limit = max(3 * smallest(room[0], count, count // 2, room[1], room[2]), 1e-6)
        for k in range(n):
            keep[k] = known[k] and off[k] <= limit
    return True, vectors, origin, math.sqrt(squares / max(count, 1))


@entry
def numbered(
    position: np.ndarray, site: np.ndarray, basis: np.ndarray, vectors: np.ndarray, reach: float, share: float
) -> np.ndarray:
    """(n, 2) cells of columns that all lie on one lattice, NOWHERE for the few that do not; (0, 2) where it is not so.

    site: (n,) sublattice, at basis (G, 2); vectors: (2, 2) about the lattice's; reach: px off its site that a column
    may be; share: of them that must lie on the lattice.
    """
    n = len(position)
    nothing = np.zeros((0, 2), np.int32)
    cell, whole, good = np.empty((n, 2)), np.empty((n, 2)), np.empty(n, np.bool_)
    inverse = _inverse(vectors)
    sine, cosine, step = np.zeros(2), np.zeros(2), max(n // VOTERS, 1)
    for k in range(n):
        for i in range(2):
            cell[k, i] = position[k, 0] * inverse[0, i] + position[k, 1] * inverse[1, i] - basis[site[k], i]
            if k % step == 0:  # these say about where the lattice lies; all of them are fitted below
                turn = 2 * math.pi * (cell[k, i] - math.floor(cell[k, i]))
                sine[i] += math.sin(turn)
                cosine[i] += math.cos(turn)
    for i in range(2):
        phase = math.atan2(sine[i], cosine[i]) / (2 * math.pi)
        for k in range(n):
            cell[k, i] -= phase
    for again in range(3):
        near = 0
        limit = reach if again < 2 else 0.5 * reach  # the last fit is looked at more closely
        for k in range(n):
            for i in range(2):
                whole[k, i] = np.rint(cell[k, i])
            a, b = cell[k, 0] - whole[k, 0], cell[k, 1] - whole[k, 1]
            y, x = a * vectors[0, 0] + b * vectors[1, 0], a * vectors[0, 1] + b * vectors[1, 1]
            off = math.sqrt(y * y + x * x)
            good[k] = off < reach
            near += off < limit
            whole[k, 0] += basis[site[k], 0]
            whole[k, 1] += basis[site[k], 1]
        if near < share * n:
            return nothing
        if again == 2:
            break
        found, vectors, origin = _solved(position, whole, good)
        if not found:
            return nothing
        inverse = _inverse(vectors)
        for k in range(n):
            y, x = position[k, 0] - origin[0], position[k, 1] - origin[1]
            for i in range(2):
                cell[k, i] = y * inverse[0, i] + x * inverse[1, i] - basis[site[k], i]
    out = np.full((n, 2), NOWHERE, np.int32)
    for k in range(n):
        if good[k]:
            for i in range(2):
                out[k, i] = int(np.rint(whole[k, i] - basis[site[k], i]))
    return out


@inner
def _box(cell: np.ndarray, use: np.ndarray) -> tuple[int, int, int, int]:
    """First cell, and height and width, of the columns `use`, with one cell around."""
    low, high = np.full(2, 2**31 - 2), np.full(2, -(2**31) + 2)
    for k in range(len(cell)):
        if use[k]:
            for i in range(2):
                low[i] = min(low[i], cell[k, i])
                high[i] = max(high[i], cell[k, i])
    return low[0] - 1, low[1] - 1, high[0] - low[0] + 3, high[1] - low[1] + 3


@entry
def doubles(cell: np.ndarray, site: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(n,) bool: another column of larger weight, or an earlier one of the same, lies on the same site."""
    again, known = np.zeros(len(cell), np.bool_), cell[:, 0] != NOWHERE
    if not known.any():
        return again
    y, x, height, width = _box(cell, known)
    best = np.full((height, width, site.max() + 1), -1)
    for k in range(len(cell)):
        if known[k]:
            other = best[cell[k, 0] - y, cell[k, 1] - x, site[k]]
            if other >= 0 and weight[other] >= weight[k]:
                again[k] = True
                continue
            if other >= 0:
                again[other] = True
            best[cell[k, 0] - y, cell[k, 1] - x, site[k]] = k
    return again


@entry
def gaps(
    cell: np.ndarray, site: np.ndarray, use: np.ndarray, position: np.ndarray, steps: np.ndarray
) -> tuple[int, np.ndarray, np.ndarray]:
    """Number of lattice sites, and those (m, 3; cell, sublattice) without a column of `use` (n,) though at most one of
    the neighbours by `steps` (k, 2; within -1..1) is missing; their places (m, 2)."""
    y, x, height, width = _box(cell, use)
    missed, places, n_sites = np.empty((16, 3), np.int32), np.empty((16, 2)), 0
    count = 0
    who = np.empty((height, width), np.int64)
    for g in range(site.max() + 1):
        who[:] = -1
        for k in range(len(cell)):
            if use[k] and site[k] == g:
                who[cell[k, 0] - y, cell[k, 1] - x] = k
                n_sites += 1
        for i in range(1, height - 1):
            for j in range(1, width - 1):
                if who[i, j] >= 0:
                    continue
                around, sum_y, sum_x = 0, 0.0, 0.0
                for s in range(len(steps)):
                    other = who[i + steps[s, 0], j + steps[s, 1]]
                    if other >= 0:
                        around += 1
                        sum_y += position[other, 0]
                        sum_x += position[other, 1]
                if around < len(steps) - 1:
                    continue
                if count == len(missed):
                    missed, places = np.concatenate((missed, missed)), np.concatenate((places, places))
                missed[count, 0], missed[count, 1], missed[count, 2] = y + i, x + j, g
                places[count, 0], places[count, 1] = sum_y / around, sum_x / around
                count += 1
    return n_sites + count, missed[:count], places[:count]


@entry
def looked_up(
    cell: np.ndarray, site: np.ndarray, use: np.ndarray, same_steps: np.ndarray, near_steps: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Column at each of the steps from each of the n columns, -1 where there is none, for the columns of `use` (n,):
    same_steps: (k, 2) within its sublattice; near_steps: (G, m, 3) to a cell and sublattice."""
    same = np.full((len(cell), len(same_steps)), -1, np.int32)
    near = np.full((len(cell), near_steps.shape[1]), -1, np.int32)
    if not use.any():
        return same, near
    reach = max(np.abs(same_steps).max(), np.abs(near_steps[:, :, :2]).max())
    y, x, height, width = _box(cell, use)
    y, x = y - reach, x - reach
    who = np.full((height + 2 * reach, width + 2 * reach, len(near_steps)), -1, np.int32)
    for k in range(len(cell)):
        if use[k]:
            who[cell[k, 0] - y, cell[k, 1] - x, site[k]] = k
    for k in range(len(cell)):
        if use[k]:
            i, j, g = cell[k, 0] - y, cell[k, 1] - x, site[k]
            for s in range(len(same_steps)):
                same[k, s] = who[i + same_steps[s, 0], j + same_steps[s, 1], g]
            for s in range(near_steps.shape[1]):
                near[k, s] = who[i + near_steps[g, s, 0], j + near_steps[g, s, 1], near_steps[g, s, 2]]
    return same, near


@entry
def missing(index: np.ndarray, k: int) -> np.ndarray:
    """(n,) how many of the first `k` of each row of `index` (n, m) are nobody (-1)."""
    out = np.zeros(len(index), np.int64)
    for n in range(len(index)):
        for j in range(k):
            out[n] += index[n, j] < 0
    return out


@entry
def cut(
    place: np.ndarray, ring: np.ndarray, steps: np.ndarray, shape: tuple[float, float], margin: float
) -> np.ndarray:
    """(n,) bool: some of the first columns of `ring` (n, m) around the `place` (n, 2), at the `steps` (k, 2), are
    missing (-1), but no more than half of them, and each where a column would lie less than `margin` inside an image of
    this `shape`."""
    out = np.zeros(len(place), np.bool_)
    for n in range(len(place)):
        missing, outside = 0, True
        for k in range(len(steps)):
            if ring[n, k] < 0:
                missing += 1
                y, x = place[n, 0] + steps[k, 0], place[n, 1] + steps[k, 1]
                outside &= min(min(y, shape[0] - 1 - y), min(x, shape[1] - 1 - x)) < margin
        out[n] = missing > 0 and 2 * missing <= len(steps) and outside
    return out


@entry
def contrasts(
    value: np.ndarray, cell: np.ndarray, site: np.ndarray, use: np.ndarray, called: np.ndarray, side: int, least: int
) -> np.ndarray:
    """(n,) value of each column of `use` (n,) less the mean of those of its sublattice within a square of `side` cells
    around that were not `called`, itself left out; NaN where there are fewer than `least`."""
    y, x, height, width = _box(cell, use)
    half, n_sites = side // 2, site.max() + 1
    count = np.zeros((n_sites, height + 2 * half, width + 2 * half))
    total = np.zeros((n_sites, height + 2 * half, width + 2 * half))
    for k in range(len(cell)):
        if use[k] and not called[k]:
            count[site[k], cell[k, 0] - y + half, cell[k, 1] - x + half] += 1
            total[site[k], cell[k, 0] - y + half, cell[k, 1] - x + half] += value[k]
    out = np.full(len(cell), np.nan)
    for k in range(len(cell)):
        if use[k]:
            i, j, g = cell[k, 0] - y + half, cell[k, 1] - x + half, site[k]
            n, summed = 0.0, 0.0
            for a in range(i - half, i + half + 1):
                for b in range(j - half, j + half + 1):
                    n += count[g, a, b]
                    summed += total[g, a, b]
            if not called[k]:
                n, summed = n - 1, summed - value[k]
            if n >= least:
                out[k] = value[k] - summed / n
    return out
