"""Centres that catch, turn and release vacancies, seen by a detector that misses vacancies more often in some places.

A label of a centre says on which of its bonds a vacancy was seen. A vacancy on a bond is seen with the recall of that
place, none is seen with a small false rate: two numbers instead of a whole confusion matrix, and no wrong orientations
but by false ones. Recalls differ from place to place (background, neighbours, aberrations): they are drawn from one
Beta distribution, whose mean and concentration are sampled with everything else. With one recall for all places a
vacancy that is hard to see looks released: measured on simulated movies, releases come out half as frequent again.
"""

from dataclasses import dataclass

import numpy as np

from stemdefects.analysis.switching import markov, sampling
from stemdefects.analysis.switching.confusion import pattern
from stemdefects.analysis.switching.markov import MISSING
from stemdefects.analysis.switching.sampling import Posterior

FALSE_PRIOR = 0.5, 49.5  # Beta: a vacancy seen where there is none, in one frame on one bond
MEANS = 1 / (1 + np.exp(-np.linspace(-3.5, 5.5, 46)))  # grid of the mean recall
CONCENTRATIONS = np.exp(np.linspace(np.log(1.5), np.log(300.0), 22))  # 300: as good as one recall for all


@dataclass
class Recalls:
    """Samples (B, n): mean `recall` of a vacancy on a bond, its `spread` between places, and the `false` rate; and
    `places` (B, N, K), the mean recall of each trace's bonds."""

    recall: np.ndarray
    spread: np.ndarray
    false: np.ndarray
    places: np.ndarray

    def sentence(self) -> str:
        """What was found of the first data set, in words."""
        low, high = np.quantile(self.recall[0], [0.025, 0.975])
        text = (
            f"A vacancy beside the centre is seen in {100 * self.recall[0].mean():.0f}% of frames ({100 * low:.0f} to "
            f"{100 * high:.0f}%; places differ by ±{100 * self.spread[0].mean():.0f}%), estimated with the rates."
        )
        if self.recall[0].mean() < 0.6:
            text += " So many missed vacancies look like releases that the rates rest on the model of the misses."
        return text


def confusion(bits: np.ndarray, recall: np.ndarray, false: np.ndarray) -> np.ndarray:
    """Probability of each label given the state.

    Args:
        bits: (S, K) bool, the bonds with a vacancy in each state.
        recall: (..., K); false: (...).

    Returns:
        (..., S, S); rows add up to less than 1 by the labels that are none of the states.
    """
    recall, false = np.asarray(recall)[..., None, None, :], np.asarray(false)[..., None, None, None]
    true, said = bits[:, None], bits[None]
    chance = np.where(true, np.where(said, recall, 1 - recall), np.where(said, false, 1 - false))
    return np.maximum(chance.prod(-1), 1e-12)


def of_states(names: list[str], centre: str | None) -> np.ndarray | None:
    """(S, 3) bool: which bonds of the centre hold a vacancy in each chain state; None for states of another sort."""
    patterns = [p for name in names if (p := pattern(name, centre)) is not None]
    if len(patterns) < len(names) or len({kind for kind, _ in patterns if kind}) != 1:
        return None
    return np.array([bits for _, bits in patterns])


class _Hyper:
    """Log likelihood of counts of seen and missed on the grid of mean and concentration, the recalls summed out."""

    def __init__(self, longest: int, believed: tuple[float, float]):
        mean, size = np.meshgrid(MEANS, CONCENTRATIONS, indexing="ij")
        self.mean, self.size = mean.ravel(), size.ravel()
        count = np.arange(longest)

        def rising(a):  # (grid, longest + 1): log of a (a + 1) ... (a + n - 1)
            return np.concatenate([np.zeros((len(a), 1)), np.cumsum(np.log(a[:, None] + count), 1)], 1)

        self.seen, self.missed = rising(self.mean * self.size), rising((1 - self.mean) * self.size)
        self.both = rising(self.size)
        # even steps of the grid in the logit of the mean: the prior's density there has one power more
        self.prior = believed[0] * np.log(self.mean) + believed[1] * np.log1p(-self.mean)

    def draw(self, seen, missed, rng):
        """(mean, concentration) (B,) given counts (B, N, K)."""
        B, width = len(seen), self.seen.shape[1]

        def histogram(n):
            flat = np.arange(B)[:, None] * width + n.reshape(B, -1)
            return np.bincount(flat.ravel(), minlength=B * width).reshape(B, width)

        value = histogram(seen) @ self.seen.T + histogram(missed) @ self.missed.T
        value += self.prior - histogram(seen + missed) @ self.both.T
        pick = sampling.draw(np.exp(value - value.max(1, keepdims=True)), rng)
        return self.mean[pick], self.size[pick]


