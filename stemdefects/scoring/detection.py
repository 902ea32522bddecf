"""Scores of one kind of defect over many sites: F1, average precision, calibration.

`truth` may be a bool (what is there) or a probability (what an ideal observer believes): with its own, calibrated
posterior in place of the truth the observer's scores are their expectations, free of the luck of which site is which.
`weight` counts each row; None: once. A score of -inf is claimed at no threshold.
"""

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

Judged = tuple[ArrayLike, ArrayLike, np.ndarray]  # score, truth, number of the image, each (m,)


def curve(
    score: ArrayLike, truth: ArrayLike, weight: ArrayLike | None = None
) -> tuple[Float[np.ndarray, " thresholds"], Float[np.ndarray, " thresholds"], Float[np.ndarray, " thresholds"]]:
    """(thresholds, precision, recall) of `score >= threshold`, falling, one entry per distinct score.

    score, truth, weight: (m,). Recall is NaN where nothing is true.
    """
    score, truth, weight = _columns(score, truth, weight)
    order = np.argsort(-score, kind="stable")
    score, hits, claimed = score[order], np.cumsum((weight * truth)[order]), np.cumsum(weight[order])
    last = np.append(score[1:] != score[:-1], True) if len(score) else np.zeros(0, bool)
    last &= score > -np.inf
    with np.errstate(divide="ignore", invalid="ignore"):
        return score[last], (hits / np.maximum(claimed, 1e-300))[last], (hits / hits[-1:])[last]


def f1(precision: ArrayLike, recall: ArrayLike) -> Float[np.ndarray, "..."]:
    """Harmonic mean, 0 where both are 0."""
    precision, recall = np.asarray(precision), np.asarray(recall)
    return 2 * precision * recall / np.maximum(precision + recall, 1e-12)


def best_f1(score: ArrayLike, truth: ArrayLike, weight: ArrayLike | None = None) -> tuple[float, float]:
    """(largest F1, its threshold) over all thresholds; (NaN, NaN) where nothing is true."""
    threshold, precision, recall = curve(score, truth, weight)
    if not len(threshold) or not np.isfinite(recall[-1]):
        return np.nan, np.nan
    value = f1(precision, recall)
    best = int(np.argmax(value))
    return float(value[best]), float(threshold[best])


def at_threshold(
    score: ArrayLike, truth: ArrayLike, threshold: float, weight: ArrayLike | None = None
) -> dict[str, float]:
    """Precision, recall and F1 of `score >= threshold`; NaN where undefined (nothing is true, nothing claimed)."""
    score, truth, weight = _columns(score, truth, weight)
    claimed = score >= threshold
    hit, n_claimed, n_true = (weight * truth)[claimed].sum(), weight[claimed].sum(), (weight * truth).sum()
    return {
        "precision": hit / n_claimed if n_claimed > 0 else np.nan,
        "recall": hit / n_true if n_true > 0 else np.nan,
        "f1": 2 * hit / (n_claimed + n_true) if n_true > 0 else np.nan,
    }


def f1_at(score: ArrayLike, truth: ArrayLike, threshold: float, weight: ArrayLike | None = None) -> float:
    """F1 of `score >= threshold`; NaN where nothing is true."""
    return float(at_threshold(score, truth, threshold, weight)["f1"])


def average_precision(score: ArrayLike, truth: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Area under the precision-recall curve, step-wise as scikit-learn's; NaN where nothing is true."""
    _, precision, recall = curve(score, truth, weight)
    if not len(recall) or not np.isfinite(recall[-1]):
        return np.nan
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def reliability(
    score: ArrayLike, truth: ArrayLike, weight: ArrayLike | None = None, n_bins: int = 10
) -> dict[str, list[float]]:
    """Reliability curve of a probability: per equal-width bin its mean, the fraction that is true, and its weight."""
    score, truth, weight = _columns(score, truth, weight)
    bins = np.minimum((score * n_bins).astype(int), n_bins - 1)
    total = np.bincount(bins, weight, n_bins)
    safe = np.maximum(total, 1e-12)
    return {
        "predicted": (np.bincount(bins, weight * score, n_bins) / safe).tolist(),
        "observed": (np.bincount(bins, weight * truth, n_bins) / safe).tolist(),
        "weight": total.tolist(),
    }


def calibration_error(score: ArrayLike, truth: ArrayLike, weight: ArrayLike | None = None, n_bins: int = 10) -> float:
    """Expected calibration error of a probability (Guo et al., ICML 2017): weighted mean of |predicted - observed| over
    the bins of `reliability`."""
    curve = reliability(score, truth, weight, n_bins)
    predicted, observed, total = (np.asarray(curve[k]) for k in ("predicted", "observed", "weight"))
    return float((total * np.abs(predicted - observed)).sum() / total.sum()) if total.any() else np.nan


def ratio_interval(
    one: Judged, other: Judged, rng: np.random.Generator, n_resamples: int = 200, level: float = 0.95
) -> tuple[float, float]:
    """(lower, upper) of best F1 of `one` / best F1 of `other`, by a bootstrap over images that takes both together.

    one, other: (score, truth, image), each (m,) with the images numbered from 0 alike. (NaN, NaN) where undefined.
    """
    n = int(max(np.max(one[2], initial=-1), np.max(other[2], initial=-1))) + 1
    ratios = []
    for _ in range(n_resamples):
        count = np.bincount(rng.integers(0, n, n), minlength=n).astype(float)
        values = [best_f1(score, truth, count[image])[0] for score, truth, image in (one, other)]
        ratios.append(values[0] / values[1] if values[1] > 0 else np.nan)
    ratios = np.array(ratios)[np.isfinite(ratios)]
    return tuple(np.quantile(ratios, [0.5 - level / 2, 0.5 + level / 2])) if len(ratios) else (np.nan, np.nan)


def _columns(
    score: ArrayLike, truth: ArrayLike, weight: ArrayLike | None
) -> tuple[Float[np.ndarray, " rows"], Float[np.ndarray, " rows"], Float[np.ndarray, " rows"]]:
    score, truth = np.asarray(score, float), np.asarray(truth, float)
    return score, truth, np.ones(len(score)) if weight is None else np.asarray(weight, float)
