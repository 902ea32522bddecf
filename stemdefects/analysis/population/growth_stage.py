"""Growth laws as a stage of the analysis: of counts, of hole area and of other phases."""

import numpy as np

from stemdefects.analysis.estimates import Estimate, estimate
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.population import growth
from stemdefects.analysis.population.counts import Counts, count
from stemdefects.analysis.stage import Figure, Fold, Grid, Items, Section, StageResult, sentences
from stemdefects.schema import AnalysisConfig

MIN_COUNT = 3.0  # mean per frame for which a law is looked for
MIN_CHANGE = 5.0  # defects between the tenth and the nine tenths of the frames: one or two events make no law
MIN_SHARE = 0.002  # largest share of the field for which a law is looked for
CAPTION = "Points: frames. Solid: laws that the data leave possible; dotted: the others."


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """Laws where there is enough to tell them by; `data` is {series: `growth.Growth`}."""
    found = inputs.found
    of = count(found, inputs.field_nm2)
    series = [] if not found.followed else [*counted(of), *_areas(inputs, of.skipped)]
    fits = [growth.fit(of.times, values, subject, unit, whole) for subject, unit, values, whole in series]
    laws = {g.subject: g for g in fits if g is not None}
    if not laws:
        return StageResult(data=laws)
    said = [e for g in laws.values() for e in _estimates(g, found.time_unit)]
    rows = [[g.subject, law.name, f"{law.aic:.1f}", f"{law.bic:.1f}"] for g in laws.values() for law in g.laws.values()]
    compared = Grid(["series", "law", "AIC above the best", "BIC above the best"], rows)
    verdicts = Items([g.verdict() for g in laws.values()])
    blocks = [verdicts, sentences(said), Fold("laws compared", [compared]), Figure("growth", CAPTION)]
    return StageResult(
        said,
        (),
        {"growth_laws": _table(laws, found.time_unit)},
        {"growth": {"laws": laws, "time_unit": found.time_unit}},
        Section("Growth laws", blocks),
        laws,
    )


def counted(of: Counts) -> list[tuple]:
    """(name, unit, values, True) of the kinds whose number is large and changes enough for a law."""
    out = []
    for kind, values in zip(of.kinds, of.counts.T, strict=True):
        values = np.where(of.skipped, np.nan, values.astype(float))
        enough = np.isfinite(values).any() and np.nanmean(values) >= MIN_COUNT
        if enough and np.ptp(np.nanquantile(values, [0.1, 0.9])) >= MIN_CHANGE:
            out.append((f"number of {kind}", "defects", values, True))
    return out


def _areas(inputs: Inputs, skipped: np.ndarray) -> list[tuple]:
    """(name, unit, values, False) of the phases that cover enough of the field."""
    found, out = inputs.found, []
    frames = found.frames
    if frames is None or "frame" not in frames:
        return out
    number = frames["frame"].to_numpy(int)
    unit, area = ("nm^2", inputs.field_nm2) if inputs.field_nm2 else ("of the field", 1.0)
    for phase, name in (("hole", "hole area"), ("amorphous", "amorphous area"), ("1T", "1T area")):
        if f"fraction_{phase}" not in frames:
            continue
        values = np.full(found.n_frames, np.nan)
        values[number] = frames[f"fraction_{phase}"].to_numpy(float)
        values[skipped] = np.nan
        if np.isfinite(values).any() and np.nanmax(values) >= MIN_SHARE:
            out.append((name, unit, values * area, False))
    return out


def _estimates(g: growth.Growth, time_unit: str) -> list[Estimate]:
    """Parameters of the laws that the data leave possible."""
    out = []
    known = {"rate": f"{g.unit}/{time_unit}", "Avrami exponent": "1"}
    for law in g.laws.values():
        others = ", ".join(r for r in g.rivals if r != law.name)
        for name, (value, low, high) in law.parameters.items():
            if law.name in g.rivals and np.isfinite(value):
                out.append(
                    estimate(
                        f"{name}, {law.name}" if name == "rate" else name,
                        value,
                        low,
                        high,
                        known.get(name, f"1/{time_unit}"),
                        f"{law.name} law, least squares",
                        subject=g.subject,
                        n=len(g.times),
                        n_of="frames",
                        warning=f"Not told apart from: {others}." if others else "",
                    )
                )
    return out


def _table(laws: dict[str, growth.Growth], time_unit: str):
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "series": g.subject,
                "unit": g.unit,
                "law": law.name,
                "delta_aic": law.aic,
                "delta_bic": law.bic,
                "possible": law.name in g.rivals,
                "parameter": name,
                "value": v[0],
                "low": v[1],
                "high": v[2],
                "time_unit": time_unit,
            }
            for g in laws.values()
            for law in g.laws.values()
            for name, v in (law.parameters or {"": (np.nan,) * 3}).items()
        ]
    )
