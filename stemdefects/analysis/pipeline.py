"""The whole analysis in order: drift, tracks, classes, counts, diffusion, transitions, comparison with the truth."""

from __future__ import annotations  # fields share the names of the modules that make them

import time
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from stemdefects.analysis import against_truth as comparison
from stemdefects.analysis import seeds
from stemdefects.analysis.crystallography import displacements as crystallography
from stemdefects.analysis.crystallography import strain
from stemdefects.analysis.data import looked, scales
from stemdefects.analysis.data import truth as truths
from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.estimates import Estimate
from stemdefects.analysis.kinetics import stage as lattice_model
from stemdefects.analysis.kinetics import statements
from stemdefects.analysis.motion import diffusion
from stemdefects.analysis.motion import estimators as motion
from stemdefects.analysis.notes import Code, Note
from stemdefects.analysis.patches import classes, members, patch_light
from stemdefects.analysis.population import counts, evolution, field_of_view, growth, lines, space
from stemdefects.analysis.stage import StageResult
from stemdefects.analysis.switching import confusion, states, transitions
from stemdefects.analysis.switching import estimators as switching
from stemdefects.analysis.tracking import drift, following, gates, linking, registration, tracks
from stemdefects.schema import AnalysisConfig

ALL = motion.ALL


@dataclass
class Analysis:
    """Everything the analysis found; `notes` says in one sentence each what could not be computed and why."""

    found: Detections
    cfg: AnalysisConfig
    lattice_constant: float  # in the length unit of `found`
    gate: float
    drift: drift.Drift
    tracks: tracks.Tracks
    followed: following.Followed
    counts: counts.Counts
    classes: classes.Classes | None = None
    motion: motion.Motion = field(default_factory=motion.Motion)
    chain: states.Chain | None = None
    transitions: dict[str, transitions.Transitions] = field(default_factory=dict)
    confusions: confusion.Confusions | None = None
    stationarity: dict | None = None
    field_nm2: float | None = None
    growth: dict[str, growth.Growth] = field(default_factory=dict)
    regions: dict[str, diffusion.Diffusion] = field(default_factory=dict)
    pairs: dict[str, space.PairCorrelation] = field(default_factory=dict)
    lines: dict[str, lines.Lines] = field(default_factory=dict)
    deformation: space.Deformation | None = None
    local: crystallography.Local | None = None
    strain: strain.Strain | None = None
    stages: list[StageResult] = field(default_factory=list)
    estimates: list[Estimate] = field(default_factory=list)
    truth: truths.Truth | None = None
    scores: list[truths.Score] = field(default_factory=list)
    comparison: list[dict] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    timings: dict[str, float] = field(default_factory=dict)
    material: Any = None
    movie: Any = None

    @property
    def events(self) -> np.ndarray:
        """Births, deaths, gaps and merges of tracks (`linking.EVENT_DTYPE`)."""
        return self.followed.links.events

    @property
    def clock(self) -> looked.Looked:
        """The frames that were looked at, with the longest time that a track spans."""
        return looked.looked(self.found)._replace(longest=self.followed.longest)

    @property
    def step(self) -> str:
        """The time that transition probabilities are quoted for, in words."""
        return looked.step_in_words(self.found)

    @property
    def D_unit(self) -> str:
        return f"{self.found.length_unit}^2/{self.found.time_unit}"

    def track_kinds(self) -> np.ndarray:
        """(n_tracks,) most frequent kind of each track."""
        return tracks.majority(self.tracks, self.found.kinds)


