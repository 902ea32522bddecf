"""The reference work's plain recipe, kept so that the improvement can be measured.

First frame only: a low-pass disk in Fourier space removes the lattice, the filtered frame is cut at two fixed
thresholds, connected areas beyond them are the dark and the bright defects.

Source: npj Comput. Mater. 5, 12 (2019), arXiv:1803.05381.
"""

import numpy as np
from scipy import fft, ndimage

from stemdefects.labels.fourier.periodic.lattice import ImageLattice
from stemdefects.labels.fourier.points.defects import Extrema


def low_pass(frame: np.ndarray, lattice: ImageLattice, radius: float) -> np.ndarray:
    """`frame` (H, W) without frequencies beyond `radius` times the shortest reciprocal vector, in its own spread."""
    cut = radius * np.linalg.norm(lattice.peaks @ lattice.reciprocal, axis=1).min()
    frequency = np.hypot(fft.fftfreq(frame.shape[0])[:, None], fft.rfftfreq(frame.shape[1])[None])
    filtered = fft.irfft2(fft.rfft2(frame - frame.mean()) * (frequency < cut), frame.shape)
    return (filtered / max(filtered.std(), 1e-30)).astype(np.float32)


def components(filtered: np.ndarray, dark: float, bright: float) -> Extrema:
    """Centres of the connected areas below -`dark` and above `bright`, with the extreme value of each."""
    found, values = [np.zeros((0, 2))], [np.zeros(0)]
    for sign, limit in ((-1.0, dark), (1.0, bright)):
        label, n = ndimage.label(sign * filtered > limit)
        if n:
            index = np.arange(1, n + 1)
            found.append(np.array(ndimage.center_of_mass(np.abs(filtered), label, index)))
            values.append(sign * ndimage.maximum(sign * filtered, label, index))
    return Extrema(np.concatenate(found), np.concatenate(values))


def defects(frame: np.ndarray, lattice: ImageLattice, radius: float, threshold: float) -> Extrema:
    """What the recipe calls defects in `frame` (H, W)."""
    return components(low_pass(frame, lattice, radius), threshold, threshold)
