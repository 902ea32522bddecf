"""Medians of some thousand values as compiled loops: `np.median` takes some times as long; and few values in order, of
many rows at once, by a network of comparisons that is the same for all of them and vectorised."""

import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stemdefects.compiled import entry, inner

LANES = 16  # rows at once


@inner
def smallest(values: np.ndarray, n: int, k: int, below: np.ndarray, above: np.ndarray) -> float:
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
def _middle(values: np.ndarray, n: int, room: np.ndarray) -> float:
    """Median of the first n `values`, none of them NaN; room: (3, n), the first row of which is written last."""
    if n == 0:
        return np.nan
    room[0, 0] = smallest(values, n, n // 2, room[1], room[2])
    if n % 2 == 0:
        high, under, low = room[0, 0], 0, room[0, 0]
        for i in range(n):
            if values[i] < high:
                low = values[i] if under == 0 else max(low, values[i])
                under += 1
        if under == n // 2:
            room[0, 0] = low + high  # at the values' own precision, as numpy does
            room[0, 0] = 0.5 * room[0, 0]
    return room[0, 0]


@entry
def _median(values: np.ndarray) -> float:
    for value in values:
        if np.isnan(value):
            return np.nan
    return _middle(values, len(values), np.empty((3, len(values) + 1), values.dtype))


@entry
def _deviation(values: np.ndarray, centre: float) -> float:
    known, room, n = np.empty(len(values), values.dtype), np.empty((3, len(values) + 1), values.dtype), 0
    for value in values:
        if not np.isnan(value):
            known[n] = value
            n += 1
    centre = _middle(known, n, room) if np.isnan(centre) else centre
    for i in range(n):
        known[i] = abs(known[i] - centre)
    return _middle(known, n, room)


@entry
def _of_columns(values: np.ndarray) -> np.ndarray:
    n, columns = values.shape
    out, one, room = np.empty(columns, values.dtype), np.empty(n, values.dtype), np.empty((3, n + 1), values.dtype)
    for k in range(columns):
        known = True
        for i in range(n):
            one[i] = values[i, k]
            known &= not np.isnan(one[i])
        out[k] = _middle(one, n, room) if known else np.nan
    return out


@entry
def _quantile(values: np.ndarray, share: float) -> float:
    n, room = len(values), np.empty((2, len(values) + 1), values.dtype)
    k = int(share * (n - 1))
    low = smallest(values, n, k, room[0], room[1])
    high, up_to = np.inf, 0
    for value in values:
        if value > low:
            high = min(high, value)
        else:
            up_to += 1
    high = low if up_to > k + 1 or k == n - 1 else high
    return low + (high - low) * (share * (n - 1) - k)


def quantile(values: ArrayLike, share: float) -> float:
    """Of all `values`, which are finite and one at least, between two of them by their distance in order, as numpy's.
    share: 0..1."""
    return _quantile(_floats(values).ravel(), share)


def median(values: ArrayLike) -> Any:
    """Of all `values`, whatever their shape: NaN where one of them is NaN, or there are none."""
    values = _floats(values).ravel()
    return values.dtype.type(_median(values))


def deviation(values: ArrayLike, centre: float | None = None) -> Any:
    """Median distance of `values` from `centre`, None: from their median. NaN is left out; NaN of none."""
    values = _floats(values).ravel()
    return values.dtype.type(_deviation(values, np.nan if centre is None else float(centre)))


def of_columns(values: ArrayLike) -> np.ndarray:
    """(k,) of each column of `values` (n, k): NaN where one of its values is NaN, or there are none."""
    return _of_columns(_floats(values))


def _floats(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values)
    return np.ascontiguousarray(values, values.dtype if values.dtype in (np.float32, np.float64) else np.float64)


@functools.lru_cache(maxsize=16)
def network(n: int) -> np.ndarray:
    """(m, 2) pairs of places that, compared one after the other, put `n` values in order: odd-even merge sort (Batcher,
    AFIPS Spring Joint Computing Conf. 32, 307 (1968))."""
    whole = 1 << max(n - 1, 0).bit_length()
    pairs = [pair for pair in _sorted(0, whole) if pair[1] < n]
    return np.array(pairs, np.int64).reshape(-1, 2)


def _sorted(first: int, n: int) -> list[tuple[int, int]]:
    if n < 2:
        return []
    return [*_sorted(first, n // 2), *_sorted(first + n // 2, n // 2), *_merged(first, n, 1)]


def _merged(first: int, n: int, step: int) -> list[tuple[int, int]]:
    if 2 * step >= n:
        return [(first, first + step)]
    both = [*_merged(first, n, 2 * step), *_merged(first + step, n, 2 * step)]
    return [*both, *((i, i + step) for i in range(first + step, first + n - step, 2 * step))]


@inner
def in_order(values: np.ndarray, pairs: np.ndarray) -> None:
    """Puts `values` (n, `LANES`), none of them NaN, in rising order along the first axis. pairs: the `network` of n."""
    for c in range(len(pairs)):
        low, high = values[pairs[c, 0]], values[pairs[c, 1]]
        for lane in range(LANES):
            a, b = low[lane], high[lane]
            less = a < b
            low[lane], high[lane] = a if less else b, b if less else a