class Places:
    """Recall of each place and the false rate, sampled along with paths.

    Args:
        bits: (S, K) bool, see `confusion`.
        shape: (B, N, L) of the labels.
        believed: weights (seen, missed) of the Beta prior of the mean recall.
    """

    def __init__(self, bits: np.ndarray, shape: tuple[int, int, int], believed: tuple[float, float] = (1.0, 1.0)):
        self.bits = np.asarray(bits, bool)
        (B, N, L), K = shape, self.bits.shape[1]
        self._hyper = _Hyper(L, believed)
        self._padded = np.concatenate([self.bits, np.zeros((1, K), bool)])  # -1: nothing seen, nothing there
        self.recall, self.mean, self.size = np.full((B, N, K), 0.8), np.full(B, 0.8), np.full(B, CONCENTRATIONS[-1])
        self.false = np.full(B, FALSE_PRIOR[0] / sum(FALSE_PRIOR))
        self._kept: list[tuple] = []
        self._places = np.zeros((B, N, K))

    def likelihood(self) -> np.ndarray:
        """(B, N, S, S) probability of each label given the state, in each place."""
        return confusion(self.bits, self.recall, np.broadcast_to(self.false[:, None], self.recall.shape[:2]))

    def average(self) -> np.ndarray:
        """(B, S, S): the same with the mean recall, rows adding up to 1."""
        mean = np.repeat(self.mean[:, None], self.bits.shape[1], 1)
        average = confusion(self.bits, mean, self.false)
        return average / average.sum(-1, keepdims=True)

    def update(self, path: np.ndarray, observed: np.ndarray, rng: np.random.Generator, keep: bool) -> None:
        """Draw recalls and the false rate given paths and labels (B, N, L); keep: count this draw as a sample."""
        watched = ((path != MISSING) & (observed != MISSING))[..., None]
        there, said = self._padded[path], self._padded[observed]
        seen, missed = ((there & s & watched).sum(2) for s in (said, ~said))
        wrong, right = ((~there & s & watched).sum((1, 2, 3)) for s in (said, ~said))
        self.mean, self.size = self._hyper.draw(seen, missed, rng)
        a, b = (self.mean * self.size)[:, None, None], ((1 - self.mean) * self.size)[:, None, None]
        self.recall = np.clip(rng.beta(a + seen, b + missed), 1e-4, 1 - 1e-4)
        self.false = np.clip(rng.beta(FALSE_PRIOR[0] + wrong, FALSE_PRIOR[1] + right), 1e-6, 0.5)
        if keep:
            self._places += self.recall
            spread = np.sqrt(self.mean * (1 - self.mean) / (self.size + 1))
            self._kept.append((self.mean, spread, self.false))

    def recalls(self) -> Recalls:
        """What the draws that were kept say."""
        mean, spread, false = (np.stack(values, 1) for values in zip(*self._kept, strict=True))
        return Recalls(mean, spread, false, self._places / len(self._kept))


def gibbs(
    observed: np.ndarray,
    bits: np.ndarray,
    how: sampling.Sampling = sampling.USUAL,
    rng: np.random.Generator | None = None,
    believed: tuple[float, float] = (1.0, 1.0),
) -> tuple[Posterior, Recalls]:
    """Samples of the transition matrix and of the recalls.

    Args:
        observed: (B, N, L) labels as state numbers, -1 missing; quickest with `markov.longest_first`.
        bits: (S, K) bool, see `confusion`.
        believed: weights (seen, missed) of the Beta prior of the mean recall; (1, 1): nothing is known.

    Returns:
        `Posterior` (its `C` with the mean recall) and `Recalls`.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    bits = np.asarray(bits, bool)
    (B, N, L), S = observed.shape, len(bits)
    detector = Places(bits, (B, N, L), believed)
    P = np.broadcast_to(markov.guess_confusion(S, 0.8), (B, S, S)).copy()
    start = np.full((B, S), 1.0 / S)
    kept = [np.empty((B, how.n_samples, *shape)) for shape in ((S, S), (S, S), (S,))]
    for number, keep in how.sweeps():
        path = sampling.sample_paths(observed, P, detector.likelihood(), start, rng)
        P = sampling.draw_rows(sampling.path_counts(path, S), how.prior, how.orbits, rng)
        start = sampling.dirichlet(sampling.path_counts_first(path, S) + 1.0 / S, rng)
        detector.update(path, observed, rng, keep)
        if keep:
            for store, value in zip(kept, (P, detector.average(), start), strict=True):
                store[:, number] = value
    return Posterior(*kept), detector.recalls()
