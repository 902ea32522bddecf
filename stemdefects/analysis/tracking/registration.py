"""Which drift correction a table gets: its own, the lattice's and the points', or the points' alone."""

import numpy as np

from stemdefects.analysis.data import square_pixels
from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.data.square_pixels import Frames
from stemdefects.analysis.tracking import drift, lattice_drift
from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.schema import AnalysisConfig

TYPICAL_A_NM = 0.3  # of the layered crystals that the settings in nm are meant for, where nothing is known


def register(
    found: Detections, cfg: AnalysisConfig, a: float, material: Material | None, movie: Frames | None, notes: list[str]
) -> drift.Drift:
    """Drift of every frame by the method the config asks for; what had to be done instead is added to `notes`.

    Args:
        a: lattice constant in the table's length unit.
        material, movie: for Bragg phases; None: not known.
    """
    method = cfg.drift.method
    if method == "none" or found.n_frames < 2 or not found.followed:
        return drift.none(found.n_frames)
    use = np.ones(len(found.rows), bool)
    if cfg.drift.fiducials:
        use = np.isin(found.kinds, cfg.drift.fiducials)
        method = "points"
        if not use.any():
            notes.append(f"There are no fiducials of kind {', '.join(cfg.drift.fiducials)}; all defects were used.")
            use[:] = True
    if method in ("auto", "table"):
        stored = _stored_drift(found)
        if stored is not None:
            return stored
        if method == "table":
            notes.append("The table holds no drift; it was taken from the point pattern.")
    # the config is in nm; a table in pixels is scaled by its lattice
    scale = 1.0 if found.length_unit == "nm" else a / (TYPICAL_A_NM if material is None else material.a_nm)
    sigma = np.nanmedian(found.rows["sigma_nm"]) if np.isfinite(found.rows["sigma_nm"]).any() else 0.0
    radius = min(max(cfg.drift.radius_nm * scale, 3.5 * sigma if found.length_unit == "nm" else 0), 0.45 * a)
    result = drift.from_points(
        found.rows["frame"][use],
        found.yx[use],
        found.n_frames,
        drift.Rules(radius, cfg.drift.max_step_nm * scale, cfg.drift.min_points),
        found.rows["kind"][use],
        found.observed,
        elapsed=found.times / (found.frame_time_s or 1.0),
    )
    if method in ("auto", "bragg"):
        square, shown = square_pixels.view(found, movie)
        vectors = lattice_px(square, material, shown) if movie is not None and result.method == "points" else None
        if vectors is not None and shown is not None:
            result = lattice_drift.from_movie(shown, vectors, result, square.scale_yx[1], found.observed)
        elif method == "bragg":
            notes.append("No drift from Bragg phases (no movie, no lattice or no detections to number it by).")
    if result.note:
        notes.append(result.note)
    return result


def lattice_px(found: Detections, material: Material | None, movie: Frames | None) -> np.ndarray | None:
    """Lattice vectors (2, 2) in square px: the table's, else fitted to some frames of the movie."""
    columns = ["a1_y_px", "a1_x_px", "a2_y_px", "a2_x_px"]
    if found.frames is not None and set(columns) <= set(found.frames):
        values = found.frames[columns].to_numpy(float)
        values = values[np.isfinite(values).all(1)]
        if len(values):
            return np.median(values, 0).reshape(2, 2)
    if material is None or movie is None:
        return None
    from stemdefects.crystal import bragg

    frames = []
    for number in some_observed(found, len(movie), 8):
        try:
            frames.append(movie.frame(int(number)))
        except UserError:
            continue
    fit = bragg.fit_lattice(np.stack(frames), material.lattice_nm, found.pixel_size_nm) if frames else None
    return None if fit is None else fit.vectors_px


def some_observed(found: Detections, n_movie: int, most: int) -> np.ndarray:
    """Up to `most` frames evenly chosen from those of the movie that were looked at."""
    numbers = np.flatnonzero(found.observed[:n_movie])
    return numbers[np.unique(np.linspace(0, len(numbers) - 1, most).astype(int))] if len(numbers) else numbers


def _stored_drift(found: Detections) -> drift.Drift | None:
    if found.frames is None or not {"drift_y_px", "drift_x_px"} <= set(found.frames):
        return None
    yx = found.frames[["drift_y_px", "drift_x_px"]].to_numpy(float)
    good = np.isfinite(yx).all(1)
    if good.sum() < 2 or not np.any(yx[good]):
        return None
    where = found.frames["frame"].to_numpy(int)
    at = found.times[where[good]]
    full = np.column_stack([np.interp(found.times, at, yx[good, k]) for k in range(2)]) * found.scale_yx
    filled = np.ones(found.n_frames, bool)
    filled[where[good]] = False
    return drift.Drift(full - full[0], np.full(found.n_frames, np.nan), filled, "table")
