"""The lattice of one frame from its Bragg peaks: vectors, rotation, sampling, strain.

The frame is windowed (Hann) and Fourier transformed; the power is compared with the median of its ring, so that a
number of standard size says how far a peak stands above the noise of its spatial frequency. A peak is taken as one of
the shortest reciprocal vectors of the known crystal, its partners are looked for where the crystal has them (a few
per cent of strain allowed), and the best set is refined below a bin on a finer Fourier grid and fitted by a general
2 x 2 matrix. On the axes of the transform, where row offsets and line noise of the scan lie as streaks, the power is
compared with its neighbours along the axis instead. Several frames of a movie are taken together by their mean power,
which drift does not change.
"""

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from scipy import fft, ndimage

MIN_PERIODS = 5.0  # lattice spacings across the frame, at least
MAX_FREQUENCY = 0.45  # cycles per px
MIN_SNR = 12.0  # of the weakest of the shortest reciprocal vectors, in units of the ring's mean power
SMOOTHING_PX = 1.0  # noise of single pixels has no part in the lattice's waves
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


def reciprocal(vectors: np.ndarray) -> np.ndarray:
    """Rows b1, b2 with a_i . b_j = delta_ij (no 2 pi)."""
    return np.linalg.inv(vectors).T


def shells(lattice_nm: np.ndarray, n_shells: int = 3) -> list[np.ndarray]:
    """Integer (h, k) of the reciprocal vectors, one of each +- pair, in shells of equal length; shortest first.

    The first shell spans the plane: in a crystal of low symmetry it holds vectors of several lengths.
    """
    return list(_shells(np.asarray(lattice_nm, float).tobytes(), n_shells))


@functools.lru_cache(maxsize=8)  # asked for with every frame
def _shells(lattice: bytes, n_shells: int) -> list[np.ndarray]:
    lattice_nm = np.frombuffer(lattice).reshape(2, 2)
    hk = np.array([(h, k) for h in range(-3, 4) for k in range(-3, 4) if (h, k) > (0, 0)])
    length = np.linalg.norm(hk @ reciprocal(lattice_nm), axis=1)
    order = np.argsort(length, kind="stable")
    groups: list[list[int]] = []
    for i in order:
        if groups and length[i] < 1.03 * length[groups[-1][-1]]:
            groups[-1].append(int(i))
        elif len(groups) < n_shells:
            groups.append([int(i)])
        else:
            break
        if len(groups) == 2 and np.linalg.matrix_rank(hk[groups[0]]) < 2:
            groups[0] += groups.pop()
    return [hk[group] for group in groups]


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


