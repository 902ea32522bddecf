"""Strain of the field from the places of its columns: exx, eyy, exy and rotation against the fitted lattice.

The bright columns of some frames, brought to the same place, are fitted by Gaussians; a straight map fitted to the
columns nearby tells how the lattice there differs from the mean lattice of the field. Slow distortions of the scan
(drift within a frame, flyback) are in it too: they keep their place in the frame, strain of the specimen moves with it.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import shift as shift_image
from scipy.spatial import cKDTree

from stemdefects.analysis.crystallography import columns
from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.data.square_pixels import Frames
from stemdefects.analysis.tracking.registration import some_observed
from stemdefects.compiled import entry
from stemdefects.crystal.material import Material
from stemdefects.errors import UserError

WINDOW_NM = 1.0  # of the local fit (Gaussian weight)
MAX_FRAMES = 12  # evenly chosen, that are fitted
N_BLOCKS = 4  # of frames, for the error


@dataclass
class Strain:
    """Strain of the field at the columns of the brightest sublattice.

    Attributes:
        yx_nm: (n, 2) places in the first frame used.
        exx, eyy, exy, rotation: (n,) strain along x, y, shear, and rotation (rad, from x towards y), against the mean
            lattice of the field; NaN near the border.
        error: (n, 4) their standard errors from frames split into blocks; NaN with fewer than four frames.
        mean: (2, 2) strain of the mean lattice against a perfect one of the same area and direction, rows and columns
            (y, x); trace 0.
        mean_error: (2, 2).
        n_frames, n_columns: what it rests on.
    """

    yx_nm: np.ndarray
    exx: np.ndarray
    eyy: np.ndarray
    exy: np.ndarray
    rotation: np.ndarray
    error: np.ndarray
    mean: np.ndarray
    mean_error: np.ndarray
    n_frames: int
    n_columns: int


def fit_columns(
    image: np.ndarray, guess_px: np.ndarray, width_px: float, n_iter: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """Places of columns by Gaussians of common width on a flat background, by Gauss-Newton steps.

    Args:
        image: (H, W).
        guess_px: (n, 2).
        width_px: sigma of the Gaussian.

    Returns:
        (yx_px (n, 2), height (n,)); NaN where the fit leaves its window.
    """
    reach = 1.6 * width_px
    n = int(np.ceil(reach))
    y, x = np.meshgrid(*[np.arange(-n, n + 1.0)] * 2, indexing="ij")
    window = np.stack([y.ravel(), x.ravel()], 1)
    window = window[np.hypot(*window.T) <= reach]
    value = np.exp(-(window**2).sum(1) / (2 * width_px**2))
    design = np.column_stack([value, window * value[:, None] / width_px**2, np.ones(len(window))])
    solve = np.linalg.pinv(design)
    coefficients = columns.smooth(image)
    place, height = np.array(guess_px, float), np.full(len(guess_px), np.nan)
    for _ in range(n_iter):
        seen = columns.pictures(coefficients, place, np.eye(2), window)
        height, moment_y, moment_x, _ = (seen @ solve.T).T
        move = np.column_stack([moment_y, moment_x]) / np.where(height > 0, height, np.nan)[:, None]
        place = place + np.clip(move, -0.5 * width_px, 0.5 * width_px)
    lost = ~(np.hypot(*(place - guess_px).T) < 2 * width_px)
    place[lost] = np.nan
    return place, height


def number(place_px: np.ndarray, vectors_px: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells (n, 2) of places of one sublattice, and the lattice fitted to them: (cells, vectors (2, 2), origin)."""
    origin = place_px[np.argmin(np.hypot(*(place_px - place_px.mean(0)).T))]
    vectors = np.array(vectors_px, float)
    for _ in range(4):  # from the middle outwards
        cell = np.rint((place_px - origin) @ np.linalg.inv(vectors))
        off = np.hypot(*(place_px - origin - cell @ vectors).T)
        good = off < 0.25 * np.linalg.norm(vectors[0])
        design = np.column_stack([cell, np.ones(len(cell))])
        solved = np.linalg.lstsq(design[good], place_px[good], rcond=None)[0]
        vectors, origin = solved[:2], solved[2]
    cell = np.rint((place_px - origin) @ np.linalg.inv(vectors))
    return cell.astype(int), vectors, origin


