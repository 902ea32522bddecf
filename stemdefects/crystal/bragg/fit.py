"""The lattice whose reciprocal vectors stand out most among the peaks of a frame, fitted below a bin."""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from stemdefects.crystal.bragg.cells import equivalent_cells, reciprocal, rotation, shells
from stemdefects.crystal.bragg.spectrum import (
    MAX_FREQUENCY,
    apply_window,
    candidates,
    largest_near,
    peak_position,
    whitened,
)

MIN_PERIODS = 5.0  # lattice spacings across the frame, at least
MIN_SNR = 12.0  # of the weakest of the shortest reciprocal vectors, in units of the ring's mean power
TOLERANCE = 0.09  # of a partner's distance, where it is looked for


@dataclass(frozen=True)
class FrameLattice:
    """What the Bragg peaks of one frame say.

    vectors_px: (2, 2) rows a1, a2 as (y, x); the choice among equivalent directions is the one nearest to the
    material's own, so neighbouring frames agree. pixel_size_nm: sampling that gives the cell the material's area;
    sigma: its relative standard error. angle_rad: rotation of the crystal against the material's axes,
    counter-clockwise with y down. strain: (2, 2) symmetric (y, x), after the mean sampling is taken out. snr: weakest
    of the shortest reciprocal vectors.
    """

    vectors_px: np.ndarray
    pixel_size_nm: float
    sigma: float
    angle_rad: float
    strain: np.ndarray
    snr: float
    n_peaks: int


def fit_lattice(
    frames: np.ndarray, lattice_nm: np.ndarray, pixel_size_nm: float | None = None, search: float = 1.6
) -> FrameLattice | None:
    """Lattice of one image (H, W), or of several frames (n, H, W) taken together; None when no lattice is found.

    lattice_nm: (2, 2) rows a1, a2 as (y, x) of the crystal shown. With `pixel_size_nm` only samplings within a factor
    `search` of it are considered.
    """
    frames = np.asarray(frames, np.float32)
    frames = frames[None] if frames.ndim == 2 else frames
    if min(frames.shape[1:]) < 16:
        return None
    windowed = np.stack([apply_window(frame) for frame in frames])
    ratio = np.mean([whitened(np.abs(fft.rfft2(frame)) ** 2) for frame in windowed], axis=0)
    threshold = 1 + (MIN_SNR - 1) / np.sqrt(len(frames))
    height, width = frames.shape[1:]
    lattice_nm = np.asarray(lattice_nm, float)
    groups = shells(lattice_nm)
    basis = reciprocal(lattice_nm)  # 1/nm
    g_nm = float(np.linalg.norm(groups[0][0] @ basis))
    low, high = MIN_PERIODS / min(height, width), MAX_FREQUENCY
    if pixel_size_nm is not None:
        low = max(low, pixel_size_nm * g_nm / search)
        high = min(high, pixel_size_nm * g_nm * search)
    peaks = candidates(ratio, low, high, threshold)
    best = _best_set(ratio, peaks, groups, basis, threshold)
    return None if best is None else _refine(windowed, ratio, *best, groups, lattice_nm, threshold)


def _best_set(
    ratio: np.ndarray, peaks: np.ndarray, groups: list[np.ndarray], basis: np.ndarray, threshold: float
) -> tuple[np.ndarray, float] | None:
    """The matrix (reciprocal vectors in 1/nm @ matrix = cycles per px) whose peaks stand out most, and the weakest."""
    first = groups[0] @ basis
    width = 2 * (ratio.shape[1] - 1)
    sets = []
    for peak in peaks:
        scale = np.linalg.norm(peak) / np.linalg.norm(first[0])
        angle = np.arctan2(peak[0], peak[1]) - np.arctan2(first[0, 0], first[0, 1])
        matrix = scale * rotation(angle)
        values, places = _shell_peaks(ratio, groups[0], basis, matrix, TOLERANCE)
        # a vector along the slow axis may hide behind row offsets; what is left must then be the clearer
        hidden = (np.abs((first @ matrix)[:, 1]) * width < 2) & (values < threshold)
        if len(first) - hidden.sum() < 2 or values[~hidden].min() < threshold * (3 if hidden.any() else 1):
            continue
        matrix, *_ = np.linalg.lstsq(first[~hidden], places[~hidden], rcond=None)
        values = values[~hidden]
        score = np.log1p(values).sum()
        for shell in groups[1:]:
            score += 0.5 * np.log1p(_shell_peaks(ratio, shell, basis, matrix, TOLERANCE / 4)[0]).sum()
        sets.append((score, matrix, values.min()))
    if not sets:
        return None
    _, matrix, weakest = max(sets, key=lambda item: item[0])
    # at high dose the second shell makes a good set too: the crystal is the one with the longest spacing that has all
    for _, other, value in sorted(sets, key=lambda item: abs(np.linalg.det(item[1]))):
        index = first @ matrix @ np.linalg.inv(basis @ other)
        if value > max(threshold, 0.05 * weakest) and np.abs(index - np.rint(index)).max() < 0.1:
            return other, float(value)
    return matrix, float(weakest)


