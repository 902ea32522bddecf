"""Hop rates on a known lattice: a hidden Markov model of the site, and plain hop counting.

A vacancy sits on a site of its sublattice and hops to one of the nearest ones at total rate k; D = a^2 k / 4. Each
detection is a noisy look at the site. Probabilities of moving by a lattice vector in any time, hence over missed
frames,
come from the exact propagator exp(Q t) of the infinite lattice, made by Fourier transform.
"""

import numpy as np
from scipy import stats
from scipy.special import logsumexp

from stemdefects.analysis import bootstrap
from stemdefects.analysis.estimates import LEVEL
from stemdefects.analysis.motion.diffusion import Diffusion, failed
from stemdefects.analysis.notes import Code, Note, join
from stemdefects.analysis.tracking.lattice_sites import Sites, assign, hop_vectors, reduce
from stemdefects.analysis.tracking.tracks import Tracks
from stemdefects.numerics import forward_backward

_REACH = 16  # lattice vectors kept by the propagator in each direction
LONG_STEP = 3.0  # in usual durations: longer steps are left out of counts of hops
MOST_HOPS = 20.0  # in one step: with more the propagator's 32 x 32 sites do not hold it, and little would be learned
NOT_RANDOM = 1e-3  # false alarm rate of that statement
OUTLIER = 1e-3  # share of detections that are not at a site at all


def propagator(k_times_t: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Probability of having moved by each lattice vector after hopping at rate k for a time t.

    Args:
        k_times_t: (m,) mean number of hops.
        steps: (z, 2) integer hop vectors, equally likely.

    Returns:
        (m, 2R, 2R) indexed by the integer displacement modulo 2R, R = 16.
    """
    size = 2 * _REACH
    q = 2 * np.pi * np.fft.fftfreq(size)
    angle = q[:, None, None] * steps[:, 0] + q[None, :, None] * steps[:, 1]
    structure = np.cos(angle).mean(-1)  # hop vectors come in opposite pairs
    kernel = np.fft.ifft2(np.exp(np.asarray(k_times_t)[:, None, None] * (structure - 1))).real
    return np.maximum(kernel, 1e-300)


def alike(durations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Durations (n,) > 0 in groups that differ by less than 0.1%: the mean of each group, and the group of each.

    Clocks that jitter give every interval a time of its own; a matrix exponential for each would cost as many.
    """
    if len(durations) == 0:
        return np.empty(0), np.empty(0, np.int64)
    _, which = np.unique(np.round(np.log(durations) / 1e-3), return_inverse=True)
    return np.bincount(which, durations) / np.bincount(which), which


class _Prepared:
    """What does not depend on rate and noise: which kernel entry leads from each candidate to each, and the order of
    stepping (position p of every track at once)."""

    def __init__(self, tracks: Tracks, sites: Sites):
        n, m = sites.offset.shape[:2]
        self.n_tracks, self.n_candidates = tracks.n_tracks, m
        self.squared = (sites.offset**2).sum(-1)
        self.area = abs(np.linalg.det(sites.vectors))
        self.steps = hop_vectors(sites.vectors)
        first = np.r_[True, np.diff(tracks.track) != 0]
        duration = np.diff(tracks.time, prepend=tracks.time[:1])
        self.times, which = alike(duration[~first])
        kernel_of = np.zeros(n, np.int64)
        kernel_of[~first] = which
        jump = sites.cell[:, None, :, :] - sites.cell[np.maximum(np.arange(n) - 1, 0)][:, :, None, :]  # from, to
        size = 2 * _REACH
        self.entry = (kernel_of[:, None, None] * size + jump[..., 0] % size) * size + jump[..., 1] % size
        far = (np.abs(jump) >= _REACH).any(-1)
        self.entry[far] = max(len(self.times), 1) * size**2  # one more entry, of probability nothing
        start, lengths = np.flatnonzero(first), tracks.lengths
        order = np.argsort(-lengths, kind="stable")
        self.live = [order[: int((lengths > p).sum())] for p in range(int(lengths.max(initial=0)))]
        self.rows = [start[live] + p for p, live in enumerate(self.live)]

    def density(self, sigma: float) -> np.ndarray:
        spread = 2 * sigma**2
        return (1 - OUTLIER) * np.exp(-self.squared / spread) / (np.pi * spread) + OUTLIER / self.area

    def kernels(self, rate: float) -> np.ndarray:
        times = self.times if len(self.times) else np.zeros(1)
        return np.append(propagator(rate * times, self.steps).ravel(), 1e-300)


def track_log_likelihood(tracks, sites, rate: float, sigma: float, posterior: bool = False, prepared=None):
    """Log likelihood of every track at total hop rate `rate` and localisation error `sigma`.

    Args:
        posterior: also return the probability of each candidate site of each detection, (n, M).

    Returns:
        (n_tracks,), or that and the posterior.
    """
    prepared = prepared or _Prepared(tracks, sites)
    density, kernels = prepared.density(sigma), prepared.kernels(rate)
    live, rows = prepared.live, prepared.rows

    def seen(t: int) -> np.ndarray:
        return density[rows[t]]

    def kernel(t: int) -> np.ndarray:
        """(n, M, M) chances of each candidate at position t by each at t - 1."""
        return kernels[prepared.entry[rows[t]]]

    start = np.full((1, prepared.n_candidates), 1 / prepared.n_candidates)
    alpha, ordered = forward_backward.forward(
        len(rows), seen, start, lambda t, chances: (chances[:, None] @ kernel(t))[:, 0]
    )
    total = np.zeros(prepared.n_tracks)
    if live:
        total[live[0]] = ordered
    if not posterior:
        return total
    both = np.empty(density.shape)
    for t, smooth, _ in forward_backward.backward(
        alpha, seen, lambda t, weights: (kernel(t) @ weights[..., None])[..., 0]
    ):
        both[rows[t]] = smooth
    return total, both


def _grid(prepared, sigma, centre, n=25, span=5.0):
    """Rates (0 first, then even in the logarithm around `centre`) and the log likelihood of each track at each."""
    rates = np.concatenate([[0.0], centre * np.exp(np.linspace(-span, span / 2, n))])
    return rates, np.stack(
        [track_log_likelihood(None, None, max(r, 1e-12), sigma, prepared=prepared) for r in rates], 1
    )


def _placed(tracks: Tracks, vectors: np.ndarray, bandwidth: float | None) -> tuple[Tracks, Sites, float] | None:
    """Tracks of two detections and more, their sites and the lattice constant; None where there are none."""
    long = tracks.lengths >= 2
    if not long.any():
        return None
    tracks, vectors = tracks.select(long), reduce(vectors)
    a = float(np.hypot(*vectors[0]))
    return tracks, assign(tracks, vectors, bandwidth or 10 * a), a


def site_model(
    tracks: Tracks, vectors: np.ndarray, sigma: float | None = None, bandwidth: float | None = None, rng=None,
    n_bootstrap: int = 500,
) -> Diffusion:  # fmt: skip
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
    placed = _placed(tracks, vectors, bandwidth)
    if placed is None:
        return failed("sites", "No track has two detections.", tracks.n_tracks)
    tracks, sites, a = placed
    hops, exposure, _ = _short_hops(tracks, sites)
    rate, noise = max(hops, 1.0) / exposure, sigma
    if (np.diff(tracks.time)[np.diff(tracks.track) == 0] > MOST_HOPS / rate).any():
        placed = _placed(tracks.cut(MOST_HOPS / rate), vectors, bandwidth)
        if placed is None:
            return failed("sites", "No track has two detections in a row.", tracks.n_tracks)
        tracks, sites, _ = placed
    duration = float(_durations(tracks).sum())
    if noise is None:
        noise = float(np.clip(np.sqrt((sites.offset[:, 0] ** 2).mean()), 0.02 * a, 0.3 * a))
    prepared = _Prepared(tracks, sites)
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
    if noise > 0.25 * a:
        text = "The localisation error is too large against the lattice: sites cannot be told apart."
        warning.append(Note(text, Code.SITES_NOT_RESOLVED))
    if said := _not_random(tracks, sites, prepared.steps, value):
        warning.append(said)
    factor = a**2 / 4
    immobile = _immobile(table)
    extra = {
        "rate": value, "rate_low": low, "rate_high": high, "duration": duration, "immobile": immobile,
        "expected_hops": value * duration, "resampled": again * factor,
    }  # fmt: skip
    return Diffusion(
        value * factor, low * factor, high * factor, noise, tracks.n_tracks, len(tracks.frame) - tracks.n_tracks,
        "sites", join(warning), extra,
    )  # fmt: skip


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
            np.stack([np.broadcast_to(rest[:, None, None] + np.log(shares), (*hop.shape, len(shares))),
                      hop[..., None] + np.log1p(-shares)]), axis=0,
        ).sum(0)  # fmt: skip
    profile = mixed.max(0)
    inside = profile >= profile.max() - stats.chi2.ppf(LEVEL, 1) / 2
    return float(shares[profile.argmax()]), float(shares[inside][0]), float(shares[inside][-1])


