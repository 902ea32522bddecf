"""Does one memoryless chain describe the states? Chapman-Kolmogorov, change over the movie, detailed balance."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from stemdefects.analysis import bootstrap
from stemdefects.analysis.motion.propagator import alike
from stemdefects.analysis.switching import sampling, transitions
from stemdefects.analysis.switching.states import Chain

if TYPE_CHECKING:
    from stemdefects.analysis.switching.continuous import Looks


def chapman(
    observed: np.ndarray,
    P: np.ndarray,
    C: np.ndarray,
    posterior: sampling.Posterior,
    rng: np.random.Generator,
    lags: Sequence[int] = (1, 2, 4, 8),
) -> list[dict[str, float]]:
    """Chapman-Kolmogorov test on what is seen: how often two labels `lag` frames apart are the same.

    If states switch without memory, the model fitted to single frames predicts it for every lag. C: (S, O), or
    (N, S, O) where the detector differs from trace to trace.
    """
    C = np.broadcast_to(C if C.ndim == 3 else C[None], (len(observed), *C.shape[-2:]))
    path = sampling.sample_paths(observed[None], P[None], C[None], posterior.start[:, -1], rng)[0]
    rows = []
    for lag in lags:
        if observed.shape[1] <= lag:
            break
        a, b = observed[:, :-lag], observed[:, lag:]
        ok = (a >= 0) & (b >= 0)
        if ok.sum() < 30:
            break
        occupied = np.stack([(ok & (path[:, :-lag] == i)).sum(1) for i in range(len(P))], 1) / ok.sum()
        later = np.einsum("ij,njo->nio", np.linalg.matrix_power(P, lag), C)
        predicted = float((occupied * (C * later).sum(-1)).sum())
        same, total = ((a == b) & ok).sum(1).astype(float), ok.sum(1).astype(float)
        rows.append(_agreement(lag, same, total, predicted, rng))
    return rows


def chapman_in_time(
    seen: "Looks",
    path: np.ndarray,
    propagators: Callable[[np.ndarray], np.ndarray],
    C: np.ndarray,
    rng: np.random.Generator,
    lags: Sequence[int] = (1, 2, 4, 8),
) -> list[dict[str, float]]:
    """The same test for looks at any times: pairs of looks `lag` looks apart, each with the model of its own time.

    Args:
        seen: `continuous.Looks`; path: (N, L) states at the looks, drawn from their posterior.
        propagators: (m,) times -> (m, S, S).
        C: (S, O), or (N, S, O).
    """
    label, rows = seen.label, []
    C = np.broadcast_to(C if C.ndim == 3 else C[None], (len(label), *C.shape[-2:]))
    passed = np.concatenate([np.zeros((len(label), 1)), np.cumsum(seen.spans[seen.which], 1)], 1)
    for lag in lags:
        n, t = np.nonzero(label[:, lag:] >= 0) if label.shape[1] > lag else (np.empty(0, int),) * 2
        if len(n) < 30:
            break
        times, which = alike(passed[n, t + lag] - passed[n, t])
        state = path[n, t]
        later = np.einsum("pj,pjo->po", propagators(times)[which, state], C[n])
        predicted = float((C[n, state] * later).sum(1).mean())
        same = np.bincount(n, label[n, t] == label[n, t + lag], len(label))
        total = np.bincount(n, minlength=len(label)).astype(float)
        rows.append(_agreement(lag, same, total, predicted, rng))
    return rows


def _agreement(lag, same, total, predicted, rng) -> dict:
    """Share of equal labels, by traces, beside what the model says; the error from resampled traces."""
    weights = bootstrap.weights(len(total), 300, rng)
    with np.errstate(invalid="ignore"):
        error = np.nanstd((weights @ same) / (weights @ total))
    seen = same.sum() / total.sum()
    return {
        "lag": lag,
        "observed": float(seen),
        "predicted": predicted,
        "error": float(error),
        "z": float((seen - predicted) / max(error, 1e-6)),
    }


def net_flux(P: np.ndarray) -> dict:
    """Largest net probability flux pi_i P_ij - pi_j P_ji over its posterior scatter: a test of detailed balance."""
    picks = P[:: max(1, len(P) // 200)]
    weights = np.array([transitions.long_run(p) for p in picks])
    flow = weights[:, :, None] * picks
    net = flow - flow.swapaxes(1, 2)
    mean, spread = net.mean(0), net.std(0)
    z = np.where(spread > 0, mean / np.maximum(spread, 1e-12), 0.0)
    i, j = np.unravel_index(np.abs(z).argmax(), z.shape)
    pairs = len(P[0]) * (len(P[0]) - 1) // 2
    p = min(1.0, 2 * stats.norm.sf(abs(z[i, j])) * pairs)
    return {"from": int(i), "to": int(j), "flux": float(mean[i, j]), "z": float(z[i, j]), "p": float(p)}


def stationarity(
    chain: Chain, n_frames: int, n_windows: int, rng: np.random.Generator, n_shuffles: int = 200
) -> dict | None:
    """Do transition probabilities change over the movie? Log-likelihood ratio of pooled counts per time window.

    The p-value is by shuffling whole tracks' windows: each track is given the window order at random by shifting the
    steps' frames along a circle, so that label noise and memory inside tracks do not look like change.

    Returns:
        dict with `p`, `windows` (list of first frame, last frame, (S, S) counts), or None with too few steps.
    """
    a, b, track, frame = chain.steps()
    size = len(chain.names)
    if len(a) < 50 * n_windows or n_windows < 2:
        return None
    edges = np.linspace(0, n_frames, n_windows + 1).astype(int)

    def ratio(frames):
        window = np.clip(np.searchsorted(edges, frames, side="right") - 1, 0, n_windows - 1)
        counts = np.zeros((n_windows, size, size))
        np.add.at(counts, (window, a, b), 1)
        return 2 * (_log_likelihood(counts).sum() - _log_likelihood(counts.sum(0))), counts

    value, counts = ratio(frame)
    # one shift for all tracks would keep the windows together; each track gets its own
    owners = np.unique(track, return_inverse=True)[1]
    chance = []
    for _ in range(n_shuffles):
        shift = rng.integers(0, n_frames, owners.max() + 1)
        chance.append(ratio((frame + shift[owners]) % n_frames)[0])
    p = (1 + np.sum(np.array(chance) >= value)) / (1 + n_shuffles)
    windows = [(int(edges[k]), int(edges[k + 1]), counts[k]) for k in range(n_windows)]
    return {"p": float(p), "windows": windows}


def _log_likelihood(counts):
    total = counts.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.nansum(np.where(counts > 0, counts * np.log(counts / total), 0.0), axis=(-1, -2))
