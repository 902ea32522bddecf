"""Frames of a drifting lattice laid on top of each other.

A lattice cannot tell a shift from the shift plus a lattice vector, what is not periodic can: the fraction of a lattice
vector comes from the phases of the Bragg peaks, the whole number from the correlation of the residuals, looked at only
where the phases allow.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

from stemdefects.labels.fourier.periodic.lattice import ImageLattice
from stemdefects.numerics import robust

CLEAR = 1.25  # a correlation this much above the second best names the lattice vector
SURE = 5.0  # standard deviations of chance correlations by which it has to be above it
ONE_DEFECT = 0.5  # of a lattice spacing: what agrees within it counts as one, and one does not name a lattice vector
HALFWAY = 0.35  # lattice vectors from where the frames before lead to: a shorter step leaves no doubt
OTHERS = 0.5  # share of what that one adds that all others have to add: less is its own ringing


@dataclass(frozen=True)
class Alignment:
    """shift_px: (n, 2) place of a resting point in frame i minus its place in frame 0; clear: (n,) bool, whether the
    residuals named the lattice vector (else it was taken nearest to the course of the frames before) or the nearest one
    is so near that the others are out of the question."""

    shift_px: np.ndarray
    clear: np.ndarray


def align(z: np.ndarray, phase: np.ndarray, lattice: ImageLattice, weight: np.ndarray, max_step_px: float) -> Alignment:
    """Shifts of n frames to the first.

    z: (n, H, W) significance of the residuals; phase: (n, 2, H, W) fractional lattice coordinates (`Residual.phase`);
    weight: (n, H, W) trust; max_step_px: largest drift between neighbouring frames.
    """
    n = len(z)
    shift, clear = np.zeros((n, 2)), np.ones(n, bool)
    if n == 1:
        return Alignment(shift, clear)
    size = tuple(fft.next_fast_len(s + int(2 * max_step_px), real=True) for s in z.shape[1:])
    strong = np.clip(np.where(np.abs(z) > 2.0, z, 0.0), -8, 8)  # noise carries nothing
    total, weight_total = strong[0].copy(), np.ones(z.shape[1:], np.float32)
    for t in range(1, n):
        fraction = _fraction(phase[t], phase[0], weight[t] * weight[0])
        guess = shift[t - 1] + (0.5 * (shift[t - 1] - shift[t - 2]) if t > 1 else 0)
        candidates = _candidates(fraction, lattice.vectors_px, shift[t - 1], max_step_px)
        reference = total / weight_total
        product = fft.irfft2(fft.rfft2(strong[t], size) * np.conj(fft.rfft2(reference, size)), size)
        smooth = ndimage.gaussian_filter(product, 1.0, mode="wrap")
        chance = robust.scatter(smooth)
        value = ndimage.map_coordinates(smooth, candidates.T, order=1, mode="grid-wrap")
        radius = ONE_DEFECT * lattice.spacing_px
        largest = np.array([_largest(strong[t], reference, candidate, radius) for candidate in candidates])
        value -= largest
        order = np.argsort(value)[::-1]
        best = order[0]
        second = max(value[order[1]], 0.0) if len(order) > 1 else -np.inf
        clear[t] = len(order) < 2 or value[best] > max(CLEAR * second, second + SURE * chance)
        clear[t] &= len(order) < 2 or value[best] > OTHERS * largest[best]
        if not clear[t]:
            away = np.linalg.norm(candidates - guess, axis=1)
            best = int(np.argmin(away))
            clear[t] = away[best] < HALFWAY * np.linalg.norm(lattice.vectors_px, axis=1).min()
        shift[t] = candidates[best]
        moved = ndimage.shift(strong[t], -shift[t], order=1, mode="constant")
        total += moved
        weight_total += ndimage.shift(np.ones_like(moved), -shift[t], order=1, mode="constant")
    return Alignment(shift, clear)


def _largest(strong: np.ndarray, reference: np.ndarray, shift_px: np.ndarray, radius_px: float) -> float:
    """The most that one place adds to the correlation of `strong` with `reference` at `shift_px`.

    An atom that hops agrees with itself wherever it goes: the others have to say where the crystal is.
    """
    moved = ndimage.shift(strong, -np.rint(shift_px), order=0, mode="constant", prefilter=False)
    size = max(3, 2 * round(radius_px) + 1)
    return float(ndimage.uniform_filter(moved * reference, size, mode="constant").max() * size**2)


def _fraction(phase: np.ndarray, reference: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """(2,) mean difference of lattice coordinates, modulo 1: what a shift of the content by +1 a_i lowers by 1."""
    difference = np.exp(2j * np.pi * (phase - reference))
    return np.angle((difference * weight).sum((1, 2))) / (2 * np.pi)


def _candidates(fraction: np.ndarray, vectors: np.ndarray, centre: np.ndarray, reach: float) -> np.ndarray:
    """(m, 2) shifts within `reach` of `centre` that the phases allow, at least the nearest one."""
    base = -fraction
    near = centre @ np.linalg.inv(vectors)
    span = int(np.ceil(reach / np.linalg.norm(vectors, axis=1).min() * 1.3)) + 1
    steps = np.arange(-span, span + 1)
    cells = np.rint(near - base)[None, None] + np.stack(np.meshgrid(steps, steps, indexing="ij"), -1)
    shifts = ((base + cells) @ vectors).reshape(-1, 2)
    distance = np.linalg.norm(shifts - centre, axis=1)
    return shifts[distance <= max(reach, distance.min() + 1e-9)]


def local_shift(
    phase: np.ndarray, reference: np.ndarray, shift_px: np.ndarray, vectors: np.ndarray, yx: np.ndarray
) -> np.ndarray:
    """(n, 2) places in a frame of points `yx` (n, 2) of the reference, by the lattice's own phase around each.

    phase, reference: (2, H, W) lattice coordinates of the frame and of the reference; shift_px: (2,) mean shift;
    vectors: (2, 2), or (n, 2, 2) those at each point.
    """

    def at(field, points):
        wave = np.exp(2j * np.pi * field)
        parts = [
            ndimage.map_coordinates(part, points.T, order=1, mode="nearest") for w in wave for part in (w.real, w.imag)
        ]
        return np.angle(parts[0] + 1j * parts[1]), np.angle(parts[2] + 1j * parts[3])

    moved = yx + shift_px
    now, then = np.stack(at(phase, moved), 1), np.stack(at(reference, yx), 1)
    off = np.mod((now - then) / (2 * np.pi) + 0.5, 1.0) - 0.5  # lattice coordinates of the point minus its own
    return moved - np.einsum("ni,nij->nj", np.clip(off, -0.25, 0.25), np.broadcast_to(vectors, (len(yx), 2, 2)))


def mean_at(maps: np.ndarray, weights: np.ndarray, shift_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted mean (H, W) of `maps` (n, H, W), each shifted back by `shift_px` (n, 2); and the summed weight."""
    total, norm = np.zeros(maps.shape[1:], np.float32), np.zeros(maps.shape[1:], np.float32)
    for map_, weight, shift in zip(maps, weights, shift_px, strict=True):
        if np.abs(shift).max() < 1e-6:
            moved, trust = map_ * weight, weight
        else:
            trust = np.clip(ndimage.shift(weight, -shift, order=1, mode="constant"), 0, None)
            moved = ndimage.shift(map_, -shift, order=3, mode="nearest") * trust
        total += moved
        norm += trust
    return total / np.maximum(norm, 1e-6), norm
