"""The nearest of many points in a plane, exactly, as compiled loops: of points that fill an area about evenly, as atoms
do, a table of boxes finds them in a fraction of a search tree's time. Points are (n, 2) y, x."""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.compiled import entry, inner
from stemdefects.numerics.medians import smallest

BLOCK = 2  # boxes looked at on each side of a point's own, to begin with
GUESSES = 20  # of a radius that holds so many points: some four are needed, and more than these where two are as far
FEW = 6  # of a rank, as if ranks were evenly spread; then by halves
ROOM = 1.15  # of the radius in which that many points are expected, that the block reaches at least


class Boxes(NamedTuple):
    """Points by their box, row of boxes by row: y, x: (n,) in that order; member: (n,) which points they are; start:
    (ny * nx + 2,) where each box begins; shape: (ny, nx); corner: (2,) of the first box; side: of a box."""

    y: np.ndarray
    x: np.ndarray
    member: np.ndarray
    start: np.ndarray
    shape: tuple[int, int]
    corner: np.ndarray
    side: float


@inner
def _boxes(points: np.ndarray, k: int) -> Boxes:
    """For the nearest `k`."""
    n = len(points)
    corner, far = points[0].copy(), points[0].copy()
    for m in range(n):
        for i in range(2):
            corner[i], far[i] = min(corner[i], points[m, i]), max(far[i], points[m, i])
    height, width = far[0] - corner[0], far[1] - corner[1]
    side = ROOM / BLOCK * math.sqrt(max(height * width, 1e-12) * max(k, 2) / (math.pi * n))
    side = max(side, max(height, width) / (4 * n + 4), 1e-12)  # all on a line: no more boxes
    ny, nx = int(height / side) + 1, int(width / side) + 1
    box, start = np.empty(n, np.int64), np.zeros(ny * nx + 2, np.int64)
    for m in range(n):
        box[m] = int((points[m, 0] - corner[0]) / side) * nx + int((points[m, 1] - corner[1]) / side)
        start[box[m] + 2] += 1
    for b in range(ny * nx):
        start[b + 2] += start[b + 1]
    y, x, member = np.empty(n), np.empty(n), np.empty(n, np.int64)
    for m in range(n):
        at = start[box[m] + 1]  # ends as the first of the next box
        start[box[m] + 1] += 1
        y[at], x[at], member[at] = points[m, 0], points[m, 1], m
    return Boxes(y, x, member, start, (ny, nx), corner, side)


@inner
def _box(boxes: Boxes, y: float, x: float) -> tuple[int, int]:
    """Row and column of the box that y, x is in, or that is nearest to it."""
    ny, nx = boxes.shape
    i = min(max(int((y - boxes.corner[0]) / boxes.side), 0), ny - 1)
    return i, min(max(int((x - boxes.corner[1]) / boxes.side), 0), nx - 1)


@inner
def _known(boxes: Boxes, y: float, x: float, within: tuple[int, int, int, int]) -> float:
    """How far from y, x nothing lies outside of the boxes `within` (first and last row, first and last column)."""
    (ny, nx), (top, bottom, left, right), known = boxes.shape, within, np.inf
    if top > 0:
        known = min(known, y - (boxes.corner[0] + top * boxes.side))
    if bottom < ny - 1:
        known = min(known, boxes.corner[0] + (bottom + 1) * boxes.side - y)
    if left > 0:
        known = min(known, x - (boxes.corner[1] + left * boxes.side))
    if right < nx - 1:
        known = min(known, boxes.corner[1] + (right + 1) * boxes.side - x)
    return known


@inner
def _around(boxes: Boxes, i: int, j: int, block: int) -> tuple[int, int, int, int]:
    """First and last row, first and last column of the boxes up to `block` beside the box i, j."""
    ny, nx = boxes.shape
    return max(i - block, 0), min(i + block, ny - 1), max(j - block, 0), min(j + block, nx - 1)


