"""Which candidates of a movie are defects: by how strongly they show, and by where in the unit cell they lie.

Candidates are defects or noise. How much of a defect's usual shape their patches have (`patch_light`) is distributed
about one mean for noise and another for defects, which are fitted to the movie's own candidates by expectation
maximisation (Dempster, Laird, Rubin, J. R. Stat. Soc. B 39, 1 (1977)). With these two groups known, what the network
says is weighed beside it as their covariance asks (linear discriminant), and both groups' places in the cell are
learned: near the places where defects sit, or anywhere. So the prior of a call is the movie's own prevalence, and a
crystal whose defects sit anywhere, or a network that sees noise at the same places, makes places count for nothing.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit

FOLD = 4.0  # features are four times the logarithm of what a patch shows: noise then scatters by one
# what a network takes for a defect in noise alone: it says "rather not", and the patch has 3.5 standard deviations of
# the shape, as the largest of some thousand places has; both scatter by about one
NOISE = np.array([-1.5, FOLD * np.log(3.5)])
NOISE_WEIGHT = 5.0  # candidates that this counts for: it decides only where there are hardly any
DEFECT_WEIGHT = 2.0  # candidates that the network's own calls count for beside themselves
# standard deviations of the shape: noise does not reach ten, and one is in most patches; what lies beyond says
# no more
HARDLY, SURELY = 1.0, 10.0
SAYS = 3.0  # log-odds, either way (a probability of .95): beyond it networks of few images are sure of anything
LEAST_SCATTER = 0.03  # of the shortest lattice vector, about a place
BEGIN_SCATTER = 0.09  # three times that, to begin with
CALLED, CALLED_FAINTLY, NOT_CALLED = 0.95, 0.6, 0.05  # to begin with: probability of a defect
STEPS, SETTLED = 300, 1e-5  # at most; largest change of a probability at which the fit stops
PLACE_STEPS = 20  # after which the scatter about places moves no more


class Cell(NamedTuple):
    """Of the unit cell: n_places that defects sit at; area, in units of the square of the shortest lattice vector."""

    n_places: int
    area: float


class Fit(NamedTuple):
    """probability (n,) that each candidate is a defect; means (2, 2) of the features of noise and of defects, see
    `features`; scatter of defects about their places; anywhere: share of them that is at none."""

    probability: np.ndarray
    means: np.ndarray
    scatter: float
    anywhere: float

    @property
    def sensible(self) -> bool:
        """Do defects show more strongly than noise?"""
        return bool((self.means[1] > self.means[0]).all())


def distance(
    cells: Float[np.ndarray, "n 2"], places: Float[np.ndarray, "p 2"], vectors: Float[np.ndarray, "2 2"]
) -> Float[np.ndarray, " n"]:
    """Of `cells` (fractions) from the nearest of `places`, over the shortest of the reduced lattice `vectors`."""
    unit = vectors / np.linalg.norm(vectors, axis=1).min()
    off = cells[:, None] - places[None]
    whole = np.stack(np.meshgrid(*[[-1, 0, 1]] * 2, indexing="ij"), -1).reshape(-1, 2)
    off = (off - np.rint(off))[:, :, None] + whole
    return np.linalg.norm(off @ unit, axis=-1).min((1, 2))


def features(logit: Float[np.ndarray, " n"], shown: Float[np.ndarray, " n"]) -> Float[np.ndarray, "n 2"]:
    """What the network says (log-odds), and how much of the shape a patch has (standard deviations) as its logarithm:
    a strong defect's light scatters more than a weak one's, by counting and by what the defects are."""
    light = FOLD * np.log(np.clip(shown, HARDLY, SURELY))
    return np.column_stack([np.clip(logit, -SAYS, SAYS), light])


def fit(
    seen: Float[np.ndarray, "n 2"], away: Float[np.ndarray, " n"], called: Bool[np.ndarray, " n"], given: Cell
) -> Fit:
    """seen: `features`; away: `distance`; called: by the network alone."""
    defect = _by_light(seen[:, 1], called)
    means, covariance = _groups(seen, defect)
    # of two Gaussians that scatter alike, the log-odds are a straight line
    slope = np.linalg.solve(covariance, means[1] - means[0])
    odds = (seen - means.mean(0)) @ slope
    at, scatter, anywhere = _placed(away, defect, given)
    odds += at - _placed(away, 1 - defect, given)[0]
    return Fit(expit(odds + _prior(defect)), means, scatter, anywhere)


def _by_light(light: np.ndarray, called: np.ndarray) -> np.ndarray:
    """(n,) probability of a defect by `light` alone: two Gaussians that scatter alike."""
    usual = light[called].mean()
    defect = np.where(called, np.where(light >= np.median(light[called]), CALLED, CALLED_FAINTLY), NOT_CALLED)
    for _ in range(STEPS):
        noise = 1 - defect
        low = (noise @ light + NOISE_WEIGHT * NOISE[1]) / (noise.sum() + NOISE_WEIGHT)
        high = (defect @ light + DEFECT_WEIGHT * usual) / (defect.sum() + DEFECT_WEIGHT)
        spread = noise @ (light - low) ** 2 + defect @ (light - high) ** 2 + NOISE_WEIGHT
        odds = (high - low) * (light - (low + high) / 2) * (len(light) + NOISE_WEIGHT) / spread
        before, defect = defect, expit(odds + _prior(defect))
        if np.abs(defect - before).max() < SETTLED:
            break
    return defect


def _groups(seen: np.ndarray, defect: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (2, 2) of noise and defects, and the covariance within both."""
    noise = 1 - defect
    means = np.stack(
        [
            (noise @ seen + NOISE_WEIGHT * NOISE) / (noise.sum() + NOISE_WEIGHT),
            defect @ seen / max(defect.sum(), 1e-9),
        ]
    )
    total = NOISE_WEIGHT * np.eye(2)
    for weight, mean in zip((noise, defect), means, strict=True):
        total = total + np.einsum("n,ni,nj->ij", weight, seen - mean, seen - mean)
    return means, total / (len(seen) + NOISE_WEIGHT)


def _placed(away: np.ndarray, weight: np.ndarray, given: Cell) -> tuple[np.ndarray, float, float]:
    """Log density (n,) over the cell of those of `weight` (n,), 0 where it is that of evenly spread ones; their scatter
    about the places, and the share that is anywhere."""
    near, scatter, anywhere, density = np.exp(-0.5 * (away / BEGIN_SCATTER) ** 2), LEAST_SCATTER, 0.0, np.ones(1)
    for _ in range(PLACE_STEPS):
        mine = weight * near
        square = ((mine * away**2).sum() + LEAST_SCATTER**2) / (2 * mine.sum() + 1)
        scatter = float(max(np.sqrt(square), LEAST_SCATTER))
        anywhere = float((weight.sum() - mine.sum() + 1) / (weight.sum() + 2))
        about = np.exp(-0.5 * (away / scatter) ** 2) / (2 * np.pi * scatter**2) * given.area / given.n_places
        density = (1 - anywhere) * about + anywhere
        near = (1 - anywhere) * about / density
    return np.log(density), scatter, anywhere


def _prior(defect: np.ndarray) -> float:
    return float(np.log((defect.sum() + 1) / (len(defect) - defect.sum() + 1)))
