"""Diffusion constants from tracks with localisation error, misses and rare hops.

Every estimator pools over tracks and takes its interval from resampling tracks: steps of one track share its
localisation errors, tracks are independent. What each costs on simulated truth is in docs/statistics.md.
"""

from dataclasses import dataclass, field

import numpy as np

from stemdefects.analysis import bootstrap
from stemdefects.analysis.tracks import Tracks


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


def _failed(method: str, why: str, n_tracks: int = 0) -> Diffusion:
    return Diffusion(np.nan, np.nan, np.nan, np.nan, n_tracks, 0, method, why)


def _steps(tracks: Tracks, lag: int = 1):
    """Displacements over exactly `lag` frames: (index of the later entry, displacement (m, 2), duration (m,))."""
    if len(tracks.frame) == 0:
        return np.empty(0, int), np.empty((0, 2)), np.empty(0)
    key = tracks.track.astype(np.int64) * (int(tracks.frame.max()) + lag + 2) + tracks.frame
    position = np.minimum(np.searchsorted(key, key - lag), len(key) - 1)
    ok = (key[position] == key - lag) & (tracks.track[position] == tracks.track)
    later, earlier = np.flatnonzero(ok), position[ok]
    return later, tracks.yx[later] - tracks.yx[earlier], tracks.time[later] - tracks.time[earlier]


def cve_sums(tracks: Tracks) -> dict[str, np.ndarray]:
    """Per-track sums that the covariance estimator needs: squared steps, products of successive steps, times, counts.

    A step leads from one detection of a track to the next; across missed frames it is longer in time but carries
    the same two localisation errors, so it enters like the others.
    """
    n = tracks.n_tracks
    later = np.flatnonzero(np.r_[False, np.diff(tracks.track) == 0]) if n else np.empty(0, int)
    move, duration = tracks.yx[later] - tracks.yx[later - 1], tracks.time[later] - tracks.time[later - 1]
    owner = tracks.track[later]
    follows = np.flatnonzero(np.r_[False, np.diff(later) == 1]) if len(later) else np.empty(0, int)
    follows = follows[owner[follows] == owner[follows - 1]]
    product = move[follows] * move[follows - 1]

    def total(of, weight=None):
        return np.bincount(of, weight, minlength=n).astype(float)

    return {
        "square_y": total(owner, move[:, 0] ** 2), "square_x": total(owner, move[:, 1] ** 2),
        "time": total(owner, duration), "steps": total(owner),
        "product_y": total(owner[follows], product[:, 0]), "product_x": total(owner[follows], product[:, 1]),
        "pairs": total(owner[follows]),
    }  # fmt: skip


