"""The analysis: a list of stages, each a pure function of the same inputs, and what they found together."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stemdefects import extensions
from stemdefects.analysis import estimates, inputs, truth_stage
from stemdefects.analysis.corrections import queue_stage
from stemdefects.analysis.corrections import stage as corrections
from stemdefects.analysis.crystallography import displacements_stage, grains_stage, strain_stage
from stemdefects.analysis.damage import stage as damage
from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.data.square_pixels import Frames
from stemdefects.analysis.data.truth import Truth
from stemdefects.analysis.estimates import Estimate
from stemdefects.analysis.inputs import Inputs, Stage
from stemdefects.analysis.kinetics import stage as lattice_model
from stemdefects.analysis.kinetics import statements
from stemdefects.analysis.motion import stage as motion
from stemdefects.analysis.notes import Code, Note
from stemdefects.analysis.patches import stage as patches
from stemdefects.analysis.population import counts_stage, growth_stage, purity_stage, space_stage, specimen_stage
from stemdefects.analysis.stage import Progress, Section, StageResult
from stemdefects.analysis.switching import stage as switching
from stemdefects.analysis.tracking import drift_stage, tracks_stage
from stemdefects.crystal.material import Material
from stemdefects.schema import AnalysisConfig

# In the order in which they are computed, those of other packages after them: a stage sees what was found before it.
STAGES: Mapping[str, Stage] = {
    "counts": counts_stage.run,
    "specimen": specimen_stage.run,
    "growth": growth_stage.run,
    "drift": drift_stage.run,
    "tracks": tracks_stage.run,
    "classes": patches.run,
    "diffusion": motion.run,
    "space": space_stage.run,
    "displacements": displacements_stage.run,
    "strain": strain_stage.run,
    "grains": grains_stage.run,
    "lattice model": lattice_model.run,
    "damage": damage.run,
    "purity": purity_stage.run,
    "transitions": switching.run,
    "truth": truth_stage.run,
    "corrections": corrections.run,
    "queue": queue_stage.run,
}
READ_FIRST = ("queue", "corrections", "truth", "lattice model")  # on the page, before the others in their order


# What an image without a movie says nothing of.
OF_TIME = ("growth", "drift", "tracks", "diffusion", "lattice model", "damage", "transitions")


@dataclass(frozen=True)
class Analysis:
    """What was found.

    Attributes:
        inputs: the table as the stages took it; cfg: the config with what the material says.
        stages: their results by name, in the order in which they were computed.
        preparation: notes on the table, its drift and its links.
        seconds: by stage.
    """

    inputs: Inputs
    cfg: AnalysisConfig
    stages: Mapping[str, StageResult]
    preparation: Sequence[str]
    seconds: Mapping[str, float]

    def of(self, stage: str) -> Any:
        """The own result of a stage (`StageResult.data`); None where it has none."""
        return self.stages[stage].data if stage in self.stages else None

    @property
    def estimates(self) -> list[Estimate]:
        """All in the order they are to be read: headlines of the lattice model, the others, the rest of the model's.
        Where the model has a headline, the same by other methods is a cross-check and none."""
        model = self.stages["lattice model"].estimates if "lattice model" in self.stages else ()
        others = [e for name, stage in self.stages.items() if name != "lattice model" for e in stage.estimates]
        others = statements.cross_checks(model, others)
        return [*(e for e in model if e.headline), *others, *(e for e in model if not e.headline)]

    @property
    def notes(self) -> list[str]:
        """What to know before quoting a number, each sentence once."""
        return list(dict.fromkeys([*self.preparation, *(n for stage in self.stages.values() for n in stage.notes)]))

    @property
    def tables(self) -> dict[str, Any]:
        """DataFrames by the name of their CSV, with units in the names of columns."""
        out = {"estimates": estimates.table(self.estimates)}
        out["diffusion"] = estimates.of_diffusion(self.estimates, self.inputs.D_unit)
        for stage in self.stages.values():
            out |= stage.tables
        return {name: table for name, table in out.items() if len(table.columns)}

    @property
    def figures(self) -> dict[str, Any]:
        """What is to be drawn, by name."""
        return {name: data for stage in self.stages.values() for name, data in stage.figures.items()}

    @property
    def sections(self) -> list[Section]:
        """Of the page, in the order they are to be read."""
        names = [name for name in READ_FIRST if name in self.stages]
        names += [name for name in self.stages if name not in READ_FIRST]
        if self.inputs.found.n_frames == 1:
            names = [name for name in names if name not in OF_TIME]
        return [section for name in names if (section := self.stages[name].section) is not None]


def analyse(
    found: Detections,
    cfg: AnalysisConfig,
    material: Material | None = None,
    movie: Frames | None = None,
    truth: Truth | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Analysis:
    """Analyse a defect table.

    Args:
        found: detections, from `detections.read`.
        cfg: the analysis config.
        material: `crystal.material.Material`, for the lattice constant and which kinds share a sublattice.
        movie: the source movie, for pictures and Bragg phases; None: the table alone is used.
        truth: of a simulated movie, to compare with.
        seed: of every resampling.
        progress: `progress(items, what)` wraps a long loop in a bar; None for silence.

    Returns:
        `Analysis`. Parts that the data cannot support are left out, and `notes` says why.
    """
    from threadpoolctl import threadpool_limits

    chosen = stages(cfg.leave_out)
    with threadpool_limits(1):  # matrices are small: threads of the linear algebra only wait for each other
        started = time.perf_counter()
        cfg = inputs.of_material(cfg, found, material)
        given, notes = inputs.prepare(found, cfg, material, movie, truth, seed, progress)
        seconds = {"preparation": time.perf_counter() - started}
        results: dict[str, StageResult] = {}
        for name, stage in chosen.items():
            started = time.perf_counter()
            now = replace(given, earlier=dict(results))
            results[name] = stage(now, cfg, seed) if name in STAGES else _of_others(name, stage, now, cfg, seed)
            seconds[name] = time.perf_counter() - started
    return Analysis(given, cfg, results, notes, seconds)


def stages(leave_out: Sequence[str] = ()) -> dict[str, Stage]:
    """Ours, then those that other packages add. Raises UserError where a name of `leave_out` is none of them, or one
    cannot be imported."""
    for name in leave_out:
        extensions.known(extensions.STAGES, name, "analysis.leave_out", STAGES)
    wanted = [name for name in extensions.names(extensions.STAGES, STAGES) if name not in leave_out]
    return {name: STAGES.get(name) or extensions.load(extensions.STAGES, name, "stage") for name in wanted}


def _of_others(name: str, stage: Stage, given: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """The result of another package's stage. What it does wrong costs its own numbers, not the others'."""
    try:
        result = stage(given, cfg, seed)
        if not isinstance(result, StageResult):
            raise TypeError(f"gives a {type(result).__name__}, which is no StageResult")
        for what in ("tables", "figures"):
            ours = {"estimates", "diffusion"}.union(*(getattr(before, what) for before in given.earlier.values()))
            if taken := sorted(ours & set(getattr(result, what))):
                raise ValueError(f"{what} of the name {', '.join(taken)} are there already")
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        return StageResult(notes=[Note(f"Stage {name} failed and is left out ({reason}).", Code.STAGE_FAILED)])
    return result