def apply_window(image: np.ndarray) -> np.ndarray:
    """`image` without its mean, extremes clipped (a bright impurity rings through the whole transform), Hann window."""
    # smoothed first: clipping shall take impurities out, not the tail of the shot noise
    image = ndimage.gaussian_filter(image, SMOOTHING_PX)
    window = [np.hanning(n + 2)[1:-1].astype(np.float32) for n in image.shape]
    sample = image[:: max(1, image.shape[0] // 256), :: max(1, image.shape[1] // 256)]
    low, high = np.quantile(sample, (0.01, 0.97))
    if high > low:  # else nearly all pixels are empty, and what is not is the signal
        image = np.clip(image, low, high)
    weight = window[0][:, None] * window[1]
    return (image - float((image * weight).sum() / weight.sum())) * weight


def whitened(power: np.ndarray) -> np.ndarray:
    """Power over the mean noise power at the same frequency, from the median of rings; (H, W // 2 + 1)."""
    height, half = power.shape
    ring, order, starts = _rings(height, half)
    values = power.ravel()[order]
    level = np.array([np.median(values[a:b]) if b > a else np.nan for a, b in itertools.pairwise(starts)])
    level = np.where(np.isfinite(level) & (level > 0), level, np.nanmax(np.append(level, 1e-30)))
    ratio = power / (level / np.log(2))[ring]  # the median of an exponential distribution is ln 2 of its mean
    length = max(9, height // 16) | 1
    for column in range(min(3, half)):
        along = ndimage.median_filter(ratio[:, column], length, mode="wrap") / np.log(2)
        ratio[:, column] /= np.maximum(along, 1)
    along = ndimage.median_filter(ratio[0], length, mode="nearest") / np.log(2)
    ratio[0] /= np.maximum(along, 1)
    ratio[0, :3] = ratio[1:3, 0] = ratio[-2:, 0] = 0
    return ratio


@functools.lru_cache(maxsize=4)
def _rings(height: int, half: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ring of each frequency (height, half), all of them in order of their rings, and where each ring starts there."""
    ky, kx = fft.fftfreq(height)[:, None], np.arange(half)[None] / max(2 * (half - 1), 1)
    n_rings = max(8, min(height, 2 * (half - 1)) // 8)
    ring = np.minimum((np.hypot(ky, kx) / 0.7072 * n_rings).astype(np.intp), n_rings - 1)
    order = np.argsort(ring, axis=None, kind="stable")
    return ring, order, np.searchsorted(ring.ravel()[order], np.arange(n_rings + 1))


def candidates(ratio: np.ndarray, low: float, high: float, threshold: float, number: int = 40) -> np.ndarray:
    """(n, 2) frequencies (y, x; cycles per px) of the strongest local maxima with low <= |k| <= high."""
    height, half = ratio.shape
    ky, kx = fft.fftfreq(height)[:, None], np.arange(half)[None] / (2 * (half - 1))
    length = np.hypot(ky, kx)
    allowed = (length >= low) & (length <= high)
    top = ndimage.maximum_filter(ratio, 3, mode=("wrap", "nearest"))
    score = np.where(allowed & (ratio >= top) & (ratio > threshold), ratio, 0)
    index = np.argsort(score, axis=None)[::-1][:number]
    index = index[score.ravel()[index] > 0]
    row, column = np.unravel_index(index, ratio.shape)
    return np.stack([fft.fftfreq(height)[row], column / (2 * (half - 1))], axis=1)


def _largest_near(ratio: np.ndarray, frequency: np.ndarray, radius: float) -> tuple[float, np.ndarray]:
    """Largest ratio within `radius` (cycles per px) of `frequency`, and where; 0 outside the transform."""
    height, half = ratio.shape
    width = 2 * (half - 1)
    if frequency[1] < 0:
        value, where = _largest_near(ratio, -frequency, radius)
        return value, -where
    if np.abs(frequency).max() > 0.49:
        return 0.0, frequency
    ry, rx = max(1, round(radius * height)), max(1, round(radius * width))
    row, column = round(frequency[0] * height), round(frequency[1] * width)
    rows, columns = np.arange(row - ry, row + ry + 1), np.arange(column - rx, column + rx + 1)
    # the half plane x < 0 is the mirrored other one
    yy, xx = np.meshgrid(rows, columns, indexing="ij")
    block = ratio[np.where(xx < 0, -yy, yy) % height, np.minimum(np.abs(xx), half - 1)]
    block = np.where(np.hypot((yy - row) / ry, (xx - column) / rx) > 1.3, 0, block)
    i = np.unravel_index(np.argmax(block), block.shape)
    return float(block[i]), np.array([yy[i] / height, xx[i] / width])


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
    found = [_largest_near(ratio, e, tolerance * float(np.linalg.norm(e))) for e in expected]
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
            value, _ = _largest_near(ratio, expected, 1.5 / min(height, width))
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
    vectors = equivalent_cells(vectors, lattice)[0]
    # sampling is the scale at which the cell has the material's area
    pixel_size = float(np.sqrt(abs(np.linalg.det(lattice) / np.linalg.det(vectors))))
    deformation = np.linalg.solve(lattice, vectors * pixel_size)  # row vectors: r' = r F
    u, s, vt = np.linalg.svd(deformation)
    turn = u @ vt
    strain = (vt.T * s) @ vt - np.eye(2)
    angle = float(np.arctan2(turn[1, 0], turn[1, 1]))
    # degrees of freedom: two numbers a peak, four fitted
    scatter = np.sqrt((errors**2).sum() / max(2 * n_used - 4, 1)) / g_px
    floor = 0.02 / (g_px * min(height, width))  # a fiftieth of a bin
    sigma = float(np.hypot(scatter / np.sqrt(n_used), floor))
    return FrameLattice(vectors, pixel_size, sigma, angle, strain, float(snr), n_used)


def peak_position(windowed: np.ndarray, start: np.ndarray, half_width: float = 1.2, number: int = 13) -> np.ndarray:
    """Frequency (y, x) of the largest Fourier amplitude within `half_width` bins of `start`, by two finer grids."""
    height, width = windowed.shape[1:]
    step_y, step_x = half_width / height, half_width / width
    y, x = np.arange(height) - height / 2, np.arange(width) - width / 2
    place = np.asarray(start, float)
    for _ in range(2):
        grid = np.linspace(-1, 1, number)
        fy, fx = place[0] + grid * step_y, place[1] + grid * step_x
        left = np.exp(-2j * np.pi * fy[:, None] * y[None]).astype(np.complex64)
        turn = (-2 * np.pi * x[:, None] * fx[None]).astype(np.float32)
        rows = windowed @ np.concatenate([np.cos(turn), np.sin(turn)], 1)  # real products are several times faster
        rows = rows[..., :number] + 1j * rows[..., number:]
        power = np.log((np.abs(left @ rows) ** 2).sum(0) + 1e-30)
        i, j = np.unravel_index(np.argmax(power), power.shape)
        i, j = np.clip((i, j), 1, number - 2)
        place = np.array(
            [
                fy[i] + _vertex(power[i - 1 : i + 2, j]) * (fy[1] - fy[0]),
                fx[j] + _vertex(power[i, j - 1 : j + 2]) * (fx[1] - fx[0]),
            ]
        )
        step_y, step_x = step_y / 4, step_x / 4
    return place


def _vertex(three: np.ndarray) -> float:
    curvature = three[0] - 2 * three[1] + three[2]
    return float(np.clip(0.5 * (three[0] - three[2]) / curvature, -1, 1)) if curvature < 0 else 0.0


def rotation(angle: float) -> np.ndarray:
    """Matrix R so that row vectors (y, x) @ R are turned from x towards y by `angle`."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s], [s, c]])


def equivalent_cells(vectors: np.ndarray, lattice: np.ndarray) -> list[np.ndarray]:
    """Cells of the lattice `vectors` with the shape and handedness of `lattice`, the most alike in direction first."""
    target = lattice / np.sqrt(abs(np.linalg.det(lattice)))
    metric = target @ target.T
    small = range(-2, 3)
    choices = [((h, k), (m, n)) for h in small for k in small for m in small for n in small if abs(h * n - k * m) == 1]
    sign = np.sign(np.linalg.det(lattice))
    found = []
    for choice in np.array(choices):
        cell = choice @ vectors
        determinant = np.linalg.det(cell)
        unit = cell / np.sqrt(abs(determinant))
        if determinant * sign > 0 and np.abs(unit @ unit.T - metric).max() <= 0.25 * metric.max():
            found.append((float(((unit - target) ** 2).sum()), len(found), cell))
    return [cell for _, _, cell in sorted(found)] or [vectors]
