"""One vacancy's whole path by forward filtering and backward sampling, others left out of its rates (numba).

States are absent, or a layer on a place of the box. The times and places of jumps between frames are drawn with the
path: how many, by the weights of R^k, then back step by step.
"""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.board import PAD
from stemdefects.analysis.kinetics.sampler.draws import uniform
from stemdefects.analysis.kinetics.sampler.field import (
    BORN,
    COMES,
    COMES_TWO,
    DIES,
    HALVES,
    STAY,
    add,
    cut,
    product,
    rescale,
    step,
    sum_of,
)
from stemdefects.analysis.kinetics.sampler.potential import HOP_TWO


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


class Filtered(NamedTuple):
    """A forward pass over frames first..last in a box."""

    alpha: np.ndarray  # (frames, 3, places) after the frame's light
    ahead: np.ndarray  # (frames, 3, places) before it
    gone: np.ndarray  # (frames - 1, most + 1) of the absent after 0, 1, ... jumps
    absent: np.ndarray  # (frames, 2) of the absent, after the light and before
    steps: np.ndarray  # (most + 1, 3, places) room for one interval
    field: np.ndarray  # (N_FIELDS, places) the generator in the box
    lit: np.ndarray  # (3, places) room, in double precision: light may be stronger than single precision holds


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
def ways_in(box, S):
    ways = np.zeros(6, np.int64)
    for j in range(6):
        ways[j] = S.steps[j, 0] * box[4] + S.steps[j, 1]
    return ways


@inner
def crowd(f, slot, skip, sign, box, who, layers, S, P, omega, A):
    """Let the field of a box feel the vacancies of frame f but two slots' (sign +1), or take that out again (-1).

    Beside another a vacancy stays likelier: its way there is shut, and the other's way to it. `hushed` says the same.
    """
    cols, site, at, back, field = S.shape[1], S.site, S.at, S.back, A.field
    r0, c0, r1, c1, wide = box[0], box[1], box[2], box[3], box[4]
    first, end = (r0 - 1) * cols, (r1 + 1) * cols  # most are in other rows, which is told without a division
    for s in range(who.shape[1]):
        i = who[f, s]
        if not first <= i < end or s == slot or s == skip or i < 0 or not c0 - 1 <= i % cols < c1 + 1:
            continue
        q, layer = back[i], layers[f, s]
        for j in range(6):
            y = site[q, j]
            if y < 0:
                continue
            r, c = at[y] // cols, at[y] % cols
            if not (r0 <= r < r1 and c0 <= c < c1):
                continue
            place, way = (r - r0 + 1) * wide + c - c0 + 1, (j + 3) % 6
            shared = P[site[y, 12 + way]] if layer == 1 else (P[HOP_TWO] if layer == 3 else 0.0)
            field[STAY, place] += np.float32(sign * (P[site[y, 6 + way]] + shared) / omega)
            field[STAY + 1, place] += np.float32(sign * shared / omega)
            field[STAY + 2, place] += np.float32(sign * (P[HOP_TWO] + shared) / omega)


@tiny
def _shut(layer, other, y, j, S, P):
    """Rates that are shut when `layer` is on site `y` and `other` on its neighbour `j`."""
    rate = P[S.site[y, 6 + j]] if layer == 1 else (P[HOP_TWO] if layer == 3 else 0.0)
    return rate + (P[S.site[y, 12 + j]] if other == 1 else (P[HOP_TWO] if other == 3 else 0.0))


@inner
def hushed(x, layer, occ, S, P):
    """What `crowd` takes off the potential of a vacancy on site `x` among those of `occ`."""
    total = 0.0
    for j in range(6):
        y = S.site[x, j]
        if y >= 0 and occ[y] > 0:
            total += _shut(layer, occ[y], x, j, S, P)
    return total


