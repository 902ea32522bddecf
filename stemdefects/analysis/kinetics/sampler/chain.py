"""One chain: sweeps over histories, rates and light, and what each sweep leaves behind (numba)."""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import DOUBLE, N_PARAMETERS, NOISE
from stemdefects.analysis.kinetics.sampler import entry
from stemdefects.analysis.kinetics.sampler.board import History, Work, history, room, table
from stemdefects.analysis.kinetics.sampler.light import draw_light, residuals, snapshots
from stemdefects.analysis.kinetics.sampler.moves import sweep
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
    light: np.ndarray  # (6,) as `light.draw_light` says
    free: np.ndarray  # (30,) parameters that are drawn


class Chain(NamedTuple):
    """A chain's whole state: with it, and its data, it goes on as if it had never stopped."""

    history: History
    parameters: np.ndarray  # (30,)
    offset: np.ndarray  # (n,)
    rng: np.ndarray  # (4,) uint64
    tally: np.ndarray  # (6,) as `moves.sweep` says


class Sums(NamedTuple):
    """Sums over the recorded sweeps."""

    occupancy: np.ndarray  # (T, n, 2) frames x sites x {single, double}
    turns: np.ndarray  # (8, 8) centres' states (bit mask of occupied bonds) in successive frames


@entry
def settle(S, D, H, P, offset, rng, rest, seen, shown, counts, occupancy, turns, record):
    """Rates, densities and light given the history; returns its sums. `counts` (T, 3) and the rest are filled."""
    sums = summarise(H, S, P, D.times[0], D.times[-1], rng)
    draw_rates(sums, S, P, D.shape, D.scale, D.free, D.density, D.mixing, rng)
    snapshots(H, D.times, shown)
    draw_light(shown, S, P, D.level, D.bounds, D.line, D.weight, offset, rest, seen, D.free, D.light, rng)
    n_frames, n = shown.shape
    for f in range(n_frames):
        for g in range(n):
            if shown[f, g] > 0 and D.counted[f, g]:
                kind = 2 if shown[f, g] == DOUBLE else (0 if S.site[g, 25] < 0 else 1)
                counts[f, kind] += 1
                if record:
                    occupancy[f, g, 1 if kind == 2 else 0] += 1
    if record:
        for c in range(len(S.bonds)):
            before = -1
            for f in range(n_frames):
                code = 0
                for k in range(3):
                    code += (1 << k) * int(shown[f, S.bonds[c, k]] > 0)
                if before >= 0:
                    turns[before, code] += 1
                before = code
    return sums


@entry
def look(S, D, H, P, offset, rest, seen, shown):
    """Fill what follows from a chain's state: layers in each frame, residuals, 1/variance."""
    snapshots(H, D.times, shown)
    residuals(shown, S, P, D.level, D.line, D.weight, offset, rest)
    for f in range(seen.shape[0]):
        for g in range(seen.shape[1]):
            seen[f, g] = D.weight[f, g] / P[NOISE] ** 2


def advance(n_sweeps, n_slots, n_swaps, two, S, D, state, W, draws, sums, counts, totals, record):
    """Run sweeps of a chain in place; returns (sweeps done, whether it stopped because the room did not suffice).

    `draws` (n_sweeps, 30), `sums` (n_sweeps, N_SUMS), `counts` (n_sweeps, T, 3: single off centres, at bonds, double).
    """
    shape = D.line.shape
    shown, rest, seen = np.zeros(shape, np.int8), np.zeros(shape), np.zeros(shape)
    H, P = state.history, state.parameters
    look(S, D, H, P, state.offset, rest, seen, shown)
    for s in range(n_sweeps):
        full = sweep(
            n_slots, n_swaps, two, H, W, S, P, D.level, D.times, seen, rest, state.offset, state.rng, state.tally
        )
        sums[s] = settle(
            S, D, H, P, state.offset, state.rng, rest, seen, shown, counts[s], totals.occupancy, totals.turns, record
        )
        draws[s] = P
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


def work_for(chain: Chain) -> Work:
    """Room that fits a chain."""
    return room(len(chain.offset), len(chain.history.time))


__all__ = ["N_SUMS", "Chain", "Data", "Sums", "advance", "begin", "enlarge", "table", "work_for"]
