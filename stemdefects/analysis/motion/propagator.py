"""How far a hopper gets on a lattice in a time: the exact propagator of the infinite lattice, by Fourier transform."""

import numpy as np

REACH = 16  # lattice vectors kept by the propagator in each direction


def propagator(k_times_t: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Probability of having moved by each lattice vector after hopping at rate k for a time t.

    Args:
        k_times_t: (m,) mean number of hops.
        steps: (z, 2) integer hop vectors, equally likely.

    Returns:
        (m, 2R, 2R) indexed by the integer displacement modulo 2R, R = 16.
    """
    size = 2 * REACH
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
