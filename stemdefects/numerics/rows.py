"""Rows of small whole numbers, as one number each: to sort rows takes twenty times as long."""

import numpy as np
from jaxtyping import Int

SPARSE = 64  # places of the table for each row: more, and sorting is quicker


def unique(rows: Int[np.ndarray, "n k"]) -> tuple[Int[np.ndarray, "m k"], Int[np.ndarray, " n"]]:
    """The different rows in order, and which of them each is: `np.unique(rows, axis=0, return_inverse=True)`."""
    if not len(rows):
        return rows.copy(), np.zeros(0, int)
    low, size = rows.min(0), np.ptp(rows, axis=0) + 1
    if np.prod(size, dtype=float) > SPARSE * len(rows) + 1e6:
        found, index = np.unique(rows, axis=0, return_inverse=True)
        return found, index.ravel()
    number = np.ravel_multi_index((rows - low).T, size)
    there = np.zeros(np.prod(size), bool)
    there[number] = True
    found = np.stack(np.unravel_index(np.flatnonzero(there), size), 1) + low
    return found, (np.cumsum(there) - 1)[number]


def found(rows: Int[np.ndarray, "n k"], asked: Int[np.ndarray, "m k"]) -> Int[np.ndarray, " m"]:
    """Which of the `rows`, which are in order, each of those `asked` for is; n where it is none of them."""
    if not len(rows) or not len(asked):
        return np.full(len(asked), len(rows))
    low, size = rows.min(0), np.ptp(rows, axis=0) + 1
    number, inside = np.ravel_multi_index((rows - low).T, size), ((asked >= low) & (asked < low + size)).all(1)
    wanted = np.ravel_multi_index((asked - low).T, size, mode="clip")
    at = np.minimum(np.searchsorted(number, wanted), len(rows) - 1)
    return np.where(inside & (number[at] == wanted), at, len(rows))
