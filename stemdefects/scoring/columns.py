"""What detection scores are made of: columns paired with truth and weighted, their posteriors, confusion, calibration.

Every figure is stated for a realistic prevalence: columns are weighted by prior / frequency in the set, so that a set
rich in defects gives the F1 of a sample where they are rare (what is found of a kind does not depend on how many there
are; precision does).
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from stemdefects.crystal.material import Material
from stemdefects.models.peaks import Peaks
from stemdefects.models.probability.states import log_posterior, normalize_by_site, site_mask
from stemdefects.numerics.borders import from_border
from stemdefects.scoring import detection
from stemdefects.scoring.matching import match
from stemdefects.simulation.images import Truth

UNSTATED = -2  # true state of a column whose state nobody knows
GENERIC = "defect"  # any column that departs from the crystal
USUAL_FACTOR = 2.0  # between temperatures and 1


@dataclass
class Matched:
    """Every true column and every found one of a set of images, paired. R rows."""

    state: np.ndarray  # (R,) true state, -1: found where no column is
    site: np.ndarray  # (R,) site of the true column, else of the found one
    log_prob: np.ndarray  # (R, S) log state probabilities of the network as trained; all -inf: not found
    error_nm: np.ndarray  # (R, 2) found - true, NaN where unpaired
    sigma_nm: np.ndarray  # (R,) stated uncertainty per axis, NaN where not found
    image: np.ndarray  # (R,) index of the image
    yx_px: np.ndarray  # (R, 2) true place, else the found one

    @property
    def found(self) -> np.ndarray:
        return np.asarray(np.isfinite(self.log_prob).any(1))

    def take(self, index: Shaped[np.ndarray, " chosen"]) -> "Matched":
        """The rows `index`."""
        return Matched(**{name: value[index] for name, value in self.__dict__.items()})


def pair_image(truth: Truth, peaks: Peaks, radius_nm: float, index: int = 0, margin_px: float = 4.0) -> Matched:
    """Pair the columns of one image with its peaks, site by site.

    truth: `Truth`, peaks: `Peaks` (with temperature 1 and no prior shift), as numpy arrays; radius_nm: largest distance
    of a pair. Unpaired columns and peaks within `margin_px` of the border are left out: their partner may lie outside.
    """
    shape, pixel_size_nm = truth.regions.shape, float(truth.pixel_size_nm)
    t_yx = np.stack([truth.y_px, truth.x_px], 1)
    p_yx = np.stack([peaks.y_px, peaks.x_px], 1)

    def inside(yx):
        return from_border(yx, shape) >= margin_px

    def known(yx):  # where the truth says nothing (region -1), nothing is wrong
        y, x = np.clip(np.rint(yx).astype(int), 0, np.array(shape) - 1).T
        return truth.regions[y, x] >= 0

    stated = np.where(truth.state >= 0, truth.state, UNSTATED)  # columns whose state nobody knows do not count
    rows = []
    with np.errstate(divide="ignore"):
        log_prob = np.log(np.asarray(peaks.state_prob, float))
    n_states = log_prob.shape[1]
    for g in np.unique(np.concatenate([truth.site[truth.valid], peaks.site[peaks.valid]])):
        t = np.flatnonzero(truth.valid & (truth.site == g))
        p = np.flatnonzero(peaks.valid & (peaks.site == g))
        a, b = match(t_yx[t], p_yx[p], radius_nm / pixel_size_nm)
        a, b = t[a], p[b]
        missed = np.setdiff1d(t, a)
        missed = missed[inside(t_yx[missed])]
        extra = np.setdiff1d(p, b)
        extra = extra[inside(p_yx[extra]) & known(p_yx[extra])]
        n = (len(a), len(missed), len(extra))
        nothing = np.full((n[1], n_states), -np.inf)
        rows.append(
            Matched(
                state=np.concatenate([stated[a], stated[missed], np.full(n[2], -1)]).astype(int),
                site=np.full(sum(n), g),
                log_prob=np.concatenate([log_prob[b], nothing, log_prob[extra]]),
                error_nm=np.concatenate([p_yx[b] - t_yx[a], np.full((n[1] + n[2], 2), np.nan)]) * pixel_size_nm,
                sigma_nm=np.concatenate([peaks.sigma_px[b], np.full(n[1], np.nan), peaks.sigma_px[extra]])
                * pixel_size_nm,
                image=np.full(sum(n), index),
                yx_px=np.concatenate([t_yx[a], t_yx[missed], p_yx[extra]]),
            )
        )
    together = concatenate(rows, n_states)
    return together.take(together.state != UNSTATED)


def concatenate(parts: list[Matched], n_states: int) -> Matched:
    """Join the rows of several images; no part gives an empty `Matched`."""
    none, pair = np.zeros(0, int), np.zeros((0, 2))
    empty = Matched(none, none, np.zeros((0, n_states)), pair, np.zeros(0), none, pair)
    return Matched(**{f: np.concatenate([getattr(p, f) for p in [empty, *parts]]) for f in empty.__dict__})


def weights(
    matched: Matched, prior: Float[np.ndarray, " states"], site_of_state: Int[np.ndarray, " states"]
) -> Float[np.ndarray, " rows"]:
    """(R,) what each row counts: prior / frequency of its true state; 1 for rows without a true column."""
    counts = np.bincount(matched.state[matched.state >= 0], minlength=len(prior))
    frequency = normalize_by_site(np.maximum(counts, 1e-9), site_of_state)
    ratio = normalize_by_site(prior, site_of_state) / frequency
    return np.where(matched.state >= 0, ratio[np.maximum(matched.state, 0)], 1.0)


def posterior(
    matched: Matched, material: Material, shift: Float[np.ndarray, " states"], temperature: float = 1.0
) -> Float[np.ndarray, "rows states"]:
    """(R, S) state posterior at the realistic prevalence; 0 for columns that were not found."""
    prob = calibrated(matched.log_prob, matched.site, material, shift, temperature)
    return np.where(matched.found[:, None], prob, 0.0)


def calibrated(
    log_prob: np.ndarray, site: np.ndarray, material: Material, shift: np.ndarray, temperature: float = 1.0
) -> np.ndarray:
    """(n, S) posterior over the states of each column's site from the network's log probabilities as trained."""
    mask = site_mask(material.site_of_state, material.n_sites)
    return np.exp(log_posterior(np.maximum(log_prob, -80.0), site, mask, shift, temperature))


def kind_columns(material: Material, prob: np.ndarray, state: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Per kind, and for the generic `defect`: (score (R,), is it one (R,))."""
    ideal = material.ideal_states
    defect = prob.sum(1) - prob[:, ideal].sum(1)
    columns = {kind.name: (prob[:, kind.state], state == kind.state) for kind in material.kinds}
    return columns | {GENERIC: (defect, (state >= 0) & ~np.isin(state, ideal))}


