"""A window of sites and what happens in it: events, slots that hold vacancies, the timeline of one slot (numba).

A history is the layer of every site at the start and a list of events in order of time: `a` -> `b` with the layer after
(-1: nowhere; a == b: the layer changes). In a window each vacancy's stay is given to one of K slots at random, so that
slots have no meaning beyond one update and the prior is on the total of births. What crosses the window's border is
pinned: it keeps its time and its place outside.
"""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.sampler import inner
from stemdefects.analysis.kinetics.sampler.draws import below, exponential
from stemdefects.analysis.kinetics.sampler.potential import potential

INSIDE, ENTRY, EXIT, AROUND = 0, 1, 2, 3  # how an event touches the window
FRAME, OTHER, GRID, PINNED = 0, 1, 2, 3  # items of a timeline


class Table(NamedTuple):
    """The lattice for compiled code; few arrays, since each one passed costs compile time."""

    site: np.ndarray  # (n, 26) int32: neighbours, class of the hop to each, from each, its axis (6 each), kind, centre
    missing: np.ndarray  # (n,) ways over the border
    bonds: np.ndarray  # (C, 3)
    windows: np.ndarray  # (n, width)


class History(NamedTuple):
    """Layer of each site at the start, and the events; `n[0]` is their number."""

    start: np.ndarray  # (n_sites,) int8
    time: np.ndarray  # (capacity,)
    ev: np.ndarray  # (capacity, 3) from, to, layer after (before, of one that leaves)
    n: np.ndarray  # (1,)


class Work(NamedTuple):
    """Room for one window: local events, slots, the timeline and the forward pass. Contents do not outlive it."""

    occ: np.ndarray  # (n_sites,) int8 layers of all but the slot that is drawn
    cell: np.ndarray  # (n_sites, 2) number in the window, -1, or -2 beside it; the k-th site of window and surroundings
    n: np.ndarray  # (2,) sites of window and surroundings, local events
    lt: np.ndarray  # (capacity,) local events: time
    ev: np.ndarray  # (capacity, 5) from, to, layer, slot (-1), INSIDE...
    slot: np.ndarray  # (slots, 2) site at the start (-1), layer
    item: np.ndarray  # (items, 4) timeline: FRAME..., frame or event, layer before an OTHER event, other slots absent
    at: np.ndarray  # (items,) time
    alpha: np.ndarray  # (grid, 3, width + 1) forward probabilities before grid and pinned items
    new: np.ndarray  # (capacity, 4) sampled events: from, to, layer, pinned local event (-1)
    new_time: np.ndarray
    spare: np.ndarray  # (capacity, 5) for merging
    spare_time: np.ndarray


def room(n_sites: int, n_frames: int, capacity: int, width: int, slots: int = 64) -> Work:
    """Allocate for histories of up to `capacity` events."""
    ints = lambda *shape: np.zeros(shape, np.int32)  # noqa: E731
    items = 2 * capacity + n_frames
    cell = np.full((n_sites, 2), -1, np.int32)
    return Work(
        np.zeros(n_sites, np.int8), cell, ints(2), np.zeros(capacity), ints(capacity, 5), ints(slots, 2),
        ints(items, 4), np.zeros(items), np.zeros((capacity, 3, width + 1)), ints(capacity, 4), np.zeros(capacity),
        ints(capacity, 5), np.zeros(capacity),
    )  # fmt: skip


def table(place) -> Table:
    """The sites as compiled code takes them, from `lattice.Sites`."""
    columns = (place.near, place.way_out, place.way_in, place.axis, place.kind[:, None], place.centre[:, None])
    site = np.ascontiguousarray(np.concatenate(columns, 1), np.int32)
    return Table(site, place.missing, np.ascontiguousarray(place.bonds, np.int32), place.windows)


