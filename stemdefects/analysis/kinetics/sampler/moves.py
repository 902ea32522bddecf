"""Moves of a chain through histories: slots drawn anew, tails of two swapped, windows over the field (numba)."""

import math

import numpy as np

from stemdefects.analysis.kinetics.sampler import entry, inner
from stemdefects.analysis.kinetics.sampler.drawing import backward, draw_end
from stemdefects.analysis.kinetics.sampler.draws import below, exponential, uniform
from stemdefects.analysis.kinetics.sampler.editing import shade, splice, write_back
from stemdefects.analysis.kinetics.sampler.filtering import NEVER, forward
from stemdefects.analysis.kinetics.sampler.potential import ceiling
from stemdefects.analysis.kinetics.sampler.window import (
    FRAME,
    GRID,
    INSIDE,
    OTHER,
    PINNED,
    _apply,
    assign,
    ends,
    lay_out,
    others_at,
    starts,
    timeline,
)

FULL = 1  # flag: the room did not suffice


@inner
def draw_slot(slot, n_slots, omega, two, window, bufs, H, W, S, P, level, times, seen, rest, rng):
    """Draw one slot's history in the window anew, others given. False where there was no room."""
    low, high = times[0], times[-1]
    shade(slot, low, high, 1.0, H, W, S, P, level, times, seen, rest)
    n_items = timeline(slot, -1, low, high, n_slots, omega, H, W, S, P, times, rng)
    done = False
    if n_items >= 0:
        now, vs = bufs[0], bufs[2]
        total = forward(
            slot, -1, low, (-2, 0), n_items, n_slots, omega, two, window, bufs, H, W, S, P, level, seen, rest
        )
        if total > NEVER:
            y, layer = draw_end(now, len(window), rng)
            n_new, y, layer = backward(y, layer, n_items, omega, two, window, vs, W, S, P, rng)
            old_x, old_layer = W.slot[slot, 0], W.slot[slot, 1]
            W.slot[slot, 0], W.slot[slot, 1] = (window[y], layer) if y < len(window) else (-1, 0)
            done = splice(slot, low, high, n_new, W)
            if not done:
                W.slot[slot, 0], W.slot[slot, 1] = old_x, old_layer
    shade(slot, low, high, -1.0, H, W, S, P, level, times, seen, rest)
    return done


@inner
def _retime(slot, low, high, grid, n_slots, H, W, times):
    """The timeline of a slot between two times whose grid is given; its own events are left out."""
    _, _, n_absent = others_at(low, slot, -1, n_slots, H, W)
    f, e, k, n = 0, 0, 0, 0
    while f < len(times) and times[f] < low:
        f += 1
    while e < W.n[1] and W.lt[e] < low:
        e += 1
    while n < W.item.shape[0]:
        frame = times[f] if f < len(times) else np.inf
        event = W.lt[e] if e < W.n[1] else np.inf
        point = grid[k] if k < len(grid) else np.inf
        now = min(frame, event, point)
        if now > high:
            return n
        W.at[n], W.item[n, 3] = now, n_absent
        if now == frame:
            W.item[n, 0], W.item[n, 1] = FRAME, f
            f += 1
            n += 1
        elif now == point:
            W.item[n, 0], W.item[n, 1] = GRID, -1
            k += 1
            n += 1
        else:
            own = W.ev[e, 3] == slot
            if not own:
                W.item[n, 0], W.item[n, 1] = OTHER, e
                W.item[n, 2] = W.occ[W.ev[e, 0]] if W.ev[e, 0] >= 0 and W.cell[W.ev[e, 0], 0] != -1 else 0
                if W.ev[e, 3] >= 0:
                    n_absent += int(ends(e, W)) - int(starts(e, W))
                n += 1
            _apply(e, own, W)
            e += 1
    return -1


@inner
def _present_through(slot, low, high, W):
    """Whether a slot has no pinned event between two times."""
    for e in range(W.n[1]):
        if W.ev[e, 3] == slot and low <= W.lt[e] <= high and W.ev[e, 4] != INSIDE:
            return False
    return True


