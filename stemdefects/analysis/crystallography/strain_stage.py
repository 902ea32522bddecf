"""Strain of the field as a stage of the analysis."""

import numpy as np

from stemdefects.analysis.crystallography import strain
from stemdefects.analysis.crystallography.displacements_stage import possible
from stemdefects.analysis.crystallography.strain import Strain
from stemdefects.analysis.data import square_pixels
from stemdefects.analysis.estimates import Estimate, estimate, number
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.stage import Figure, Section, StageResult, sentences
from stemdefects.analysis.tracking import registration
from stemdefects.schema import AnalysisConfig

T_OF_4 = 3.18  # 97.5% quantile of Student's t with 3 degrees of freedom: errors come from four blocks
CAPTION = "At each column of the brightest sublattice, averaged over about 1 nm. Grey: border."
ABOUT = (
    "A scanned picture cannot tell strain from slow distortions of the scan; what keeps its place in the frame while "
    "the specimen drifts is the scan's."
)


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """Strain maps from the movie's frames; `data` is `strain.Strain`."""
    if not possible(inputs, cfg) or inputs.material is None:
        return StageResult()
    found, movie = square_pixels.view(inputs.found, inputs.movie)
    vectors = registration.lattice_px(found, inputs.material, movie)
    if vectors is None or movie is None:
        return StageResult()
    drift_px = inputs.drift.yx / found.scale_yx
    s = strain.from_movie(found, inputs.material, movie, drift_px, vectors, cfg.crystal.strain_frames)
    if s is None:
        return StageResult(notes=["No strain map: too few bright columns could be fitted."])
    said = _estimates(s)
    section = Section("Strain of the field", [_text(s), sentences(said), ABOUT, Figure("strain", CAPTION)])
    figure = {"strain": s, "unit": found.length_unit}
    return StageResult(said, (), {"strain": _table(s)}, {"strain": figure}, section, s)


def _estimates(s: Strain) -> list[Estimate]:
    parts = (
        ("exx - eyy", s.mean[1, 1] - s.mean[0, 0], np.hypot(s.mean_error[1, 1], s.mean_error[0, 0])),
        ("exy", s.mean[0, 1], s.mean_error[0, 1]),
    )
    return [
        estimate(
            f"distortion of the mean lattice, {name}",
            100 * value,
            100 * (value - T_OF_4 * error),
            100 * (value + T_OF_4 * error),
            "%",
            "columns fitted by Gaussians, against a perfect lattice",
            n=s.n_columns,
            n_of="columns",
            warning="Strain and a distorted scan look the same.",
        )
        for name, value, error in parts
    ]


def _text(s: Strain) -> str:
    spread = [np.nanstd(v) for v in (s.exx, s.eyy, s.exy)]
    error = [np.median(e[np.isfinite(e)]) if np.isfinite(e).any() else np.nan for e in s.error[:, :3].T]
    parts = ", ".join(
        f"{name} {100 * a:.2f}%" + (f" (error {100 * e:.2f}%)" if np.isfinite(e) else "")
        for name, a, e in zip(("exx", "eyy", "exy"), spread, error, strict=True)
    )
    return (
        f"Strain against the field's mean lattice, from {s.n_columns} columns fitted in "
        f"{s.n_frames} {'frames' if s.n_frames > 1 else 'frame'}: its "
        f"scatter over the field is {parts}, averaged over about 1 nm. Rotation scatters by "
        f"{number(np.degrees(np.nanstd(s.rotation)))}°."
    )


def _table(s: Strain):
    import pandas as pd

    values = {"exx": s.exx, "eyy": s.eyy, "exy": s.exy, "rotation_rad": s.rotation}
    errors = {f"{name}_error": s.error[:, k] for k, name in enumerate(values)}
    return pd.DataFrame({"y_nm": s.yx_nm[:, 0], "x_nm": s.yx_nm[:, 1]} | values | errors)
