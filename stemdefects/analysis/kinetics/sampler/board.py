"""The lattice, a history and the room for one chain, as compiled code takes them.

A history is the layer of every site at the start and a list of events in order of time: `a` -> `b` with the layer after
(-1: nowhere; a == b: the layer changes).
"""

from typing import NamedTuple

import numpy as np

PAD = 2  # empty places around the grid: what a vacancy's light reaches

# Arguments that are always the same. numba compiles a function, and all that it calls, once more for every constant of
# Python that it is given: with these half of the first run's minute and a half is saved.
NONE, FIRST, PRIOR = np.int64(-1), np.int64(0), np.int64(-2)
YES, NO = np.bool_(True), np.bool_(False)


class Table(NamedTuple):
    """The lattice for compiled code; few arrays, since each one passed costs compile time."""

    site: np.ndarray  # (n, 26) int32: neighbours, class of the hop to each, from each, its axis (6 each), kind, centre
    missing: np.ndarray  # (n,) ways over the border
    bonds: np.ndarray  # (C, 3)
    at: np.ndarray  # (n,) place on the flat grid
    back: np.ndarray  # (G,) site at each place, -1
    shape: np.ndarray  # (2,) rows and columns of the grid
    steps: np.ndarray  # (6, 2) rows and columns of each direction


class History(NamedTuple):
    """Layer of each site at the start, and the events; `n[0]` is their number."""

    start: np.ndarray  # (n_sites,) int8
    time: np.ndarray  # (capacity,)
    ev: np.ndarray  # (capacity, 3) from, to, layer after (before, of one that leaves)
    n: np.ndarray  # (1,)


class Work(NamedTuple):
    """The history with a slot for each vacancy, and room for one slot's path. Contents do not outlive a sweep."""

    time: np.ndarray  # (capacity,)
    ev: np.ndarray  # (capacity, 4) from, to, layer, slot
    n: np.ndarray  # (3,) events, events of the drawn path, of the one it replaces
    new_time: np.ndarray  # (capacity,) the drawn path
    new: np.ndarray  # (capacity, 3)
    old_time: np.ndarray  # the path it replaces
    old: np.ndarray
    spare_time: np.ndarray  # for merging
    spare: np.ndarray  # (capacity, 4)
    occ: np.ndarray  # (n_sites,) int8 layers of all but the slot that is drawn
    then: np.ndarray  # (n_sites,) int8 the same as the proposal knew them


class Vacancies(NamedTuple):
    """All vacancies, each in its slot, where they live, and the random numbers that move them."""

    S: Table
    P: np.ndarray  # (31,) rates, densities and the light's parameters
    W: Work
    who: np.ndarray  # (T, slots) place of the grid of each slot's vacancy, -1
    layers: np.ndarray  # (T, slots)
    rng: np.ndarray  # (4,)


def table(place) -> Table:
    """The sites as compiled code takes them, from `lattice.Sites`."""
    columns = (place.near, place.way_out, place.way_in, place.axis, place.kind[:, None], place.centre[:, None])
    site = np.ascontiguousarray(np.concatenate(columns, 1), np.int32)
    shape = place.cell.max(0) + 1 + 2 * PAD
    at = (place.cell[:, 0] + PAD) * shape[1] + place.cell[:, 1] + PAD
    back = np.full(shape[0] * shape[1], -1, np.int32)
    back[at] = np.arange(len(at))
    return Table(
        site,
        place.missing,
        np.ascontiguousarray(place.bonds, np.int32),
        at.astype(np.int64),
        back,
        shape.astype(np.int64),
        place.steps.astype(np.int64),
    )


def history(n_sites: int, capacity: int) -> History:
    """An empty history with room for `capacity` events."""
    return History(
        np.zeros(n_sites, np.int8), np.zeros(capacity), np.zeros((capacity, 3), np.int32), np.zeros(1, np.int64)
    )


def room(n_sites: int, capacity: int) -> Work:
    """Allocate for histories of up to `capacity` events."""
    times = lambda: np.zeros(capacity)  # noqa: E731
    ints = lambda width: np.zeros((capacity, width), np.int32)  # noqa: E731
    return Work(
        times(),
        ints(4),
        np.zeros(3, np.int64),
        times(),
        ints(3),
        times(),
        ints(3),
        times(),
        ints(4),
        np.zeros(n_sites, np.int8),
        np.zeros(n_sites, np.int8),
    )
