"""What the network's state logits look like for columns of each state, image by image: the emissions of a hidden Markov
model over the frames of a movie.

A network is calibrated on the average of all doses it was trained for; one movie has one dose, and its columns scatter
less or more than the average says. The log-ratios of the state probabilities, taken from where the ideal columns of the
same image lie, are nearly Gaussian; their means and covariances per state are measured on simulated images of several
doses. For a movie, the simulated images in which the ideal columns scatter as they do in the movie tell how far apart
its states are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from stemdefects.numerics import medians, robust

NAME = "emissions.npz"
PARTS = ("scatter", "n", "sum", "square")
BANDWIDTH = 0.25  # of log scatter: images this alike count fully
MIN_COLUMNS = 30  # ideal columns of a site in an image
SHRINK = 25.0  # columns that the ideal covariance counts for
CLIP = 25.0  # log-ratios beyond this are as certain as can be
RIDGE = 0.05  # in standard deviations: log-ratios that nearly repeat each other leave no singular covariance


@dataclass(frozen=True)
class Emissions:
    """Gaussians per state of one sublattice, relative to the ideal columns of the same frame.

    states: (K,) indices of the states, ideal first; mean: (K, F); covariance: (K, F, F); F = K - 1 log-ratios.
    """

    states: Int[np.ndarray, " states"]
    mean: Float[np.ndarray, "states ratios"]
    covariance: Float[np.ndarray, "states ratios ratios"]

    def log_likelihood(self, features: Float[np.ndarray, "*columns ratios"]) -> Float[np.ndarray, "*columns states"]:
        """(..., F) features (log-ratios minus those of the ideal columns) -> (..., K) log densities."""
        out = np.empty((*features.shape[:-1], len(self.states)), np.float32)
        for k in range(len(self.states)):
            factor = np.linalg.cholesky(self.covariance[k])
            white = np.linalg.solve(factor, (features - self.mean[k]).reshape(-1, features.shape[-1]).T)
            value = -0.5 * (white**2).sum(0) - np.log(np.diag(factor)).sum()
            out[..., k] = value.reshape(features.shape[:-1])
        return out


def ordered_states(site: int, site_of_state: Int[np.ndarray, " all"], ideal: int) -> Int[np.ndarray, " states"]:
    """States of a sublattice, the ideal one first."""
    own = np.flatnonzero(np.asarray(site_of_state) == site)
    return np.concatenate([[ideal], own[own != ideal]])


def log_ratios(
    log_prob: Float[np.ndarray, "columns all"], states: Int[np.ndarray, " states"]
) -> Float[np.ndarray, "columns ratios"]:
    """(n, S) log probabilities -> (n, K - 1) log-ratios of the other states to the ideal one."""
    picked = np.maximum(np.asarray(log_prob, np.float32)[:, states], -80)
    return np.clip(picked[:, 1:] - picked[:, :1], -CLIP, CLIP)


def centre(
    features: Float[np.ndarray, "columns ratios"],
) -> tuple[Float[np.ndarray, " ratios"], Float[np.ndarray, " ratios"]]:
    """Where the bulk of the columns lies, (F,), and its scatter, (F,): median and MAD, since most columns are ideal."""
    middle = medians.of_columns(features)
    return middle, np.maximum(robust.NORMAL * medians.of_columns(np.abs(features - middle)), 1e-3)


def measure(matched: list[Any], site_of_state: np.ndarray, ideal_states: np.ndarray) -> dict[str, np.ndarray]:
    """Per site and image: scatter of the ideal columns, and count, sum and sum of squares of each state's log-ratios.

    matched: `scoring.columns.Matched` of simulated images (true state, site, log probabilities, image). Returns what
    `packed` makes of it; `fitted` reads that.
    """
    records = []
    for part in matched:
        for image in np.unique(part.image):
            for site, ideal in enumerate(ideal_states):
                states = ordered_states(site, site_of_state, int(ideal))
                rows = (
                    (part.image == image) & (part.site == site) & (part.state >= 0) & np.isfinite(part.log_prob).any(1)
                )
                if len(states) < 2 or (part.state[rows] == ideal).sum() < MIN_COLUMNS:
                    continue
                features = log_ratios(part.log_prob[rows], states)
                middle, scatter = centre(features)
                features = features - middle
                groups = [features[part.state[rows] == s].astype(float) for s in states]
                records.append(
                    {
                        "site": site,
                        "scatter": scatter,
                        "n": [len(g) for g in groups],
                        "sum": [g.sum(0) for g in groups],
                        "square": [g.T @ g for g in groups],
                    }
                )
    return packed(records)


def packed(records: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """One record per site and image -> float32 arrays `<site>/<part>` over the R images of the site: `scatter` (R, F),
    `n` (R, K), `sum` (R, K, F), `square` (R, K, F, F)."""
    return {
        f"{site}/{part}": np.array([r[part] for r in records if r["site"] == site], np.float32)
        for site in sorted({r["site"] for r in records})
        for part in PARTS
    }


def fitted(
    records: dict[str, np.ndarray],
    site: int,
    scatter: Float[np.ndarray, " ratios"],
    site_of_state: Int[np.ndarray, " all"],
    ideal: int,
) -> Emissions | None:
    """Emissions of a sublattice for frames whose ideal columns scatter by `scatter` (F,); None without records."""
    states = ordered_states(site, site_of_state, ideal)
    if f"{site}/n" not in records or len(states) < 2:
        return None
    scatters, counts, sums, squares = (records[f"{site}/{part}"].astype(float) for part in PARTS)
    difference = np.log(scatters) - np.log(np.maximum(scatter, 1e-3))
    distance = np.sqrt((difference**2).mean(1))
    # the nearest few always count, however unlike
    width = max(BANDWIDTH, float(np.sort(distance)[min(4, len(distance) - 1)]))
    weight = np.exp(-0.5 * (distance / width) ** 2)
    n = np.einsum("r,rk->k", weight, counts)
    total = np.einsum("r,rkf->kf", weight, sums)
    square = np.einsum("r,rkfg->kfg", weight, squares)
    kept = [k for k in range(len(states)) if n[k] > 3]
    if 0 not in kept or len(kept) < 2:
        return None
    mean = total / np.maximum(n, 1e-9)[:, None]
    spread = square / np.maximum(n, 1e-9)[:, None, None] - mean[:, :, None] * mean[:, None]
    base = spread[0] + RIDGE**2 * np.eye(len(scatter))
    part = (n / (n + SHRINK))[:, None, None]
    covariance = part * spread + (1 - part) * base + RIDGE**2 * np.eye(len(scatter))
    return Emissions(states[kept], mean[kept], covariance[kept])
