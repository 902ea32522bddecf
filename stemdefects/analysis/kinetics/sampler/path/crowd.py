"""What the other vacancies of a frame change for a path that is proposed (numba)."""

import numpy as np

from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.path.field import STAY
from stemdefects.analysis.kinetics.sampler.potential import HOP_TWO


@inner
def crowd(f, sign, field, omega, D, V):
    """Let the field of a box feel the vacancies of frame f but two slots' (sign +1), or take that out again (-1).

    Beside another a vacancy stays likelier: its way there is shut, and the other's way to it. `hushed` says the same.
    """
    who, S, P, near = V.who, V.S, V.P, D.near
    cols, site, steps, back = S.shape[1], S.site, S.steps, S.back
    r0, c0, r1, c1, wide = D.box[0], D.box[1], D.box[2], D.box[3], D.box[4]
    first, end = (r0 - 1) * cols, (r1 + 1) * cols  # most are in other rows, which is told without a division
    for s in near:
        i = who[f, s]
        if not first <= i < end or not c0 - 1 <= i % cols < c1 + 1:
            continue
        q, layer, row, col = back[i], V.layers[f, s], i // cols, i % cols
        for j in range(6):
            y = site[q, j]
            if y < 0:
                continue
            r, c = row + steps[j, 0], col + steps[j, 1]
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
