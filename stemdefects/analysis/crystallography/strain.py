"""Strain of the field from the places of its columns: exx, eyy, exy and rotation against the fitted lattice.

The bright columns of some frames, brought to the same place, are fitted by Gaussians; a straight map fitted to the
columns nearby tells how the lattice there differs from the mean lattice of the field. Slow distortions of the scan
(drift within a frame, flyback) are in it too: they keep their place in the frame, strain of the specimen moves with it.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import shift as shift_image
from scipy.spatial import cKDTree

from stemdefects.analysis.crystallography import columns
from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.data.square_pixels import Frames
from stemdefects.analysis.tracking.registration import some_observed
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
    ideal = cell @ vectors
    at = place if at is None else at
    out = np.full((len(place), 4), np.nan)
    low, high = at.min(0), at.max(0)
    for k, near in enumerate(cKDTree(at).query_ball_point(at, 2 * window)):
        if len(near) < min_columns:
            continue
        near = np.array(near)
        weight = np.exp(-((at[near] - at[k]) ** 2).sum(1) / (2 * window**2))
        root = np.sqrt(weight)[:, None]
        centred = ideal[near] - ideal[k]
        design = np.column_stack([centred, np.ones(len(near))])
        moved = place[near] - place[k] - centred
        gradient = np.linalg.lstsq(design * root, moved * root, rcond=None)[0][:2].T  # d u_i / d x_j
        edge = np.minimum(at[k] - low, high - at[k]).min()
        if edge < 0.3 * window:
            continue
        # u = (u_y, u_x), x = (y, x)
        out[k] = (
            gradient[1, 1],
            gradient[0, 0],
            (gradient[0, 1] + gradient[1, 0]) / 2,
            (gradient[0, 1] - gradient[1, 0]) / 2,
        )
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
