"""How far a link may reach: as far as hops ask for, unless more chance links than hops would be let in."""

import numpy as np

from stemdefects.analysis.motion import diffusion, propagator
from stemdefects.analysis.tracking import lattice_sites
from stemdefects.analysis.tracking.tracks import Tracks

REACHES = (1.5, 2.2, 2.9)  # lattice constants: between the shells of sites at 1 | 1.73, 2 | 2.65 | 3
_HEXAGONAL = np.array([[0.0, 1.0], [np.sqrt(0.75), 0.5]])  # lattice vectors of constant 1


def lost(hops: float, reach: float) -> float:
    """Share of the mean squared displacement of a walk of `hops` hops on average (Poisson, six neighbours) that lies
    beyond `reach` lattice constants."""
    kernel = propagator.propagator(np.array([hops]), lattice_sites.hop_vectors(_HEXAGONAL))[0]
    n = np.fft.fftfreq(len(kernel), 1 / len(kernel))
    square = ((np.stack(np.meshgrid(n, n, indexing="ij"), -1) @ _HEXAGONAL) ** 2).sum(-1)
    return float((kernel * square)[square > reach**2].sum() / (kernel * square).sum())


def reach(some: Tracks, n_frames: int, interval: float, a: float, area: float) -> float:
    """Reach (lattice constants) that suits tracks of one kind which were linked with the least of `REACHES`.

    A wider gate lets in the longer hops that the narrow one lost, and false detections beside tracks whose own
    detection was missed, in proportion to reach^4. It is taken while it brings more of the first than of the second.

    Args:
        some: the tracks, short ones too.
        n_frames, interval: frames, and the usual time between them.
        area: of the field, in the square of the tracks' unit.
    """
    long = some.lengths >= 3
    if long.sum() < 10 or not area > 0:
        return REACHES[0]
    followed = some.select(long)
    D = diffusion.cve(followed, 20, hop_length=a).D
    if not D > 0:
        return REACHES[0]
    squared = 4 * D * interval
    start = np.r_[0, np.cumsum(followed.lengths)[:-1]]
    frames = np.median(np.diff(followed.time)[np.diff(followed.track) == 0])
    span = (followed.time[start + followed.lengths - 1] - followed.time[start]) / max(frames, 1e-300) + 1
    missed = max(1 - followed.lengths.sum() / span.sum(), 0.0)
    false = some.lengths[~long].sum() / (n_frames * area)
    best = REACHES[0]
    for wider in REACHES[1:]:
        gained = (lost(squared / a**2, best) - lost(squared / a**2, wider)) * squared
        chance = missed * false * np.pi / 2 * (wider**4 - best**4) * a**4
        if gained <= chance:
            break
        best = wider
    return best
