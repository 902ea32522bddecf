"""What one vacancy does in a lattice without others, on the grid: the proposal's generator (numba).

The generator is uniformised: R = 1 + (rates - potential) / omega, and one interval between frames is the sum over k of
Poisson(k; omega dt) R^k, so that jumps need no times before a path is drawn (Jensen, J. R. Stat. Soc. B 15, 87 (1953)).
What other vacancies change is put right by the acceptance of a path (`exact.py`).
"""

import math
from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import FREE, SHARE
from stemdefects.analysis.kinetics.sampler import inner, rows, tiny
from stemdefects.analysis.kinetics.sampler.potential import (
    HALVE,
    HOP_TWO,
    VANISH,
    birth_single,
    birth_still,
    death_single,
    potential,
)

TAIL = 1e-5  # probability of more jumps in an interval than are counted
# rows of the field: rates are over omega, "stay" is 1 - potential / omega
STAY, BORN, DIES, HALVES, POTENTIAL, COMES, COMES_TWO = 0, 3, 5, 7, 9, 12, 18
N_FIELDS = 24  # rows in all
ONE, BOTH = (STAY, COMES), (STAY + 2, COMES_TWO)  # of one that moves and of two
SMALLEST = 1e-36  # of a filtered probability: below, single precision gets slow


class Generator(NamedTuple):
    """R in a box."""

    field: np.ndarray  # (N_FIELDS, places)
    ways: np.ndarray  # (6,) steps to the neighbours
    to_double: float  # over omega
    two: bool
    still: bool


@tiny
def field(S, P, two):
    """The generator on the grid, `(N_FIELDS, G)`, and omega."""
    n = len(S.at)
    empty = np.zeros(n, np.int8)
    F = np.zeros((N_FIELDS, len(S.back)))
    omega = 1e-12
    for g in range(n):
        i = S.at[g]
        F[POTENTIAL, i], F[POTENTIAL + 1, i], F[POTENTIAL + 2, i] = potential(g, empty, S, P)
        for layer in range(3):
            omega = max(omega, F[POTENTIAL + layer, i])
    one = 1.0 / omega
    for g in range(n):
        i = S.at[g]
        for layer in range(3):
            F[STAY + layer, i] = 1.0 - F[POTENTIAL + layer, i] * one
        F[BORN, i], F[BORN + 1, i] = birth_single(g, empty, S, P) * one, birth_still(g, S, P) * one
        F[DIES, i], F[DIES + 1, i] = death_single(g, empty, S, P) * one, P[VANISH] * one
        share = P[SHARE] if S.site[g, 24] == FREE else 0.0
        F[HALVES, i], F[HALVES + 1, i] = P[HALVE] * (1.0 - share) * one, P[HALVE] * share * one
        for j in range(6):
            if S.site[g, j] >= 0:
                F[COMES + j, i] = P[S.site[g, 12 + j]] * one
                F[COMES_TWO + j, i] = P[HOP_TWO] * one if two else 0.0
    return F, omega


@tiny
def jumps(omega, times):
    """Poisson probabilities of 0, 1, ... jumps in each interval, `(T - 1, most + 1)`, and how many count in each."""
    n = len(times) - 1
    count = np.zeros(n, np.int64)
    for f in range(n):
        m = omega * (times[f + 1] - times[f])
        k, p, left = 0, math.exp(-min(m, 600.0)), 1.0
        left -= p
        while (left > TAIL or k < m) and k < 4 * m + 60:
            k += 1
            p *= m / k
            left -= p
        count[f] = max(k, 1)
    table = np.zeros((n, count.max() + 1 if n else 1))
    for f in range(n):
        m = omega * (times[f + 1] - times[f])
        for k in range(count[f] + 1):
            table[f, k] = math.exp(k * math.log(m) - m - math.lgamma(k + 1.0))
    return table, count


