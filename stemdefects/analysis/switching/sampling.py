"""Samples of the chains of `markov` from their posterior: paths, transitions, confusion.

Scott, J. Am. Stat. Assoc. 97, 337 (2002).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import permutations
from typing import NamedTuple

import numpy as np
from scipy import stats

from stemdefects.analysis.switching.markov import Chain, em, guess_confusion, longest_first
from stemdefects.compiled import entry


@dataclass
class Posterior:
    """Samples of the posterior: `P` (B, n, S, S) transitions per frame, `C` (B, n, S, O) confusion, `start`."""

    P: np.ndarray
    C: np.ndarray
    start: np.ndarray


def draw(weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One category per leading index in proportion to `weights` (..., S)."""
    edges = np.cumsum(weights, -1)
    pick = rng.random(weights.shape[:-1]) * edges[..., -1]
    return np.minimum((edges < pick[..., None]).sum(-1), weights.shape[-1] - 1)


def dirichlet(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws of probabilities along the last axis, with `counts` as concentrations."""
    draw = rng.standard_gamma(np.maximum(counts, 1e-3))
    return draw / np.maximum(draw.sum(-1, keepdims=True), 1e-300)


def sample_paths(
    observed: np.ndarray, P: np.ndarray, C: np.ndarray, start: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """One path of hidden states per trace from its posterior, (B, N, L); -1 after a trace's end.

    C: (B, S, O), or (B, N, S, O) where the detector differs from trace to trace.
    """
    chain = Chain(observed, P, C)
    chance = rng.random(len(P) * int(chain.live.sum()))
    parts = (np.ascontiguousarray(part, float) for part in (P, chain.table, start))
    whole = (np.ascontiguousarray(part, int) for part in (observed, chain.lengths, chain.live))
    return _paths(*parts, *whole, chance)


@entry
def _paths(
    P: np.ndarray,
    table: np.ndarray,
    start: np.ndarray,
    observed: np.ndarray,
    lengths: np.ndarray,
    live: np.ndarray,
    chance: np.ndarray,
) -> np.ndarray:
    """table: (B, 1 or N, O + 1, S) of `label_table`; live: (T,) traces that are stepped at each frame; chance: for each
    frame, last first, one number for each of them."""
    path, (n_sets, n_traces, _), n_states = np.full(observed.shape, -1), observed.shape, P.shape[1]
    alpha, edges = np.empty((len(live), n_states)), np.empty(n_states)
    for b in range(n_sets):
        for n in range(n_traces):
            steps = 0
            while steps < len(live) and live[steps] > n:
                label, norm = observed[b, n, steps], 1e-300
                likely = table[b, min(n, table.shape[1] - 1), label if label >= 0 else table.shape[2] - 1]
                for s in range(n_states):
                    total = start[b, s]
                    if steps:
                        total = 0.0
                        for before in range(n_states):
                            total += alpha[steps - 1, before] * P[b, before, s]
                    alpha[steps, s] = total * likely[s]
                    norm += alpha[steps, s]
                for s in range(n_states):
                    alpha[steps, s] /= norm
                steps += 1
            following, first = -1, 0
            for t in range(len(live) - 1, -1, -1):
                if t < steps and lengths[b, n] > t:
                    total = 0.0
                    for s in range(n_states):
                        total += alpha[t, s] * (P[b, s, following] if following >= 0 else 1.0)
                        edges[s] = total
                    pick, following = chance[first + b * live[t] + n] * total, 0
                    while following < n_states - 1 and edges[following] < pick:
                        following += 1
                    path[b, n, t] = following
                first += n_sets * live[t]
    return path


def interval(samples: np.ndarray, axis: int = 0, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
    """Interval of probabilities from their samples: quantiles of the Beta distribution with the samples' mean and
    spread.

    The marginals of a transition matrix are close to Beta, and two moments are steadier than the few samples in a tail.
    """
    mean, variance = samples.mean(axis), np.maximum(samples.var(axis), 1e-14)
    mean = np.clip(mean, 1e-9, 1 - 1e-9)
    size = np.maximum(mean * (1 - mean) / variance - 1, 1e-3)
    tails = 0.5 - level / 2, 0.5 + level / 2
    return tuple(stats.beta.ppf(q, mean * size, (1 - mean) * size) for q in tails)


def path_counts(path: np.ndarray, size: int) -> np.ndarray:
    """Transitions in paths (B, N, L) of states, -1 outside: (B, S, S)."""
    a, b = path[..., :-1], path[..., 1:]
    ok = (a >= 0) & (b >= 0)
    batch = np.broadcast_to(np.arange(len(path))[:, None, None], a.shape)
    flat = (batch[ok] * size + a[ok]) * size + b[ok]
    return np.bincount(flat, minlength=len(path) * size**2).reshape(len(path), size, size).astype(float)


class Sampling(NamedTuple):
    """How a chain is sampled.

    n_samples, n_burn: sweeps that are kept, and those before; prior: Dirichlet weight per row of the transition matrix,
    spread evenly; orbits: (S, S) int, entries of a row with one number share one probability, and rows with the same
    numbers share their counts (symmetry of orientations), None: no ties; progress: wraps the sweeps in a bar.
    """

    n_samples: int = 400
    n_burn: int = 100
    prior: float = 1.0
    orbits: np.ndarray | None = None
    progress: Callable | None = None

    def sweeps(self) -> Iterable[tuple[int, bool]]:
        """(number, is it kept) of every sweep."""
        numbers = range(self.n_burn + self.n_samples)
        for sweep in self.progress(numbers) if self.progress else numbers:
            yield sweep - self.n_burn, sweep >= self.n_burn


USUAL = Sampling()


def gibbs(
    observed: np.ndarray,
    C: np.ndarray | None = None,
    how: Sampling = USUAL,
    rng: np.random.Generator | None = None,
    start_from: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
    confusion_weight: float = 20.0,
) -> Posterior:
    """Samples of transition matrix and confusion by Gibbs sampling.

    Args:
        observed: (B, N, L) labels, -1 missing.
        C: known confusion (S, S) or (B, S, S); None: sampled too, see `em`.
        start_from: (P, C, start) to begin at; None: `em`.

    Returns:
        `Posterior`.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    observed = longest_first(observed)
    P, confusion, start = start_from or em(observed, C, how.prior, confusion_weight, n_iter=40)[:3]
    size = P.shape[-1]
    believed = confusion_weight * np.broadcast_to(guess_confusion(size), P.shape)
    kept = [np.empty((len(P), how.n_samples, *a.shape[1:])) for a in (P, confusion, start)]
    batch = np.broadcast_to(np.arange(len(P))[:, None, None], observed.shape)
    for number, keep in how.sweeps():
        path = sample_paths(observed, P, confusion, start, rng)
        P = draw_rows(path_counts(path, size), how.prior, how.orbits, rng)
        start = dirichlet(path_counts_first(path, size) + 1.0 / size, rng)
        if C is None:
            ok = (path >= 0) & (observed >= 0)
            flat = (batch[ok] * size + path[ok]) * size + observed[ok]
            labels = np.bincount(flat, minlength=len(P) * size**2).reshape(P.shape)
            confusion = dirichlet(labels + believed, rng)
        if keep:
            for store, value in zip(kept, (P, confusion, start), strict=True):
                store[:, number] = value
    return Posterior(*kept)


def path_counts_first(path: np.ndarray, size: int) -> np.ndarray:
    """How often each state comes first, (B, S)."""
    first = path[..., 0]
    return np.stack([(first == s).sum(1) for s in range(size)], 1).astype(float)


def draw_rows(counts: np.ndarray, prior: float, orbits: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
    """Rows of P from their Dirichlet posterior; with `orbits`, tied entries share one draw."""
    size = counts.shape[-1]
    if orbits is None:
        return dirichlet(counts + prior / size, rng)
    P = np.empty_like(counts)
    groups: dict[tuple, list[int]] = {}
    for i in range(size):
        groups.setdefault(tuple(sorted(set(orbits[i]))), []).append(i)
    for numbers, rows in groups.items():
        inside = orbits[rows]
        pooled = np.stack([(counts[:, rows] * (inside == k)).sum((1, 2)) for k in numbers], 1)
        share = np.array([(inside[0] == k).sum() for k in numbers])
        draw = dirichlet(pooled + prior * share / size, rng) / share
        for i in rows:
            for place, k in enumerate(numbers):
                P[:, i, orbits[i] == k] = draw[:, place, None]
    return P


def orientation_orbits(names: list[str]) -> np.ndarray | None:
    """Ties between states that differ in orientation only (`...@0`, `...@1`, `...@2`): orbits of index pairs under
    all relabellings of the orientations, as integers (S, S). None when no state has an orientation."""
    split = [name.rsplit("@", 1) if "@" in name else [name, None] for name in names]
    if not any(o is not None for _, o in split):
        return None
    values = sorted({o for _, o in split if o is not None})
    orbits: dict[tuple, int] = {}
    out = np.empty((len(names), len(names)), int)
    for i, j in np.ndindex(*out.shape):
        forms = []
        for shuffled in permutations(values):
            new = dict(zip(values, shuffled, strict=True)) | {None: None}
            forms.append((split[i][0], str(new[split[i][1]]), split[j][0], str(new[split[j][1]])))
        out[i, j] = orbits.setdefault(min(forms), len(orbits))
    return out
