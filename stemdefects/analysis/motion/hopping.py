"""Hop rates on a known lattice, by a hidden Markov model of the site.

A vacancy sits on a site of its sublattice and hops to one of the nearest ones at total rate k; D = a^2 k / 4. Each
detection is a noisy look at the site. Probabilities of moving by a lattice vector in any time, hence over missed
frames, come from the exact propagator exp(Q t) of the infinite lattice (`propagator`).
"""

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from stemdefects.analysis import bootstrap
from stemdefects.analysis.estimates import LEVEL
from stemdefects.analysis.motion.diffusion import Diffusion, failed
from stemdefects.analysis.motion.hop_counts import COINCIDENCE, dispersion, hops_between, placed, short_hops
from stemdefects.analysis.motion.propagator import propagator
from stemdefects.analysis.motion.site_likelihood import Prepared, track_log_likelihood
from stemdefects.analysis.notes import Code, Note, join
from stemdefects.analysis.tracking.lattice_sites import Sites
from stemdefects.analysis.tracking.tracks import Tracks

MOST_HOPS = 20.0  # in one step: with more the propagator's 32 x 32 sites do not hold it, and little would be learned
NOT_RANDOM = 1e-3  # false alarm rate of that statement


def _grid(prepared, sigma, centre, n=25, span=5.0):
    """Rates (0 first, then even in the logarithm around `centre`) and the log likelihood of each track at each."""
    rates = np.concatenate([[0.0], centre * np.exp(np.linspace(-span, span / 2, n))])
    return rates, np.stack(
        [track_log_likelihood(None, None, max(r, 1e-12), sigma, prepared=prepared) for r in rates], 1
    )


def site_model(
    tracks: Tracks,
    vectors: np.ndarray,
    sigma: float | None = None,
    bandwidth: float | None = None,
    rng: np.random.Generator | None = None,
    n_bootstrap: int = 500,
) -> Diffusion:
    """Hop rate by the hidden Markov model of the lattice site; D = a^2 k / 4.

    Args:
        vectors: (2, 2) lattice vectors of the sublattice, in the unit of the tracks.
        sigma: localisation error per axis; None: fitted.
        bandwidth: see `assign`; None: ten lattice constants.

    Returns:
        `Diffusion`; the interval is the likelihood-ratio interval, widened to the bootstrap over tracks when tracks
        differ more than the model allows. `extra` has `rate`, its interval, the expected number of hops, and the share
        of immobile tracks with its interval.
    """
    rng = np.random.default_rng(0) if rng is None else rng
    found = placed(tracks, vectors, bandwidth)
    if found is None:
        return failed("sites", "No track has two detections.", tracks.n_tracks)
    tracks, sites, a = found
    hops, exposure, short = short_hops(tracks, sites)
    alike = dispersion(tracks, hops_between(sites), short)
    rate, noise = max(hops, 1.0) / exposure, sigma
    if (np.diff(tracks.time)[np.diff(tracks.track) == 0] > MOST_HOPS / rate).any():
        found = placed(tracks.cut(MOST_HOPS / rate), vectors, bandwidth)
        if found is None:
            return failed("sites", "No track has two detections in a row.", tracks.n_tracks)
        tracks, sites, _ = found
    duration = float(_durations(tracks).sum())
    if noise is None:
        noise = float(np.clip(np.sqrt((sites.offset[:, 0] ** 2).mean()), 0.02 * a, 0.3 * a))
    prepared = Prepared(tracks, sites)
    for _ in range(3):
        rates, table = _grid(prepared, noise, rate, 9, 2.5)
        rate = float(np.clip(_peak(rates[1:], table[:, 1:].sum(0)), rates[1], rates[-1]))
        if sigma is None:
            weight = track_log_likelihood(tracks, sites, rate, noise, posterior=True, prepared=prepared)[1]
            noise = float(np.sqrt((weight * (sites.offset**2).sum(-1)).sum() / weight.sum() / 2))
            noise = float(np.clip(noise, 0.01 * a, 0.4 * a))
    rates, table = _grid(prepared, noise, max(rate, 0.1 / duration))
    value = _peak(rates[1:], table[:, 1:].sum(0))
    low, high = _likelihood_interval(rates, table.sum(0))
    weights = bootstrap.weights(tracks.n_tracks, n_bootstrap, rng)
    again = np.array([_peak(rates[1:], curve) for curve in weights @ table[:, 1:]])
    boot_low, boot_high = bootstrap.percentile_interval(again)
    warning = []
    if np.isfinite(boot_low) and tracks.n_tracks >= 10 and (boot_high - boot_low) > 1.5 * (high - low):
        low, high = min(low, boot_low), max(high, boot_high)
        text = "Tracks differ more than one hop rate explains; the interval is that of resampled tracks."
        warning.append(Note(text, Code.TRACKS_DIFFER))
    if alike > 1 and value > 0:  # errors grow as the root of what one hop stands for
        low, high = value * (low / value) ** alike**0.5, value * (high / value) ** alike**0.5
        warning.append(Note(COINCIDENCE.format(alike), Code.HOPS_COINCIDE))
    if noise > 0.25 * a:
        text = "The localisation error is too large against the lattice: sites cannot be told apart."
        warning.append(Note(text, Code.SITES_NOT_RESOLVED))
    if said := _not_random(tracks, sites, prepared.steps, value):
        warning.append(said)
    factor = a**2 / 4
    immobile = _immobile(table)
    extra = {
        "rate": value,
        "rate_low": low,
        "rate_high": high,
        "duration": duration,
        "immobile": immobile,
        "expected_hops": value * duration,
        "resampled": again * factor,
    }
    return Diffusion(
        D=value * factor,
        low=low * factor,
        high=high * factor,
        sigma=noise,
        n_tracks=tracks.n_tracks,
        n_steps=len(tracks.frame) - tracks.n_tracks,
        method="sites",
        warning=join(warning),
        extra=extra,
    )