@inner
def _gathered(boxes: Boxes, y: float, x: float, k: int, squares: np.ndarray, places: np.ndarray) -> int:
    """How many points lie near y, x, the nearest `k` among them; squares, places: (n + 1,) become the squares of their
    distances, and where they stand in `boxes`."""
    nx, block = boxes.shape[1], BLOCK
    i, j = _box(boxes, y, x)
    while True:
        within = _around(boxes, i, j, block)
        known = _known(boxes, y, x, within)
        # those in the radius in which they are expected, with some room, are fewer to rank than the whole block's
        tight = min(known, boxes.side * BLOCK) if block == BLOCK else known
        limit, count = tight * tight if tight > 0 else -1.0, 0
        for row in range(within[0], within[1] + 1):
            for m in range(boxes.start[row * nx + within[2]], boxes.start[row * nx + within[3] + 1]):
                square = (boxes.y[m] - y) ** 2 + (boxes.x[m] - x) ** 2
                squares[count], places[count] = square, m
                count += square <= limit
        if count >= k:
            return count
        block += 1


def nearest(points: np.ndarray, asked: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """(m, k) distances from the places `asked` (m, 2) to the nearest `k` of `points` (n, 2), nearest first, and (m, k)
    which these are; all n where there are fewer than k. Raises ValueError for no points."""
    points, asked = (np.ascontiguousarray(p, float) for p in (points, asked))
    return _nearest(points, asked, _at_most(k, points))


def medians(values: np.ndarray, points: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
    """(m,) median of `values` (n,) over the nearest `k` of `points` (n, 2) to each of the places `asked` (m, 2), over
    all n where there are fewer than k. Raises ValueError for no points."""
    points, asked = (np.ascontiguousarray(p, float) for p in (points, asked))
    k, values = _at_most(k, points), np.asarray(values, float)
    order = np.argsort(values)
    rank = np.empty(len(values), np.int64)
    rank[order] = np.arange(len(values))
    found = _middles(rank, points, asked, k)
    return values[order[found[:, 0]]] if k % 2 else 0.5 * (values[order[found[:, 0]]] + values[order[found[:, 1]]])


def any_within(points: np.ndarray, asked: np.ndarray, reach: float) -> np.ndarray:
    """(m,) bool: one of the `points` (n, 2) lies within `reach` of the place asked for (m, 2)."""
    return _any_within(*(np.ascontiguousarray(p, float) for p in (points, asked)), float(reach))


def _at_most(k: int, points: np.ndarray) -> int:
    if not len(points):
        raise ValueError("the nearest of no points")
    return min(k, len(points))


@entry
def _nearest(points: np.ndarray, asked: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    boxes, n = _boxes(points, k), len(points)
    squares, places = np.empty(n + 1), np.empty(n + 1, np.int64)
    distance, index = np.empty((len(asked), k)), np.empty((len(asked), k), np.int64)
    for a in range(len(asked)):
        found = 0
        for c in range(_gathered(boxes, asked[a, 0], asked[a, 1], k, squares, places)):
            square = squares[c]
            if found == k and square >= distance[a, k - 1]:
                continue
            at = min(found, k - 1)
            while at and distance[a, at - 1] > square:
                distance[a, at], index[a, at] = distance[a, at - 1], index[a, at - 1]
                at -= 1
            distance[a, at], index[a, at] = square, boxes.member[places[c]]
            found = min(found + 1, k)
        for c in range(k):
            distance[a, c] = math.sqrt(distance[a, c])
    return distance, index


@inner
def _radius(squares: np.ndarray, n: int, k: int, limit: float) -> float:
    """Below it lie exactly `k` of the first n `squares`; -1 where there are fewer up to `limit`, or two are alike.

    Points that fill an area evenly have squares that are evenly spread: a few guesses, and counting is quick.
    """
    low, high, n_low, n_high, guess = 0.0, limit, 0, 0, limit
    for _ in range(GUESSES):
        count = 0
        for m in range(n):
            count += squares[m] <= guess
        if count == k:
            return guess
        if count < k:
            if guess == limit:
                return -1.0
            low, n_low = guess, count
        else:
            high, n_high = guess, count
        guess = low + (high - low) * (k - n_low) / (n_high - n_low)
    return -1.0


@inner
def _ranked(ranks: np.ndarray, k: int, nth: int, guess: int, n: int) -> int:
    """The nth smallest (from 0) of the first k different `ranks`, all below n; guess: about where."""
    low, high, n_low, n_high, guesses = -1, n - 1, 0, k, 0
    while True:
        count = 0
        for m in range(k):
            count += ranks[m] <= guess
        if count == nth + 1:
            break
        if count <= nth:
            low, n_low = guess, count
        else:
            high, n_high = guess, count
        guesses += 1
        part = (high - low) * (nth + 1 - n_low) // (n_high - n_low) if guesses < FEW else (high - low) // 2
        guess = min(low + max(part, 1), max(high - 1, low + 1))
    found = -1
    for m in range(k):
        found = max(found, ranks[m] if ranks[m] <= guess else -1)
    return found


@entry
def _middles(rank: np.ndarray, points: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
    """(m, 2) the ranks, of those of the nearest `k` points to each place asked for, at and before their middle.

    Places of one box are looked at together: they have the points around it in common.
    """
    boxes, n = _boxes(points, k), len(points)
    nx, n_boxes = boxes.shape[1], boxes.shape[0] * boxes.shape[1]
    box, start, order = np.empty(len(asked), np.int64), np.zeros(n_boxes + 2, np.int64), np.empty(len(asked), np.int64)
    for a in range(len(asked)):
        i, j = _box(boxes, asked[a, 0], asked[a, 1])
        box[a] = i * nx + j
        start[box[a] + 2] += 1
    for b in range(n_boxes):
        start[b + 2] += start[b + 1]
    for a in range(len(asked)):
        order[start[box[a] + 1]] = a
        start[box[a] + 1] += 1
    out, guess = np.empty((len(asked), 2), np.int64), n // 2
    ys, xs, of, ranks = np.empty(n), np.empty(n), np.empty(n, np.int64), np.empty(n + 1, np.int64)
    squares, below, above = np.empty(n + 1), np.empty(n + 1), np.empty(n + 1)
    places = np.empty(n + 1, np.int64)
    for b in range(n_boxes):
        if start[b] == start[b + 1]:
            continue
        within, count = _around(boxes, b // nx, b % nx, BLOCK), 0
        for row in range(within[0], within[1] + 1):
            for m in range(boxes.start[row * nx + within[2]], boxes.start[row * nx + within[3] + 1]):
                ys[count], xs[count], of[count] = boxes.y[m], boxes.x[m], rank[boxes.member[m]]
                count += 1
        for a in order[start[b] : start[b + 1]]:
            y, x, found = asked[a, 0], asked[a, 1], 0
            for m in range(count):
                squares[m] = (ys[m] - y) ** 2 + (xs[m] - x) ** 2
            known = _known(boxes, y, x, within)
            radius = -1.0
            for room in (BLOCK, BLOCK + 1):  # at the border of all points there are fewer
                reach = min(known, boxes.side * room)
                if radius < 0 and reach > 0:
                    radius = _radius(squares, count, k, reach * reach)
            if radius >= 0:
                for m in range(count):
                    ranks[found] = of[m]
                    found += squares[m] <= radius
            else:  # in a corner or a gap, or of two that are as far, the first
                near = _gathered(boxes, y, x, k, squares, places)
                for c in range(near):
                    above[c] = squares[c]
                farthest = smallest(above, near, k - 1, below, above)
                for c in range(near):
                    if squares[c] <= farthest and found < k:
                        ranks[found] = rank[boxes.member[places[c]]]
                        found += 1
            guess = _ranked(ranks, k, k // 2, guess, n)
            out[a, 0] = guess
            out[a, 1] = guess if k % 2 else _ranked(ranks, k, k // 2 - 1, guess, n)
    return out


@entry
def _any_within(points: np.ndarray, asked: np.ndarray, reach: float) -> np.ndarray:
    out = np.zeros(len(asked), np.bool_)
    if not len(points):
        return out
    boxes = _boxes(points, 1)
    ny, nx = boxes.shape
    for a in range(len(asked)):
        y, x = asked[a, 0] - boxes.corner[0], asked[a, 1] - boxes.corner[1]
        top, bottom = max(int((y - reach) / boxes.side), 0), min(int((y + reach) / boxes.side), ny - 1)
        left, right = max(int((x - reach) / boxes.side), 0), min(int((x + reach) / boxes.side), nx - 1)
        if y + reach < 0 or x + reach < 0 or left > right:
            continue
        for row in range(top, bottom + 1):
            for m in range(boxes.start[row * nx + left], boxes.start[row * nx + right + 1]):
                out[a] |= (boxes.y[m] - asked[a, 0]) ** 2 + (boxes.x[m] - asked[a, 1]) ** 2 <= reach * reach
    return out
