"""Diffusion constants from tracks with localisation error, misses and rare hops.

Every estimator pools over tracks and takes its interval from resampling tracks: steps of one track share its
localisation errors, tracks are independent. What each costs on simulated truth is in docs/statistics.md.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from stemdefects.analysis import bootstrap
from stemdefects.analysis.notes import Code, Note, join
from stemdefects.analysis.tracking.tracks import Tracks

FEW_TRACKS = 10  # with fewer an interval from resampling tracks is rough


class Steps(NamedTuple):
    """owner: (m,) track of each step; move: (m, 2); duration: (m,); second: (p,) steps that follow the one before."""

    owner: np.ndarray
    move: np.ndarray
    duration: np.ndarray
    second: np.ndarray


@dataclass
class Diffusion:
    """A diffusion constant: `D` with its 95% interval (NaN when not determined), the localisation error `sigma`
    per axis, and the number of tracks and steps it rests on. `extra` holds what else the method finds."""

    D: float
    low: float
    high: float
    sigma: float
    n_tracks: int
    n_steps: int
    method: str
    warning: str = ""
    extra: dict = field(default_factory=dict)


def failed(method: str, why: str, n_tracks: int = 0) -> Diffusion:
    """No number, and why."""
    return Diffusion(np.nan, np.nan, np.nan, np.nan, n_tracks, 0, method, why)


def cve_steps(tracks: Tracks) -> Steps:
    """Steps from each detection of a track to its next one, and which of them follow each other.

    Across missed frames and pauses a step is longer in time but carries the same two localisation errors.
    """
    later = np.flatnonzero(np.r_[False, np.diff(tracks.track) == 0]) if tracks.n_tracks else np.empty(0, int)
    move, duration = tracks.yx[later] - tracks.yx[later - 1], tracks.time[later] - tracks.time[later - 1]
    owner = tracks.track[later]
    second = np.flatnonzero(np.r_[False, np.diff(later) == 1]) if len(later) else np.empty(0, int)
    return Steps(owner, move, duration, second[owner[second] == owner[second - 1]])


def _weights(steps: Steps, D: float, sigma2: float, hop_length: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the steps and of the products of successive steps, 1 at the most common duration.

    <d^2> = 4 D t + 4 sigma^2 for a step of duration t, and its variance is (4 D t + 4 sigma^2)^2, plus 4 D t a^2 where
    motion is hops of length a (the fourth cumulant of a compound Poisson process). The line through known sigma^2 that
    errs least weighs a step by t / variance and divides by t / variance x t; a product of steps by 1 / its variance.
    So a pause in which all has moved counts hardly more than one step, and equal durations all count 1.
    """
    usual = float(np.median(steps.duration))
    D, sigma2 = max(D, 0.0), max(sigma2, 0.0)
    floor = 1e-12 * max(float((steps.move**2).sum(1).mean()), 1e-300)  # nothing moved, no noise: all alike

    def spread(t):
        return 4 * D * t + 4 * sigma2 + floor

    def weight(t):
        return t / (spread(t) ** 2 + 4 * D * t * hop_length**2)

    first, second = spread(steps.duration[steps.second - 1]), spread(steps.duration[steps.second])
    return weight(steps.duration) / weight(usual), spread(usual) ** 2 / (first * second)


def _cve_sums(steps: Steps, n: int, weight: np.ndarray, pair_weight: np.ndarray) -> dict[str, np.ndarray]:
    """Per-track weighted sums that the covariance estimator needs: squared steps, products of successive steps, times,
    counts."""
    owner, second = steps.owner, steps.second
    product = steps.move[second] * steps.move[second - 1] * pair_weight[:, None]
    square = steps.move**2 * weight[:, None]

    def total(of, values):
        return np.bincount(of, values, minlength=n).astype(float)

    return {
        "square_y": total(owner, square[:, 0]),
        "square_x": total(owner, square[:, 1]),
        "time": total(owner, steps.duration * weight),
        "steps": total(owner, weight),
        "product_y": total(owner[second], product[:, 0]),
        "product_x": total(owner[second], product[:, 1]),
        "pairs": total(owner[second], pair_weight),
    }