def _not_random(tracks: Tracks, sites: Sites, steps: np.ndarray, rate: float) -> Note | None:
    """What to say when the steps of the usual duration are not as long as those of hops at random times are.

    An atom that changes place once in nearly every frame makes no step of two hops, hops at random times would.
    """
    same = np.diff(tracks.track) == 0
    step = np.diff(tracks.time)
    if not same.any():
        return None
    usual = same & (np.abs(step / np.median(step[same]) - 1) < 0.2)
    hops = hops_between(sites)[usual]
    kernel = propagator(np.array([rate * np.median(step[usual])]), steps)[0]
    none, one = kernel[0, 0], sum(kernel[tuple(s)] for s in steps)
    expected = len(hops) * np.array([none, one, max(1 - none - one, 1e-9)])
    seen = np.array([(hops < 0.5).sum(), (np.abs(hops - 1) < 0.5).sum(), (hops > 1.5).sum()])
    if expected.min() < 1:
        return None
    ratio = 2 * (seen * np.log(np.maximum(seen, 1e-9) / expected)).sum()  # one rate was fitted to three counts
    if stats.chi2.sf(ratio, 1) > NOT_RANDOM:
        return None
    text = (
        f"Steps of none, one and more hops are {seen[0]}, {seen[1]} and {seen[2]}; hops at random times at this rate "
        f"give {expected[0]:.3g}, {expected[1]:.3g} and {expected[2]:.3g}: the rate of the count of hops holds, this "
        "one does not."
    )
    return Note(text, Code.STEPS_NOT_RANDOM)


def _durations(tracks: Tracks) -> np.ndarray:
    start = np.r_[0, np.cumsum(tracks.lengths)[:-1]]
    return tracks.time[start + tracks.lengths - 1] - tracks.time[start]


def _peak(rates, curve) -> float:
    """Rate of the largest log likelihood, by a parabola in log rate; 0 when it only falls."""
    best = int(np.argmax(curve))
    if best in (0, len(curve) - 1):
        return float(rates[best])
    x = np.log(rates[best - 1 : best + 2])
    a, b, _ = np.polyfit(x - x[1], curve[best - 1 : best + 2] - curve[best], 2)
    return float(np.exp(x[1] - b / (2 * a))) if a < 0 else float(rates[best])


def _likelihood_interval(rates, curve) -> tuple[float, float]:
    """Where the log likelihood is within chi2/2 of its best; `rates[0]` is 0."""
    from scipy.interpolate import PchipInterpolator

    fine = np.exp(np.linspace(np.log(rates[1]), np.log(rates[-1]), 4000))
    value = PchipInterpolator(np.log(rates[1:]), curve[1:])(np.log(fine))
    inside = value >= max(value.max(), curve[0]) - stats.chi2.ppf(LEVEL, 1) / 2
    low = 0.0 if inside[0] else float(fine[np.argmax(inside)])
    return low, float(fine[len(fine) - 1 - np.argmax(inside[::-1])])


def _immobile(table) -> tuple[float, float, float]:
    """Share of tracks that never hop, in a mixture with one hop rate for the others: value and likelihood interval."""
    shares = np.linspace(0, 0.995, 60)
    rest, hop = table[:, 0], table[:, 1:]
    with np.errstate(divide="ignore"):
        mixed = logsumexp(
            np.stack(
                [
                    np.broadcast_to(rest[:, None, None] + np.log(shares), (*hop.shape, len(shares))),
                    hop[..., None] + np.log1p(-shares),
                ]
            ),
            axis=0,
        ).sum(0)
    profile = mixed.max(0)
    inside = profile >= profile.max() - stats.chi2.ppf(LEVEL, 1) / 2
    return float(shares[profile.argmax()]), float(shares[inside][0]), float(shares[inside][-1])
