"""One vacancy's whole path by forward filtering, others left out of its rates (numba); `backward.py` draws it.

States are absent, or a layer on a place of the box.
"""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.path.boxes import inside, place_in, ways_in
from stemdefects.analysis.kinetics.sampler.path.crowd import crowd
from stemdefects.analysis.kinetics.sampler.path.field import Generator, add, cut, product, rescale, step, sum_of


class Filtered(NamedTuple):
    """A forward pass over frames first..last in a box."""

    alpha: np.ndarray  # (frames, 3, places) after the frame's light
    ahead: np.ndarray  # (frames, 3, places) before it
    gone: np.ndarray  # (frames - 1, most + 1) of the absent after 0, 1, ... jumps
    absent: np.ndarray  # (frames, 2) of the absent, after the light and before
    steps: np.ndarray  # (most + 1, 3, places) room for one interval
    lit: np.ndarray  # (3, places) room, in double precision: light may be stronger than single precision holds
    R: Generator


@inner
def forward(free_end, begin, layer, Q, D, V):
    """Filter from frame `D.first` to `D.last`; `begin`: place of the grid, -1 absent, -2: the prior of the start.

    Where others are, this one is not. Light counts in all frames between, and at an end that is free.
    """
    box, cols, first, last, who = D.box, D.cols, D.first, D.last, V.who
    n = last - first + 1
    places = (box[2] - box[0] + 2) * box[4]
    most = Q.jumps.shape[1]
    field = cut(box, cols, Q.F)
    R = Generator(field, ways_in(box, V.S), Q.to_double, Q.two, Q.still)
    A = Filtered(
        np.zeros((n, 3, places), np.float32),
        np.zeros((n, 3, places), np.float32),
        np.zeros((max(n - 1, 1), most)),
        np.zeros((n, 2)),
        np.zeros((most, 3, places), np.float32),
        np.zeros((3, places)),
        R,
    )
    now, nxt = np.zeros((3, places), np.float32), np.zeros((3, places), np.float32)
    if begin == -2:
        A.ahead[0], A.absent[0, 1] = 0.0, 1.0
        for r in range(box[0], box[2]):
            for c in range(box[1], box[3]):
                i = r * cols + c
                for k in range(3 if Q.two else 2):
                    A.ahead[0, k, place_in(i, box, cols)] = Q.odds[k, i] / D.slots
        total = _light(first, who, A, Q, D)
    elif begin == -1:
        A.absent[0, 0] = A.absent[0, 1] = 1.0
        total = 1.0
    else:
        A.alpha[0, layer - 1, place_in(begin, box, cols)] = 1.0
        total = 1.0
    inner_a, inner_b = box[4] + 1, places - box[4] - 1
    for f in range(first, last):
        m = f - first
        now[:] = A.alpha[m]
        crowd(f, 1.0, field, Q.omega, D, V)
        absent, p = A.absent[m, 0], Q.jumps[f, 0]
        for k in range(3):
            if (k != 1 or Q.still) and (k != 2 or Q.two):
                add(A.ahead[m + 1, k], now[k], p)
        A.gone[m, 0] = absent
        A.absent[m + 1, 1] = p * absent
        for j in range(1, Q.n_jumps[f] + 1):
            absent += step(inner_a, inner_b, now, nxt, absent / D.slots, R)
            p = Q.jumps[f, j]
            for k in range(3):
                if (k != 1 or Q.still) and (k != 2 or Q.two):
                    add(A.ahead[m + 1, k], nxt[k], p)
            A.gone[m, j] = absent
            A.absent[m + 1, 1] += p * absent
            now, nxt = nxt, now
        crowd(f, -1.0, field, Q.omega, D, V)
        if f + 1 < last or free_end:
            total = _light(f + 1, who, A, Q, D)
        if not total > 0.0:
            return A, False
    return A, True


@tiny
def _light(f, who, A, Q, D):
    """Multiply by a frame's light, shut the places where others are, rescale."""
    box, cols, m = D.box, D.cols, f - D.first
    total = A.absent[m, 1]
    for r in range(box[0], box[2]):
        base = r * cols
        shift = (r - box[0] + 1) * box[4] + 1 - box[1]
        a, b, g, h = shift + box[1], shift + box[3], base + box[1], base + box[3]
        product(A.lit[0, a:b], A.ahead[m, 0, a:b], Q.glow[0, f, g:h])
        if Q.still:
            product(A.lit[1, a:b], A.ahead[m, 1, a:b], Q.glow[0, f, g:h])
        if Q.two:
            product(A.lit[2, a:b], A.ahead[m, 2, a:b], Q.glow[1, f, g:h])
    first, end = box[0] * cols, box[2] * cols
    for s in range(who.shape[1]):
        if first <= who[f, s] < end and s != D.slot and inside(who[f, s], box, cols):
            for k in range(3):
                A.lit[k, place_in(who[f, s], box, cols)] = 0.0
    for k in range(3):
        if (k != 1 or Q.still) and (k != 2 or Q.two):
            total += sum_of(A.lit[k])
    if not total > 0.0:
        return 0.0
    A.absent[m, 0] = A.absent[m, 1] / total
    for k in range(3):
        if (k != 1 or Q.still) and (k != 2 or Q.two):
            rescale(A.alpha[m, k], A.lit[k], 1.0 / total)
    return total
