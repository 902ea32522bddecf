"""Hidden Markov chains of a few states, seen through a detector that errs and misses.

Everything is batched: observations are (B, N, L), B data sets or replicas of N traces of up to L frames, -1 where the
frame is missing. A missing frame carries no information, so it is summed over and not skipped. Traces end at their last
observation. `numerics.forward_backward` has the sums, `sampling` draws from the posterior.
"""

import numpy as np

from stemdefects.numerics import forward_backward

MISSING = -1  # no label in this frame


def _lengths(observed: np.ndarray) -> np.ndarray:
    """(..., N) number of frames up to the last observation of each trace."""
    seen = observed >= 0
    last = observed.shape[-1] - np.argmax(seen[..., ::-1], axis=-1)
    return np.where(seen.any(-1), last, 0)


def _live(lengths: np.ndarray) -> np.ndarray:
    """For each frame, how many traces from the front have to be stepped: few, when long traces come first."""
    length = int(lengths.max(initial=0))
    reach = np.where(np.arange(length)[:, None, None] < lengths, np.arange(1, lengths.shape[1] + 1), 0)
    return reach.max((1, 2)) if length else np.empty(0, int)


def longest_first(observed: np.ndarray) -> np.ndarray:
    """Traces (B, N, L) in order of falling length, cut to the longest: the same chains, stepped faster."""
    lengths = _lengths(observed)
    order = np.argsort(-lengths, axis=1, kind="stable")
    return np.take_along_axis(observed, order[..., None], 1)[..., : int(lengths.max(initial=0))]


def label_table(C: np.ndarray) -> np.ndarray:
    """Likelihood of each label in each state, (B, 1 or N, O + 1, S), ones at the end for what was not seen (-1)."""
    C = C if C.ndim == 4 else C[:, None]
    return np.concatenate([C.swapaxes(2, 3), np.ones((*C.shape[:2], 1, C.shape[2]))], 2)


def _emission(labels: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Likelihood of labels (B, n) in each state, (B, n, S)."""
    B, n = labels.shape
    trace = np.arange(n) if table.shape[1] > 1 else np.zeros(n, int)
    return table[np.arange(B)[:, None], trace, labels]


class Chain:
    """Traces (B, N, L) as a chain of `numerics.forward_backward`: those that are long enough stand first, and what is
    beyond the end of a trace says nothing."""

    def __init__(self, observed: np.ndarray, P: np.ndarray, C: np.ndarray):
        self.observed, self.P, self.table = observed, P, label_table(C)
        self.lengths = _lengths(observed)
        self.live = _live(self.lengths)

    def seen(self, t: int) -> np.ndarray:
        return _emission(self.observed[:, : self.live[t], t], self.table)

    def ahead(self, t: int, chances: np.ndarray) -> np.ndarray:
        return chances @ self.P

    def back(self, t: int, weights: np.ndarray) -> np.ndarray:
        return weights @ self.P.swapaxes(1, 2)

    def forward(self, start: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
        """Filtered states of each frame, (B, n, S), and the log likelihood of each trace, (B, N)."""
        alpha, total = forward_backward.forward(len(self.live), self.seen, start[:, None], self.ahead)
        whole = np.zeros(self.lengths.shape)
        whole[:, : total.shape[-1]] = total
        return alpha, whole


def log_likelihood(observed: np.ndarray, P: np.ndarray, C: np.ndarray, start: np.ndarray) -> np.ndarray:
    """Log likelihood of every trace, (B, N). Arrays as in `expectation`."""
    return Chain(observed, P, C).forward(start)[1]


def expectation(
    observed: np.ndarray, P: np.ndarray, C: np.ndarray, start: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Expected counts given the data (the E step).

    Args:
        observed: (B, N, L) labels, -1 missing; quickest with `longest_first`.
        P: (B, S, S); C: (B, S, O); start: (B, S).

    Returns:
        (transitions (B, S, S), labels (B, S, O), starts (B, S), log likelihood (B,)).
    """
    chain = Chain(observed, P, C)
    alpha, total = chain.forward(start)
    transitions, labels, starts = np.zeros_like(P), np.zeros_like(C), np.zeros_like(start)
    batch = np.broadcast_to(np.arange(len(C))[:, None], observed.shape[:2])
    for t, posterior, weighted in forward_backward.backward(alpha, chain.seen, chain.back):
        n = chain.live[t]
        now = (chain.lengths[:, :n] > t)[..., None]
        gamma = np.where(now, posterior, 0.0)
        seen = now[..., 0] & (observed[:, :n, t] >= 0)
        np.add.at(labels.swapaxes(1, 2), (batch[:, :n][seen], observed[:, :n, t][seen]), gamma[seen])
        if t == 0:
            starts = gamma.sum(1)
            break
        before = alpha[t - 1][:, :n]
        norm = np.einsum("bni,bij,bnj->bn", before, P, weighted, optimize=True)
        share = np.where(now, before / np.maximum(norm, 1e-300)[..., None], 0.0)
        transitions += share.swapaxes(1, 2) @ weighted * P
    return transitions, labels, starts, total.sum(1)


def _normal(counts: np.ndarray) -> np.ndarray:
    total = counts.sum(-1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), 1.0 / counts.shape[-1])


def guess_confusion(size: int, accuracy: float = 0.9) -> np.ndarray:
    """(S, S) confusion of a detector that is right with `accuracy` and otherwise errs evenly."""
    off = (1 - accuracy) / max(size - 1, 1)
    return np.full((size, size), off) + np.eye(size) * (accuracy - off)


def em(
    observed: np.ndarray,
    C: np.ndarray | None = None,
    prior: float = 1.0,
    confusion_weight: float = 20.0,
    n_iter: int = 200,
    tolerance: float = 1e-7,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Most probable transition matrix by expectation maximisation.

    Args:
        observed: (B, N, L) labels, -1 missing.
        C: (S, S) or (B, S, S) known confusion; None: estimated jointly, from a prior of a detector 90% right with the
            weight of `confusion_weight` labels per state.
        prior: Dirichlet weight per row of P, spread evenly.

    Returns:
        (P (B, S, S), C (B, S, S), start (B, S), log likelihood (B,)).
    """
    observed = longest_first(observed)
    B = len(observed)
    size = int(observed.max(initial=0)) + 1 if C is None else np.shape(C)[-2]
    joint = C is None
    believed = np.broadcast_to(guess_confusion(size) if joint else C, (B, size, size)).copy()
    prior_counts = confusion_weight * believed
    P = np.broadcast_to(guess_confusion(size, 0.8), (B, size, size)).copy()
    start = np.full((B, size), 1.0 / size)
    confusion, last = believed.copy(), np.full(B, -np.inf)
    total = last
    for _ in range(n_iter):
        transitions, labels, starts, total = expectation(observed, P, confusion, start)
        P = _normal(transitions + prior / size)
        start = _normal(starts + 1.0 / size)
        if joint:
            confusion = _normal(labels + prior_counts)
        if (np.abs(total - last) < tolerance * np.abs(total)).all():
            break
        last = total
    return P, confusion, start, total
