"""The state of every lattice site at every frame of a movie, from all frames together.

A hidden Markov model per site. Between frames a site keeps its state, or, with a small probability, draws a new one
from the prevalence in this movie; what a frame shows of a site has the likelihood of `models.emissions`, or, without
them, that of the network's own posterior. Forward-backward (Rabiner, Proc. IEEE 77, 257 (1989)) gives the posterior;
the probability of change and the prevalence are fitted by expectation maximisation. A frame in which a column was not
found says nothing about it.
"""

from typing import NamedTuple

import numpy as np

WORST = 12.0  # largest log-likelihood ratio that one frame can give: it may be wrong


class Fit(NamedTuple):
    """posterior: (T, N, S); change: probability of a new draw per frame; prevalence: (S,) in this movie."""

    posterior: np.ndarray
    change: float
    prevalence: np.ndarray


def likelihood(log_likelihood: np.ndarray, evidence_weight: float = 1.0) -> np.ndarray:
    """(..., K) log-likelihoods -> likelihoods, the largest 1, none below exp(-WORST).

    A weight below 1 says that the errors of neighbouring frames are alike.
    """
    relative = log_likelihood - log_likelihood.max(-1, keepdims=True)
    return np.exp(evidence_weight * np.maximum(relative, -WORST)).astype(np.float32)


def forward_backward(seen: np.ndarray, prevalence: np.ndarray, change: float) -> tuple[np.ndarray, np.ndarray]:
    """Posteriors (T, N, S) and probabilities (T - 1, N) that a site drew anew before each frame but the first.

    seen: (T, N, S) likelihoods, ones where nothing was seen; prevalence: (S,).
    """
    n_frames = len(seen)
    forward = np.empty_like(seen)
    state = np.broadcast_to(prevalence, seen.shape[1:])
    for t in range(n_frames):
        mixed = state if t == 0 else (1 - change) * state + change * prevalence
        state = mixed * seen[t]
        state = state / np.maximum(state.sum(-1, keepdims=True), 1e-30)
        forward[t] = state
    posterior = np.empty_like(seen)
    drew = np.empty((max(n_frames - 1, 0), seen.shape[1]), seen.dtype)
    later = np.ones(seen.shape[1:], seen.dtype)
    posterior[-1] = forward[-1]
    for t in range(n_frames - 1, 0, -1):
        weighted = seen[t] * later
        kept = (1 - change) * (forward[t - 1] * weighted).sum(-1)
        new = change * (prevalence * weighted).sum(-1)
        drew[t - 1] = new / np.maximum(kept + new, 1e-30)
        later = (1 - change) * weighted + change * (prevalence * weighted).sum(-1, keepdims=True)
        later = later / np.maximum(later.max(-1, keepdims=True), 1e-30)
        smooth = forward[t - 1] * later
        posterior[t - 1] = smooth / np.maximum(smooth.sum(-1, keepdims=True), 1e-30)
    return posterior, drew


def fit(
    seen: np.ndarray, prior: np.ndarray, change: float = 0.01, n_iterations: int = 8, prior_weight: float = 200.0
) -> Fit:
    """Expectation maximisation for sites of one sublattice.

    seen: (T, N, S) from `likelihood`, S the states of this sublattice; prior: (S,) adds up to 1 and counts as
    `prior_weight` sites. A site's run in one state counts once, however many frames it lasts.
    """
    prevalence = np.asarray(prior, float) / np.sum(prior)
    seen = np.asarray(seen, np.float32)
    for _ in range(n_iterations):
        posterior, drew = forward_backward(seen, prevalence.astype(np.float32), np.float32(change))
        if len(drew):
            # half a change per hundred site frames as a prior keeps short movies sane
            change = float(np.clip((drew.sum() + 0.5) / (drew.size + 50), 1e-6, 0.3))
        total = posterior.mean(0).sum(0) + prior_weight * prior / np.sum(prior)
        prevalence = total / total.sum()
    posterior, _ = forward_backward(seen, prevalence.astype(np.float32), np.float32(change))
    return Fit(posterior, change, prevalence)
