"""Sums over all paths of many chains that keep their state or draw a new one, compiled (`forward_backward` has any
other chain). T frames, N sites, S states, K kinds of surroundings."""

import math

import numpy as np

from stemdefects.compiled import entry

TINY = 1e-37  # no chance is smaller, as single precision has it


@entry
def smoothed(
    seen: np.ndarray, prevalence: np.ndarray, change: np.ndarray, around: np.ndarray
) -> tuple[np.ndarray, np.ndarray, float]:
    """Posteriors (T, N, S), chances (T - 1, N) that a site's state is another than in the frame before, both float32,
    and the log-evidence of all sites.

    seen: (T, N, S) float32 likelihoods; prevalence: (K, S); change: (K,) chance of a new draw; around: (T, N).
    """
    n_frames, n_sites, n_states = seen.shape
    posterior, moved = np.empty(seen.shape, np.float32), np.empty((max(n_frames - 1, 0), n_sites), np.float32)
    chance, later, weighted = np.empty((n_frames, n_states)), np.empty(n_states), np.empty(n_states)
    evidence = 0.0
    for n in range(n_sites):
        for t in range(n_frames):
            new, norm = change[around[t, n]], TINY
            for s in range(n_states):
                usual = prevalence[around[t, n], s]
                before = (1 - new) * chance[t - 1, s] + new * usual if t else usual
                chance[t, s] = before * seen[t, n, s]
                norm += chance[t, s]
            evidence += math.log(norm)
            for s in range(n_states):
                chance[t, s] /= norm
        for s in range(n_states):
            later[s] = 1.0
        for t in range(n_frames - 1, -1, -1):
            norm = TINY
            for s in range(n_states):
                weighted[s] = seen[t, n, s] * later[s]
                later[s] *= chance[t, s]
                norm += later[s]
            for s in range(n_states):
                posterior[t, n, s] = later[s] / norm
            if t == 0:
                continue
            new, kept, drawn, same, largest = change[around[t, n]], 0.0, 0.0, 0.0, TINY
            for s in range(n_states):
                usual, stays = prevalence[around[t, n], s], chance[t - 1, s] * weighted[s]
                kept += (1 - new) * stays
                drawn += new * usual * weighted[s]
                same += new * usual * stays
            moved[t - 1, n] = (drawn - same) / max(kept + drawn, 1e-30)
            for s in range(n_states):
                later[s] = (1 - new) * weighted[s] + drawn
                largest = max(largest, later[s])
            for s in range(n_states):
                later[s] /= largest
    return posterior, moved, evidence


@entry
def counted(
    posterior: np.ndarray, moved: np.ndarray, around: np.ndarray, n_kinds: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sums of `posterior` and `moved`, see `smoothed`, by the surroundings `around` (T, N): (K, S) and (K,)."""
    n_frames, n_sites, n_states = posterior.shape
    states, moves = np.zeros((n_kinds, n_states)), np.zeros(n_kinds)
    for t in range(n_frames):
        for n in range(n_sites):
            for s in range(n_states):
                states[around[t, n], s] += posterior[t, n, s]
            if t:
                moves[around[t, n]] += moved[t - 1, n]
    return states, moves


@entry
def relative(log: np.ndarray, worst: float) -> tuple[np.ndarray, np.ndarray]:
    """(M, S) log-likelihoods (M, S), less the largest of each row, none below `worst`; and (M,) those."""
    out, largest = np.empty(log.shape, log.dtype), np.empty(len(log), log.dtype)
    for m in range(len(log)):
        largest[m] = log[m, 0]
        for s in range(1, log.shape[1]):
            largest[m] = max(largest[m], log[m, s])
        for s in range(log.shape[1]):
            out[m, s] = max(log[m, s] - largest[m], worst)
    return out, largest