def _cve_values(sums: dict[str, np.ndarray]):
    """D, sigma^2 and the D of each axis from pooled sums (scalars or arrays)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        dt = sums["time"] / sums["steps"]
        axes = [
            sums[f"square_{a}"] / sums["steps"] / (2 * dt) + sums[f"product_{a}"] / sums["pairs"] / dt for a in "yx"
        ]
        sigma2 = -(sums["product_y"] + sums["product_x"]) / sums["pairs"] / 2
    return (axes[0] + axes[1]) / 2, sigma2, axes


def _cve_pooled(tracks: Tracks, hop_length: float) -> dict[str, np.ndarray]:
    """Per-track sums with the weights that suit what they give; the first round weighs all steps by 1 / duration."""
    steps = cve_steps(tracks)
    usual = np.median(steps.duration) if len(steps.duration) else 1.0
    weight = usual / steps.duration
    sums = _cve_sums(steps, tracks.n_tracks, weight, weight[steps.second] * weight[steps.second - 1])
    if len(steps.duration) == 0 or np.ptp(steps.duration) < 1e-6 * usual:
        return sums
    for _ in range(3):
        D, sigma2, _ = _cve_values({name: v.sum() for name, v in sums.items()})
        if not np.isfinite([D, sigma2]).all():
            break
        sums = _cve_sums(steps, tracks.n_tracks, *_weights(steps, D, sigma2, hop_length))
    return sums


def cve(
    tracks: Tracks, n_bootstrap: int = 1000, rng: np.random.Generator | None = None, hop_length: float = 0.0
) -> Diffusion:
    """Pooled covariance estimator: D = <d^2>/(4 dt) + <d_n . d_(n+1)>/(2 dt), sigma^2 = -<d_n . d_(n+1)>/2,
    with dt the mean time between successive detections of a track.

    Unbiased under localisation error (Vestergaard, Blainey and Flyvbjerg, Phys. Rev. E 89, 022726 (2014)), whatever the
    times between detections are: both averages are linear in them. Steps of unequal duration are weighted by what each
    tells (`_weights`); the interval is from the bootstrap error over tracks (`bootstrap.positive_interval`).

    Args:
        tracks: positions in any length unit.
        n_bootstrap: resamples of tracks.
        hop_length: of one hop, when motion is hops on a lattice; 0: Brownian. It sets weights only, no value rests on
            it.

    Returns:
        `Diffusion` in length^2 per time unit of `tracks`; `extra` has D_y, D_x, `anisotropy` (|D_y-D_x|/(D_y+D_x))
        with its error, and the bootstrap values.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    sums = _cve_pooled(tracks, hop_length)
    useful = sums["pairs"] > 0
    n = int(useful.sum())
    if n == 0:
        return failed("cve", "No track has three detections.", tracks.n_tracks)
    n_steps = len(tracks.frame) - tracks.n_tracks
    useful = sums["steps"] > 0
    sums = {name: value[useful] for name, value in sums.items()}
    value, sigma2, axes = _cve_values({name: v.sum() for name, v in sums.items()})
    weights = bootstrap.weights(len(sums["steps"]), n_bootstrap, rng)
    again, sigma2_again, axes_again = _cve_values({name: weights @ v for name, v in sums.items()})
    low, high = bootstrap.positive_interval(float(value), again, weights)
    warning = []
    if sums["square_y"].sum() + sums["square_x"].sum() == 0:
        text = "No detection ever moved: the positions carry no localisation error, so this is no measurement."
        warning.append(Note(text, Code.NOTHING_MOVED))
        low = high = np.nan
    elif n < 3:
        warning.append(Note(f"Only {n} tracks of three or more detections: no interval.", Code.FEW_TRACKS))
    elif n < FEW_TRACKS:
        warning.append(Note(f"Only {n} tracks: the interval is rough.", Code.FEW_TRACKS))
    if low <= 0:
        text = "The interval reaches zero: motion is not shown beyond localisation error."
        warning.append(Note(text, Code.REACHES_ZERO))
    spread = np.nanstd(sigma2_again)
    if n < FEW_TRACKS:  # resampling so few tracks hardly changes anything, and nothing where there is one
        spread = max(spread, _products_error(tracks))
    extra = {
        "D_y": axes[0],
        "D_x": axes[1],
        "resampled": again,
        "D_y_se": float(np.nanstd(axes_again[0])),
        "D_x_se": float(np.nanstd(axes_again[1])),
        "difference": axes[0] - axes[1],
        "difference_se": float(np.nanstd(axes_again[0] - axes_again[1])),
        "sigma2": float(sigma2),
        "sigma2_se": float(spread),
    }
    sigma = float(np.sqrt(max(sigma2, 0.0)))
    return Diffusion(float(value), low, high, sigma, n, n_steps, "cve", join(warning), extra)


def _products_error(tracks: Tracks) -> float:
    """Error of sigma^2 from the scatter of the products of successive steps themselves, those up to two further on
    counted as related (Newey and West, Econometrica 55, 703 (1987)): they share positions."""
    steps = cve_steps(tracks)
    owner = steps.owner[steps.second]
    value = -0.5 * (steps.move[steps.second] * steps.move[steps.second - 1]).sum(1)
    off, n = value - value.mean(), len(value)
    if n < 2:
        return np.inf
    variance = single = (off**2).sum()
    for lag, share in ((1, 2 / 3), (2, 1 / 3)):
        variance += 2 * share * (off[lag:] * off[:-lag])[owner[lag:] == owner[:-lag]].sum()
    return float(np.sqrt(max(variance, single) / (n - 1) / n))


def paper(tracks: Tracks) -> Diffusion:
    """The reference work's formula, D = (var x + var y) / (4 N dt), averaged over tracks. For comparison only:
    it is 80% too low (the variance of a walk of N steps is not that of its last point)."""
    lengths = tracks.lengths
    if not (lengths > 1).any():
        return failed("paper", "No track has two detections.", tracks.n_tracks)
    sums = [np.bincount(tracks.track, tracks.yx[:, k] ** p, tracks.n_tracks) for p in (1, 2) for k in (0, 1)]
    variance = (sums[2] + sums[3]) / lengths - (sums[0] ** 2 + sums[1] ** 2) / lengths**2
    start = np.r_[0, np.cumsum(lengths)[:-1]]
    duration = tracks.time[start + lengths - 1] - tracks.time[start]
    ok = (lengths > 1) & (duration > 0)
    per_track = variance[ok] / (4 * duration[ok])
    half = 1.96 * per_track.std(ddof=1) / np.sqrt(ok.sum()) if ok.sum() > 1 else np.nan
    value = per_track.mean()
    return Diffusion(
        D=float(value),
        low=value - half,
        high=value + half,
        sigma=np.nan,
        n_tracks=int(ok.sum()),
        n_steps=int((lengths[ok] - 1).sum()),
        method="paper",
        warning="The published formula, for comparison; biased by about -80%, and its interval never covers.",
    )
