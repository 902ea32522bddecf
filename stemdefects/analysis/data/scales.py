"""Lengths, areas and doses that a table is judged by, from whatever knows them best."""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.data.square_pixels import Frames
from stemdefects.crystal.material import Material
from stemdefects.schema import AnalysisConfig


def lattice_constant(found: Detections, material: Material | None, notes: list[str]) -> float:
    """Lattice constant in the table's length unit; from the material, else a typical distance of neighbours."""
    if found.length_unit == "nm" and material is not None:
        return float(material.a_nm)
    if found.frames is not None and {"a1_y_px", "a1_x_px"} <= set(found.frames):
        length = np.nanmedian(np.hypot(*(found.frames[["a1_y_px", "a1_x_px"]].to_numpy(float) * found.scale_yx).T))
        if np.isfinite(length) and length > 0:
            return float(length)
    from scipy.spatial import cKDTree

    nearest = []
    for f in np.unique(found.rows["frame"])[:50]:
        points = found.yx[found.rows["frame"] == f]
        if len(points) > 1:
            nearest.extend(cKDTree(points).query(points, 2)[0][:, 1])
    guess = float(np.median(nearest)) / 4 if nearest else 10.0
    notes.append(
        f"The lattice constant is not known in {found.length_unit}; lengths are judged against a quarter of the median "
        f"distance of neighbouring defects, {guess:.1f} {found.length_unit}. Set analysis.linking.gate_nm or the "
        f"pixel size."
    )
    return guess


def crowding(found: Detections, a: float) -> str:
    """A sentence where a frame has more detections than the crystal has cells, "" otherwise; a: lattice constant."""
    frames = max(len(np.unique(found.rows["frame"])), 1)
    extent = float(np.prod(np.ptp(found.yx, axis=0))) if len(found.rows) > 1 else 0.0
    per_frame = len(found.rows) / frames
    if per_frame < 20 or extent <= 0 or per_frame * np.sqrt(3) / 2 * a**2 < extent:
        return ""
    return (
        f"There are {per_frame:.0f} detections a frame in {extent:.3g} {found.length_unit}^2, more than the crystal "
        "has cells: which one is which in the next frame cannot be told, so motion and rates are those of chance links."
    )


class Dose(NamedTuple):
    """Electrons per nm^2 and frame, the relative error of that, and who says so."""

    e_per_nm2_per_frame: float
    relative_sigma: float
    source: str


def dose(found: Detections, cfg: AnalysisConfig) -> Dose | None:
    """Dose of a frame, by the config, else as inference took it; None: nobody states it."""
    sigma = cfg.table.dose_relative_sigma
    if cfg.table.dose_e_per_nm2_per_frame:
        return Dose(cfg.table.dose_e_per_nm2_per_frame, sigma or 0.0, "yours (analysis.table.dose_e_per_nm2_per_frame)")
    per_px = found.attrs.get("dose_e_per_px")
    if not per_px or not found.pixel_size_nm:
        return None
    if sigma is None:  # the area of a pixel has twice the relative error of its side
        of_dose = found.attrs.get("dose_relative_sigma")
        sigma = float(np.hypot(2 * found.pixel_size_relative_sigma, 0.0 if of_dose is None else float(of_dose)))
    named = {
        "user": "yours (inference.dose_e_per_px)",
        "file": "from the file",
        "current": "the beam's current times its time on a pixel",
        "detector": "by the detector's calibration",
        "noise": "from the frames' noise",
    }
    source = named.get(str(found.attrs.get("dose_origin")), "from the table")
    source += f" ({detail})" if (detail := found.attrs.get("dose_detail")) else ""
    return Dose(float(per_px) / float(np.prod(found.scale_yx)), sigma, source)


def dose_per_time(found: Detections, cfg: AnalysisConfig) -> float | None:
    """Electrons per nm^2 and second, when the dose is known."""
    known = dose(found, cfg)
    return None if known is None or found.frame_time_s is None else known.e_per_nm2_per_frame / found.frame_time_s


def field_area_nm2(found: Detections, movie: Frames | None) -> float | None:
    """Area of the field of view in nm^2; from the movie's size, the table's, else the extent of the detections."""
    if found.pixel_size_nm is None:
        return None
    shape = None if movie is None else movie.shape[1:]
    for key in ("source_shape", "frame_shape"):
        if shape is None and isinstance(found.attrs.get(key), (list, tuple, np.ndarray)):
            shape = found.attrs[key][-2:]
    if shape is None:
        if len(found.rows) < 20:
            return None
        shape = [np.ptp(found.rows[c]) for c in ("y_px", "x_px")]
    return float(shape[0]) * float(shape[1]) * float(np.prod(found.scale_yx))