def from_movie(
    found: Detections,
    material: Material,
    movie: Frames,
    drift_px: np.ndarray,
    vectors_px: np.ndarray,
    max_frames: int = MAX_FRAMES,
) -> Strain | None:
    """Strain of the movie's field.

    Args:
        found: detections, whose defective columns are left out.
        drift_px: (n_frames, 2) drift, as `Drift.yx` in px.
        vectors_px: (2, 2) lattice vectors.

    Returns:
        `Strain`, or None when frames cannot be read or hold too few columns.
    """
    numbers = some_observed(found, len(movie), max_frames)
    a_px = float(np.sqrt(abs(np.linalg.det(vectors_px)) * 2 / np.sqrt(3)))
    width = 0.16 * a_px
    frames, used = [], []
    for k in numbers:
        try:
            frames.append(np.asarray(movie.frame(int(k)), np.float32))
            used.append(k)
        except UserError:
            continue
    if not frames:
        return None
    shifts = drift_px[used] - drift_px[used[0]]
    moved = np.stack([shift_image(f, -s, order=1, mode="nearest") for f, s in zip(frames, shifts, strict=True)])
    margin = 2 * width + 2
    low = np.maximum(np.max(-shifts, axis=0), 0) + margin  # what every frame shows
    high = np.array(frames[0].shape) - 1 - np.maximum(np.max(shifts, axis=0), 0) - margin
    guess = _brightest(moved.mean(0), vectors_px, low, high, width)
    if guess is None:
        return None
    place, height = fit_columns(moved.mean(0), guess, width)
    bad = found.rows["frame"] == used[0]
    near = np.column_stack([found.rows["y_px"], found.rows["x_px"]])[bad]
    clear = np.isfinite(place).all(1) & (height > 0.3 * np.nanmedian(height))
    if len(near):
        clear &= cKDTree(near).query(np.nan_to_num(place))[0] > 0.4 * a_px
    place = place[clear]
    if len(place) < 60:
        return None
    cell, vectors, _ = number(place, vectors_px)
    window = WINDOW_NM / material.a_nm * a_px
    map_ = local_strain(place, cell, vectors, window)
    blocks = []
    if len(used) >= N_BLOCKS:
        for part in np.array_split(np.arange(len(used)), N_BLOCKS):
            again, _ = fit_columns(moved[part].mean(0), place, width)
            ok = np.isfinite(again).all(1)
            again[~ok] = place[~ok]
            fitted = number(again, vectors)[1]
            blocks.append((local_strain(again, cell, fitted, window, place), fitted))
    error = np.full((len(place), 4), np.nan)
    mean_error = np.full((2, 2), np.nan)
    mean = of_lattice(vectors, material.lattice_nm)
    if blocks:
        error = np.std([b[0] for b in blocks], axis=0, ddof=1) / np.sqrt(len(blocks))
        mean_error = np.std([of_lattice(b[1], material.lattice_nm) for b in blocks], axis=0, ddof=1) / 2
    exx, eyy, exy, rotation = map_.T
    return Strain(place * found.scale_yx, exx, eyy, exy, rotation, error, mean, mean_error, len(used), len(place))


def local_strain(
    place: np.ndarray,
    cell: np.ndarray,
    vectors: np.ndarray,
    window: float,
    at: np.ndarray | None = None,
    min_columns: int = 12,
) -> np.ndarray:
    """(n, 4) exx, eyy, exy, rotation at each column, from the map that takes the mean lattice to the columns nearby.

    Args:
        place: (n, 2) px; cell: (n, 2); vectors: (2, 2) mean lattice; window: px, sigma of the weights; at: (n, 2)
            places that say who is near, `place` by default.
    """
    at = place if at is None else at
    order = np.argsort(at[:, 0], kind="stable")
    parts = (np.ascontiguousarray(part[order], float) for part in (place, cell @ vectors, at))
    gradient = np.empty((len(place), 2, 2))  # d u_i / d x_j
    gradient[order] = _gradients(*parts, float(window), min_columns)
    gradient[np.minimum(at - at.min(0), at.max(0) - at).min(1) < 0.3 * window] = np.nan
    # u = (u_y, u_x), x = (y, x)
    shear, turn = gradient[:, 0, 1] + gradient[:, 1, 0], gradient[:, 0, 1] - gradient[:, 1, 0]
    return np.stack([gradient[:, 1, 1], gradient[:, 0, 0], shear / 2, turn / 2], 1)