def _cve_values(sums: dict[str, np.ndarray]):
    """D, sigma^2 and the D of each axis from pooled sums (scalars or arrays)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        dt = sums["time"] / sums["steps"]
        axes = [
            sums[f"square_{a}"] / sums["steps"] / (2 * dt) + sums[f"product_{a}"] / sums["pairs"] / dt for a in "yx"
        ]
        sigma2 = -(sums["product_y"] + sums["product_x"]) / sums["pairs"] / 2
    return (axes[0] + axes[1]) / 2, sigma2, axes


def cve(tracks: Tracks, n_bootstrap: int = 1000, rng: np.random.Generator | None = None) -> Diffusion:
    """Pooled covariance estimator: D = <d^2>/(4 dt) + <d_n . d_(n+1)>/(2 dt), sigma^2 = -<d_n . d_(n+1)>/2,
    with dt the mean time between successive detections of a track.

    Unbiased under localisation error (Vestergaard, Blainey and Flyvbjerg, Phys. Rev. E 89, 022726 (2014));
    interval from the bootstrap error over tracks (`bootstrap.positive_interval`).

    Args:
        tracks: positions in any length unit.
        n_bootstrap: resamples of tracks.

    Returns:
        `Diffusion` in length^2 per time unit of `tracks`; `extra` has D_y, D_x, `anisotropy` (|D_y-D_x|/(D_y+D_x))
        with its error, and the bootstrap values.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    sums = cve_sums(tracks)
    useful = sums["pairs"] > 0
    n = int(useful.sum())
    if n == 0:
        return _failed("cve", "No track has three detections.", tracks.n_tracks)
    useful = sums["steps"] > 0
    sums = {name: value[useful] for name, value in sums.items()}
    value, sigma2, axes = _cve_values({name: v.sum() for name, v in sums.items()})
    weights = bootstrap.weights(len(sums["steps"]), n_bootstrap, rng)
    again, sigma2_again, axes_again = _cve_values({name: weights @ v for name, v in sums.items()})
    low, high = bootstrap.positive_interval(value, again, weights)
    warning = []
    if sums["square_y"].sum() + sums["square_x"].sum() == 0:
        warning.append("No detection ever moved: the positions carry no localisation error, so this is no measurement.")
        low = high = np.nan
    elif n < 3:
        warning.append(f"Only {n} tracks of three or more detections: no interval.")
    elif n < 10:
        warning.append(f"Only {n} tracks: the interval is rough.")
    if low <= 0:
        warning.append("The interval reaches zero: motion is not shown beyond localisation error.")
    spread = np.nanstd(sigma2_again)
    extra = {
        "D_y": axes[0], "D_x": axes[1], "resampled": again,
        "D_y_se": float(np.nanstd(axes_again[0])), "D_x_se": float(np.nanstd(axes_again[1])),
        "difference": axes[0] - axes[1], "difference_se": float(np.nanstd(axes_again[0] - axes_again[1])),
        "sigma2": float(sigma2), "sigma2_se": float(spread),
    }  # fmt: skip
    sigma = float(np.sqrt(max(sigma2, 0.0)))
    return Diffusion(float(value), low, high, sigma, n, int(sums["steps"].sum()), "cve", " ".join(warning), extra)


def paper(tracks: Tracks) -> Diffusion:
    """The reference work's formula, D = (var x + var y) / (4 N dt), averaged over tracks. For comparison only:
    it is 80% too low (the variance of a walk of N steps is not that of its last point)."""
    lengths = tracks.lengths
    if not (lengths > 1).any():
        return _failed("paper", "No track has two detections.", tracks.n_tracks)
    sums = [np.bincount(tracks.track, tracks.yx[:, k] ** p, tracks.n_tracks) for p in (1, 2) for k in (0, 1)]
    variance = (sums[2] + sums[3]) / lengths - (sums[0] ** 2 + sums[1] ** 2) / lengths**2
    start = np.r_[0, np.cumsum(lengths)[:-1]]
    duration = tracks.time[start + lengths - 1] - tracks.time[start]
    ok = (lengths > 1) & (duration > 0)
    per_track = variance[ok] / (4 * duration[ok])
    half = 1.96 * per_track.std(ddof=1) / np.sqrt(ok.sum()) if ok.sum() > 1 else np.nan
    value = per_track.mean()
    return Diffusion(
        float(value), value - half, value + half, np.nan, int(ok.sum()), int((lengths[ok] - 1).sum()), "paper",
        "The published formula, for comparison; biased by about -80%, and its interval never covers.",
    )  # fmt: skip


def msd_curve(tracks: Tracks, max_lag: int = 20):
    """Mean squared displacement, pooled over tracks, for lags 1..max_lag.

    Returns:
        (lag_time (L,), msd (L,), counts (L,), per_track) with `per_track` = (sum of squares (n_tracks, L),
        number (n_tracks, L)), from which resamples are made.
    """
    n = tracks.n_tracks
    squares, numbers = np.zeros((n, max_lag)), np.zeros((n, max_lag))
    times = np.full(max_lag, np.nan)
    for lag in range(1, max_lag + 1):
        later, move, duration = _steps(tracks, lag)
        if len(later) == 0:
            continue
        owner = tracks.track[later]
        squares[:, lag - 1] = np.bincount(owner, (move**2).sum(1), n)
        numbers[:, lag - 1] = np.bincount(owner, minlength=n)
        times[lag - 1] = duration.mean()
    counts = numbers.sum(0)
    with np.errstate(invalid="ignore"):
        curve = squares.sum(0) / counts
    return times, curve, counts, (squares, numbers)


