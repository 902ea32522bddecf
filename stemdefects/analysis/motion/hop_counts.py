"""Hops as they are counted between the nearest sites of detections, and D from their number."""

import numpy as np
from scipy import stats

from stemdefects.analysis.estimates import LEVEL
from stemdefects.analysis.motion.diffusion import Diffusion, failed
from stemdefects.analysis.tracking.lattice_sites import Sites, assign, reduce
from stemdefects.analysis.tracking.tracks import Tracks

LONG_STEP = 3.0  # in usual durations: longer steps are left out of counts of hops
N_ORDERS, COINCIDE = 400, 0.005  # orders of the steps of each track, and how few may bring as many hops together
COINCIDENCE = (
    "Several tracks hop in the same frames, as one group does, or a drift that is off: {:.1f} hops count as one in the "
    "interval."
)


def placed(tracks: Tracks, vectors: np.ndarray, bandwidth: float | None) -> tuple[Tracks, Sites, float] | None:
    """Tracks of two detections and more, their sites and the lattice constant; None where there are none."""
    long = tracks.lengths >= 2
    if not long.any():
        return None
    tracks, vectors = tracks.select(long), reduce(vectors)
    a = float(np.hypot(*vectors[0]))
    return tracks, assign(tracks, vectors, bandwidth or 10 * a), a


def hops_between(sites: Sites) -> np.ndarray:
    """(n - 1,) fewest hops that lead from the nearest site of each detection to that of the next one."""
    distance = np.hypot(*(np.diff(sites.cell[:, 0], axis=0) @ sites.vectors).T) / np.hypot(*sites.vectors[0])
    return np.ceil(distance - 0.05)


def short_hops(tracks: Tracks, sites: Sites) -> tuple[float, float, np.ndarray]:
    """Hops in steps up to `LONG_STEP` usual durations, their time in all, and which (n - 1,) of the differences of
    entries are such steps."""
    same, step = np.diff(tracks.track) == 0, np.diff(tracks.time)
    short = same & (step <= LONG_STEP * np.median(step[same]))
    return float(hops_between(sites)[short].sum()), float(step[short].sum()), short


def dispersion(tracks: Tracks, hops: np.ndarray, short: np.ndarray) -> float:
    """By how much hops of several tracks in the same frame scatter the total more than independent ones; 1: they are.

    A group that turns as one, or a drift off by a lattice vector, moves several at once. Each track's own steps are
    put into another order `N_ORDERS` times, which keeps how many hops it has; only what hardly any of these reach
    counts. hops: (n - 1,) between entries; short: (n - 1,) bool, the steps that are counted.
    """
    track, frame = tracks.track[1:][short], tracks.frame[1:][short]
    number = np.minimum(hops[short], 1.0)  # whether, not how far
    if len(np.unique(track[number > 0])) < 2:
        return 1.0
    _, step = np.unique(frame, return_inverse=True)
    rng = np.random.default_rng(0)
    orders = [np.lexsort((rng.random(len(track)), track)) for _ in range(N_ORDERS)]
    own = np.argsort(track, kind="stable")
    shuffled = np.empty((N_ORDERS, len(track)))
    for row, order in zip(shuffled, orders, strict=True):
        row[own] = number[order]
    counts = np.stack([np.bincount(step, some) for some in (number, *shuffled)])
    off = ((counts - counts[1:].mean(0)) ** 2).sum(1)
    if (1 + (off[1:] >= off[0]).sum()) / (1 + N_ORDERS) > COINCIDE:
        return 1.0
    return float(max(off[0] / max(off[1:].mean(), 1e-12), 1.0))


def count_hops(tracks: Tracks, vectors: np.ndarray, bandwidth: float | None = None) -> Diffusion:
    """D = a^2 n / (4 T) from the hops between nearest sites, with the exact Gamma interval of a Poisson count.

    Good when the localisation error is far below the lattice constant; every misplaced detection counts two hops. Hops
    and exposure T, in true time, are those of steps up to three times the usual duration: over longer ones hops
    that go forth and back are not seen. `extra` has the hop vectors (for a rose of directions).
    """
    found = placed(tracks, vectors, bandwidth)
    if found is None:
        return failed("hops", "No track has two detections.", tracks.n_tracks)
    tracks, sites, a = found
    n, duration, short = short_hops(tracks, sites)
    factor = a**2 / 4 / duration
    alike = dispersion(tracks, hops_between(sites), short)  # of so many hops, one says something new
    low = alike * stats.gamma.ppf(0.5 - LEVEL / 2, n / alike) if n > 0 else 0.0
    high = alike * stats.gamma.ppf(0.5 + LEVEL / 2, n / alike + 1)
    jump = np.diff(sites.cell[:, 0], axis=0)[short] @ sites.vectors
    noise = float(np.sqrt((sites.offset[:, 0] ** 2).mean()))
    warning = "" if noise < 0.12 * a else "The localisation error is so large that misplaced detections count as hops."
    warning = " ".join(filter(None, [warning, COINCIDENCE.format(alike) if alike > 1 else ""]))
    extra = {"hops": n, "duration": duration, "length": a, "jumps": jump[np.hypot(*jump.T) > 0.5 * a]}
    return Diffusion(
        D=n * factor,
        low=float(low * factor),
        high=float(high * factor),
        sigma=noise,
        n_tracks=tracks.n_tracks,
        n_steps=len(jump),
        method="hops",
        warning=warning,
        extra=extra,
    )