@inner
def cut(box, cols, two, F):
    """The field of a box, `(N_FIELDS, places of the box)`; 0 on the places around it, and in the rows that are not
    asked for: potentials, and without double vacancies their hops. Single precision: twice as many places at a time,
    and what it rounds is far below what a Metropolis step could notice."""
    L = np.zeros((F.shape[0], (box[2] - box[0] + 2) * box[4]), np.float32)
    for k in range(N_FIELDS if two else COMES_TWO):
        if POTENTIAL <= k < COMES:
            continue
        for r in range(box[0], box[2]):
            at = (r - box[0] + 1) * box[4] + 1
            for c in range(box[3] - box[1]):
                L[k, at + c] = F[k, r * cols + box[1] + c]
    return L


@tiny
def used(k, layers):
    """Whether the layer of number `k` is told; `layers`: whether the immobile and the double are."""
    return k == 0 or (k == 1 and layers[0]) or (k == 2 and layers[1])


@rows
def weigh(ahead, m, now, p, more, layers):
    """Add the share of one number of jumps to what is ahead of frame `m`, or begin with it."""
    part = np.float32(p)
    for k in range(3):
        if used(k, layers):
            if more:
                for i in range(now.shape[1]):
                    ahead[m, k, i] += part * now[k, i]
            else:
                for i in range(now.shape[1]):
                    ahead[m, k, i] = part * now[k, i]


@rows
def shone(k, f, ahead, glow, D, lit):
    """What is ahead of frame `f` of a `Draft` times its light, in `lit`."""
    box, cols, m = D.box, D.cols, f - D.first
    told = 1 if k == 2 else 0
    for r in range(box[0], box[2]):
        at, place = (r - box[0] + 1) * box[4] + 1, r * cols + box[1]
        for c in range(box[3] - box[1]):
            lit[k, at + c] = ahead[m, k, at + c] * glow[told, f, place + c]


@rows
def sum_of(lit, k):
    total = 0.0
    for i in range(lit.shape[1]):
        total += lit[k, i]
    return total


@rows
def rescale(alpha, m, k, lit, factor):
    """Multiply; what is too small ever to be drawn becomes 0, before numbers become denormal and slow."""
    for i in range(lit.shape[1]):
        y = lit[k, i] * factor
        alpha[m, k, i] = np.float32(y if y > SMALLEST else 0.0)


@tiny
def _spread(to, x, ways, L, layer, a, b):
    """What stays and what comes from the six neighbours, in one pass; unsigned places are never negative."""
    stay, come = layer
    w0, w1, w2, w3, w4, w5 = ways
    for k in range(a, b):
        i = np.uint64(k)
        to[i] = (
            x[i] * L[stay, i]
            + x[np.uint64(k + w0)] * L[come, i]
            + x[np.uint64(k + w1)] * L[come + 1, i]
            + x[np.uint64(k + w2)] * L[come + 2, i]
            + x[np.uint64(k + w3)] * L[come + 3, i]
            + x[np.uint64(k + w4)] * L[come + 4, i]
            + x[np.uint64(k + w5)] * L[come + 5, i]
        )


@rows
def step(a, b, src, dst, gone, R):
    """`dst = src R` at places a..b-1 of a box; vectors `(3, places)`. Returns what leaves.

    `gone`: of the absent, over the number of slots that could take a birth.
    """
    L, ways = R.field, (R.ways[0], R.ways[1], R.ways[2], R.ways[3], R.ways[4], R.ways[5])
    one, to, gone, to_double = src[0], dst[0], np.float32(gone), np.float32(R.to_double)
    _spread(to, one, ways, L, ONE, a, b)
    died = np.float32(0.0)
    for k in range(a, b):
        i = np.uint64(k)
        to[i] += gone * L[BORN, i]
        died += one[i] * L[DIES, i]
    if R.still:
        rest, rest_to = src[1], dst[1]
        for k in range(a, b):
            i = np.uint64(k)
            rest_to[i] = rest[i] * L[STAY + 1, i] + gone * L[BORN + 1, i]
            died += rest[i] * L[DIES + 1, i]
    if R.two:
        both, both_to = src[2], dst[2]
        _spread(both_to, both, ways, L, BOTH, a, b)
        for k in range(a, b):
            i = np.uint64(k)
            both_to[i] += one[i] * to_double
            to[i] += both[i] * L[HALVES, i]
        if R.still:
            for k in range(a, b):
                i = np.uint64(k)
                both_to[i] += src[1, i] * to_double
                dst[1, i] += both[i] * L[HALVES + 1, i]
    return died