def analyse(
    found: Detections,
    cfg: AnalysisConfig,
    material=None,
    movie=None,
    truth: truths.Truth | None = None,
    seed: int = 0,
    progress=None,
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

    with threadpool_limits(1):  # matrices are small: threads of the linear algebra only wait for each other
        return _analyse(found, cfg, material, movie, truth, seed, progress)


def _analyse(found, cfg, material, movie, truth, seed, progress) -> Analysis:
    clock = _Clock()
    notes = list(found.notes)
    cfg = _of_material(cfg, found, material)
    a = scales.lattice_constant(found, material, notes)
    notes += [crowded] if (crowded := scales.crowding(found, a)) else []
    moved = registration.register(found, cfg, a, material, movie, notes)
    clock("drift")
    corrected = found.yx - moved.yx[found.rows["frame"]] if len(found.rows) else found.yx
    sites = _sites(found, material)
    follower = following.Follower(found, corrected, sites, cfg.linking)
    followed = _link(follower, a, seed, _named(progress, "linking"))
    found.rows["track"] = followed.links.track
    linked = follower.tracks(followed.links)
    notes += followed.notes
    clock("linking")
    area = scales.field_area_nm2(found, movie)
    result = Analysis(
        found, cfg, a, followed.gate, moved, linked, followed, counts.count(found, area), truth=truth, notes=notes,
        material=material, movie=movie, field_nm2=area,
    )  # fmt: skip
    _classes(result, seed)
    clock("classes")
    evolution.counts(result, seed)
    if found.followed:
        _over_time(result, follower, linked, seed, progress, clock)
    else:
        evolution.purity(result, StageResult())
        field_of_view.pairs(result, seeds.stream(seed, "pairs"))
        clock("space")
    if truth is not None:
        comparison.compare(result)
        clock("truth")
    result.timings = clock.parts
    return result


def _over_time(
    result: Analysis, follower: following.Follower, linked: tracks.Tracks, seed: int, progress, clock: _Clock
) -> None:
    """All that follows defects from frame to frame."""
    found, cfg = result.found, result.cfg
    evolution.laws(result)
    evolution.events(result)
    clock("kinetics")
    a, material = result.lattice_constant, result.material
    bond = 0.0 if material is None else material.bond_nm * a / material.a_nm
    result.motion = motion.run(follower, linked, a, cfg, seed, scales.dose_per_time(found, cfg), bond)
    result.estimates += result.motion.estimates
    result.notes += result.motion.notes
    clock("diffusion")
    evolution.regions(result, seed)
    field_of_view.pairs(result, seeds.stream(seed, "pairs"))
    clock("space")
    field_of_view.crystal(result, seeds.stream(seed, "crystal"))
    clock("crystal")
    stage = _lattice_model(result, seed, progress)
    evolution.purity(result, stage)
    clock("lattice model")
    if statements.none_switch(stage.estimates):
        result.notes.append("No transitions between states: there is probably no vacancy, so what calls say is noise.")
    else:
        _transitions(result, seeds.stream(seed, "transitions"), _named(progress, "sampling transitions"))
    clock("transitions")
    result.estimates = [*(e for e in stage.estimates if e.headline), *result.estimates,
                        *(e for e in stage.estimates if not e.headline)]  # fmt: skip


def _of_material(cfg: AnalysisConfig, found: Detections, material) -> AnalysisConfig:
    """The config with the kinds that it leaves to the material: the centre (of several, the one most often found) and
    the headline."""
    if material is None:
        return cfg
    centres = [material.kind_names[k] for k in material.centre]
    centre = max(centres, key=lambda name: int((found.kinds == name).sum()), default=None)
    first = None if material.headline is None else material.kind_names[material.headline]
    first = (cfg.diffusion.kinds or [first])[0]
    return replace(
        cfg, transitions=replace(cfg.transitions, centre=cfg.transitions.centre or centre),
        diffusion=replace(cfg.diffusion, headline=cfg.diffusion.headline or first),
    )  # fmt: skip


def _named(progress, what: str):
    return None if progress is None else lambda items: progress(items, what)


class _Clock:
    def __init__(self):
        self.parts, self.last = {}, time.perf_counter()

    def __call__(self, name: str) -> None:
        now = time.perf_counter()
        self.parts[name], self.last = now - self.last, now


def _sites(found: Detections, material) -> np.ndarray | None:
    """Sublattice of each detection by its kind; -1 where the kind is not the material's. None when no kind is."""
    if material is None:
        return None
    site_of = {kind.name: material.states[kind.state].site for kind in material.kinds}
    sites = np.array([site_of.get(kind, -1) for kind in found.kinds], int)
    return sites if (sites >= 0).any() else None


def _link(follower: following.Follower, a: float, seed: int, progress) -> following.Followed:
    """The table's own tracks where it says that it has them, else ours."""
    found, cfg = follower.found, follower.cfg
    gate = cfg.gate_lattice * a if cfg.gate_lattice else None
    gate = cfg.gate_nm if cfg.gate_nm and found.length_unit == "nm" else gate
    track = found.rows["track"]
    if not found.followed:
        alone = linking.Links(np.arange(len(track)), np.empty(0, linking.EVENT_DTYPE))
        return following.Followed(alone, gate or gates.REACHES[0] * a)
    if (track >= 0).any() and found.attrs.get("linked"):
        own = linking.Links(track.astype(np.int64), np.empty(0, linking.EVENT_DTYPE))
        return following.Followed(own, gate or gates.REACHES[0] * a)
    return follower.follow(a, gate, seed, progress)


def _lattice_model(result: Analysis, seed: int, progress) -> StageResult:
    """The headline where the table holds evidence; what tracks and calls say becomes a cross-check of it."""
    if not result.cfg.kinetics.enabled or not result.found.followed:
        return StageResult()
    stage = lattice_model.run(result.found, result.cfg.kinetics, seed, progress)
    gate = f"{result.gate / result.lattice_constant:.2g} lattice constants"
    result.estimates, apart = statements.against(stage.estimates, result.estimates, gate)
    result.stages.append(stage)
    result.notes += [*stage.notes, *apart]
    return stage


def _classes(result: Analysis, seed: int) -> None:
    found, cfg = result.found, result.cfg.clustering
    if found.patches is None or len(found.rows) == 0:
        result.notes.append("There are no image patches in the table, so no classes were looked for.")
        return
    patches = np.asarray(found.patches)
    light = _light(found, patches, result.material) if cfg.features == "columns" else None
    result.classes = classes.classify(patches, cfg, seed, found.kinds, light, found.rows["track"])
    if result.classes is None:
        result.notes.append(f"{len(found.patches)} patches are too few for classes (30 are needed).")
        return
    found.rows["cluster"] = result.classes.label
    if result.classes.note:
        result.notes.append(result.classes.note)


def _light(found: Detections, patches: np.ndarray, material) -> patch_light.Light | None:
    """Light of the columns in the patches; None where their lattice is not known."""
    lattices = members.lattices(found)
    if lattices is None or found.pixel_size_nm is None or not found.attrs.get("patch_nm"):
        return None
    patch_nm = float(found.attrs["patch_nm"])
    vectors = lattices[found.rows["frame"]] * found.scale_yx * (patches.shape[1] / patch_nm)
    return patch_light.measure(patches, vectors, material, patch_nm)


def _transitions(result: Analysis, rng, progress) -> None:
    cfg, found = result.cfg.transitions, result.found
    some = result.tracks.select(result.tracks.lengths >= 2)
    clock = result.clock
    result.chain = (
        states.build(some, found.rows, cfg.states, cfg.centre, cfg.max_states, clock) if some.n_tracks else None
    )
    if result.chain is None:
        result.notes.append("No defect was seen in two different states in successive frames: no transition matrix.")
        return
    result.confusions = confusion.known(result.chain.names, cfg, found.attrs, result.material, result.notes)
    if not clock.even:
        result.notes.append(Note(
            "Frames are not evenly spaced: switching is a chain in continuous time, by rates; transition "
            f"probabilities are quoted {result.step}, the usual interval.", Code.IRREGULAR_TIMES))  # fmt: skip
    result.transitions, more, notes, result.stationarity = switching.run(
        result.chain, cfg, len(clock.frames), clock.usual, found.time_unit, rng, progress, result.confusions,
        result.step, float(np.ptp(clock.times)) + clock.usual,
    )  # fmt: skip
    result.estimates += more
    result.notes += notes
