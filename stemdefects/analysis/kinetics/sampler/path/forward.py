"""One vacancy's whole path by forward filtering, others left out of its rates (numba); `backward.py` draws it.

States are absent, or a layer on a place of the box.
"""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.path.boxes import inside, place_in, ways_in
from stemdefects.analysis.kinetics.sampler.path.crowd import crowd
from stemdefects.analysis.kinetics.sampler.path.field import Generator, cut, rescale, shone, step, sum_of, used, weigh


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
    field = cut(box, cols, Q.two, Q.F)
    R = Generator(field, ways_in(box, V.S), Q.to_double, Q.two, Q.still)
    alpha, ahead = np.empty((n, 3, places), np.float32), np.empty((n, 3, places), np.float32)
    gone, absent_in = np.zeros((max(n - 1, 1), most)), np.zeros((n, 2))
    alpha[0], ahead[0] = 0.0, 0.0
    A = Filtered(
        alpha, ahead, gone, absent_in, np.zeros((most, 3, places), np.float32), np.zeros((3, places), np.float64), R
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
    layers = Q.still, Q.two
    for f in range(first, last):
        m = f - first
        for k in range(3):
            for i in range(places):
                now[k, i] = alpha[m, k, i] if used(k, layers) else np.float32(0.0)
        crowd(f, 1.0, field, Q.omega, D, V)
        absent, p = absent_in[m, 0], Q.jumps[f, 0]
        weigh(ahead, m + 1, now, p, False, layers)
        gone[m, 0] = absent
        absent_in[m + 1, 1] = p * absent
        for j in range(1, Q.n_jumps[f] + 1):
            absent += step(inner_a, inner_b, now, nxt, absent / D.slots, R)
            p = Q.jumps[f, j]
            weigh(ahead, m + 1, nxt, p, True, layers)
            gone[m, j] = absent
            absent_in[m + 1, 1] += p * absent
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
    box, cols, m, layers, lit, absent = D.box, D.cols, f - D.first, (Q.still, Q.two), A.lit, A.absent
    for k in range(3):
        if used(k, layers):
            shone(k, f, A.ahead, Q.glow, D, lit)
    for s in D.near:
        if who[f, s] >= 0 and inside(who[f, s], box, cols):
            for k in range(3):
                lit[k, place_in(who[f, s], box, cols)] = 0.0
    total = absent[m, 1]
    for k in range(3):
        if used(k, layers):
            total += sum_of(lit, k)
    if not total > 0.0:
        return 0.0
    absent[m, 0] = absent[m, 1] / total
    for k in range(3):
        if used(k, layers):
            rescale(A.alpha, m, k, lit, 1.0 / total)
    return total