def claimable(score: np.ndarray) -> np.ndarray:
    """Scores for `scoring.detection`: what was not found (posterior 0) is claimed at no threshold."""
    return np.where(score > 0, score, -np.inf)


def best_threshold(score: np.ndarray, truth: np.ndarray, weight: np.ndarray, default: float = 0.5) -> float:
    """Threshold with the greatest F1, halfway to the next lower score; `default` where there is nothing to find."""
    threshold, precision, recall = detection.curve(claimable(score), truth, weight)
    if not len(threshold) or not np.nanmax(recall, initial=0.0) > 0:
        return default
    i = int(np.argmax(detection.f1(precision, recall)))
    below = threshold[i + 1] if i + 1 < len(threshold) else 0.0
    return float(np.clip(0.5 * (threshold[i] + below), 0.01, 0.99))


def called(prob: np.ndarray, material: Material, thresholds: dict[str, float]) -> np.ndarray:
    """(n,) state that a table would give each column: that of its most probable kind where its posterior reaches the
    kind's threshold (`defect` for kinds not named), else the most probable state that is no defect."""
    states = np.array([kind.state for kind in material.kinds])
    limits = np.array([thresholds.get(kind.name, thresholds.get(GENERIC, 0.5)) for kind in material.kinds])
    best = prob[:, states].argmax(1)
    whole = np.delete(np.arange(prob.shape[1]), states)
    sound = whole[prob[:, whole].argmax(1)]
    return np.where(prob[np.arange(len(prob)), states[best]] >= limits[best], states[best], sound)


def confusion(matched: Matched, said: np.ndarray, n_states: int) -> np.ndarray:
    """(S + 1, S + 1) counts: rows true state (last: no column there), columns state `said` (n,) (last: not found)."""
    said = np.where(matched.found, said, n_states)
    true = np.where(matched.state >= 0, matched.state, n_states)
    table = np.zeros((n_states + 1, n_states + 1))
    np.add.at(table, (true, said), 1)
    return table


def fit_temperature(matched: Matched, material: Material, shift: np.ndarray, weight: np.ndarray) -> float:
    """Temperature with the least weighted log-loss of the posteriors of found columns (Guo et al., ICML 2017).

    What is found on a floating site where nothing is has the state that says so. A few columns that are all told right
    would make the posteriors as sharp as can be: temperatures are a priori 1, to a factor of `USUAL_FACTOR`.
    """
    from scipy.optimize import minimize_scalar

    nothing = np.asarray(material.nothing_states)[matched.site]
    state = np.where((matched.state < 0) & (nothing >= 0), nothing, matched.state)
    use = matched.found & (state >= 0)
    if not use.any():
        return 1.0
    part, state = matched.take(use), state[use]

    def log_loss(log_t):
        p = posterior(part, material, shift, np.exp(log_t))[np.arange(len(state)), state]
        return -(weight[use] * np.log(np.maximum(p, 1e-12))).sum() + 0.5 * (log_t / np.log(USUAL_FACTOR)) ** 2

    return float(np.exp(minimize_scalar(log_loss, bounds=(-1.6, 1.6), method="bounded").x))