@inner
def forward(first, last, free_end, begin, layer, slot, skip, ways, box, slots, who, layers, S, P, Q):
    """Filter from frame `first` to `last`; `begin`: place of the grid, -1 absent, -2: the prior of the start.

    `slots`: other slots that are absent at the start, and one. `who` (T, slots): places of all vacancies in each frame;
    where others are, this one is not. Light counts in all frames between, and at an end that is free.
    """
    cols, n = S.shape[1], last - first + 1
    places = (box[2] - box[0] + 2) * box[4]
    most = Q.jumps.shape[1]
    A = Filtered(
        np.zeros((n, 3, places), np.float32), np.zeros((n, 3, places), np.float32), np.zeros((max(n - 1, 1), most)),
        np.zeros((n, 2)), np.zeros((most, 3, places), np.float32), cut(box, cols, Q.F), np.zeros((3, places)),
    )  # fmt: skip
    now, nxt = np.zeros((3, places), np.float32), np.zeros((3, places), np.float32)
    if begin == -2:
        A.ahead[0], A.absent[0, 1] = 0.0, 1.0
        for r in range(box[0], box[2]):
            for c in range(box[1], box[3]):
                i = r * cols + c
                for k in range(3 if Q.two else 2):
                    A.ahead[0, k, place_in(i, box, cols)] = Q.odds[k, i] / slots
        total = _light(first, 0, slot, box, who, cols, Q, A)
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
        crowd(f, slot, skip, 1.0, box, who, layers, S, P, Q.omega, A)
        absent, p = A.absent[m, 0], Q.jumps[f, 0]
        for k in range(3):
            if (k != 1 or Q.still) and (k != 2 or Q.two):
                add(A.ahead[m + 1, k], now[k], p)
        A.gone[m, 0] = absent
        A.absent[m + 1, 1] = p * absent
        for j in range(1, Q.n_jumps[f] + 1):
            absent += step(inner_a, inner_b, ways, now, nxt, absent / slots, A.field, Q.to_double, Q.two, Q.still)
            p = Q.jumps[f, j]
            for k in range(3):
                if (k != 1 or Q.still) and (k != 2 or Q.two):
                    add(A.ahead[m + 1, k], nxt[k], p)
            A.gone[m, j] = absent
            A.absent[m + 1, 1] += p * absent
            now, nxt = nxt, now
        crowd(f, slot, skip, -1.0, box, who, layers, S, P, Q.omega, A)
        if f + 1 < last or free_end:
            total = _light(f + 1, m + 1, slot, box, who, cols, Q, A)
        if not total > 0.0:
            return A, False
    return A, True


@tiny
def _light(f, m, slot, box, who, cols, Q, A):
    """Multiply by a frame's light, shut the places where others are, rescale."""
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
        if first <= who[f, s] < end and s != slot and inside(who[f, s], box, cols):
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


@inner
def draw_end(m, box, cols, A, rng):
    """Last state from the filtered probabilities: place of the grid (-1 absent), layer."""
    u = uniform(rng) - A.absent[m, 0]
    place, layer = -1, 1
    if u < 0.0:
        return place, layer
    for k in range(3):
        for r in range(box[0], box[2]):
            for c in range(box[1], box[3]):
                p = A.alpha[m, k, place_in(r * cols + c, box, cols)]
                if p > 0.0:
                    place, layer = r * cols + c, k + 1
                    u -= p
                    if u < 0.0:
                        return place, layer
    return place, layer


@inner
def backward(first, last, y, layer, slot, skip, ways, box, slots, who, layers, S, P, Q, A, W, rng):
    """Draw the path back from its state in frame `last` (place of the grid, -1; layer) into `W.new`, latest first.

    Returns the number of its events (-1: no room) and the state in frame `first`.
    """
    n = 0
    for f in range(last - 1, first - 1, -1):
        n, y, layer = interval(f, f - first, n, y, layer, slot, skip, ways, box, slots, who, layers, S, P, Q, A, W, rng)
        if n < 0:
            break
    return n, y, layer


