"""Tracks, chains and tables with known truth: what the tests and `benchmarks/coverage.py` measure the estimators on."""

from typing import NamedTuple

import numpy as np
from scipy.linalg import expm

from stemdefects.analysis.tracking import tracks
from stemdefects.io.tables import table

A_NM = 0.3153  # lattice constant of the simulated tables


def hexagonal(a: float = A_NM, angle: float = 0.0) -> np.ndarray:
    """(2, 2) lattice vectors of a hexagonal lattice, rows (y, x)."""
    directions = angle + np.array([0, np.pi / 3])
    return a * np.column_stack([np.sin(directions), np.cos(directions)])


def recorded_times(rng: np.random.Generator, n_frames: int = 60, dt: float = 2.25, how: str = "jitter") -> np.ndarray:
    """(n_frames,) starts of frames as they are recorded: `jitter` of a third of an interval, a `pause` of 400 intervals
    in the middle, `pauses` of 3 to 8 intervals after every tenth frame, or the second half at a `rate` four times
    slower."""
    step = np.full(n_frames - 1, dt)
    if how == "jitter":
        step *= rng.uniform(0.5, 1.5, n_frames - 1)
    elif how == "pause":
        step[n_frames // 2] = 400 * dt
    elif how == "pauses":
        step[9::10] = dt * rng.uniform(3, 8, len(step[9::10]))
    elif how == "rate":
        step[n_frames // 2 :] *= 4
    return np.concatenate([[0.0], np.cumsum(step)])


def hop_path(
    rng: np.random.Generator, n_frames: int, D: float, dt: float | np.ndarray, a: float = A_NM, angle: float = 0.0
) -> np.ndarray:
    """(n_frames, 2) positions of a vacancy that hops to one of six neighbours at total rate 4 D / a^2; dt: a number, or
    (n_frames - 1,) intervals."""
    hops = rng.poisson(4 * D / a**2 * dt, n_frames - 1)
    position = np.zeros((n_frames, 2))
    for t, n in enumerate(hops):
        directions = angle + rng.integers(0, 6, n) * np.pi / 3
        position[t + 1] = position[t] + a * np.array([np.sin(directions).sum(), np.cos(directions).sum()])
    return position


class Hoppers(NamedTuple):
    """Tracks of hopping vacancies: lengths uniform in `lengths`, each detection missed with the chance `missed`."""

    n_tracks: int = 30
    D: float = 5e-4
    dt: float = 2.25
    sigma: float = 0.02
    missed: float = 0.0
    lengths: tuple[int, int] = (5, 40)
    angle: float = 0.3


HOPPERS = Hoppers()


def hopping_tracks(
    rng: np.random.Generator,
    of: Hoppers = HOPPERS,
    times: np.ndarray | None = None,
) -> tracks.Tracks:
    """Tracks of vacancies on one lattice; with the `times` of frames, each track begins anywhere among them."""
    positions, frames = [], []
    cells = rng.integers(-40, 40, (of.n_tracks, 2)) @ hexagonal(A_NM, of.angle)
    for k in range(of.n_tracks):
        n = int(rng.integers(of.lengths[0], of.lengths[1] + 1))
        seen = rng.random(n) >= of.missed
        first = 0 if times is None else int(rng.integers(0, len(times) - n + 1))
        step = of.dt if times is None else np.diff(times[first : first + n])
        path = cells[k] + hop_path(rng, n, of.D, step, A_NM, of.angle) + of.sigma * rng.standard_normal((n, 2))
        positions.append(path[seen])
        frames.append(first + np.flatnonzero(seen))
    return tracks.from_lists(positions, frames, of.dt, times)


def brownian_tracks(
    rng: np.random.Generator,
    n_tracks: int = 30,
    D: float = 5e-4,
    dt: float = 2.25,
    sigma: float = 0.02,
    n_frames: int = 40,
) -> tracks.Tracks:
    """Tracks of free Brownian motion."""
    steps = np.sqrt(2 * D * dt) * rng.standard_normal((n_tracks, n_frames, 2))
    paths = steps.cumsum(1) + sigma * rng.standard_normal(steps.shape)
    return tracks.from_lists(list(paths), [np.arange(n_frames)] * n_tracks, dt)


def chains(
    rng: np.random.Generator,
    P: np.ndarray,
    n_traces: int = 40,
    n_frames: int = 60,
    error: float = 0.1,
    missed: float = 0.0,
) -> np.ndarray:
    """(n_traces, n_frames) labels of Markov chains: wrong with probability `error` (evenly), -1 when missed."""
    size = len(P)
    state = np.zeros((n_traces, n_frames), int)
    state[:, 0] = rng.integers(0, size, n_traces)
    edges = np.cumsum(P, 1)
    for t in range(1, n_frames):
        state[:, t] = (rng.random(n_traces)[:, None] > edges[state[:, t - 1]]).sum(1)
    wrong = rng.random(state.shape) < error
    seen = np.where(wrong, (state + rng.integers(1, size, state.shape)) % size, state)
    seen[rng.random(state.shape) < missed] = -1
    return seen


def chains_in_time(
    rng: np.random.Generator,
    Q: np.ndarray,
    times: np.ndarray,
    n_traces: int = 40,
    error: float = 0.1,
    missed: float = 0.0,
) -> np.ndarray:
    """(n_traces, n_frames) labels, as `chains`, of chains with rates Q that are looked at at `times`."""
    size = len(Q)
    state = np.zeros((n_traces, len(times)), int)
    state[:, 0] = rng.integers(0, size, n_traces)
    for t, step in enumerate(np.diff(times)):
        edges = np.cumsum(expm(Q * step), 1)[:, :-1]
        state[:, t + 1] = (rng.random(n_traces)[:, None] > edges[state[:, t]]).sum(1)
    wrong = rng.random(state.shape) < error
    seen = np.where(wrong, (state + rng.integers(1, size, state.shape)) % size, state)
    seen[rng.random(state.shape) < missed] = -1
    return seen


class Points(NamedTuple):
    """Detections of a movie: vacancies that hop on one lattice, missed and false ones (shares of the defects).

    A share `mobile` of the defects hops. With `exclusive`, no two are on one site.
    """

    n_frames: int = 100
    n_defects: int = 80
    field_nm: float = 15.0
    D: float = 5e-4
    dt: float = 2.25
    sigma: float = 0.02
    missed: float = 0.1
    false: float = 0.05
    mobile: float = 1.0
    angle: float = 0.3
    exclusive: bool = True


def movie_points(
    rng: np.random.Generator, of: Points, drift: np.ndarray | None = None, times: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Detections of a whole movie. drift: (n_frames, 2) nm, None: none; times: (n_frames,), None: dt apart.

    Returns:
        (frame (n,), yx (n, 2) in nm as seen, identity (n,), -1 for false ones).
    """
    n_frames, n_defects, field_nm = of.n_frames, of.n_defects, of.field_nm
    vectors = hexagonal(angle=of.angle)
    reach = int(field_nm / A_NM) + 4
    cells = np.stack(np.meshgrid(np.arange(-reach, reach), np.arange(-reach, reach), indexing="ij"), -1).reshape(-1, 2)
    places = cells @ vectors
    cells = cells[((places > 0) & (places < field_nm)).all(1)]
    at = cells[rng.choice(len(cells), n_defects, replace=False)]
    steps = np.array([(1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1)])
    drift = np.zeros((n_frames, 2)) if drift is None else drift
    frames, points, who = [], [], []
    moves = rng.random(n_defects) < of.mobile
    step = np.full(n_frames, of.dt) if times is None else np.append(np.diff(times), 0.0)
    for t in range(n_frames):
        seen = np.flatnonzero(rng.random(n_defects) >= of.missed)
        n_false = rng.poisson(of.false * n_defects)
        points.append(at[seen] @ vectors + of.sigma * rng.standard_normal((len(seen), 2)) + drift[t])
        points.append(rng.uniform(0, field_nm, (n_false, 2)) + drift[t])
        who.append(np.r_[seen, np.full(n_false, -1)])
        frames.append(np.full(len(seen) + n_false, t))
        hops = np.where(moves, rng.poisson(4 * of.D / A_NM**2 * step[t], n_defects), 0)
        for k in np.repeat(np.arange(n_defects), hops):
            target = at[k] + steps[rng.integers(0, 6)]
            if not of.exclusive or not (at == target).all(1).any():
                at[k] = target
    return np.concatenate(frames), np.concatenate(points), np.concatenate(who)


def defect_rows(frame: np.ndarray, yx_nm: np.ndarray, pixel_size_nm: float, kind: str = "V_S") -> np.ndarray:
    """Rows of a defect table at the given positions."""
    rows = table.empty(len(frame))
    rows["frame"] = frame
    rows["y_px"], rows["x_px"] = (np.asarray(yx_nm) / pixel_size_nm).T
    rows["score"] = rows["kind_prob"] = 1
    rows["kind"] = np.asarray(kind, "S24")
    return rows[np.argsort(rows["frame"], kind="stable")]


def centres(
    rng: np.random.Generator,
    P: np.ndarray,
    n_traces: int = 20,
    n_frames: int = 40,
    recall: float = 0.6,
    spread: float = 0.0,
) -> np.ndarray:
    """Labels (n_traces, n_frames) of centres with no vacancy (0) or one on bond k (k + 1), seen by a detector that
    misses vacancies: in each place with a recall of its own, `recall` on average with standard deviation `spread`."""
    state = chains(rng, P, n_traces, n_frames, error=0.0)
    places = np.full((n_traces, len(P) - 1), float(recall))
    if spread > 0:
        size = recall * (1 - recall) / spread**2 - 1
        places = rng.beta(recall * size, (1 - recall) * size, places.shape)
    seen = rng.random(state.shape) < np.take_along_axis(places, np.maximum(state - 1, 0), 1)
    return np.where(seen, state, 0)


def link_scores(identity: np.ndarray, frame: np.ndarray, track: np.ndarray, memory: int = 3) -> tuple[float, float]:
    """Recall and precision of links: pairs of successive sightings of one defect no more than memory + 1 frames
    apart."""

    def pairs(label):
        order = np.lexsort((frame, label))
        order = order[label[order] >= 0]
        a, b = order[:-1], order[1:]
        ok = (label[a] == label[b]) & (frame[b] - frame[a] <= memory + 1)
        return a[ok] * len(frame) + b[ok]

    true, found = pairs(identity), pairs(track)
    both = len(np.intersect1d(true, found))
    return both / len(true), both / len(found)