@inner
def swap_tails(i, j, low, high, n_slots, omega, two, window, bufs, H, W, S, P, level, times, seen, rest, rng):
    """Propose that two vacancies exchange their fates after `high`, by way of new bridges between `low` and `high`.

    The first bridge is drawn as if the second vacancy were absent, the second given the first; the ratio of the four
    total weights makes it a Metropolis step. Returns 1 accepted, 0 not, -1 no proposal.
    """
    xi, li, _ = others_at(low, i, j, n_slots, H, W)
    xj, lj, _ = others_at(low, j, i, n_slots, H, W)
    yi, ki, _ = others_at(high, i, j, n_slots, H, W)
    yj, kj, _ = others_at(high, j, i, n_slots, H, W)
    if min(min(xi, xj), min(yi, yj)) < 0 or not (
        _present_through(i, low, high, W) and _present_through(j, low, high, W)
    ):
        return -1
    now, vs = bufs[0], bufs[2]
    shade(i, low, high, 1.0, H, W, S, P, level, times, seen, rest)
    shade(j, low, high, 1.0, H, W, S, P, level, times, seen, rest)
    accepted = 0
    n_events = W.n[1]
    save_t, save = W.lt[:n_events].copy(), np.empty((n_events, 5), np.int32)
    for e in range(n_events):
        save[e, 0], save[e, 1], save[e, 2], save[e, 3], save[e, 4] = (
            W.ev[e, 0],
            W.ev[e, 1],
            W.ev[e, 2],
            W.ev[e, 3],
            W.ev[e, 4],
        )
    n_items = timeline(j, -1, low, high, n_slots, omega, H, W, S, P, times, rng)  # the second's grid, both as they are
    if n_items > 0:
        n_grid = 0
        for k in range(n_items):
            n_grid += int(W.item[k, 0] == GRID or W.item[k, 0] == PINNED)
        grid = np.empty(n_grid)
        n_grid = 0
        for k in range(n_items):
            if W.item[k, 0] == GRID:
                grid[n_grid] = W.at[k]
                n_grid += 1
        # the first as it is lights the site it is on
        shade(i, low, high, -1.0, H, W, S, P, level, times, seen, rest)
        old = forward(j, -1, low, (xj, lj), n_items, n_slots, omega, two, window, bufs, H, W, S, P, level, seen, rest)
        old += math.log(max(now[kj - 1, W.cell[yj, 0]], 1e-300))
        shade(i, low, high, 1.0, H, W, S, P, level, times, seen, rest)
        n_items = timeline(i, j, low, high, n_slots, omega, H, W, S, P, times, rng)
    if n_items > 0:
        total = forward(i, j, low, (xi, li), n_items, n_slots, omega, two, window, bufs, H, W, S, P, level, seen, rest)
        to_own, to_other = now[ki - 1, W.cell[yi, 0]], now[kj - 1, W.cell[yj, 0]]
        if total > NEVER and to_other > 0.0 and to_own > 0.0:
            n_new, _, _ = backward(W.cell[yj, 0], kj, n_items, omega, two, window, vs, W, S, P, rng)
            if splice(i, low, high, n_new, W):
                shade(i, low, high, -1.0, H, W, S, P, level, times, seen, rest)
                n_items = _retime(j, low, high, grid, n_slots, H, W, times)
                fresh = NEVER
                if n_items > 0:
                    fresh = forward(
                        j, -1, low, (xj, lj), n_items, n_slots, omega, two, window, bufs, H, W, S, P, level, seen, rest
                    )
                if fresh > NEVER and now[ki - 1, W.cell[yi, 0]] > 0.0:
                    fresh += math.log(now[ki - 1, W.cell[yi, 0]])
                    ratio = math.log(to_other) - math.log(to_own) + fresh - old
                    if math.log(uniform(rng)) < ratio:
                        n_new, _, _ = backward(W.cell[yi, 0], ki, n_items, omega, two, window, vs, W, S, P, rng)
                        if splice(j, low, high, n_new, W):
                            accepted = 1
                shade(i, low, high, 1.0, H, W, S, P, level, times, seen, rest)
    if accepted == 1:
        for e in range(W.n[1]):
            if W.lt[e] > high and W.ev[e, 3] == i:
                W.ev[e, 3] = j
            elif W.lt[e] > high and W.ev[e, 3] == j:
                W.ev[e, 3] = i
    else:
        for e in range(n_events):
            W.lt[e] = save_t[e]
            W.ev[e, 0], W.ev[e, 1], W.ev[e, 2], W.ev[e, 3], W.ev[e, 4] = (
                save[e, 0],
                save[e, 1],
                save[e, 2],
                save[e, 3],
                save[e, 4],
            )
        W.n[1] = n_events
    shade(i, low, high, -1.0, H, W, S, P, level, times, seen, rest)
    shade(j, low, high, -1.0, H, W, S, P, level, times, seen, rest)
    return accepted


@entry
def sweep(n_windows, n_slots, n_draws, n_swaps, floor, two, H, W, S, P, level, times, seen, rest, rng, tally):
    """Update the histories in random windows of random size. Returns FULL where the room did not suffice somewhere.

    `tally`: swaps proposed and accepted, windows skipped. `rest` follows the histories.
    """
    width = S.windows.shape[1]
    bufs = (
        np.zeros((3, width + 1)),
        np.zeros((3, width + 1)),
        np.zeros((6, width + 1)),
        np.zeros((width, 6), np.int32),
        np.zeros((width, 6)),
    )
    status = 0
    span = times[-1] - times[0]
    for _ in range(n_windows):
        g = below(rng, S.windows.shape[0])
        size = width if uniform(rng) > 0.25 else max(width // 2, 1)
        window = S.windows[g, :size]
        slots = n_slots if uniform(rng) < 0.9 else 4 * n_slots  # now and then room for a crowd
        lay_out(window, H, W, S)
        for y in range(size):
            for j in range(6):
                k = S.site[window[y], j]
                bufs[3][y, j] = W.cell[k, 0] if k >= 0 and W.cell[k, 0] >= 0 else -1
        if not assign(slots, window, H, W, rng):
            tally[2] += 1
            continue
        omega = max(1.6 * ceiling(window, S, P), floor)
        for slot in range(min(n_draws, slots)):
            if not draw_slot(slot, slots, omega, two, window, bufs, H, W, S, P, level, times, seen, rest, rng):
                status = FULL
        for _ in range(n_swaps):
            i = below(rng, slots)
            j = below(rng, slots - 1)
            j += int(j >= i)
            long = exponential(rng) * 3.0 * span / max(len(times) - 1, 1)  # a few frames
            middle = times[0] + uniform(rng) * span
            low, high = middle - 0.5 * long, middle + 0.5 * long
            if low <= times[0] or high >= times[-1]:
                continue
            result = swap_tails(
                i, j, low, high, slots, omega, two, window, bufs, H, W, S, P, level, times, seen, rest, rng
            )
            if result >= 0:
                tally[0] += 1
                tally[1] += result
        if not write_back(slots, window, H, W):
            status = FULL
    return status
