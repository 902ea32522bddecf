"""Hidden Markov chains in continuous time: states that switch by rates, looked at at any times.

Between two looks at times t and t + s a state goes over by exp(Q s), whatever s is, so that nothing is taken to happen
in steps. Rates Q are sampled by what they did: paths of states at the looks (forward filtering, backward sampling),
then the jumps and the times spent in each state between looks, exactly, by uniformization (Fearnhead and Sherlock,
J. R. Stat. Soc. B 68, 767 (2006); Hobolth and Stone, Ann. Appl. Stat. 3, 1204 (2009)), then Q from its Gamma posterior.
"""

from typing import NamedTuple, Protocol

import numpy as np
from scipy import stats

from stemdefects.analysis.motion.propagator import alike
from stemdefects.analysis.switching import markov, sampling
from stemdefects.analysis.switching.states import MISSING, Chain
from stemdefects.numerics import forward_backward

SAFETY = 8.0, 12.0  # deviations of a Poisson number, and more, beyond its mean: the rest is below 1e-12


class Looks(NamedTuple):
    """label: (N, L) what was seen at each look of N traces, -1 after the last; which: (N, L - 1) number of the time
    from each look to the next among `spans` (K,)."""

    label: np.ndarray
    which: np.ndarray
    spans: np.ndarray