@tiny
def interval(f, m, n, y, layer, slot, skip, ways, box, slots, who, layers, S, P, Q, A, W, rng):
    """Draw what happens between frames f and f + 1 given the state at the end; events are added to `W.new`.

    Returns the number of events (-1: no room), and the state in frame f.
    """
    cols = S.shape[1]
    crowded = False
    if y < 0:
        u, k = uniform(rng) * A.absent[m + 1, 1], 0
        while k < Q.n_jumps[f]:
            u -= Q.jumps[f, k] * A.gone[m, k]
            if u < 0.0:
                break
            k += 1
        if k > 0:
            crowd(f, slot, skip, 1.0, box, who, layers, S, P, Q.omega, A)
            crowded = True
    else:
        at = place_in(y, box, cols)
        u, k = uniform(rng) * A.ahead[m + 1, layer - 1, at] - Q.jumps[f, 0] * A.alpha[m, layer - 1, at], 0
        if u >= 0.0:
            crowd(f, slot, skip, 1.0, box, who, layers, S, P, Q.omega, A)
            crowded = True
            _nearby(m, Q.n_jumps[f], y, ways, box, slots, cols, Q, A)
            while u >= 0.0 and k < Q.n_jumps[f]:
                k += 1
                u -= Q.jumps[f, k] * A.steps[k, layer - 1, at]
    begin = Q.times[f]
    span = Q.times[f + 1] - begin
    for j in range(k, 0, -1):
        if n >= len(W.new_time):
            n = -1
            break
        span *= uniform(rng) ** (1.0 / j)
        before, was = y, layer
        if y < 0:
            if uniform(rng) * A.gone[m, j] < A.gone[m, j - 1]:
                continue
            y, layer = _last_place(m, j - 1, ways, box, slots, cols, Q, A, rng)
            _nearby(m, j - 1, y, ways, box, slots, cols, Q, A)
        else:
            y, layer = _back(m, j, y, layer, ways, box, slots, S, Q, A, rng)
        if y == before and layer == was:
            continue
        W.new_time[n] = begin + span
        W.new[n, 0] = S.back[y] if y >= 0 else -1
        W.new[n, 1] = S.back[before] if before >= 0 else -1
        W.new[n, 2] = was if before >= 0 else layer
        n += 1
    if crowded:
        crowd(f, slot, skip, -1.0, box, who, layers, S, P, Q.omega, A)
    return n, y, layer


@tiny
def _nearby(m, most, y, ways, box, slots, cols, Q, A):
    """The steps of an interval again, in the rows from which a path can have come to `y` by `most` jumps."""
    r = y // cols - box[0] + 1
    A.steps[0] = A.alpha[m]
    for j in range(1, most + 1):
        a, b = max(r - most + j, 1), min(r + most - j, box[2] - box[0])
        step(
            a * box[4] + 1, (b + 1) * box[4] - 1, ways, A.steps[j - 1], A.steps[j], A.gone[m, j - 1] / slots, A.field,
            Q.to_double, Q.two, Q.still,
        )  # fmt: skip


@tiny
def _last_place(m, j, ways, box, slots, cols, Q, A, rng):
    """Place and layer of a vacancy that leaves at the jump after `j` jumps."""
    A.steps[0] = A.alpha[m]
    a, b = box[4] + 1, A.alpha.shape[2] - box[4] - 1
    for k in range(1, j + 1):
        step(a, b, ways, A.steps[k - 1], A.steps[k], A.gone[m, k - 1] / slots, A.field, Q.to_double, Q.two, Q.still)
    u = uniform(rng) * (A.gone[m, j + 1] - A.gone[m, j])
    place, layer = -1, 1
    for r in range(box[0], box[2]):
        for c in range(box[1], box[3]):
            i = r * cols + c
            for k in range(2):
                p = A.steps[j, k, place_in(i, box, cols)] * A.field[DIES + k, place_in(i, box, cols)]
                if p > 0.0:
                    place, layer = i, k + 1
                    u -= p
                    if u < 0.0:
                        return place, layer
    return place, layer


@tiny
def _back(m, j, y, layer, ways, box, slots, S, Q, A, rng):
    """State before the j-th jump of an interval, given that after it."""
    cols = S.shape[1]
    at, k = place_in(y, box, cols), layer - 1
    before = A.steps[j - 1]
    stay = before[k, at] * A.field[STAY + k, at]
    born = A.gone[m, j - 1] / slots * A.field[BORN + k, at] if k < 2 else 0.0
    halved = before[2, at] * A.field[HALVES + k, at] if Q.two and k < 2 else 0.0
    from_one = before[0, at] * Q.to_double if k == 2 else 0.0
    from_still = before[1, at] * Q.to_double if k == 2 and Q.still else 0.0
    total = stay + born + halved + from_one + from_still
    come = COMES if k == 0 else COMES_TWO
    if k != 1:
        for d in range(6):
            total += before[k, at + ways[d]] * A.field[come + d, at]
    u = uniform(rng) * total - stay
    if u < 0.0:
        return y, layer
    if k != 1:
        for d in range(6):
            p = before[k, at + ways[d]] * A.field[come + d, at]
            u -= p
            if u < 0.0:
                return y + S.steps[d, 0] * cols + S.steps[d, 1], layer
    u -= born
    if u < 0.0:
        return -1, 1
    u -= halved
    if u < 0.0:
        return y, 3
    u -= from_one
    if u < 0.0:
        return y, 1
    return (y, 2) if from_still > 0.0 else (y, layer)
