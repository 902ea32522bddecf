"""How far a peak of a mean power spectrum stands above chance.

The power of noise over its mean is exponential in one frame; the mean of n frames is a Gamma of n where their noise is
their own, and still exponential where all show the same (an amorphous film, a steady fault of the scan). Which of
these it is the spectrum's own spread says, ring by ring.
"""

import numpy as np
from scipy import fft, special

RINGS_PX = 4.0  # width of a ring in Fourier bins; three are taken together
LEAST_IN_RINGS = 24  # values, below which a ring's spread says nothing and the frames count as one


def of_one_frame(ratio: np.ndarray, n_frames: int) -> np.ndarray:
    """(H, W // 2 + 1) the values that are as rare in one frame's spectrum as those of `ratio` are in this.

    ratio: (H, W // 2 + 1) mean over `n_frames` of power over its mean at the frequency (`bragg.whitened`). What is
    1 in 10,000 by chance becomes ln 10,000, however many frames there are.
    """
    if n_frames == 1:
        return ratio
    value = n_frames * ratio
    with np.errstate(divide="ignore", over="ignore"):
        exact = -np.log(special.gammaincc(n_frames, value))
        far = value - (n_frames - 1) * np.log(np.maximum(value, 1e-30)) + special.gammaln(n_frames)
    own = np.where(np.isfinite(exact), exact, far)
    # a share of the amplitude that all frames have in common is exponential, whatever their number
    common = np.sqrt(np.maximum(1 / independent(ratio, n_frames) - 1 / n_frames, 1e-6) / (1 - 1 / n_frames))
    return np.minimum(own, (ratio - 1 + common) / common)


def independent(ratio: np.ndarray, n_frames: int) -> np.ndarray:
    """(H, W // 2 + 1) of how many frames with noise of their own the spread of `ratio` tells, 1 to `n_frames`.

    By the quartiles around the ring, which the few peaks of a crystal do not reach.
    """
    height, half = ratio.shape
    ky, kx = fft.fftfreq(height)[:, None] * height, np.arange(half)[None]
    ring = (np.hypot(ky, kx * height / max(2 * (half - 1), 1)) / RINGS_PX).astype(int)
    number = np.arange(1, n_frames + 1)
    spread = np.log(special.gammaincinv(number, 0.75) / special.gammaincinv(number, 0.25))
    shapes = np.ones(ring.max() + 1)
    for r in range(len(shapes)):
        values = ratio[(np.abs(ring - r) <= 1) & (ratio > 0)]
        if len(values) >= LEAST_IN_RINGS:
            low, high = np.quantile(values, (0.25, 0.75))
            shapes[r] = np.interp(-np.log(high / low), -spread, number)
    return shapes[ring]
