"""The nearest of many points in a plane, exactly, as compiled loops: of points that fill an area about evenly, as atoms
do, a table of boxes finds them in a fraction of a search tree's time. Points are (n, 2) y, x."""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.compiled import entry, inner

BLOCK = 2  # boxes looked at on each side of a point's own, to begin with
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
def _smallest(values: np.ndarray, n: int, k: int, below: np.ndarray, above: np.ndarray) -> float:
    """The k-th smallest (from 0) of the first n `values`; below, above: room for n each.

    Parted by the median of three, each value into both heaps, of which one grows: nothing has to be foretold, which
    takes longer than all else where some dozens are parted.
    """
    source = values
    while True:
        a, b, c = source[0], source[n // 2], source[n - 1]
        middle = max(min(a, b), min(max(a, b), c))
        n_below, n_above = 0, 0
        for i in range(n):
            value = source[i]
            below[n_below], above[n_above] = value, value
            n_below += value < middle
            n_above += value > middle
        if k < n_below:
            source, n = below, n_below  # parted in place from now on: what is written has been read
        elif k >= n - n_above:
            source, k, n = above, k - (n - n_above), n_above
        else:
            return middle


@inner
def _gathered(
    boxes: Boxes, y: float, x: float, k: int, room: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
) -> tuple[int, float]:
    """How many points lie near y, x, the nearest `k` among them, and the square of how far the k-th is; room: (n,)
    each, for the squares of their distances, where they stand in `boxes`, and to find the k-th."""
    squares, places, below, above = room
    ny, nx = boxes.shape
    i = min(max(int((y - boxes.corner[0]) / boxes.side), 0), ny - 1)
    j = min(max(int((x - boxes.corner[1]) / boxes.side), 0), nx - 1)
    block = BLOCK
    while True:
        top, bottom, left, right = max(i - block, 0), min(i + block, ny - 1), max(j - block, 0), min(j + block, nx - 1)
        # no point outside of the block is nearer than its nearest side
        known = np.inf
        if top > 0:
            known = min(known, y - (boxes.corner[0] + top * boxes.side))
        if bottom < ny - 1:
            known = min(known, boxes.corner[0] + (bottom + 1) * boxes.side - y)
        if left > 0:
            known = min(known, x - (boxes.corner[1] + left * boxes.side))
        if right < nx - 1:
            known = min(known, boxes.corner[1] + (right + 1) * boxes.side - x)
        # those in the radius in which they are expected, with some room, are fewer to rank than the whole block's
        tight = min(known, boxes.side * BLOCK) if block == BLOCK else known
        limit, count = tight * tight if tight > 0 else -1.0, 0
        for row in range(top, bottom + 1):
            for m in range(boxes.start[row * nx + left], boxes.start[row * nx + right + 1]):
                square = (boxes.y[m] - y) ** 2 + (boxes.x[m] - x) ** 2
                squares[count], places[count] = square, m
                count += square <= limit
        if count >= k:
            return count, _smallest(squares, count, k - 1, below, above)
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
    return _medians(np.ascontiguousarray(values, float), points, asked, _at_most(k, points))


def _at_most(k: int, points: np.ndarray) -> int:
    if not len(points):
        raise ValueError("the nearest of no points")
    return min(k, len(points))


@entry
def _nearest(points: np.ndarray, asked: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    boxes, n = _boxes(points, k), len(points)
    room = (np.empty(n + 1), np.empty(n + 1, np.int64), np.empty(n + 1), np.empty(n + 1))
    distance, index = np.empty((len(asked), k)), np.empty((len(asked), k), np.int64)
    for a in range(len(asked)):
        count, farthest = _gathered(boxes, asked[a, 0], asked[a, 1], k, room)
        found = 0
        for c in range(count):
            square = room[0][c]
            if square > farthest or (found == k and square >= distance[a, k - 1]):
                continue
            at = min(found, k - 1)
            while at and distance[a, at - 1] > square:
                distance[a, at], index[a, at] = distance[a, at - 1], index[a, at - 1]
                at -= 1
            distance[a, at], index[a, at] = square, boxes.member[room[1][c]]
            found = min(found + 1, k)
        for c in range(k):
            distance[a, c] = math.sqrt(distance[a, c])
    return distance, index


@entry
def _medians(values: np.ndarray, points: np.ndarray, asked: np.ndarray, k: int) -> np.ndarray:
    boxes, n = _boxes(points, k), len(points)
    room = (np.empty(n + 1), np.empty(n + 1, np.int64), np.empty(n + 1), np.empty(n + 1))
    out, of = np.empty(len(asked)), np.empty(n + 1)
    for a in range(len(asked)):
        count, farthest = _gathered(boxes, asked[a, 0], asked[a, 1], k, room)
        found = 0
        for c in range(count):
            of[found] = values[boxes.member[room[1][c]]]
            found += room[0][c] <= farthest
        out[a] = _smallest(of, k, k // 2, room[2], room[3])  # of two that are as far, the first
        if k % 2 == 0:
            out[a] = 0.5 * (out[a] + _smallest(of, k, k // 2 - 1, room[2], room[3]))
    return out
