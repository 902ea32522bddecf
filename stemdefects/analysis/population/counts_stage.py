"""Counts as a stage of the analysis: defects and densities per frame, with their change."""

import numpy as np

from stemdefects.analysis import seeds
from stemdefects.analysis.estimates import Estimate, estimate, number
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.population.counts import Counts, Trend, count, growth_rate, trend
from stemdefects.analysis.stage import Figure, Fold, Grid, Quoted, Section, StageResult, sentences
from stemdefects.analysis.tracking.tracks import ALL
from stemdefects.schema import AnalysisConfig

CAPTION = "Points: frames. Line: running mean, with its 95% band from the scatter of the frames."
REGIONS = "Share of the field that is lattice, hole, amorphous or contaminated material, or another phase."


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """Counts and densities per kind, with their change and exponential rate; `data` is `Counts`."""
    of = count(inputs.found, inputs.field_nm2)
    said = estimates(of, inputs, seed)
    rest = sentences(said, lambda e: e.quantity != "count per frame")
    blocks = [
        Quoted(["count per frame"]),
        Fold("densities and changes", [rest]),
        Figure("counts", CAPTION),
        Figure("regions", REGIONS),
    ]
    if inputs.found.n_frames == 1:
        blocks = [_of_image(of)]
    title = "Counts" if inputs.found.n_frames == 1 else "Counts against time"
    figures = {
        "counts": {"counts": of, "time_unit": inputs.found.time_unit},
        "regions": {
            "frames": inputs.found.frames,
            "times": inputs.found.times,
            "time_unit": inputs.found.time_unit,
        },
    }
    return StageResult(said, (), {"counts": _table(of, inputs)}, figures, Section(title, blocks), of)


def _of_image(of: Counts) -> Grid:
    """Counts and densities of one image."""
    totals = [*zip(of.kinds, of.counts[0], strict=True)]
    totals += [(ALL, of.counts[0].sum())] if len(of.kinds) > 1 else []
    if of.area_nm2 is None or not np.isfinite(of.area_nm2[0]):
        return Grid(["kind", "number"], [[kind, int(n)] for kind, n in totals])
    rows = [[kind, int(n), number(n / of.area_nm2[0])] for kind, n in totals]
    return Grid(["kind", "number", "density (nm⁻²)"], rows)


def estimates(of: Counts, inputs: Inputs, seed: int) -> list[Estimate]:
    """The rows of every kind, and of all together."""
    found, out = inputs.found, []
    how = "mean, block bootstrap" if found.n_frames > 1 else "counted"
    totals = [*zip(of.kinds, of.counts.T, strict=True), (ALL, of.counts.sum(1))]
    for kind, values in totals if len(of.kinds) > 1 else totals[:-1]:
        series = np.where(of.skipped, np.nan, values)
        t = trend(of.times, series, rng=seeds.stream(seed, "counts", kind))
        out.append(
            estimate(
                "count per frame",
                t.mean,
                t.mean_low,
                t.mean_high,
                "defects",
                how,
                subject=kind,
                n=t.n_frames,
                n_of="frames",
                headline=True,
            )
        )
        if not found.followed:  # frames of different fields have no course in time
            continue
        if found.n_frames > 1:
            out += _course(t, of, series, kind, found, seed)
        if of.area_nm2 is not None and np.isfinite(of.area_nm2).any():
            d = trend(of.times, series / of.area_nm2, rng=seeds.stream(seed, "density", kind))
            out.append(
                estimate(
                    "density", d.mean, d.mean_low, d.mean_high, "1/nm^2", how, subject=kind, n=d.n_frames, n_of="frames"
                )
            )
    return out


def _course(t: Trend, of: Counts, series: np.ndarray, kind: str, found, seed: int) -> list[Estimate]:
    """How a count changes, in defects per time and as a rate."""
    out = [
        estimate(
            "change of the count",
            t.slope,
            t.slope_low,
            t.slope_high,
            f"defects/{found.time_unit}",
            "straight line, block bootstrap",
            subject=kind,
            n=t.n_frames,
            n_of="frames",
        )
    ]
    k = growth_rate(of.times, series, rng=seeds.stream(seed, "growth rate", kind))
    if np.isfinite(k[0]):
        out.append(
            estimate(
                "exponential growth rate",
                *k,
                f"1/{found.time_unit}",
                "Poisson regression, block bootstrap",
                subject=kind,
                n=t.n_frames,
                n_of="frames",
            )
        )
    return out


def _table(of: Counts, inputs: Inputs):
    import pandas as pd

    out = pd.DataFrame(of.counts, columns=[f"n_{k}" for k in of.kinds])
    out.insert(0, f"time_{inputs.found.time_unit}", of.times)
    out.insert(0, "frame", np.arange(len(out)))
    if of.area_nm2 is not None:
        out["area_nm2"] = of.area_nm2
    return out[inputs.found.observed]
