"""Sums over all paths of many chains that keep their state or draw a new one, compiled (`forward_backward` has any
other chain). T frames, N sites, S states, K kinds of surroundings."""

import math

import numpy as np

from stemdefects.compiled import entry

TINY = 1e-37  # no chance is smaller, as single precision has it
SIDE = 16  # sites at once
TOGETHER = 8  # chances whose product has a logarithm: eight of `TINY` are a number of double precision


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
    # sites side by side: a frame's values of them lie together, and the loops over them are vectorised
    chance, later = np.zeros((n_frames, n_states, SIDE)), np.empty((n_states, SIDE))
    likely, usual = np.empty((n_frames, n_states, SIDE)), np.empty((n_frames, n_states, SIDE))
    new, norm, product = np.zeros((n_frames, SIDE)), np.zeros(SIDE), np.ones(SIDE)
    kept, drawn, same, largest = np.empty(SIDE), np.empty(SIDE), np.empty(SIDE), np.empty(SIDE)
    evidence = 0.0
    for first in range(0, n_sites, SIDE):
        side = min(SIDE, n_sites - first)
        for t in range(n_frames):
            for n in range(side):
                kind = around[t, first + n]
                new[t, n] = change[kind]
                for s in range(n_states):
                    usual[t, s, n] = prevalence[kind, s]
                    likely[t, s, n] = seen[t, first + n, s]
        for t in range(n_frames):
            norm[:] = TINY
            for s in range(n_states):
                for n in range(SIDE):
                    before = (1 - new[t, n]) * chance[t - 1, s, n] + new[t, n] * usual[t, s, n] if t else usual[t, s, n]
                    chance[t, s, n] = before * likely[t, s, n]
                    norm[n] += chance[t, s, n]
            for n in range(SIDE):
                product[n] *= norm[n]
            if t % TOGETHER == TOGETHER - 1 or t == n_frames - 1:
                for n in range(side):
                    evidence += math.log(product[n])
                product[:] = 1.0
            for n in range(SIDE):
                norm[n] = 1 / norm[n]
            for s in range(n_states):
                for n in range(SIDE):
                    chance[t, s, n] *= norm[n]
        later[:] = 1.0
        for t in range(n_frames - 1, -1, -1):
            norm[:] = TINY
            for s in range(n_states):
                for n in range(SIDE):
                    likely[t, s, n] *= later[s, n]
                    later[s, n] *= chance[t, s, n]
                    norm[n] += later[s, n]
            for n in range(side):
                for s in range(n_states):
                    posterior[t, first + n, s] = later[s, n] / norm[n]
            if t == 0:
                continue
            kept[:], drawn[:], same[:], largest[:] = 0.0, 0.0, 0.0, TINY
            for s in range(n_states):
                for n in range(SIDE):
                    stays = chance[t - 1, s, n] * likely[t, s, n]
                    kept[n] += (1 - new[t, n]) * stays
                    drawn[n] += new[t, n] * usual[t, s, n] * likely[t, s, n]
                    same[n] += new[t, n] * usual[t, s, n] * stays
            for n in range(side):
                moved[t - 1, first + n] = (drawn[n] - same[n]) / max(kept[n] + drawn[n], 1e-30)
            for s in range(n_states):
                for n in range(SIDE):
                    later[s, n] = (1 - new[t, n]) * likely[t, s, n] + drawn[n]
                    largest[n] = max(largest[n], later[s, n])
            for s in range(n_states):
                for n in range(SIDE):
                    later[s, n] /= largest[n]
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
