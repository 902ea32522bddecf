"""Harmonics of a lattice in a frame: the Bragg masks that pass them, and how strong they are at each place."""

from collections.abc import Sequence

import numpy as np
from scipy import fft

from stemdefects.labels.fourier.periodic.lattice import ImageLattice

STRENGTH_WINDOW = 1.5  # lattice spacings: standard deviation of the window in which a lattice is strong or not


class Masks:
    """Bragg masks on a padded Fourier grid."""

    def __init__(self, lattice: ImageLattice, shape: tuple[int, int], window_px: float, background_px: float):
        self.shape = shape
        pad = int(np.ceil(2.5 * window_px))
        self.size = tuple(fft.next_fast_len(n + pad, real=True) for n in shape)
        ky, kx = fft.fftfreq(self.size[0])[:, None], fft.rfftfreq(self.size[1])[None]
        self.ky, self.kx = ky.astype(np.float32), kx.astype(np.float32)
        self.window_px = window_px
        self.low = self.gaussian((0, 0), window_px)
        self.background = self.gaussian((0, 0), background_px)
        self.bragg = np.zeros_like(self.low)
        for g in lattice.peaks @ lattice.reciprocal:
            self.bragg += self.gaussian(g, window_px) + self.gaussian(-g, window_px)

    def gaussian(self, centre: Sequence[float] | np.ndarray, sigma_px: float) -> np.ndarray:
        """Transform of a window of `sigma_px` around the frequency `centre` (y, x; cycles per px)."""
        cy, cx = centre
        scale = 2 * (np.pi * sigma_px) ** 2
        return (np.exp(-scale * (self.ky - cy) ** 2) * np.exp(-scale * (self.kx - cx) ** 2)).astype(np.float32)

    def forward(self, image: np.ndarray) -> np.ndarray:
        """Spectrum of `image` (H, W) on the padded grid."""
        return fft.rfft2(image, self.size)

    def backward(self, spectrum: np.ndarray) -> np.ndarray:
        """(H, W) image of a `spectrum`."""
        return fft.irfft2(spectrum, self.size)[: self.shape[0], : self.shape[1]].astype(np.float32)

    def smooth(self, image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        """`image` (H, W) convolved with a window whose transform is `kernel`."""
        return self.backward(self.forward(image) * kernel)

    def harmonic(self, image: np.ndarray, g: np.ndarray, sigma_px: float) -> np.ndarray:
        """Local complex amplitude (H, W) of the harmonic `g` (cycles per px) in a window of `sigma_px`."""
        height, width = self.shape
        rows, columns = (np.exp(-2j * np.pi * f * np.arange(n)) for f, n in zip(g, self.shape, strict=True))
        carrier = rows[:, None] * columns
        ky, kx = fft.fftfreq(self.size[0])[:, None], fft.fftfreq(self.size[1])[None]
        kernel = np.exp(-2 * (np.pi * sigma_px) ** 2 * (ky**2 + kx**2)).astype(np.float32)
        product = fft.ifft2(fft.fft2((image * carrier).astype(np.complex64), self.size) * kernel)
        return product[:height, :width]


def amplitude(masks: Masks, signal: np.ndarray, lattice: ImageLattice, weight: np.ndarray) -> np.ndarray:
    """(H, W) amplitude of `signal` (H, W), weighted by `weight` (H, W), in its strongest independent harmonics."""
    sigma = STRENGTH_WINDOW * lattice.spacing_px
    norm = masks.smooth(weight, masks.gaussian((0, 0), sigma))
    rows, columns = (np.arange(n) for n in signal.shape)
    strong = []
    for g in lattice.peaks @ lattice.reciprocal:  # noise is as large in each: small ones say little in a small window
        wave = np.exp(-2j * np.pi * g[0] * rows) @ (signal * weight) @ np.exp(-2j * np.pi * g[1] * columns)
        strong.append(abs(wave))
    total = 0.0
    for hk in independent(lattice, np.array(strong)):
        total = total + np.abs(masks.harmonic(signal * weight, hk @ lattice.reciprocal, sigma)) ** 2
    return np.sqrt(total) / np.maximum(norm, 1e-3)


def local_amplitude(frame: np.ndarray, lattice: ImageLattice, covered: np.ndarray | None = None) -> np.ndarray:
    """(H, W) amplitude of the strongest independent harmonics in a window of 1.5 spacings, without what is `covered`
    (H, W bool)."""
    sigma = STRENGTH_WINDOW * lattice.spacing_px
    masks = Masks(lattice, frame.shape, sigma, sigma)
    weight = np.ones_like(frame) if covered is None else (~covered).astype(frame.dtype)
    slow = masks.smooth(frame * weight, masks.background)
    slow = slow / np.maximum(masks.smooth(weight, masks.background), 1e-3)
    return amplitude(masks, frame - slow, lattice, weight)


def independent(lattice: ImageLattice, strength: np.ndarray) -> np.ndarray:
    """(2 or 3, 2) the two (three if there are) strongest harmonics by `strength` (n,), not all collinear."""
    order = np.argsort(strength)[::-1]
    chosen = [lattice.peaks[order[0]]]
    for i in order[1:]:
        if all(abs(np.linalg.det(np.array([c, lattice.peaks[i]], float))) > 0.5 for c in chosen):
            chosen.append(lattice.peaks[i])
        if len(chosen) == 3:
            break
    return np.array(chosen)
