"""Transition probabilities per frame from observed states, taken at face value.

Right when labels are right. With a noisy detector every wrong label looks like two switches: the hidden Markov model
of `markov` is then the one to use; the estimates here stand beside it.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import stats

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


def stationary(P: np.ndarray) -> np.ndarray:
    """Stationary distribution of a transition matrix, (S,); NaN when it is not unique."""
    values, vectors = np.linalg.eig(P.T)
    one = np.flatnonzero(np.abs(values - 1) < 1e-9)
    if len(one) != 1:
        return np.full(len(P), np.nan)
    weight = np.real(vectors[:, one[0]])
    return weight / weight.sum()
