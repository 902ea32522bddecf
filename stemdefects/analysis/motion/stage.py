"""Motion as a stage of the analysis: D of each kind, by every estimator, gate, window and region."""

from dataclasses import dataclass

import numpy as np

from stemdefects.analysis.data import scales
from stemdefects.analysis.estimates import column_name, number
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.motion import estimators, regions
from stemdefects.analysis.motion.diffusion import Diffusion
from stemdefects.analysis.motion.estimators import Motion
from stemdefects.analysis.stage import Block, Figure, Fold, Grid, Section, StageResult, sentences
from stemdefects.analysis.tracking import lattice_drift
from stemdefects.schema import AnalysisConfig

CAPTIONS = {
    "diffusion": "Bars: 95% intervals from resampling tracks. Grey: the formula of the reference work.",
    "msd": "With the line of the covariance estimate; the curve bends where motion is confined or tracks break.",
    "gate_scan": "D has to level off with the gate. Where it keeps growing, chance links are taken for motion.",
    "rose": "Directions of the counted hops: as many as the lattice has, alike where nothing prefers one.",
}


@dataclass(frozen=True)
class Moved:
    """motion: of every kind; regions: D of the headline kind by region."""

    motion: Motion
    regions: dict[str, Diffusion]


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """D of every kind, and of the headline kind in more detail."""
    found = inputs.found
    guessed = lattice_drift.guessed(found)
    told = found.followed and not found.smoothed and guessed is None
    motion = estimators.run(inputs, cfg, seed) if told else Motion()
    places = regions.run(inputs, cfg, seed, motion.headline)
    by_region = regions.estimates(places, motion.headline, inputs.D_unit)
    said = [*motion.estimates, *by_region]
    notes = [*([] if guessed is None else [guessed]), *motion.notes, *regions.note(places, motion.headline)]
    blocks = _blocks(inputs, motion, by_region)
    section = Section("Diffusion", [*blocks, *(Figure(name, text) for name, text in CAPTIONS.items())])
    return StageResult(
        said, notes, _tables(inputs, cfg, motion, places), _figures(inputs, motion), section, Moved(motion, places)
    )


def _blocks(inputs: Inputs, motion: Motion, by_region: list) -> list:
    out: list[Block] = [sentences(motion.estimates, lambda e: e.subject == motion.headline)]
    rest = sentences(motion.estimates, lambda e: e.subject != motion.headline)
    out.append(Fold("the other kinds", [rest]))
    rows = [[f"{w[0]} to {w[1] - 1}", number(w[2]), f"{number(w[3])} to {number(w[4])}", w[5]] for w in motion.windows]
    head = ["frames", f"D of {motion.headline} ({inputs.D_unit})", "95% interval", "tracks"]
    out += [Fold("over the movie", [Grid(head, rows)]), sentences(by_region)]
    sigma = inputs.found.pixel_size_relative_sigma
    if motion.estimates and inputs.found.pixel_size_nm and sigma:
        out.append(
            f"The pixel size is uncertain by {100 * sigma:.1f}%, which adds {200 * sigma:.1f}% to every D and is not "
            "part of the intervals."
        )
    return out


def _tables(inputs: Inputs, cfg: AnalysisConfig, motion: Motion, places: dict[str, Diffusion]) -> dict:
    import pandas as pd

    D, low, high = (f"{c}_{column_name(inputs.D_unit)}" for c in ("D", "low", "high"))
    out = {
        "gate_scan": pd.DataFrame(
            [(motion.headline, *row, "cve") for row in motion.gate_scan],
            columns=["kind", f"gate_{inputs.found.length_unit}", D, low, high, "n_tracks", "method"],
        ),
        "diffusion_windows": pd.DataFrame(
            [(motion.headline, *row, "cve") for row in motion.windows],
            columns=["kind", "first_frame", "end_frame", D, low, high, "n_tracks", "method"],
        ),
    }
    if flux := scales.dose_per_time(inputs.found, cfg):
        middle = out["diffusion_windows"][["first_frame", "end_frame"]].mean(axis=1)
        out["diffusion_windows"]["dose_e_per_nm2"] = middle * inputs.found.frame_time_s * flux
    if places:
        out["diffusion_regions"] = pd.DataFrame(
            [
                {
                    "kind": motion.headline,
                    "region": place,
                    D: d.D,
                    low: d.low,
                    high: d.high,
                    "n_tracks": d.n_tracks,
                    "method": "cve",
                }
                for place, d in places.items()
            ]
        )
    return out


def _figures(inputs: Inputs, motion: Motion) -> dict:
    kind, results = motion.headline, motion.results
    units = {"length": inputs.found.length_unit, "time": inputs.found.time_unit, "D": inputs.D_unit}
    of_kind = results.get(kind, {}) if kind else {}
    return {
        "diffusion": {"results": results, "unit": inputs.D_unit, "true": _true(inputs, motion)},
        "msd": {"kind": kind, "methods": of_kind, "units": units},
        "gate_scan": {
            "kind": kind,
            "rows": motion.gate_scan,
            "gate": inputs.gate,
            "a": inputs.lattice_constant,
            "units": units,
        },
        "rose": {"kind": kind, "jumps": of_kind["hops"].extra.get("jumps", ()) if "hops" in of_kind else ()},
    }


def _true(inputs: Inputs, motion: Motion) -> tuple[str, float] | None:
    """(kind, D) of a simulation whose truth is known."""
    truth = inputs.truth
    if truth is None or truth.D_nm2_per_s is None or inputs.D_unit != "nm^2/s":
        return None
    kind = truth.attrs.get("mobile_kind", motion.headline)
    known = kind in motion.results and np.isfinite([d.D for d in motion.results[kind].values()]).any()
    return (kind, truth.D_nm2_per_s) if known else None
