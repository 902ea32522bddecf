"""Vacancies' stays, each given to one of K slots at random, and one slot's path put in another's place (numba).

Slots have no meaning beyond one sweep: every way of giving stays to slots is equally likely, so that the prior is on
the total of births, and a stay that was cut in two is mended when both parts fall to one slot.
"""

import numpy as np

from stemdefects.analysis.kinetics.sampler import inner, tiny
from stemdefects.analysis.kinetics.sampler.draws import below
from stemdefects.analysis.kinetics.sampler.path.exact import first_after


@tiny
def assign(H, W, S, times, who, layers, rng):
    """Fill `W`'s events and `who`, `layers` (T, slots); False where the slots or the room do not suffice."""
    n_slots = who.shape[1]
    if H.n[0] > W.time.shape[0]:
        return False
    owner = np.zeros(len(H.start), np.int32)
    here, state = np.full(n_slots, -1, np.int32), np.zeros(n_slots, np.int32)
    n_free = n_slots
    for g in range(len(H.start)):
        if H.start[g] > 0:
            if n_free == 0:
                return False
            s = _pick(here, n_slots, n_free, rng)
            here[s], state[s], owner[g] = g, H.start[g], s
            n_free -= 1
    e = 0
    for f in range(len(times) + 1):
        until = times[f] if f < len(times) else times[-1] + 1.0
        while e < H.n[0] and H.time[e] < until:
            a, b, to = H.ev[e, 0], H.ev[e, 1], H.ev[e, 2]
            if a >= 0:
                s = owner[a]
                n_free += int(b < 0)
            else:
                if n_free == 0:
                    return False
                s = _pick(here, n_slots, n_free, rng)
                n_free -= 1
            here[s], state[s] = b, to
            if b >= 0:
                owner[b] = s
            W.time[e], W.ev[e, 0], W.ev[e, 1], W.ev[e, 2], W.ev[e, 3] = H.time[e], a, b, to, s
            e += 1
        if f < len(times):
            for s in range(n_slots):
                who[f, s] = S.at[here[s]] if here[s] >= 0 else -1
                layers[f, s] = state[s] if here[s] >= 0 else 0
    W.n[0] = e
    return True


@tiny
def _pick(here, n_slots, n_free, rng):
    k = below(rng, n_free)
    for s in range(n_slots):
        if here[s] < 0:
            if k == 0:
                return s
            k -= 1
    return -1


@tiny
def write_back(H, W, S, who, layers):
    """The history from the slots; False where it has no room."""
    if W.n[0] > H.time.shape[0]:
        return False
    H.start[:] = 0
    for s in range(who.shape[1]):
        if who[0, s] >= 0:
            H.start[S.back[who[0, s]]] = layers[0, s]
    for e in range(W.n[0]):
        H.time[e], H.ev[e, 0], H.ev[e, 1], H.ev[e, 2] = W.time[e], W.ev[e, 0], W.ev[e, 1], W.ev[e, 2]
    H.n[0] = W.n[0]
    return True


@inner
def own_events(slot, low, high, W):
    """A slot's events between two times into `W.old`, latest first; returns their number."""
    n = 0
    first = first_after(low, W)
    for e in range(first_after(high, W) - 1, first - 1, -1):
        if W.ev[e, 3] == slot:
            W.old_time[n], W.old[n, 0], W.old[n, 1], W.old[n, 2] = W.time[e], W.ev[e, 0], W.ev[e, 1], W.ev[e, 2]
            n += 1
    return n


@inner
def replace(slot, low, high, n_new, new_time, new, W):
    """Put events (latest first) in the place of a slot's between two times; False, and nothing done, without room."""
    first, last = first_after(low, W), first_after(high, W)
    n_old = 0
    for e in range(first, last):
        n_old += int(W.ev[e, 3] == slot)
    if W.n[0] + n_new - n_old > W.time.shape[0]:
        return False
    n, k = 0, n_new - 1
    for e in range(first, last + 1):
        while k >= 0 and (e == last or new_time[k] <= W.time[e]):
            W.spare_time[n] = new_time[k]
            W.spare[n, 0], W.spare[n, 1], W.spare[n, 2], W.spare[n, 3] = new[k, 0], new[k, 1], new[k, 2], slot
            n += 1
            k -= 1
        if e < last and W.ev[e, 3] != slot:
            W.spare_time[n] = W.time[e]
            for q in range(4):
                W.spare[n, q] = W.ev[e, q]
            n += 1
    shift = n - (last - first)
    if shift > 0:
        for e in range(W.n[0] - 1, last - 1, -1):
            W.time[e + shift] = W.time[e]
            for q in range(4):
                W.ev[e + shift, q] = W.ev[e, q]
    elif shift < 0:
        for e in range(last, W.n[0]):
            W.time[e + shift] = W.time[e]
            for q in range(4):
                W.ev[e + shift, q] = W.ev[e, q]
    for e in range(n):
        W.time[first + e] = W.spare_time[e]
        for q in range(4):
            W.ev[first + e, q] = W.spare[e, q]
    W.n[0] += shift
    return True
