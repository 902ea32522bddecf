"""What a network's log-likelihood ratios are worth on one specimen, by the columns of that specimen themselves.

A network serves all the conditions it was trained for, and what it says of a column is right on their average. On a
steady image of much dose it could say more, and does not. How far its ratios scatter over columns that nearly all are
ideal shows it: of Gaussian readings the mean of the ratio is half its variance, below 0 for ideal columns and above it
in the other state (Green & Swets, Signal Detection Theory and Psychophysics, 1966, ch. 3).
"""

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.models.probability.prevalence import COMMON
from stemdefects.numerics import robust

CLAIMED = (2.0, 4.0)  # scatters between two states, by the middle of the ratios of ideal columns: what is less, errors
# of the middle make, and beyond it every column tells itself what it is
LEAST = 40  # columns of a sublattice, to know their scatter
ROUNDS = 6  # of what is ideal, and where that lies: a share of 5% changes by less than 1% of it then
LEAST_SHARE = 1e-4  # of columns that are not ideal
CLIP = 25.0  # of a log-ratio: odds of 7e10


def claims(prob: np.ndarray, site: np.ndarray, use: np.ndarray, stated: np.ndarray, material: Material) -> np.ndarray:
    """(G, 2) middle and scatter of the log-likelihood ratio of the nearest state to the ideal one on each sublattice,
    by the columns `use` (n,) bool; NaN where it tells columns apart so badly or so well that these say nothing.

    Nearly all of them are ideal, and those that are not count as little as they are likely to be. A ratio that is all
    that its readings are worth has for them a mean of half its variance below 0; a network that has to serve all
    conditions says less where they are good, and more where they are bad. prob: (n, S) posterior that assumed the
    shares `stated` (S,)."""
    out = np.full((material.n_sites, 2), np.nan)
    for g in range(material.n_sites):
        states, mine = _fewer(g, stated, material), use & (site == g)
        if len(states) and mine.sum() >= LEAST:
            middle, spread = _bulk(_ratios(prob[mine], states[0], g, stated, material), float(stated[states].sum()))
            if CLAIMED[0] <= -2 * middle / spread <= CLAIMED[1]:
                out[g] = middle, spread
    return out


def calibrated(
    prob: np.ndarray,
    site: np.ndarray,
    use: np.ndarray,
    claim: np.ndarray | None,
    stated: np.ndarray,
    material: Material,
) -> np.ndarray:
    """(n, S) `prob` with the ratios of states that lack atoms, in the columns `use` (n,) bool, as their own scatter has
    it: Gaussian readings that lie at `claim` (G, 2) in ideal columns, and as far beyond 0 in the nearest state. Ratios
    of these states to each other grow by the same factor: they are read off the same line. The rest as in `claims`."""
    out, told = prob, np.full((material.n_sites, 2), np.nan) if claim is None else claim
    for g in np.flatnonzero(np.isfinite(told[:, 0])):
        states, mine = _fewer(int(g), stated, material), np.flatnonzero(use & (site == g))
        middle, variance = told[g, 0], told[g, 1] ** 2
        ratio = _ratios(prob[mine], states[0], int(g), stated, material)
        more = (-2 * middle * (ratio - middle) - 2 * middle**2) / variance - ratio
        some = prob[mine].astype(float)
        beside = np.log(np.maximum(some[:, states], 1e-30)) - np.log(stated[states])
        beside = (-2 * middle / variance - 1) * (beside - beside[:, :1])
        some[:, states] *= np.exp(np.clip(more[:, None] + beside, -CLIP, CLIP))
        out = out.copy() if out is prob else out
        out[mine] = some / np.maximum(some.sum(1, keepdims=True), 1e-30)
    return out


def nearest(g: int, stated: np.ndarray, material: Material) -> int:
    """The state of sublattice g that `claims` are of; -1: there is none."""
    return int(next(iter(_fewer(g, stated, material)), -1))


def threshold(prob: np.ndarray) -> float:
    """Least posterior to be called, with which F1 is expected to be largest, of columns with the posteriors `prob`
    (n,): half of that F1 (Lipton, Elkan & Naryanaswamy, Lect. Notes Comput. Sci. 8725, 225 (2014))."""
    ordered = -np.sort(-prob)
    f1 = 2 * np.cumsum(ordered) / (np.arange(1, len(ordered) + 1) + ordered.sum())
    return float(f1.max() / 2) if len(ordered) else 0.0


def _bulk(ratio: np.ndarray, share: float) -> tuple[float, float]:
    """Middle and robust scatter of the log-ratios (n,) of ideal columns, of which a `share` to begin with are none."""
    order = np.sort(ratio)
    weight, middle, spread = np.ones(len(order)), 0.0, 1.0
    for _ in range(ROUNDS):
        middle = _weighted_median(order, weight)
        off = np.abs(order - middle)
        by_size = np.argsort(off)
        spread = max(robust.NORMAL * _weighted_median(off[by_size], weight[by_size]), 1e-12)
        worth = (-2 * middle * (order - middle) - 2 * middle**2) / spread**2
        weight = 1 / (1 + share / (1 - share) * np.exp(np.clip(worth, -CLIP, CLIP)))
        share = float(np.clip(1 - weight.mean(), LEAST_SHARE, 0.5))
    return middle, spread


def _weighted_median(ordered: np.ndarray, weight: np.ndarray) -> float:
    """Of values (n,) in ascending order, each of which counts `weight` (n,)."""
    total = np.cumsum(weight)
    return float(ordered[int(np.searchsorted(total, 0.5 * total[-1]))])


def _fewer(g: int, stated: np.ndarray, material: Material) -> np.ndarray:
    """States of sublattice g with fewer of the ideal column's own atoms, the nearest first, where these are common."""
    counts, signal, ideal = material.species_counts(), material.intensities(), material.sites[g].ideal
    fewer = (counts <= counts[ideal]).all(1) & (material.site_of_state == g) & (np.arange(len(counts)) != ideal)
    states = np.flatnonzero(fewer)
    states = states[np.argsort(-signal[states])]
    return states if len(states) and stated[states[0]] >= COMMON else states[:0]


def _ratios(prob: np.ndarray, state: int, g: int, stated: np.ndarray, material: Material) -> np.ndarray:
    """(n,) log-likelihood ratio of a state to the ideal one, of the posterior `prob` (n, S)."""
    ideal = material.sites[g].ideal
    log = np.log(np.maximum(prob[:, [state, ideal]].astype(float), 1e-30)) - np.log(stated[[state, ideal]])
    return log[:, 0] - log[:, 1]