def hops_between(sites: Sites) -> np.ndarray:
    """(n - 1,) fewest hops that lead from the nearest site of each detection to that of the next one."""
    distance = np.hypot(*(np.diff(sites.cell[:, 0], axis=0) @ sites.vectors).T) / np.hypot(*sites.vectors[0])
    return np.ceil(distance - 0.05)


def _short_hops(tracks: Tracks, sites: Sites) -> tuple[float, float, np.ndarray]:
    """Hops in steps up to `LONG_STEP` usual durations, their time in all, and which (n - 1,) of the differences of
    entries are such steps."""
    same, step = np.diff(tracks.track) == 0, np.diff(tracks.time)
    short = same & (step <= LONG_STEP * np.median(step[same]))
    return float(hops_between(sites)[short].sum()), float(step[short].sum()), short


def count_hops(tracks: Tracks, vectors: np.ndarray, bandwidth: float | None = None) -> Diffusion:
    """D = a^2 n / (4 T) from the hops between nearest sites, with the exact Gamma interval of a Poisson count.

    Good when the localisation error is far below the lattice constant; every misplaced detection counts two hops. Hops
    and exposure T, in true time, are those of steps up to three times the usual duration: over longer ones hops
    that go forth and back are not seen. `extra` has the hop vectors (for a rose of directions).
    """
    placed = _placed(tracks, vectors, bandwidth)
    if placed is None:
        return failed("hops", "No track has two detections.", tracks.n_tracks)
    tracks, sites, a = placed
    n, duration, short = _short_hops(tracks, sites)
    factor = a**2 / 4 / duration
    low = stats.gamma.ppf(0.5 - LEVEL / 2, n) if n > 0 else 0.0
    high = stats.gamma.ppf(0.5 + LEVEL / 2, n + 1)
    jump = np.diff(sites.cell[:, 0], axis=0)[short] @ sites.vectors
    noise = float(np.sqrt((sites.offset[:, 0] ** 2).mean()))
    warning = "" if noise < 0.12 * a else "The localisation error is so large that misplaced detections count as hops."
    extra = {"hops": n, "duration": duration, "length": a, "jumps": jump[np.hypot(*jump.T) > 0.5 * a]}
    return Diffusion(
        n * factor,
        float(low * factor),
        float(high * factor),
        noise,
        tracks.n_tracks,
        len(jump),
        "hops",
        warning,
        extra,
    )
