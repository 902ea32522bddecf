"""Likelihood of tracks under a hidden Markov model of the site: how it hops, how far off it is seen."""

import numpy as np

from stemdefects.analysis.motion.propagator import REACH, alike, propagator
from stemdefects.analysis.tracking.lattice_sites import Sites, hop_vectors
from stemdefects.analysis.tracking.tracks import Tracks
from stemdefects.numerics import forward_backward

OUTLIER = 1e-3  # share of detections that are not at a site at all


class Prepared:
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
        size = 2 * REACH
        self.entry = (kernel_of[:, None, None] * size + jump[..., 0] % size) * size + jump[..., 1] % size
        far = (np.abs(jump) >= REACH).any(-1)
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


def track_log_likelihood(
    tracks: Tracks | None,
    sites: Sites | None,
    rate: float,
    sigma: float,
    posterior: bool = False,
    prepared: Prepared | None = None,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Log likelihood of every track at total hop rate `rate` and localisation error `sigma`.

    Args:
        tracks, sites: not needed where `prepared` was made of them.
        posterior: also return the probability of each candidate site of each detection, (n, M).

    Returns:
        (n_tracks,), or that and the posterior.
    """
    if prepared is None:
        assert tracks is not None and sites is not None
        prepared = Prepared(tracks, sites)
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
