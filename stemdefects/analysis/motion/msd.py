"""Diffusion constants from the mean squared displacement against true time."""

import numpy as np

from stemdefects.analysis import bootstrap
from stemdefects.analysis.motion.diffusion import Diffusion, failed
from stemdefects.analysis.tracking.tracks import Tracks


def msd_curve(
    tracks: Tracks, max_lag: int = 20
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Mean squared displacement, pooled over tracks, of all pairs of detections up to max_lag usual intervals apart.

    Pairs are binned by their true time, in bins as wide as the usual (median) time between successive detections: at
    equal intervals bin k holds the pairs k frames apart; with pauses and changed rates each bin has the mean time of
    its pairs, which is exact where the MSD is a straight line.

    Returns:
        (lag_time (L,), msd (L,), counts (L,), per_track) with `per_track` = (sum of squares (n_tracks, L),
        number (n_tracks, L), sum of times (n_tracks, L)), from which resamples are made.
    """
    n = tracks.n_tracks
    squares, numbers, spans = (np.zeros((n, max_lag)) for _ in range(3))
    same = np.diff(tracks.track) == 0
    usual = float(np.median(np.diff(tracks.time)[same])) if same.any() else 1.0
    for apart in range(1, int(tracks.lengths.max(initial=0))):
        later = np.flatnonzero(tracks.track[apart:] == tracks.track[:-apart]) + apart
        duration = tracks.time[later] - tracks.time[later - apart]
        lag = np.maximum(np.round(duration / usual), 1).astype(int)
        near = lag <= max_lag
        if not near.any():
            break
        later, duration, place = later[near], duration[near], (tracks.track[later[near]], lag[near] - 1)
        np.add.at(squares, place, ((tracks.yx[later] - tracks.yx[later - apart]) ** 2).sum(1))
        np.add.at(numbers, place, 1)
        np.add.at(spans, place, duration)
    counts = numbers.sum(0)
    with np.errstate(invalid="ignore"):
        return spans.sum(0) / counts, squares.sum(0) / counts, counts, (squares, numbers, spans)


def optimal_lags(x: float, n: int) -> int:
    """Number of MSD points that minimises the error of D for tracks of `n` points and reduced localisation error
    x = sigma^2 / (D dt) (Michalet, Phys. Rev. E 82, 041914 (2010), eq. for the slope)."""
    if not np.isfinite(x) or x < 0:
        x = 0.0
    limit = int(np.floor(2 + 2.7 * np.sqrt(x)))
    return int(np.clip(limit, 2, max(2, n // 2)))


def msd(
    tracks: Tracks, max_lag: int = 20, n_bootstrap: int = 1000, rng: np.random.Generator | None = None
) -> Diffusion:
    """Slope of the mean squared displacement over the optimal number of lags, MSD = 4 D t + 4 sigma^2.

    The number of lags is found by iteration; the interval comes from resampling tracks. `extra` has the number of
    lags used, the curve, and the anomalous exponent `alpha` of MSD - 4 sigma^2 ~ t^alpha with its interval.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    times, curve, counts, (squares, numbers, spans) = msd_curve(tracks, max_lag)
    usable = np.flatnonzero(counts > 0)
    if len(usable) < 2 or usable[1] != 1:
        return failed("msd", "No track is long enough for two lags.", tracks.n_tracks)
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
        times_again = (weights @ spans) / numbers_again
    again = _line(times_again, curves, numbers_again, lags)[0] / 4
    n = int((numbers[:, 0] > 0).sum())
    low, high = bootstrap.positive_interval(value / 4, again, weights)
    alpha = _exponent(times, curve, offset, counts)
    alphas = np.array(
        [
            _exponent(times, c, o, counts)
            for c, o in zip(
                curves[:200], _line(times_again[:200], curves[:200], numbers_again[:200], lags)[1], strict=True
            )
        ]
    )
    alpha_low, alpha_high = bootstrap.percentile_interval(alphas)
    extra = {
        "lags": lags,
        "times": times,
        "curve": curve,
        "counts": counts,
        "curves": curves,
        "offset": float(offset),
        "alpha": alpha,
        "alpha_low": alpha_low,
        "alpha_high": alpha_high,
    }
    sigma = float(np.sqrt(max(offset, 0) / 4))
    return Diffusion(float(value / 4), low, high, sigma, n, int(counts[0]), "msd", "", extra)


def _line(times, curve, counts, lags):
    """Weighted straight line through the first `lags` points of one (L,) or many (B, L) curves: slope, offset."""
    t = times[..., :lags]
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
