"""One chain: sweeps over histories, rates and light, and what each sweep leaves behind (numba)."""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import DOUBLE, N_PARAMETERS, NOISE
from stemdefects.analysis.kinetics.sampler import entry
from stemdefects.analysis.kinetics.sampler.board import History, Work, history, room, table
from stemdefects.analysis.kinetics.sampler.light.unknowns import View, draw_light, residuals, snapshots
from stemdefects.analysis.kinetics.sampler.moves import Plan, sweep
from stemdefects.analysis.kinetics.sampler.rates import N_SUMS, draw_rates, summarise


class Data(NamedTuple):
    """What a chain is given: the line at the sites that take part, and the priors."""

    line: np.ndarray  # (T, n), 0 where not seen
    weight: np.ndarray  # (T, n) 1/scatter^2, 0 where not seen
    level: np.ndarray  # (2,)
    bounds: np.ndarray  # (2,) of the scale
    times: np.ndarray  # (T,) s
    counted: np.ndarray  # (T, n) bool: where vacancies are counted
    shape: np.ndarray  # (15,) Gamma priors of the rates
    scale: np.ndarray  # (15,) s
    density: np.ndarray  # (3, 2) Beta priors
    mixing: np.ndarray  # (3,)
    light: np.ndarray  # (6,) as `light.unknowns.draw_light` says
    free: np.ndarray  # (31,) parameters that are drawn


class Chain(NamedTuple):
    """A chain's whole state: with it, and its data, it goes on as if it had never stopped."""

    history: History
    parameters: np.ndarray  # (31,)
    offset: np.ndarray  # (n,)
    rng: np.ndarray  # (4,) uint64
    tally: np.ndarray  # (6,) as `moves.sweep` says


class Sums(NamedTuple):
    """Sums over the recorded sweeps."""

    occupancy: np.ndarray  # (T, n, 2) frames x sites x {single, double}
    turns: np.ndarray  # (8, 8) centres' states (bit mask of occupied bonds) in successive frames


class Record(NamedTuple):
    """What sweeps leave behind."""

    draws: np.ndarray  # (n_sweeps, 30) parameters
    sums: np.ndarray  # (n_sweeps, N_SUMS) of the history
    counts: np.ndarray  # (n_sweeps, T, 3) vacancies: single off centres, at bonds, double


@entry
def settle(S, D, state, view, counts, totals, record):
    """Rates, densities and light given the history; returns its sums. `counts` (T, 3) and, if told, `totals` follow."""
    H, P, rng, shown = state.history, state.parameters, state.rng, view.shown
    sums = summarise(H, S, P, D.times[0], D.times[-1], rng)
    draw_rates(sums, S, P, D, rng)
    snapshots(H, D.times, shown)
    draw_light(S, D, P, state.offset, view, rng)
    n_frames, n = shown.shape
    for f in range(n_frames):
        for g in range(n):
            if shown[f, g] > 0 and D.counted[f, g]:
                kind = 2 if shown[f, g] == DOUBLE else (0 if S.site[g, 25] < 0 else 1)
                counts[f, kind] += 1
                if record:
                    totals.occupancy[f, g, 1 if kind == 2 else 0] += 1
    if record:
        for c in range(len(S.bonds)):
            before = -1
            for f in range(n_frames):
                code = 0
                for k in range(3):
                    code += (1 << k) * int(shown[f, S.bonds[c, k]] > 0)
                if before >= 0:
                    totals.turns[before, code] += 1
                before = code
    return sums


@entry
def look(S, D, state, view):
    """Fill what follows from a chain's state."""
    snapshots(state.history, D.times, view.shown)
    residuals(S, D, state.parameters, state.offset, view)
    for f in range(view.seen.shape[0]):
        for g in range(view.seen.shape[1]):
            view.seen[f, g] = D.weight[f, g] / state.parameters[NOISE] ** 2


def advance(plan, S, D, state, W, record, totals=None):
    """Sweeps of a chain in place, as many as `record` has room for; returns (sweeps done, whether it stopped because
    the room did not suffice). `totals` are added to, if given.
    """
    shape = D.line.shape
    view = View(np.zeros(shape, np.int8), np.zeros(shape), np.zeros(shape))
    added = totals or Sums(np.zeros((0, 0, 2)), np.zeros((0, 0)))
    H, n_sweeps = state.history, len(record.draws)
    look(S, D, state, view)
    for s in range(n_sweeps):
        full = sweep(plan, S, D.level, D.times, state, W, view)
        record.sums[s] = settle(S, D, state, view, record.counts[s], added, totals is not None)
        record.draws[s] = state.parameters
        state.tally[3] += 1
        if full or 3 * H.n[0] > 2 * len(H.time):
            return s + 1, True
    return n_sweeps, False


def begin(n_sites: int, parameters: np.ndarray, capacity: int, rng: np.ndarray) -> Chain:
    """A chain without vacancies."""
    assert len(parameters) == N_PARAMETERS
    return Chain(history(n_sites, capacity), parameters.copy(), np.zeros(n_sites), rng, np.zeros(6, np.int64))


def most_at_once(held: History) -> int:
    """Most vacancies that a history holds at a time."""
    ev = held.ev[: int(held.n[0])]
    there = np.cumsum((ev[:, 0] < 0).astype(int) - (ev[:, 1] < 0))
    return int((held.start > 0).sum() + max(there.max(initial=0), 0))


def enlarge(chain: Chain) -> Chain:
    """The same chain with twice the room."""
    old = chain.history
    new = history(len(old.start), 2 * len(old.time))
    new.start[:], new.n[:] = old.start, old.n
    for name in ("time", "ev"):
        getattr(new, name)[: len(old.time)] = getattr(old, name)
    return chain._replace(history=new)


def recorder(n_sweeps: int, n_frames: int) -> Record:
    """Room for what `n_sweeps` leave behind."""
    counts = np.zeros((n_sweeps, n_frames, 3), np.int16)
    return Record(np.zeros((n_sweeps, N_PARAMETERS)), np.zeros((n_sweeps, N_SUMS)), counts)


def work_for(chain: Chain) -> Work:
    """Room that fits a chain."""
    return room(len(chain.offset), len(chain.history.time))


__all__ = [
    "N_SUMS",
    "Chain",
    "Data",
    "Plan",
    "Record",
    "Sums",
    "advance",
    "begin",
    "enlarge",
    "recorder",
    "table",
    "work_for",
]
