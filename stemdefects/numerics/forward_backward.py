"""Sums over all paths of hidden states: the one forward-backward of this software (Rabiner, Proc. IEEE 77, 257 (1989)).

Chains differ in how a step is taken (one matrix, one for every span, a rule), so a chain is given by what carries
chances a step ahead, and weights a step back. Traces may end: those that go on stand first, so that their number falls.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

Seen = Callable[[int], np.ndarray]  # likelihoods (..., n_t, S) of what step t shows; n_t never rises
Carry = Callable[[int, np.ndarray], np.ndarray]  # (..., n_t, S) between the steps t - 1 and t


class Smoothed(NamedTuple):
    """Of one step: t; posterior: (..., n_t, S); ahead: (..., n_t, S) likelihood, but for a factor of each trace, of
    what is seen at t and later, by the state at t."""

    t: int
    posterior: np.ndarray
    ahead: np.ndarray


def forward(
    n_steps: int, seen: Seen, start: Float[np.ndarray, "..."], ahead: Carry
) -> tuple[list[Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]:
    """Chances of the states given all that was seen up to each step.

    Args:
        seen: likelihoods of each step, ones where nothing was seen.
        start: (..., n_0 or 1, S) chances before the first step.
        ahead: `ahead(t, chances)` of the states at t from those at t - 1.

    Returns:
        (chances (..., n_t, S) of each step, log likelihood (..., n_0) of each trace).
    """
    chances: list[np.ndarray] = []
    total = np.zeros(0)
    for t in range(n_steps):
        likely = seen(t)
        n = likely.shape[-2]
        joint = (ahead(t, chances[-1][..., :n, :]) if t else start) * likely
        norm = _above_zero(joint.sum(-1, keepdims=True))
        if t == 0:
            total = np.zeros(norm.shape[:-1])
        total[..., :n] += np.log(norm[..., 0])
        chances.append(joint / norm)
    return chances, total


def backward(chances: list[Float[np.ndarray, "..."]], seen: Seen, back: Carry) -> Iterator[Smoothed]:
    """Posteriors given everything, from the last step to the first.

    Args:
        chances: of `forward`.
        back: `back(t, weights)` of the states at t - 1 from weights (likelihoods but for a factor) of those at t.
    """
    later = np.ones_like(chances[-1]) if chances else np.ones(0)
    for t in range(len(chances) - 1, -1, -1):
        smooth = chances[t] * later
        weighted = seen(t) * later
        yield Smoothed(t, smooth / _above_zero(smooth.sum(-1, keepdims=True)), weighted)
        if t:
            earlier = back(t, weighted)
            later = np.ones_like(chances[t - 1])
            later[..., : earlier.shape[-2], :] = earlier / _above_zero(earlier.max(-1, keepdims=True))


def _above_zero(values: np.ndarray) -> np.ndarray:
    return np.maximum(values, np.finfo(values.dtype).tiny)
