"""The state of every lattice site at every frame of a movie, from all frames together.

A hidden Markov model per site. Between frames a site keeps its state, or, with a small probability, draws a new one
from the prevalence in this movie; both are those of its surroundings, since vacancies beside a dopant are more and turn
faster. What a frame shows of a site has the likelihood of an emission: `levels.Levels`, which learns from the movie, or
`Given`. Forward-backward (Rabiner, Proc. IEEE 77, 257 (1989)) gives the posterior; the probability of change, the
prevalence and the emission are fitted by expectation maximisation. A frame in which a column was not found says nothing
about it.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float32, Int

from stemdefects.numerics import redrawn_chains

WORST = 12.0  # largest log-likelihood ratio that one frame can give: it may be wrong
FEW_SITES = 5.0  # that the usual prevalence counts for, in surroundings that are rare
FIRST = 4  # iterations after which only the best start goes on


PerState = Float[np.ndarray, "frames sites states"]
Around = Int[np.ndarray, "frames sites"] | None  # which kind of surroundings a site has; None: all alike


@runtime_checkable
class Emission(Protocol):
    """What the frames show of the sites of a sublattice."""

    def log_likelihood(self) -> PerState:
        """Zeros where nothing was seen."""
        ...

    def learned(self, posterior: PerState) -> "Emission":
        """The emission that suits the posterior best."""
        ...

    def starts(self) -> list["Emission"]:
        """Emissions to begin with; the one that comes to explain the movie best is taken."""
        ...


# with prevalence and changes
Learned = tuple[Emission, Float[np.ndarray, "kinds states"], Float[np.ndarray, " kinds"]]


class Given(NamedTuple):
    """An emission that is known: log-likelihoods."""

    seen: PerState

    def log_likelihood(self) -> PerState:
        return self.seen

    def learned(self, posterior: PerState) -> "Given":
        return self

    def starts(self) -> list["Given"]:
        return [self]


class Fit(NamedTuple):
    """change: probability of a new draw per frame, and prevalence, in each kind of surroundings; sites: how many sites
    have these; log_evidence: of all that was seen; emission: as learned."""

    posterior: PerState
    change: Float[np.ndarray, " kinds"]
    prevalence: Float[np.ndarray, "kinds states"]
    sites: Float[np.ndarray, " kinds"]
    log_evidence: float
    emission: Emission

    @property
    def mean_change(self) -> float:
        """Over all sites."""
        return float(np.average(self.change, weights=self.sites))

    @property
    def mean_prevalence(self) -> Float[np.ndarray, " states"]:
        """Over all sites."""
        return np.average(self.prevalence, axis=0, weights=self.sites)


def likelihood(
    log_likelihood: Float[np.ndarray, "*sites states"], evidence_weight: float = 1.0
) -> Float32[np.ndarray, "*sites states"]:
    """Log-likelihoods -> likelihoods, the largest 1, none below exp(-WORST).

    A weight below 1 says that the errors of neighbouring frames are alike.
    """
    return _likelihood(log_likelihood, evidence_weight)[0]


def _likelihood(log: np.ndarray, weight: float) -> tuple[np.ndarray, np.ndarray]:
    """The same, and what was the largest log-likelihood of each site."""
    n_states = log.shape[-1]
    relative, largest = redrawn_chains.relative(np.ascontiguousarray(log).reshape(-1, n_states), -WORST)
    return np.exp(weight * relative).astype(np.float32).reshape(log.shape), largest


class Smoothed(NamedTuple):
    """moved: probability that a site's state is another than in the frame before; log_evidence: of all that was
    seen."""

    posterior: PerState
    moved: Float[np.ndarray, "frames-1 sites"]
    log_evidence: float


def forward_backward(
    seen: PerState,
    prevalence: Float[np.ndarray, "*kinds states"],
    change: Float[np.ndarray, "*kinds"] | float,
    around: Around = None,
) -> Smoothed:
    """Forward-backward for every site.

    seen: likelihoods, ones where nothing was seen; prevalence, change: of each kind of surroundings, or of all where
    they are alike.
    """
    seen, prevalence = np.asarray(seen, np.float32), np.atleast_2d(np.asarray(prevalence, float))
    around = np.zeros(seen.shape[:2], int) if around is None else around
    change = np.atleast_1d(np.asarray(change, float))
    return Smoothed(*redrawn_chains.smoothed(seen, prevalence, change, np.ascontiguousarray(around, int)))


def fit(
    emission: Emission,
    prior: Float[np.ndarray, " states"],
    around: Around = None,
    evidence_weight: float = 1.0,
    change: float = 0.03,
    n_iterations: int = 8,
    prior_weight: float = 50.0,
) -> Fit:
    """Expectation maximisation for sites of one sublattice.

    prior: adds up to 1 and counts as `prior_weight` sites; around: 0 are the usual surroundings; evidence_weight: see
    `likelihood`. A site's run in one state counts once, however long it lasts.
    """
    prior = np.asarray(prior, float) / np.sum(prior)
    around = np.zeros(emission.log_likelihood().shape[:2], int) if around is None else around
    around, n_frames = np.ascontiguousarray(around, int), len(around)
    n_kinds = int(around.max(initial=0)) + 1
    sites = np.bincount(around.ravel(), minlength=n_kinds) / n_frames
    steps = np.bincount(around[1:].ravel(), minlength=n_kinds)
    first = np.tile(prior, (n_kinds, 1)), np.full(n_kinds, change)

    def smooth(emission: Emission, prevalence: np.ndarray, changes: np.ndarray) -> Smoothed:
        seen, largest = _likelihood(emission.log_likelihood(), evidence_weight)
        found = forward_backward(seen, prevalence, changes, around)
        return found._replace(log_evidence=found.log_evidence + evidence_weight * float(largest.sum()))

    def iterate(emission: Emission, prevalence: np.ndarray, changes: np.ndarray, n: int) -> Learned:
        prevalence, changes = prevalence.copy(), changes.copy()
        for _ in range(n):
            found = smooth(emission, prevalence, changes)
            states, moves = redrawn_chains.counted(found.posterior, found.moved, around, n_kinds)
            for c in range(n_kinds):
                # a new draw is seen where it gives another state; a prior worth fifty site frames keeps short movies
                # and rare surroundings sane
                visible = max(1 - (prevalence[c] ** 2).sum(), 1e-6)
                expected = 50 * (0.01 if c == 0 else changes[0])
                changes[c] = np.clip((moves[c] / visible + expected) / (steps[c] + 50), 1e-6, 0.5)
                total = states[c] / n_frames
                total = total + (prior_weight * prior if c == 0 else FEW_SITES * prevalence[0])
                prevalence[c] = total / total.sum()
            emission = emission.learned(found.posterior)
        return emission, prevalence, changes

    starts = emission.starts()
    if len(starts) > 1:
        runs = [iterate(start, *first, FIRST) for start in starts]
        best = max(runs, key=lambda run: smooth(*run).log_evidence)
        emission, prevalence, changes = iterate(*best, n_iterations - FIRST)
    else:
        emission, prevalence, changes = iterate(starts[0], *first, n_iterations)
    found = smooth(emission, prevalence, changes)
    return Fit(found.posterior, changes, prevalence, np.maximum(sites, 1e-9), found.log_evidence, emission)
