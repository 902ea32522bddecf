"""Grains as a stage of the analysis: how they are turned, how long they meet, and defects inside and along the line."""

import numpy as np

from stemdefects.analysis import seeds
from stemdefects.analysis.estimates import Estimate, estimate
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.population.counts import trend
from stemdefects.analysis.stage import Section, StageResult, sentences
from stemdefects.schema import AnalysisConfig

ABOUT = (
    "The frames' Bragg components show grains that are turned against each other. Lattice sites, states over time and "
    "rates of sites are those of the first grain, rates of tracks those of all; defects along the line are those "
    "within 0.8 lattice spacings of it, or more where the grains are turned by less than 18 degrees."
)
NOT_CALLED = (
    "The network has learned from labels, which say nothing about that line: what it finds there is not called."
)
METHOD = "mean over the frames, block bootstrap"
COLUMNS = ("n_grains", "boundary_nm", "n_at_boundary", "n_defects", "fraction_lattice")


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """Misorientation, length of the boundary, and defects inside the grains and along it; nothing of one grain."""
    found, frames = inputs.found, inputs.found.frames
    turns = found.attrs.get("grains_turn_deg")
    if not turns or frames is None or not set(COLUMNS) <= set(frames) or inputs.field_nm2 is None:
        return StageResult()
    values = frames[list(COLUMNS)].to_numpy(float)
    values = values[values[:, 0] > 1]
    if not len(values):
        return StageResult()
    _, length, along, defects, lattice = values.T
    frame = np.arange(len(values), dtype=float)
    called = found.attrs.get("boundary_called", True)
    about = [ABOUT] if called else [ABOUT, NOT_CALLED]
    said = [
        estimate(
            "misorientation of grains",
            abs(turn),
            None,
            None,
            "degrees",
            "Bragg peaks of each grain",
            subject=f"grain {k}",
            n=len(values),
            n_of="frames",
        )
        for k, turn in enumerate(turns, 2)
    ]
    crystal = np.where(lattice > 0, lattice * inputs.field_nm2, np.nan)
    for what, series, unit in (
        ("length of the grain boundary", length, "nm"),
        ("defects along the grain boundary", along / np.where(length > 0, length, np.nan), "1/nm"),
        ("defects inside the grains", (defects - along * bool(called)) / crystal, "1/nm^2"),
    ):
        said.append(_mean(what, frame, series, unit, seed))
    return StageResult(said, section=Section("Grains", [*about, sentences(said)]), data=values)


def _mean(what: str, frame: np.ndarray, series: np.ndarray, unit: str, seed: int) -> Estimate:
    t = trend(frame, series, rng=seeds.stream(seed, what))
    return estimate(what, t.mean, t.mean_low, t.mean_high, unit, METHOD, n=t.n_frames, n_of="frames")
