"""The drift of the field as a stage of the analysis (it was taken off before all stages)."""

import numpy as np

from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.stage import Figure, Section, StageResult
from stemdefects.schema import AnalysisConfig

HOW = {
    "points": "from the detections' own pattern: each frame registered with the recent ones, then all together",
    "table": "as stored with the detections",
    "bragg": "from the lattice's Bragg phases for the fraction of a lattice vector, and from the point pattern for the "
    "rest",
}
CAPTION = "How far the field has moved since the first frame; bands: 95%."


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """How far the field moved; `data` is `drift.Drift`."""
    import pandas as pd

    found, d = inputs.found, inputs.drift
    unit, clock = found.length_unit, found.time_unit
    table = pd.DataFrame(
        {
            "frame": np.arange(found.n_frames),
            f"time_{clock}": found.times,
            f"drift_y_{unit}": d.yx[:, 0],
            f"drift_x_{unit}": d.yx[:, 1],
            f"sigma_{unit}": d.sigma,
            "interpolated": d.filled,
            "method": d.method,
        }
    )[found.observed]
    if d.method == "none":
        return StageResult(tables={"drift": table}, data=d)
    seen = found.observed
    figure = {
        "times": found.times[seen],
        "yx": d.yx[seen],
        "sigma": d.sigma[seen],
        "filled": d.filled[seen],
        "unit": unit,
        "time_unit": clock,
    }
    section = Section("Drift", [_text(inputs), Figure("drift", CAPTION)])
    return StageResult((), (), {"drift": table}, {"drift": figure}, section, d)


def _text(inputs: Inputs) -> str:
    d, unit = inputs.drift, inputs.found.length_unit
    step = np.hypot(*np.diff(d.yx, axis=0).T)
    text = (
        f"The field moved {np.hypot(*d.yx[-1]):.2f} {unit} from first to last frame, {np.median(step):.3f} {unit} in a "
        f"typical step, {HOW[d.method]}."
    )
    if np.isfinite(d.sigma).any():
        most = "at most " if d.method == "bragg" else ""
        text += f" Its error is {most}about {np.nanmedian(d.sigma):.1g} {unit}."
    return f"{text} {d.note}"
