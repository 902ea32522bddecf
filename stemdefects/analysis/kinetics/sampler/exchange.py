"""Two vacancies that come near each other exchange what follows (numba).

Without it paths that met stay with the wrong partner for good, and hops are counted that nobody made.
"""

import math

import numpy as np

from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.board import FIRST, NO, NONE
from stemdefects.analysis.kinetics.sampler.draws import uniform
from stemdefects.analysis.kinetics.sampler.path.backward import backward
from stemdefects.analysis.kinetics.sampler.path.boxes import Draft, box_around, inside, near_box, place_in
from stemdefects.analysis.kinetics.sampler.path.exact import Path, first_after, log_weight
from stemdefects.analysis.kinetics.sampler.path.field import BORN, POTENTIAL
from stemdefects.analysis.kinetics.sampler.path.forward import forward
from stemdefects.analysis.kinetics.sampler.potential import HOP
from stemdefects.analysis.kinetics.sampler.slots import own_events, replace

HALF = np.int64(5)  # half of the boxes in which paths of one interval are drawn: with more hops in it none is exchanged
ANY = np.int64(1 << 30)  # comings and goings of a path: as many as there are
NOT_DRAWN = 1.0  # no log of a uniform number is positive
MANY = 12.0  # of the hop rate: what another hop costs is about six of it, so that few that would be accepted are missed
SLACK = 3.0  # log of a ratio of weights in one interval that no two paths reach


@inner
def apart(r, c):
    """Hops between two places of the grid so many rows and columns apart."""
    return max(max(abs(r), abs(c)), abs(r + c))


