"""Transition probabilities per frame from observed states, taken at face value, and what a matrix says of rates.

Right when labels are right. With a noisy detector every wrong label looks like two switches: the hidden Markov model
of `markov` is then the one to use; the estimates here stand beside it.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import stats
from scipy.linalg import logm

from stemdefects.analysis import bootstrap
from stemdefects.analysis.estimates import LEVEL
from stemdefects.analysis.switching.states import Chain


@dataclass
class Transitions:
    """Transition probabilities per frame, rows = from: `P`, `low`, `high` (S, S); NaN where nothing was seen."""

    names: list[str]
    P: np.ndarray
    low: np.ndarray
    high: np.ndarray
    counts: np.ndarray
    method: str
    n_tracks: int
    warning: str = ""
    extra: dict = field(default_factory=dict)


def counts(chain: Chain, by_track: bool = False) -> np.ndarray:
    """Observed steps between neighbouring frames: (S, S), or (n_tracks, S, S)."""
    a, b, track, _ = chain.steps()
    size = len(chain.names)
    tracks = np.unique(chain.track)
    out = np.zeros((len(tracks), size, size))
    np.add.at(out, (np.searchsorted(tracks, track), a, b), 1)
    return out if by_track else out.sum(0)


def pooled(chain: Chain, prior: float = 1.0) -> Transitions:
    """Pooled counts with a Dirichlet posterior (weight `prior` per row, spread evenly); marginal intervals.

    A state never left nor seen twice has NaN.
    """
    seen = counts(chain)
    size = len(chain.names)
    alpha = seen + prior / size
    total = alpha.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        value = seen / seen.sum(1, keepdims=True)
    low = stats.beta.ppf(0.5 - LEVEL / 2, alpha, total - alpha)
    high = stats.beta.ppf(0.5 + LEVEL / 2, alpha, total - alpha)
    low = np.where(seen == 0, 0.0, low)
    nothing = seen.sum(1) == 0
    low[nothing], high[nothing] = np.nan, np.nan
    warning = "Taken at face value: wrong labels count as switches."
    return Transitions(chain.names, value, low, high, seen, "pooled", chain.n_tracks, warning)


def paper(chain: Chain, n_bootstrap: int = 400, rng: np.random.Generator | None = None) -> Transitions:
    """The reference work's estimate, for comparison: row-normalise each trace's counts, then average over traces.

    Rows a trace never visits are left out of its average. Intervals from resampling traces; they cover nothing,
    because short traces weigh as much as long ones and label noise adds to every entry.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    by_track = counts(chain, by_track=True)
    rows = by_track.sum(2)
    with np.errstate(invalid="ignore", divide="ignore"):
        normal = np.where(rows[..., None] > 0, by_track / rows[..., None], 0.0)
        visited = (rows > 0).astype(float)
        value = normal.sum(0) / visited.sum(0)[:, None]
        weights = bootstrap.weights(len(rows), n_bootstrap, rng)
        again = np.einsum("bn,nij->bij", weights, normal) / (weights @ visited)[..., None]
    low, high = np.full_like(value, np.nan), np.full_like(value, np.nan)
    for i, j in np.ndindex(*value.shape):
        low[i, j], high[i, j] = bootstrap.percentile_interval(again[:, i, j])
    warning = "The published formula, for comparison; biased by label noise and short traces."
    return Transitions(chain.names, value, low, high, by_track.sum(0), "paper", chain.n_tracks, warning)


def memory(P: np.ndarray) -> float:
    """Size of the second eigenvalue: 1 a state that lasts, 0 no memory from frame to frame (pure label noise)."""
    if P.shape[0] < 2 or not np.isfinite(P).all():
        return np.nan
    return float(np.sort(np.abs(np.linalg.eigvals(P)))[-2])


def long_run(P: np.ndarray) -> np.ndarray:
    """Stationary distribution of a transition matrix (S, S), by least squares."""
    size = len(P)
    system = np.vstack([P.T - np.eye(size), np.ones(size)])
    return np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)[0]


def generator(P: np.ndarray, dt: float) -> tuple[np.ndarray, bool]:
    """Rate matrix Q with expm(Q dt) = P, negative rates set to zero; and whether it was a true generator already. NaN
    where no logarithm is real: states that alternate from frame to frame are no chain in continuous time (Kingman, Z.
    Wahrsch. 1, 14 (1962): of two states both are left less often than not)."""
    Q = logm(P) / dt
    if np.abs(np.imag(Q)).max() > 1e-6 / dt:
        return np.full(P.shape, np.nan), False
    Q = np.real(Q)
    off = Q - np.diag(np.diag(Q))
    clean = bool(off.min() > -1e-3 / dt)
    off = np.maximum(off, 0)
    return off - np.diag(off.sum(1)), clean


def of_matrices(P: np.ndarray, dt: float) -> dict:
    """`summaries` of samples (n, S, S) of the transition matrix, and the share of them that rates can make, of which
    alone the rates are; NaN where no rates make most of them."""
    picks = np.linspace(0, len(P) - 1, min(200, len(P))).astype(int)
    with np.errstate(all="ignore"):
        results = [generator(P[k], dt) for k in picks]
    Q = np.array([q for q, _ in results])
    possible = np.isfinite(Q).all((1, 2))
    clean = np.mean([ok for _, ok in results])
    if possible.mean() < 0.5:
        Q = np.full(Q.shape, np.nan)
    else:
        Q = Q[possible]
    return summaries(Q, P[picks]) | {"embeddable": float(clean)}


def summaries(Q: np.ndarray, P: np.ndarray) -> dict:
    """Rates, dwell times and long-run shares of samples (n, S, S): median and 95% interval."""
    dwell = 1 / np.maximum(-np.diagonal(Q, axis1=1, axis2=2), 1e-12)
    shares = np.array([long_run(p) for p in P])

    def summary(samples):
        return np.stack([np.median(samples, 0), *np.quantile(samples, [0.025, 0.975], axis=0)], -1)

    return {"rates": summary(Q), "dwell": summary(dwell), "stationary": summary(shares)}
