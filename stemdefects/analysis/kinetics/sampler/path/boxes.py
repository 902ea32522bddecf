"""Boxes of the grid, and in which of them whose path is drawn (numba)."""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.board import PAD


class Proposal(NamedTuple):
    """What a sweep's proposals are made from."""

    F: np.ndarray  # (N_FIELDS, G)
    glow: np.ndarray  # (2, T, G) likelihood of one and of two vacancies over none
    jumps: np.ndarray  # (T - 1, most + 1) Poisson probabilities
    n_jumps: np.ndarray  # (T - 1,) that count in each interval
    times: np.ndarray  # (T,)
    odds: np.ndarray  # (3, G) of each layer at the start over an empty site
    to_double: float  # over omega
    omega: float  # 1/s
    two: bool
    still: bool


class Draft(NamedTuple):
    """Whose path is drawn, when and where; of the others, what its births are shared with.

    Numbers and two arrays: compiled code counts the references to all arrays of a tuple whenever it is taken out of
    another, which in a loop over frames costs more than the loop.
    """

    slot: int
    skip: int | np.int64  # another slot whose vacancy is left out, -1
    first: int  # frames
    last: int
    absent: int | np.int64  # other slots without a vacancy in frame `first`; -1: slots have no meaning, a birth is one
    slots: float  # what births are divided by in the proposal
    box: np.ndarray  # (5,) as `box_around` says
    near: np.ndarray  # the other slots that are ever in the box or beside it, as `near_box` says
    cols: int  # of the grid


@tiny
def place_in(i, box, cols):
    """Number in the box of a place of the grid."""
    return (i // cols - box[0] + 1) * box[4] + i % cols - box[1] + 1


@tiny
def inside(i, box, cols):
    return box[0] <= i // cols < box[2] and box[1] <= i % cols < box[3]


@inner
def box_around(i, half, S):
    """Rows and columns within `half` of a place, cut at the grid: first row, first column, their ends, row's width."""
    cols = S.shape[1]
    r, c = i // cols, i % cols
    box = np.empty(5, np.int64)
    box[0], box[1] = max(r - half, PAD), max(c - half, PAD)
    box[2], box[3] = min(r + half + 1, S.shape[0] - PAD), min(c + half + 1, cols - PAD)
    box[4] = box[3] - box[1] + 2
    return box


@inner
def whole(S):
    """The box that is all of the grid."""
    box = np.empty(5, np.int64)
    box[0], box[1], box[2], box[3] = PAD, PAD, S.shape[0] - PAD, S.shape[1] - PAD
    box[4] = box[3] - box[1] + 2
    return box


@inner
def ways_in(box, S):
    """Steps to the six neighbours of a place in the box."""
    ways = np.zeros(6, np.int64)
    for j in range(6):
        ways[j] = S.steps[j, 0] * box[4] + S.steps[j, 1]
    return ways


@inner
def near_box(box, first, last, slot, skip, cols, who):
    """Slots but two that are in the box, or beside it, in any of the frames first..last: all others change nothing for
    a path there."""
    found, n = np.empty(who.shape[1], np.int64), 0
    low, high = (box[0] - 1) * cols, (box[2] + 1) * cols  # most are in other rows, which is told without a division
    for s in range(who.shape[1]):
        if s == slot or s == skip:
            continue
        for f in range(first, last + 1):
            i = who[f, s]
            if low <= i < high and box[1] - 1 <= i % cols < box[3] + 1:
                found[n] = s
                n += 1
                break
    return found[:n]
