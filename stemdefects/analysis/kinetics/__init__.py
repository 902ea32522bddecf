"""Kinetics straight from the evidence: vacancies as paths on the sites of one sublattice, by sampling.

`infer(evidence, settings, prior, key, progress, resume) -> Kinetics`. Compiled loops are imported on the first call.
"""

from stemdefects.analysis.kinetics.evidence import Evidence
from stemdefects.analysis.kinetics.priors import Priors, priors
from stemdefects.analysis.kinetics.quantities import Code, Quantity
from stemdefects.analysis.kinetics.result import Kinetics
from stemdefects.analysis.kinetics.sampling import Settings, infer

__all__ = ["Code", "Evidence", "Kinetics", "Priors", "Quantity", "Settings", "infer", "priors"]