@inner
def lay_out(window, H, W, S):
    """Mark the window and the sites beside it, and gather the events that touch either."""
    for k in range(W.n[0]):
        W.cell[W.cell[k, 1], 0] = -1
    n = 0
    for k in range(len(window)):
        W.cell[window[k], 0] = k
        W.cell[n, 1] = window[k]
        n += 1
    for k in range(len(window)):
        for j in range(6):
            y = S.site[window[k], j]
            if y >= 0 and W.cell[y, 0] == -1:
                W.cell[y, 0] = -2
                W.cell[n, 1] = y
                n += 1
    W.n[0] = n
    m = 0
    for e in range(H.n[0]):
        a, b = H.ev[e, 0], H.ev[e, 1]
        near_a, near_b = a >= 0 and W.cell[a, 0] != -1, b >= 0 and W.cell[b, 0] != -1
        if not (near_a or near_b):
            continue
        in_a, in_b = near_a and W.cell[a, 0] >= 0, near_b and W.cell[b, 0] >= 0
        W.lt[m], W.ev[m, 0], W.ev[m, 1], W.ev[m, 2], W.ev[m, 3] = H.time[e], a, b, H.ev[e, 2], -1
        if (in_a and (in_b or b < 0)) or (in_b and a < 0):
            W.ev[m, 4] = INSIDE
        elif in_a:
            W.ev[m, 4] = EXIT
        elif in_b:
            W.ev[m, 4] = ENTRY
        else:
            W.ev[m, 4] = AROUND
        m += 1
    W.n[1] = m


@inner
def assign(n_slots, window, H, W, rng):
    """Give every stay in the window to a free slot at random; False where `n_slots` do not suffice."""
    owner = np.full(len(window), -1, np.int32)
    busy = np.zeros(n_slots, np.bool_)
    n_free = n_slots
    W.slot[:n_slots, 0] = -1
    for k in range(len(window)):
        g = window[k]
        if H.start[g] > 0:
            if n_free == 0:
                return False
            slot = _pick(busy, n_free, rng)
            busy[slot] = True
            n_free -= 1
            owner[k] = slot
            W.slot[slot, 0], W.slot[slot, 1] = g, H.start[g]
    for e in range(W.n[1]):
        if W.ev[e, 4] == AROUND:
            continue
        in_a, in_b = W.ev[e, 0] >= 0 and W.cell[W.ev[e, 0], 0] >= 0, W.ev[e, 1] >= 0 and W.cell[W.ev[e, 1], 0] >= 0
        if in_a:
            slot = owner[W.cell[W.ev[e, 0], 0]]
            owner[W.cell[W.ev[e, 0], 0]] = -1
            if not in_b:
                busy[slot] = False
                n_free += 1
        else:
            if n_free == 0:
                return False
            slot = _pick(busy, n_free, rng)
            busy[slot] = True
            n_free -= 1
        if in_b:
            owner[W.cell[W.ev[e, 1], 0]] = slot
        W.ev[e, 3] = slot
    return True


@inner
def _pick(busy, n_free, rng):
    k = below(rng, n_free)
    for slot in range(len(busy)):
        if not busy[slot]:
            if k == 0:
                return slot
            k -= 1
    return -1


@inner
def starts(e, W):
    """Whether a local event begins a stay in the window."""
    return W.ev[e, 1] >= 0 and W.cell[W.ev[e, 1], 0] >= 0 and (W.ev[e, 0] < 0 or W.cell[W.ev[e, 0], 0] < 0)


@inner
def ends(e, W):
    """Whether it ends one."""
    return W.ev[e, 0] >= 0 and W.cell[W.ev[e, 0], 0] >= 0 and (W.ev[e, 1] < 0 or W.cell[W.ev[e, 1], 0] < 0)