def _shell_peaks(
    ratio: np.ndarray, shell: np.ndarray, basis: np.ndarray, matrix: np.ndarray, tolerance: float
) -> tuple[np.ndarray, np.ndarray]:
    """Largest ratio near each vector of `shell` (n,), and where it is (n, 2)."""
    expected = shell @ basis @ matrix
    found = [largest_near(ratio, e, tolerance * float(np.linalg.norm(e))) for e in expected]
    return np.array([value for value, _ in found]), np.array([place for _, place in found])


def _refine(
    windowed: np.ndarray,
    ratio: np.ndarray,
    matrix: np.ndarray,
    snr: float,
    groups: list[np.ndarray],
    lattice: np.ndarray,
    threshold: float,
) -> FrameLattice | None:
    """Fit all visible peaks below a bin, shell by shell, and turn the matrix into a `FrameLattice`."""
    basis = reciprocal(lattice)
    height, width = windowed.shape[1:]
    errors, n_used, known = np.array([np.nan]), 0, {}
    for n_shells in range(1, len(groups) + 1):
        targets, places, weights = [], [], []
        for index in np.concatenate(groups[:n_shells]):
            expected = index @ basis @ matrix
            value, _ = largest_near(ratio, expected, 1.5 / min(height, width))
            if value < threshold or np.abs(expected).max() > 0.48:
                continue
            if tuple(index) not in known:
                known[tuple(index)] = peak_position(windowed, expected)
            targets.append(index @ basis)
            places.append(known[tuple(index)])
            weights.append(np.log(value))
        if len(targets) < 2 or np.linalg.matrix_rank(np.array(targets)) < 2:
            break
        weight = np.sqrt(np.array(weights))[:, None]
        targets, places = np.array(targets), np.array(places)
        matrix, *_ = np.linalg.lstsq(targets * weight, places * weight, rcond=None)
        errors, n_used = np.linalg.norm(targets @ matrix - places, axis=1), len(targets)
    if n_used < 2 or abs(np.linalg.det(matrix)) < 1e-9:
        return None
    g_px = np.linalg.norm(groups[0][0] @ basis @ matrix)
    if n_used > 2 and np.sqrt((errors**2).mean()) > 0.1 * g_px:
        return None
    vectors = lattice @ np.linalg.inv(matrix).T  # rows a1, a2 in px
    # degrees of freedom: two numbers a peak, four fitted
    scatter = np.sqrt((errors**2).sum() / max(2 * n_used - 4, 1)) / g_px
    floor = 0.02 / (g_px * min(height, width))  # a fiftieth of a bin
    sigma = float(np.hypot(scatter / np.sqrt(n_used), floor))
    return from_vectors(vectors, lattice, sigma, float(snr), n_used)


def from_vectors(vectors: np.ndarray, lattice: np.ndarray, sigma: float, snr: float, n_peaks: int) -> FrameLattice:
    """What lattice vectors (2, 2) px say of a crystal whose vectors are `lattice` (2, 2), nm; the rest as of
    `FrameLattice`."""
    vectors = equivalent_cells(vectors, lattice)[0]
    # sampling is the scale at which the cell has the material's area
    pixel_size = float(np.sqrt(abs(np.linalg.det(lattice) / np.linalg.det(vectors))))
    deformation = np.linalg.solve(lattice, vectors * pixel_size)  # row vectors: r' = r F
    u, s, vt = np.linalg.svd(deformation)
    turn = u @ vt
    strain = (vt.T * s) @ vt - np.eye(2)
    angle = float(np.arctan2(turn[1, 0], turn[1, 1]))
    return FrameLattice(vectors, pixel_size, sigma, angle, strain, snr, n_peaks)
