"""How many detections of each kind are right, as a stage of the analysis."""

import numpy as np

from stemdefects.analysis.estimates import estimate
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.stage import StageResult
from stemdefects.schema import AnalysisConfig

PURE = 0.7  # mean probability below which what is made from the detections is that of a mixture


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """The share by the lattice model where it says so, else by the detector's own, calibrated probabilities."""
    rows, kinds = inputs.found.rows, inputs.found.kinds
    by_model = {e.subject: e.value for e in inputs.estimates("lattice model") if e.quantity == "expected precision"}
    said, notes = [], []
    for kind in inputs.kinds:
        p = rows["kind_prob"][kinds == kind].astype(float)
        share, by = by_model.get(kind), "The lattice model"
        if share is None:
            if not (rows["kind_prob"] < 1).any():
                continue
            share, by = float(np.nanmean(p)), "The detector itself"
            said.append(
                estimate(
                    "expected precision",
                    share,
                    None,
                    None,
                    "1",
                    "the detector's own probabilities",
                    subject=kind,
                    n=len(p),
                    n_of="detections",
                )
            )
        if share < PURE:
            notes.append(
                f"{by} gives the {kind} detections of single frames a mean probability of {share:.2f}: tracks, motion "
                f"and states that are made from them are those of a mixture with false ones."
            )
    return StageResult(said, notes)