def looks(chain: Chain, most: int) -> Looks:
    """Decided states of the traces that were seen twice or more, with the times between; the longest traces come first
    and no more than `most` looks in all are kept."""
    assert chain.time is not None  # frames at even intervals go by steps
    use = np.flatnonzero(chain.state >= 0)
    owner = np.unique(chain.track[use], return_inverse=True)[1]
    length = np.bincount(owner)
    rank = np.empty(len(length), int)
    order = np.argsort(-length, kind="stable")
    rank[order] = np.arange(len(length))
    width = int(length.max(initial=0))
    keep = (length[owner] >= 2) & (rank[owner] < max(most // max(width, 1), 10))
    use, owner = use[keep], rank[owner[keep]]
    n = int(owner.max(initial=-1)) + 1
    start = np.flatnonzero(np.r_[True, np.diff(chain.track[use]) != 0]) if len(use) else np.empty(0, int)
    place = np.arange(len(use)) - np.repeat(start, np.diff(np.append(start, len(use))))
    label, which = np.full((n, width), MISSING), np.zeros((n, max(width - 1, 0)), int)
    label[owner, place] = chain.state[use]
    later = np.flatnonzero(place > 0)
    spans, group = alike(chain.time[use[later]] - chain.time[use[later - 1]])
    which[owner[later], place[later] - 1] = group
    return Looks(label, which, spans)


class Uniform(NamedTuple):
    """A chain in steps that come at random: `powers` (M, S, S) of its step matrix, `chance` (K, M) of each number of
    steps in each span."""

    powers: np.ndarray
    chance: np.ndarray

    def propagators(self) -> np.ndarray:
        """(K, S, S): exp(Q span)."""
        return np.tensordot(self.chance, self.powers, 1)


def uniform(Q: np.ndarray, spans: np.ndarray) -> Uniform:
    """Uniformization of rates Q (S, S) over `spans` (K,)."""
    pace = max(float(-np.diag(Q).min()), 1e-300)
    mean = pace * np.asarray(spans, float)
    most = int(np.ceil(mean.max(initial=0) + SAFETY[0] * np.sqrt(mean.max(initial=0)) + SAFETY[1]))
    powers = np.empty((most + 1, *Q.shape))
    powers[0] = np.eye(len(Q))
    step = powers[0] + Q / pace
    for n in range(most):
        powers[n + 1] = powers[n] @ step
    return Uniform(powers, stats.poisson.pmf(np.arange(most + 1), mean[:, None]))


def forward(seen: Looks, P: np.ndarray, table: np.ndarray, start: np.ndarray) -> tuple[list[np.ndarray], float]:
    """Filtered states (N, S) at each look and the log likelihood of all.

    P: (K, S, S) per span; table: (1 or N, O + 1, S) of `markov.label_table`; start: (S,).
    """
    n, length = seen.label.shape
    row = np.arange(n) if len(table) > 1 else np.zeros(n, int)

    def ahead(t: int, chances: np.ndarray) -> np.ndarray:
        return (chances[:, None] @ P[seen.which[:, t - 1]])[:, 0]

    alpha, total = forward_backward.forward(length, lambda t: table[row, seen.label[:, t]], start[None], ahead)
    return alpha, float(total.sum())


def sample_paths(
    seen: Looks, P: np.ndarray, table: np.ndarray, start: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """One path of states at the looks per trace from its posterior, (N, L), -1 after the last; log likelihood."""
    alpha, total = forward(seen, P, table, start)
    path = np.full(seen.label.shape, MISSING)
    following = np.full(len(path), MISSING)
    for t in range(len(alpha) - 1, -1, -1):
        weight = alpha[t].copy()
        on = np.flatnonzero(following != MISSING)
        if t < len(alpha) - 1:
            weight[on] *= P[seen.which[on, t], :, following[on]]
        following = np.where(seen.label[:, t] != MISSING, sampling.draw(weight, rng), MISSING)
        path[:, t] = following
    return path, total


def sample_jumps(
    path: np.ndarray, seen: Looks, chain: Uniform, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of jumps (S, S) and times spent (S,) of paths drawn between the looks."""
    size = chain.powers.shape[1]
    n, t = np.nonzero(path[:, 1:] != MISSING)
    a, b, k = path[n, t], path[n, t + 1], seen.which[n, t]
    kinds, kind = np.unique((k * size + a) * size + b, return_inverse=True)
    ka, kb, kk = kinds // size % size, kinds % size, kinds // size**2
    steps = sampling.draw((chain.chance[kk] * chain.powers[:, ka, kb].T)[kind], rng) if len(kinds) else np.empty(0, int)
    jumps, spent = np.zeros((size, size)), np.zeros(size)
    # uniform times of the steps cut a span as n + 1 exponential numbers do, by their share of the sum
    share = rng.standard_exponential(len(steps))
    pieces, state = [(np.arange(len(steps)), a.copy(), share)], a.copy()
    whole = share.copy()
    one = chain.powers[1]
    for j in range(1, int(steps.max(initial=0)) + 1):
        on = np.flatnonzero(steps >= j)
        to = sampling.draw(one[state[on]] * chain.powers[steps[on] - j, :, b[on]], rng)
        np.add.at(jumps, (state[on], to), 1)
        state[on] = to
        share = rng.standard_exponential(len(on))
        whole[on] += share
        pieces.append((on, to, share))
    for on, where, share in pieces:
        spent += np.bincount(where, share / whole[on] * seen.spans[k[on]], size)
    np.fill_diagonal(jumps, 0)
    return jumps, spent


def draw_rates(
    jumps: np.ndarray,
    spent: np.ndarray,
    prior: float,
    usual: float,
    orbits: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Rates Q from their Gamma posterior: the prior holds `prior` / S jumps in `prior` usual intervals, as the
    Dirichlet prior of a chain in steps does. Entries of one orbit share a rate."""
    size = len(spent)
    off = ~np.eye(size, dtype=bool)
    shape, exposure = jumps + prior / size, np.repeat((spent + prior * usual)[:, None], size, 1)
    Q = np.zeros((size, size))
    if orbits is None:
        Q[off] = rng.gamma(shape[off]) / exposure[off]
    else:
        for number in np.unique(orbits[off]):
            tied = off & (orbits == number)
            Q[tied] = rng.gamma(shape[tied].sum()) / exposure[tied].sum()
    return Q - np.diag(Q.sum(1))


class Samples(NamedTuple):
    """Q: (n, S, S) rates; C: (n, S, S) confusion; start: (n, S); log_likelihood: (n,)."""

    Q: np.ndarray
    C: np.ndarray
    start: np.ndarray
    log_likelihood: np.ndarray


class Detector(Protocol):
    """What the labels say of the states, learned along with the rates; L looks of N traces."""

    def likelihood(self) -> np.ndarray:
        """(1, S, O), or (1, N, S, O), probability of each label given the state."""
        ...

    def average(self) -> np.ndarray:
        """(1, S, O) over the traces."""
        ...

    def update(self, path: np.ndarray, observed: np.ndarray, rng: np.random.Generator, keep: bool) -> None:
        """Draw from the posterior given paths and labels (1, N, L)."""
        ...


def gibbs(
    seen: Looks,
    detector: Detector,
    size: int,
    usual: float,
    how: sampling.Sampling = sampling.USUAL,
    rng: np.random.Generator | None = None,
) -> Samples:
    """Samples of the rates.

    Args:
        detector: `Confusion` or `bonds.Places`: what the labels say of the states, learned along.
        size: number of states.
        usual: time that the prior counts by, the usual interval between looks.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    Q = 0.2 / usual * (np.full((size, size), 1 / max(size - 1, 1)) * ~np.eye(size, dtype=bool) - np.eye(size))
    start = np.full(size, 1.0 / size)
    kept = [np.empty((how.n_samples, *shape)) for shape in ((size, size), (size, size), (size,), ())]
    for number, keep in how.sweeps():
        chain = uniform(Q, seen.spans)
        table = markov.label_table(detector.likelihood())[0]
        path, total = sample_paths(seen, chain.propagators(), table, start, rng)
        Q = draw_rates(*sample_jumps(path, seen, chain, rng), how.prior, usual, how.orbits, rng)
        start = sampling.dirichlet(sampling.path_counts_first(path[None], size) + 1.0 / size, rng)[0]
        detector.update(path[None], seen.label[None], rng, keep)
        if keep:
            for store, value in zip(kept, (Q, detector.average()[0], start, total), strict=True):
                store[number] = value
    return Samples(*kept)


class Confusion:
    """One confusion for all traces: given as `known` (S, S), or learned from a prior of a detector 90% right with the
    weight of `weight` labels per state, as `sampling.gibbs` does."""

    def __init__(self, size: int, known: np.ndarray | None = None, weight: float = 20.0):
        self.fixed = known is not None
        self.prior = weight * markov.guess_confusion(size)[None]
        self.C = np.array(known, float)[None] if self.fixed else markov.guess_confusion(size)[None]

    def likelihood(self) -> np.ndarray:
        """(1, S, S) probability of each label given the state."""
        return self.C

    average = likelihood

    def update(self, path: np.ndarray, observed: np.ndarray, rng: np.random.Generator, keep: bool) -> None:
        """Draw the confusion from its posterior given paths and labels (1, N, L)."""
        if self.fixed:
            return
        ok = (path >= 0) & (observed >= 0)
        counts = np.zeros(self.C.shape)
        np.add.at(counts[0], (path[ok], observed[ok]), 1)
        self.C = sampling.dirichlet(counts + self.prior, rng)