@tiny
def distance(a, b, cols):
    """Hops between two places of the grid."""
    return apart(a // cols - b // cols, a % cols - b % cols)


@tiny
def _leaves(i, layer, Q):
    """Rate at which a vacancy leaves its place of the grid, at most."""
    born = Q.F[BORN + layer - 1, i] if layer < 3 else 0.0
    return max(Q.F[POTENTIAL + layer - 1, i], 0.0) + Q.omega * born


@inner
def rows_of(where, cols, row, col):
    """Rows and columns of each slot's place in a frame: told once, since division costs more than a whole distance."""
    for s in range(len(where)):
        if where[s] >= 0:
            row[s], col[s] = where[s] // cols, where[s] % cols


@tiny
def exchange_all(Q, V, tally):
    """Pairs in every interval: all whose exchange asks for one hop more or fewer, the rarer the more hops it asks for.

    How often a pair is tried is the same of the way back, where as many hops are saved as were asked for here.
    """
    P, who, layers, rng = V.P, V.who, V.layers, V.rng
    cols, n_slots = V.S.shape[1], who.shape[1]
    r, c = np.empty(n_slots, np.int64), np.empty(n_slots, np.int64)
    r_to, c_to = np.empty(n_slots, np.int64), np.empty(n_slots, np.int64)
    for f in range(len(Q.times) - 1):
        dt = Q.times[f + 1] - Q.times[f]
        n_absent = np.int64(0)
        for s in range(n_slots):
            n_absent += int(who[f, s] < 0)
        rows_of(who[f], cols, r, c)
        rows_of(who[f + 1], cols, r_to, c_to)
        for i in range(n_slots):
            if who[f, i] < 0 or who[f + 1, i] < 0:
                continue
            for j in range(i):
                if who[f, j] < 0 or who[f + 1, j] < 0:
                    continue
                ij, ji = apart(r[i] - r_to[j], c[i] - c_to[j]), apart(r[j] - r_to[i], c[j] - c_to[i])
                if ij > HALF or ji > HALF:
                    continue
                now = apart(r[i] - r_to[i], c[i] - c_to[i]) + apart(r[j] - r_to[j], c[j] - c_to[j])
                if uniform(rng) > min(MANY * dt * P[HOP], 1.0) ** (abs(ij + ji - now) - 1):
                    continue
                u = math.log(uniform(rng))
                if now == 0:  # two at rest would have to leave, and make ij + ji hops, where they could have stayed
                    leave, other = dt * _leaves(who[f, i], layers[f, i], Q), dt * _leaves(who[f, j], layers[f, j], Q)
                    most = math.log(leave * other + 1e-300) + (ij + ji - 2) * math.log(Q.omega * dt)
                    if u > most + leave + other + SLACK:
                        continue
                tally[0] += 1
                if exchange(f, i, j, u, n_absent, Q, V):
                    tally[1] += 1
                    rows_of(who[f + 1], cols, r_to, c_to)


@tiny
def exchange_all_ends(Q, V):
    """Every pair in every interval of which one comes or goes and the other does not. Slots have no meaning here."""
    who = V.who
    cols, n_slots = V.S.shape[1], who.shape[1]
    for f in range(len(Q.times) - 1):
        for j in range(n_slots):
            x, y = who[f, j], who[f + 1, j]
            if (x < 0) == (y < 0):
                continue
            for i in range(n_slots):
                if who[f, i] < 0 or who[f + 1, i] < 0 or (who[f, j] < 0) == (who[f + 1, j] < 0):
                    continue
                # what is asked is the same of the way back: of one that leaves both starts, of one that comes both ends
                if distance(who[f, i], max(x, y), cols) > HALF:
                    continue
                if y < 0 or distance(who[f, i], who[f + 1, i], cols) <= HALF:
                    exchange(f, i, j, NOT_DRAWN, NONE, Q, V)


@inner
def exchange(f, i, j, u, n_absent, Q, V):
    """Propose that two vacancies exchange their fates after frame f + 1, by new paths between; 1 if accepted.

    Slot i is there at both ends of the interval. Slot j may be there at one alone: one that leaves as another takes its
    place is the same to the light as one that stays while the other leaves. u: log of the uniform number that decides,
    `NOT_DRAWN`: it is drawn when it is asked for. n_absent: slots that are absent in frame f; -1: slots have no
    meaning, and a path may come or go only as often as its ends ask for, since more could be told in two ways.
    """
    S, W, who, layers = V.S, V.W, V.who, V.layers
    cols, low, high = S.shape[1], Q.times[f], Q.times[f + 1]
    slots, spare = (n_absent + 1.0, ANY) if n_absent >= 0 else (1.0, FIRST)
    xi, xj, yi, yj = who[f, i], who[f, j], who[f + 1, i], who[f + 1, j]
    box_i = box_around(xi, HALF, S)
    box_j = box_around(xj, HALF, S) if xj >= 0 else box_i
    for y in (yi, yj):
        if y >= 0 and not (inside(y, box_i, cols) and inside(y, box_j, cols)):
            return 0
    n_old_i = own_events(i, low, high, W)
    if not _plain(n_old_i, W.old, box_i, S, spare):
        return 0
    old_i_time, old_i = W.old_time[:n_old_i].copy(), W.old[:n_old_i].copy()
    n_old_j = own_events(j, low, high, W)
    if not _plain(n_old_j, W.old, box_j, S, spare + int(xj < 0) + int(yj < 0)):
        return 0
    li, lj, to_i, to_j = layers[f, i], layers[f, j], layers[f + 1, i], layers[f + 1, j]
    # the first without the other; the second too while it is proposed, but among all as they are when it is weighed
    near_i, near_j = near_box(box_i, f, f + 1, i, j, cols, who), near_box(box_j, f, f + 1, i, j, cols, who)
    D = Draft(i, j, f, f + 1, n_absent, slots, box_i, near_i, cols)
    E = Draft(i, j, f, f + 1, n_absent, slots, box_j, near_j, cols)
    G = Draft(j, NONE, f, f + 1, n_absent, slots, box_j, near_j, cols)  # weighed only
    A, _ = forward(NO, xi, li, Q, D, V)
    B, _ = forward(NO, xj, lj, Q, E, V)
    new = _mass(yj, to_j, box_i, cols, A) * _mass(yi, to_i, box_j, cols, B)
    old = _mass(yi, to_i, box_i, cols, A) * _mass(yj, to_j, box_j, cols, B)
    if not (new > 0.0 and old > 0.0):
        return 0
    ratio = math.log(new / old)
    if u == NOT_DRAWN:
        u = math.log(uniform(V.rng))
    if u > ratio + SLACK:
        return 0
    n_new_i, _, _ = backward(yj, to_j, A, Q, D, V)
    if n_new_i < 0 or not _plain(n_new_i, W.new, box_i, S, spare + int(yj < 0)):
        return 0
    new_i_time, new_i = W.new_time[:n_new_i].copy(), W.new[:n_new_i].copy()
    n_new_j, _, _ = backward(yi, to_i, B, Q, E, V)
    if n_new_j < 0 or not _plain(n_new_j, W.new, box_j, S, spare + int(xj < 0)):
        return 0
    gi, gj = np.int64(S.back[xi]), (np.int64(S.back[xj]) if xj >= 0 else NONE)
    others_in(f, i, j, W.then, V)
    others_in(f, i, j, W.occ, V)
    ratio -= log_weight(gi, li, Path(n_old_i, old_i_time, old_i), Q, D, V)
    others_in(f, j, NONE, W.occ, V)
    ratio -= log_weight(gj, lj, Path(n_old_j, W.old_time, W.old), Q, G, V)
    others_in(f, i, j, W.occ, V)
    ratio += log_weight(gi, li, Path(n_new_i, new_i_time, new_i), Q, D, V)
    if ratio < -1e200 or not replace(i, low, high, n_new_i, new_i_time, new_i, W):
        return 0
    others_in(f, j, NONE, W.occ, V)
    ratio += log_weight(gj, lj, Path(n_new_j, W.new_time, W.new), Q, G, V)
    if u >= ratio or not replace(j, low, high, n_new_j, W.new_time, W.new, W):
        replace(i, low, high, n_old_i, old_i_time, old_i, W)
        return 0
    _swap_tails(f, i, j, Q, V)
    return 1


@tiny
def _swap_tails(f, i, j, Q, V):
    """What slots i and j do after frame f + 1 is the other's from now on."""
    W, who, layers = V.W, V.who, V.layers
    for e in range(first_after(Q.times[f + 1], W), W.n[0]):
        if W.ev[e, 3] == i:
            W.ev[e, 3] = j
        elif W.ev[e, 3] == j:
            W.ev[e, 3] = i
    for g in range(f + 1, len(Q.times)):
        who[g, i], who[g, j] = who[g, j], who[g, i]
        layers[g, i], layers[g, j] = layers[g, j], layers[g, i]


@tiny
def _mass(y, layer, box, cols, A):
    """Of all paths of one interval to this end."""
    return 1.0 * (A.absent[1, 1] if y < 0 else A.ahead[1, layer - 1, place_in(y, box, cols)])


@inner
def _plain(n, events, box, S, most):
    """Whether a path's events stay in a box and come or go `most` times at most."""
    ends = 0
    for k in range(n):
        if not (_held(events[k, 0], box, S) and _held(events[k, 1], box, S)):
            return False
        ends += int(events[k, 0] < 0) + int(events[k, 1] < 0)
    return ends <= most


@inner
def _held(site, box, S):
    return site < 0 or inside(S.at[site], box, S.shape[1])


@inner
def others_in(f, slot, skip, occ, V):
    """Set `occ` to what all but two slots occupy in a frame."""
    who, back = V.who, V.S.back
    occ[:] = 0
    for s in range(who.shape[1]):
        if s != slot and s != skip and who[f, s] >= 0:
            occ[back[who[f, s]]] = V.layers[f, s]
