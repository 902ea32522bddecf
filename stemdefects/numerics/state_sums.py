"""Sums over the states of many sites, and by how probable they are, compiled. T frames, N sites, K states."""

from typing import NamedTuple

import numpy as np

from stemdefects.compiled import entry


@entry
def log_densities(rest: np.ndarray, level: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """(M, K) float32 log density of `rest` (M,), up to a constant, in states at `level` (K,) that scatter by `variance`
    (K,); 0 where it is not finite."""
    out, logs = np.zeros((len(rest), len(level)), np.float32), np.log(variance)
    for m in range(len(rest)):
        if np.isfinite(rest[m]):
            for k in range(len(level)):
                out[m, k] = -0.5 * ((rest[m] - level[k]) ** 2 / variance[k] + logs[k])
    return out


class Moments(NamedTuple):
    """Sums over columns, each by the posterior of its states. scale: (2,), the least squares of what is left of the
    line by the levels; gram: (1 + J, 1 + J) of the neighbours and 1; line, level: (1 + J,) of these times the line, and
    the states' levels."""

    scale: np.ndarray
    gram: np.ndarray
    line: np.ndarray
    level: np.ndarray


@entry
def moments(
    posterior: np.ndarray,
    common: np.ndarray,
    line: np.ndarray,
    rest: np.ndarray,
    counts: np.ndarray,
    levels: tuple[np.ndarray, np.ndarray],
) -> Moments:
    """posterior: (T, N, K); common: (C,) which states count; line, rest: (T, N), NaN where nothing was seen; counts:
    (T, N, J); levels: (C,) of these states, and how they scatter, (C,) variance."""
    level, variance = levels
    size = counts.shape[2] + 1
    scale, gram, by_line, by_level = np.zeros(2), np.zeros((size, size)), np.zeros(size), np.zeros(size)
    design = np.ones(size)
    for t in range(line.shape[0]):
        for n in range(line.shape[1]):
            if not np.isfinite(line[t, n]):
                continue
            weight, expected = 0.0, 0.0
            for c in range(len(common)):
                prob = np.float64(posterior[t, n, common[c]])
                weight += prob
                expected += prob * level[c]
                scale[0] += prob * level[c] / variance[c] * rest[t, n]
                scale[1] += prob * level[c] / variance[c] * level[c]
            for j in range(1, size):
                design[j] = counts[t, n, j - 1]
            for a in range(size):
                by_line[a] += design[a] * (line[t, n] * weight)
                by_level[a] += design[a] * expected
                for b in range(size):
                    gram[a, b] += design[a] * weight * design[b]
    return Moments(scale, gram, by_line, by_level)


@entry
def strongest(prob: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(T, N) which of the states (T, N, K) has the largest probability, which that is, and the sum of all. Of a few
    states numpy takes ten times as long."""
    n_frames, n_sites, n_states = prob.shape
    which, largest = np.zeros((n_frames, n_sites), np.int64), np.zeros((n_frames, n_sites), prob.dtype)
    total = np.zeros((n_frames, n_sites), prob.dtype)
    for t in range(n_frames):
        for n in range(n_sites):
            largest[t, n] = prob[t, n, 0]
            for k in range(n_states):
                total[t, n] += prob[t, n, k]
                if prob[t, n, k] > largest[t, n]:
                    which[t, n], largest[t, n] = k, prob[t, n, k]
    return which, largest, total