@inner
def others_at(time, slot, skip, n_slots, H, W):
    """Set `occ` to what all but two slots occupy just before `time`.

    Returns site and layer of the slot (-1: not in the window), and the number of absent slots besides it.
    """
    for k in range(W.n[0]):
        g = W.cell[k, 1]
        W.occ[g] = H.start[g] if W.cell[g, 0] < 0 else 0
    n_absent = n_slots - 1
    for k in range(n_slots):
        if k != slot and k != skip and W.slot[k, 0] >= 0:
            W.occ[W.slot[k, 0]] = W.slot[k, 1]
            n_absent -= 1
    x, layer = W.slot[slot, 0], W.slot[slot, 1]
    for e in range(W.n[1]):
        if W.lt[e] >= time:
            break
        mine = W.ev[e, 3] == slot or W.ev[e, 3] == skip
        if W.ev[e, 3] == slot:
            x = W.ev[e, 1] if W.ev[e, 1] >= 0 and W.cell[W.ev[e, 1], 0] >= 0 else -1
            layer = W.ev[e, 2]
        elif W.ev[e, 3] >= 0 and not mine:
            n_absent += int(ends(e, W)) - int(starts(e, W))
        _apply(e, mine, W)
    return x, layer, n_absent


@inner
def _apply(e, mine, W):
    """Let a local event happen in `occ`; of a slot that is left out only what lies outside the window is shown."""
    a, b = W.ev[e, 0], W.ev[e, 1]
    if a >= 0 and W.cell[a, 0] != -1 and not (mine and W.cell[a, 0] >= 0):
        W.occ[a] = 0
    if b >= 0 and W.cell[b, 0] != -1 and not (mine and W.cell[b, 0] >= 0):
        W.occ[b] = W.ev[e, 2]


@inner
def timeline(slot, skip, low, high, n_slots, omega, H, W, S, P, times, rng):
    """Lay out all that a slot meets between two times, its own jumps and new virtual ones (omega - potential).

    Returns the number of items, or -1 where there is no room. `occ` ends up at `high`.
    """
    x, layer, n_absent = others_at(low, slot, skip, n_slots, H, W)
    f, e, n, n_grid = 0, 0, 0, 0
    while f < len(times) and times[f] < low:
        f += 1
    while e < W.n[1] and W.lt[e] < low:
        e += 1
    now = low
    here = potential(x, W.occ, S, P)[layer - 1] if x >= 0 else 0.0
    virtual = now + exponential(rng) / (omega - here)
    limit_grid, limit = W.alpha.shape[0], W.item.shape[0]
    while True:
        frame = times[f] if f < len(times) else np.inf
        event = W.lt[e] if e < W.n[1] else np.inf
        now = min(frame, event, virtual)
        if now > high:
            return n
        if n >= limit or n_grid + 1 >= limit_grid:
            return -1
        W.at[n], W.item[n, 3] = now, n_absent
        if now == frame:
            W.item[n, 0], W.item[n, 1] = FRAME, f
            f += 1
            n += 1
            continue
        if now == virtual:
            W.item[n, 0], W.item[n, 1] = GRID, -1
            n_grid += 1
            n += 1
            virtual = now + exponential(rng) / (omega - here)
            continue
        own = W.ev[e, 3] == slot
        if own:
            W.item[n, 0], W.item[n, 1] = GRID if W.ev[e, 4] == INSIDE else PINNED, e
            x = W.ev[e, 1] if W.ev[e, 1] >= 0 and W.cell[W.ev[e, 1], 0] >= 0 else -1
            layer = W.ev[e, 2]
            n_grid += 1
            n += 1
        elif W.ev[e, 3] != skip or skip < 0:
            W.item[n, 0], W.item[n, 1] = OTHER, e
            W.item[n, 2] = W.occ[W.ev[e, 0]] if W.ev[e, 0] >= 0 and W.cell[W.ev[e, 0], 0] != -1 else 0
            if W.ev[e, 3] >= 0:
                n_absent += int(ends(e, W)) - int(starts(e, W))
            n += 1
        _apply(e, own or (W.ev[e, 3] == skip and skip >= 0), W)
        here = potential(x, W.occ, S, P)[layer - 1] if x >= 0 else 0.0
        virtual = now + exponential(rng) / (omega - here)
        e += 1
