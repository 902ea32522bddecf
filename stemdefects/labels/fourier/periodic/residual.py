"""What is periodic in a frame and what is not.

The periodic part is the sum of the lattice's harmonics with slowly varying amplitudes: Bragg masks with Gaussian
tapers, which in real space is a sliding window of `window_px`. Frame edges and rejected areas carry no weight
(normalised convolution, iterated on its own residual), so that neither makes ghosts. Rows that the scan has shifted or
scaled are fitted row by row and taken out. The variance of what remains is fitted as read-out noise plus a gain times
the intensity, as counting electrons gives.

Source of the masks: Hytch et al., Ultramicroscopy 74, 131 (1998); of the normalised convolution: Knutsson and Westin,
CVPR 1993.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from stemdefects.labels.fourier.periodic.harmonics import Masks, amplitude, independent
from stemdefects.labels.fourier.periodic.lattice import ImageLattice
from stemdefects.numerics import robust

ODD = 5.0  # standard deviations of the filtered residual: such places do not move the periodic part either
ITERATIONS = 4  # each leaves out what stands out of the noise that the one before found
CLIP = 4.0  # residuals beyond so many standard deviations do not move the periodic part


@dataclass(frozen=True)
class Residual:
    """One frame, taken apart. All maps are (H, W) float32 in the frame's units.

    periodic: lattice with background, as the scan distorted it; residual: frame - periodic; variance: expected, of
    the noise; phase: (2, H, W) fractional lattice coordinates along a1, a2, in 0..1; order: local amplitude of the
    lattice over its usual one (about 1 in crystal, 0 where there is none); background: slow part of the intensity;
    weight: 0..1, how much each pixel was trusted; row_shift_px, row_gain, row_offset: (H,) what the scan did to rows;
    member: (H, W) int8, number of the grain a pixel belongs to, None where there is one;
    gain and read_variance: variance = gain * intensity + read_variance (negative where the detector has an offset);
    calm: (H, W) bool, crystal without anything odd in it, from which noise can be told.
    """

    periodic: np.ndarray
    residual: np.ndarray
    variance: np.ndarray
    phase: np.ndarray
    order: np.ndarray
    background: np.ndarray
    weight: np.ndarray
    row_shift_px: np.ndarray
    row_gain: np.ndarray
    row_offset: np.ndarray
    gain: float
    read_variance: float
    calm: np.ndarray
    member: np.ndarray | None = None

    @property
    def normalised(self) -> np.ndarray:
        """Residual in units of the expected noise."""
        return self.residual / np.sqrt(self.variance)


def take_apart(
    frame: np.ndarray,
    lattice: ImageLattice,
    *,
    invalid: np.ndarray | None = None,
    covered: np.ndarray | None = None,
    window: float = 3.0,
    background: float = 1.5,
    fit_rows: bool = True,
) -> Residual:
    """Separate `frame` (H, W) into what repeats with `lattice` and the rest.

    invalid: (H, W) bool, pixels that hold no intensity: they have no weight and say nothing; covered: the same of
    pixels where something lies on the crystal, whose edge must not leak into the lattice around it; window: standard
    deviation of the sliding window, in lattice spacings (large: one lattice for the whole frame; small: follows
    rotation and distortion, but takes 1 / (4 pi window^2) cells' worth of each defect with it); background: the same
    for the slow part of the intensity; fit_rows: fit shift, gain and offset of each scan row.
    """
    frame = np.asarray(frame, np.float32)
    masks = Masks(lattice, frame.shape, window * lattice.spacing_px, background * lattice.spacing_px)
    open_ = np.ones(frame.shape, np.float32) if covered is None else (~covered).astype(np.float32)
    valid = open_ if invalid is None else open_ * ~invalid
    trust = shown = order = valid
    rows = np.zeros((3, len(frame)), np.float32)  # shift px, gain - 1, offset
    shifted = np.zeros_like(frame)  # what the rows' faults add
    slow = np.zeros_like(frame)
    lattice_part = np.zeros_like(frame)
    gain = read = 0.0
    variance = np.full_like(frame, frame.var() + 1e-30)
    for step in range(ITERATIONS):
        norm = np.maximum(masks.smooth(trust, masks.low), 1e-3)
        norm_slow = np.maximum(masks.smooth(trust, masks.background), 1e-3)
        clean = frame - shifted
        if step:  # defects and dust must not move the lattice: their excess is cut (Huber)
            limit = CLIP * np.sqrt(variance)
            clean = slow + lattice_part + np.clip(clean - slow - lattice_part, -limit, limit)
        slow, lattice_part = np.zeros_like(frame), np.zeros_like(frame)
        for _ in range(2):  # the second pass takes out what the edges have leaked from one harmonic into another
            slow = slow + masks.smooth(trust * (clean - slow - lattice_part), masks.background) / norm_slow
            lattice_part = lattice_part + masks.smooth(trust * (clean - slow - lattice_part), masks.bragg) / norm
        if fit_rows:
            rows = _fit_rows(frame - slow, lattice_part, trust, np.sqrt(variance) if step else None, rows)
            shifted = faults(lattice_part, rows)
        rest = frame - shifted - slow - lattice_part
        gain, read = fit_noise(rest, slow + lattice_part, trust)
        variance = expected_variance(slow + lattice_part, gain, read)
        order = _order(masks, clean - slow, lattice, trust, open_)
        if step < ITERATIONS - 1:
            shown = valid * np.clip((order - 0.2) / 0.3, 0, 1).astype(np.float32)
            trust = shown * ~_odd(rest / np.sqrt(variance), lattice.spacing_px)
    periodic = slow + lattice_part + shifted
    return Residual(
        periodic=periodic,
        residual=frame - periodic,
        variance=variance,
        phase=_phase(masks, lattice_part, lattice),
        order=order,
        background=slow,
        weight=shown,
        row_shift_px=rows[0],
        row_gain=rows[1] + 1,
        row_offset=rows[2],
        gain=gain,
        read_variance=read,
        calm=trust > 0.5,
    )


def _odd(normalised: np.ndarray, spacing_px: float) -> np.ndarray:
    """(H, W) bool: around what is too dark or bright for the crystal (a hole is no outlier pixel by pixel)."""
    sigma = 0.17 * spacing_px
    filtered = ndimage.gaussian_filter(normalised, sigma) * (2 * np.sqrt(np.pi) * sigma)
    spread = max(1.0, robust.scatter(filtered, 0.0))
    return ndimage.maximum_filter(np.abs(filtered) > ODD * spread, int(0.3 * spacing_px) | 1)


def faults(lattice_part: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """What shifts, gains and offsets of the rows add to the lattice (second order in the shift)."""
    shift, gain, offset = rows[:, :, None]
    first = np.gradient(lattice_part, axis=1)
    second = np.gradient(first, axis=1)
    return gain * lattice_part - shift * first + 0.5 * shift**2 * second + offset


def _fit_rows(
    signal: np.ndarray, lattice_part: np.ndarray, trust: np.ndarray, sigma: np.ndarray | None, rows: np.ndarray
) -> np.ndarray:
    """One Gauss-Newton step of shift, gain and offset of each row, shrunk towards none where the row cannot tell."""
    first = np.gradient(lattice_part, axis=1)
    second = np.gradient(first, axis=1)
    slope = first - rows[0][:, None] * second
    rest = signal - lattice_part - faults(lattice_part, rows)
    if sigma is None:
        sigma = np.full_like(rest, rest.std() + 1e-12)
    rest = np.clip(rest, -CLIP * sigma, CLIP * sigma)
    weight = trust / sigma**2
    design = np.stack([-slope, lattice_part, np.ones_like(rest)])  # (3, H, W)
    normal = np.einsum("ahw,bhw,hw->hab", design, design, weight)
    right = np.einsum("ahw,hw,hw->ha", design, rest, weight)
    # priors: shifts of half a pixel, gains of 5%, offsets of 5% of the lattice's contrast
    prior = np.array([0.5, 0.05, 0.05 * lattice_part.std() + 1e-12]) ** -2
    normal += np.diag(prior)
    right -= prior * rows.T
    step = np.linalg.solve(normal, right[..., None])[..., 0].T
    rows = rows + step
    rows[0] = np.clip(rows[0], -2.0, 2.0)
    return rows.astype(np.float32)


def fit_noise(rest: np.ndarray, model: np.ndarray, trust: np.ndarray) -> tuple[float, float]:
    """(gain, read) of var = read + gain * intensity, from neighbouring pixels' differences.

    rest: residual, model: expected intensity, both (H, W). The mixed second difference of four neighbours keeps white
    noise and removes whatever the probe has blurred.
    """
    mixed = 0.5 * (rest[1:, 1:] - rest[:-1, 1:] - rest[1:, :-1] + rest[:-1, :-1])
    level = 0.25 * (model[1:, 1:] + model[:-1, 1:] + model[1:, :-1] + model[:-1, :-1])
    use = trust[1:, 1:] > 0.5
    if use.sum() < 200:
        use = np.ones_like(use)
    square, level = mixed[use] ** 2, level[use]
    square = np.minimum(square, 25 * max(square.mean(), 1e-30))
    edges = np.quantile(level, np.linspace(0, 1, 13))
    label = np.clip(np.searchsorted(edges, level) - 1, 0, 11)
    count = np.bincount(label, minlength=12)
    centre = np.bincount(label, level, 12) / np.maximum(count, 1)
    mean = np.bincount(label, square, 12) / np.maximum(count, 1)
    good = count > 0
    weight = np.sqrt(count[good]) / np.maximum(mean[good], 1e-30)  # the error of a mean square goes with it
    design = np.stack([centre[good], np.ones(good.sum())], 1)
    gain, read = np.linalg.lstsq(design * weight[:, None], mean[good] * weight, rcond=None)[0]
    if gain <= 0:
        return 0.0, float(max(np.average(mean[good], weights=count[good]), 1e-30))
    return float(gain), float(read)


def expected_variance(intensity: np.ndarray, gain: float, read: float) -> np.ndarray:
    """gain * intensity + read, kept above a tenth of its median (a detector offset makes `read` negative)."""
    variance = read + gain * intensity
    return np.maximum(variance, max(0.1 * float(np.median(variance)), 1e-30)).astype(np.float32)


def _order(
    masks: Masks, signal: np.ndarray, lattice: ImageLattice, trust: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Local amplitude of the strongest independent harmonics over its median, in a window of 1.5 spacings."""
    local = amplitude(masks, signal, lattice, weight)
    return (local / max(float(np.median(local[trust > 0.5])) if (trust > 0.5).any() else 1.0, 1e-30)).astype(np.float32)


def _phase(masks: Masks, lattice_part: np.ndarray, lattice: ImageLattice) -> np.ndarray:
    """(2, H, W) fractional coordinates along a1, a2 from the local phase of two harmonics.

    The harmonics' own phases in the motif only move the origin, which is the same everywhere.
    """
    chosen = independent(lattice, lattice.snr)[:2]
    height, width = masks.shape
    fraction = []
    for hk in chosen:
        g = hk @ lattice.reciprocal
        local = np.angle(masks.harmonic(lattice_part, g, masks.window_px)) / (2 * np.pi)
        fraction.append(local + g[0] * np.arange(height)[:, None] + g[1] * np.arange(width)[None])
    # h . u = fraction, whole numbers open: exact when the two indices span the lattice, else a coarser cell's phase
    u = np.tensordot(np.linalg.inv(chosen.astype(float)), np.stack(fraction), 1)
    return np.mod(u, 1.0).astype(np.float32)