@entry
def _gradients(place: np.ndarray, ideal: np.ndarray, at: np.ndarray, window: float, least: int) -> np.ndarray:
    """(n, 2, 2) of `local_strain`, columns in order of y; NaN where fewer than `least` are near."""
    n, first = len(at), 0
    out = np.full((n, 2, 2), np.nan)
    for k in range(n):
        while at[k, 0] - at[first, 0] > 2 * window:
            first += 1
        total, count = np.zeros(10), 0  # weighted sums: of 1, y, x, yy, yx, xx, and of both displacements with y and x
        shift = np.zeros(2)
        for m in range(first, n):
            off = at[m, 0] - at[k, 0]
            if off > 2 * window:
                break
            distance2 = off * off + (at[m, 1] - at[k, 1]) ** 2
            if distance2 > 4 * window * window:
                continue
            weight = math.exp(-distance2 / (2 * window * window))
            y, x = ideal[m, 0] - ideal[k, 0], ideal[m, 1] - ideal[k, 1]
            count += 1
            for j, term in enumerate((1.0, y, x, y * y, y * x, x * x)):
                total[j] += weight * term
            for i in range(2):
                moved = place[m, i] - place[k, i] - (y if i == 0 else x)
                shift[i] += weight * moved
                total[6 + 2 * i] += weight * moved * y
                total[7 + 2 * i] += weight * moved * x
        if count < least:
            continue
        # about their mean: what is left of three equations are two
        mean_y, mean_x = total[1] / total[0], total[2] / total[0]
        yy, yx, xx = (total[3] - mean_y * total[1], total[4] - mean_y * total[2], total[5] - mean_x * total[2])
        determinant = yy * xx - yx * yx
        if not determinant > 1e-12 * yy * xx:
            continue
        for i in range(2):
            by_y, by_x = total[6 + 2 * i] - mean_y * shift[i], total[7 + 2 * i] - mean_x * shift[i]
            out[k, i, 0] = (by_y * xx - by_x * yx) / determinant
            out[k, i, 1] = (by_x * yy - by_y * yx) / determinant
    return out


def of_lattice(vectors: np.ndarray, ideal: np.ndarray) -> np.ndarray:
    """(2, 2) symmetric strain (y, x) of a lattice against the perfect one of the same area, free of rotation."""
    F = (np.linalg.inv(ideal) @ vectors).T  # ideal -> seen, column vectors
    F = F / np.sqrt(abs(np.linalg.det(F)))
    values, axes = np.linalg.eigh(F @ F.T)
    stretch = axes @ np.diag(np.sqrt(values)) @ axes.T
    return stretch - np.eye(2) * np.trace(stretch) / 2


def _brightest(image, vectors, low, high, width) -> np.ndarray | None:
    """(n, 2) places of the brightest columns of the lattice within low..high: local maxima, one per cell."""
    from scipy.ndimage import gaussian_filter, maximum_filter

    soft = gaussian_filter(np.asarray(image, np.float32), 0.6 * width)
    shortest = min(np.linalg.norm(v) for v in (*vectors, vectors[0] - vectors[1], vectors[0] + vectors[1]))
    size = int(0.62 * shortest) | 1
    y, x = np.nonzero((soft == maximum_filter(soft, size)) & (soft > np.median(soft)))
    place = np.column_stack([y, x]).astype(float)
    place = place[((place > low) & (place < high)).all(1)]
    return place if len(place) >= 60 else None
