"""Change what a window holds: the light of one slot, its events between two times, the history as a whole (numba)."""

from stemdefects.analysis.kinetics.sampler import inner
from stemdefects.analysis.kinetics.sampler.window import AROUND, INSIDE


@inner
def shade(slot, low, high, sign, H, W, S, P, level, times, seen, rest):
    """Take (sign +1) a slot's vacancy out of the expected light between two times, or put it in (-1)."""
    x, layer, e = W.slot[slot, 0], W.slot[slot, 1], 0
    for f in range(len(times)):
        if times[f] > high:
            break
        while e < W.n[1] and W.lt[e] < times[f]:
            if W.ev[e, 3] == slot:
                x = W.ev[e, 1] if W.ev[e, 1] >= 0 and W.cell[W.ev[e, 1], 0] >= 0 else -1
                layer = W.ev[e, 2]
            e += 1
        if x < 0 or times[f] < low:
            continue
        two = layer == 3
        if seen[f, x] > 0:
            rest[f, x] += sign * P[20] * level[1 if two else 0]
        beside = sign * P[21] * (2.0 if two else 1.0)
        if beside != 0.0:
            for j in range(6):
                y = S.site[x, j]
                if y >= 0 and seen[f, y] > 0:
                    rest[f, y] += beside


@inner
def splice(slot, low, high, n_new, W):
    """Put the sampled events of a slot (in `new`, latest first) in the place of its old ones between two times."""
    n, k = 0, n_new - 1
    for e in range(W.n[1] + 1):
        last = e == W.n[1]
        while k >= 0 and (last or W.new_time[k] <= W.lt[e]):
            W.spare_time[n] = W.new_time[k]
            p = W.new[k, 3]
            W.spare[n, 0], W.spare[n, 1], W.spare[n, 2], W.spare[n, 3] = W.new[k, 0], W.new[k, 1], W.new[k, 2], slot
            W.spare[n, 4] = INSIDE if p < 0 else W.ev[p, 4]
            n += 1
            k -= 1
        if last:
            break
        if W.ev[e, 3] == slot and low <= W.lt[e] <= high:
            continue
        W.spare_time[n] = W.lt[e]
        W.spare[n, 0], W.spare[n, 1], W.spare[n, 2], W.spare[n, 3] = W.ev[e, 0], W.ev[e, 1], W.ev[e, 2], W.ev[e, 3]
        W.spare[n, 4] = W.ev[e, 4]
        n += 1
        if n + n_new >= len(W.spare_time):
            return False
    for e in range(n):
        W.lt[e] = W.spare_time[e]
        W.ev[e, 0], W.ev[e, 1], W.ev[e, 2], W.ev[e, 3] = W.spare[e, 0], W.spare[e, 1], W.spare[e, 2], W.spare[e, 3]
        W.ev[e, 4] = W.spare[e, 4]
    W.n[1] = n
    return True


@inner
def write_back(n_slots, window, H, W):
    """The window's events and start into the history; False where it has no room (the history is then as it was)."""
    n, local = 0, 0
    for e in range(H.n[0]):  # what does not touch the window
        a, b = H.ev[e, 0], H.ev[e, 1]
        local += int((a >= 0 and W.cell[a, 0] >= 0) or (b >= 0 and W.cell[b, 0] >= 0))
    fresh = 0
    for e in range(W.n[1]):
        fresh += int(W.ev[e, 4] != AROUND)
    if H.n[0] - local + fresh > len(H.time):
        return False
    for k in range(len(window)):
        H.start[window[k]] = 0
    for k in range(n_slots):
        if W.slot[k, 0] >= 0:
            H.start[W.slot[k, 0]] = W.slot[k, 1]
    k = 0
    for e in range(H.n[0] + 1):
        last = e == H.n[0]
        while k < W.n[1] and (last or W.lt[k] <= H.time[e]):
            if W.ev[k, 4] != AROUND:
                W.spare_time[n] = W.lt[k]
                W.spare[n, 0], W.spare[n, 1], W.spare[n, 2] = W.ev[k, 0], W.ev[k, 1], W.ev[k, 2]
                n += 1
            k += 1
        if last:
            break
        a, b = H.ev[e, 0], H.ev[e, 1]
        if (a >= 0 and W.cell[a, 0] >= 0) or (b >= 0 and W.cell[b, 0] >= 0):
            continue
        W.spare_time[n] = H.time[e]
        W.spare[n, 0], W.spare[n, 1], W.spare[n, 2] = a, b, H.ev[e, 2]
        n += 1
    for e in range(n):
        H.time[e] = W.spare_time[e]
        H.ev[e, 0], H.ev[e, 1], H.ev[e, 2] = W.spare[e, 0], W.spare[e, 1], W.spare[e, 2]
    H.n[0] = n
    return True