def optimal_lags(x: float, n: int) -> int:
    """Number of MSD points that minimises the error of D for tracks of `n` points and reduced localisation error
    x = sigma^2 / (D dt) (Michalet, Phys. Rev. E 82, 041914 (2010), eq. for the slope)."""
    if not np.isfinite(x) or x < 0:
        x = 0.0
    limit = int(np.floor(2 + 2.7 * np.sqrt(x)))
    return int(np.clip(limit, 2, max(2, n // 2)))


def msd(tracks: Tracks, max_lag: int = 20, n_bootstrap: int = 1000, rng=None) -> Diffusion:
    """Slope of the mean squared displacement over the optimal number of lags, MSD = 4 D t + 4 sigma^2.

    The number of lags is found by iteration; the interval comes from resampling tracks. `extra` has the number of
    lags used, the curve, and the anomalous exponent `alpha` of MSD - 4 sigma^2 ~ t^alpha with its interval.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    times, curve, counts, (squares, numbers) = msd_curve(tracks, max_lag)
    usable = np.flatnonzero(counts > 0)
    if len(usable) < 2 or usable[1] != 1:
        return _failed("msd", "No track is long enough for two lags.", tracks.n_tracks)
    last = int(np.argmax(np.append(counts, 0) == 0)) if (counts == 0).any() else len(counts)
    typical = int(np.average(tracks.lengths, weights=tracks.lengths))
    lags = 2
    for _ in range(20):
        slope, offset = _line(times, curve, counts, min(lags, last))
        reduced = max(offset, 0) / max(slope * times[0], 1e-12 * max(curve[0], 1e-30))
        new = min(optimal_lags(reduced, typical), last)
        if new == lags:
            break
        lags = new
    value, offset = _line(times, curve, counts, lags)
    weights = bootstrap.weights(tracks.n_tracks, n_bootstrap, rng)
    with np.errstate(invalid="ignore", divide="ignore"):
        curves, numbers_again = (weights @ squares) / (weights @ numbers), weights @ numbers
    again = _line(times, curves, numbers_again, lags)[0] / 4
    n = int((numbers[:, 0] > 0).sum())
    low, high = bootstrap.positive_interval(value / 4, again, weights)
    alpha = _exponent(times, curve, offset, counts)
    alphas = np.array([_exponent(times, c, o, counts) for c, o in zip(
        curves[:200], _line(times, curves[:200], numbers_again[:200], lags)[1], strict=True)])  # fmt: skip
    alpha_low, alpha_high = bootstrap.percentile_interval(alphas)
    extra = {
        "lags": lags, "times": times, "curve": curve, "counts": counts, "curves": curves, "offset": float(offset),
        "alpha": alpha, "alpha_low": alpha_low, "alpha_high": alpha_high,
    }  # fmt: skip
    sigma = float(np.sqrt(max(offset, 0) / 4))
    return Diffusion(float(value / 4), low, high, sigma, n, int(counts[0]), "msd", "", extra)


def _line(times, curve, counts, lags):
    """Weighted straight line through the first `lags` points of one (L,) or many (B, L) curves: slope, offset."""
    t = times[:lags]
    y, w = np.asarray(curve)[..., :lags], np.maximum(np.asarray(counts)[..., :lags], 1e-9)
    mean_t = (w * t).sum(-1) / w.sum(-1)
    mean_y = (w * y).sum(-1) / w.sum(-1)
    dt = t - mean_t[..., None]
    slope = (w * dt * (y - mean_y[..., None])).sum(-1) / (w * dt**2).sum(-1)
    return slope, mean_y - slope * mean_t


def _exponent(times, curve, offset, counts) -> float:
    """Slope of log(MSD - offset) against log(t) over lags that have at least a tenth of the first lag's steps."""
    y = curve - offset
    ok = (counts >= 0.1 * counts[0]) & np.isfinite(y) & (y > 0.05 * np.nanmax(np.abs(curve)))
    if ok.sum() < 4:
        return np.nan
    w = np.sqrt(counts[ok])
    return float(np.polyfit(np.log(times[ok]), np.log(y[ok]), 1, w=w)[0])


ESTIMATORS = {"cve": cve, "msd": msd, "paper": paper}
