"""What every stage of the analysis is given: detections without drift, linked, with what is known about them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from stemdefects.analysis.data import looked, scales
from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.data.square_pixels import Frames
from stemdefects.analysis.data.truth import Truth
from stemdefects.analysis.estimates import Estimate
from stemdefects.analysis.stage import Progress, StageResult
from stemdefects.analysis.tracking import drift, following, gates, lattice_sites, linking, registration, tracks
from stemdefects.crystal.material import Material
from stemdefects.schema import AnalysisConfig


@dataclass(frozen=True)
class Inputs:
    """A table as the stages take it.

    Attributes:
        found: detections with `track` filled in.
        material: `crystal.material.Material`, None: not known.
        movie: the source movie, for pictures; None: the table alone is used.
        truth: of a simulated movie; None: not known.
        lattice_constant: in the length unit of `found`.
        drift: of every frame.
        follower, followed: what links detections, and its links.
        tracks: the linked detections, drift taken off.
        lattice: vectors (2, 2) in the length unit and how they were found; None and why not.
        field_nm2: area of the field of view, None: not known.
        progress: `progress(items, what)` wraps a long loop in a bar; None for silence.
        earlier: results of the stages before, by name.
    """

    found: Detections
    material: Material | None
    movie: Frames | None
    truth: Truth | None
    lattice_constant: float
    drift: drift.Drift
    follower: following.Follower
    followed: following.Followed
    tracks: tracks.Tracks
    lattice: tuple[np.ndarray | None, str]
    field_nm2: float | None = None
    progress: Progress | None = None
    earlier: Mapping[str, StageResult] = field(default_factory=dict)

    @property
    def gate(self) -> float:
        """Distance within which detections were linked."""
        return self.followed.gate

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

    @property
    def kinds(self) -> list[str]:
        """Names of all kinds that were found, in order."""
        return [str(kind) for kind in np.unique(self.found.kinds)]

    @property
    def bond(self) -> float:
        """Length of the material's bond in the length unit of `found`; 0: not known."""
        a, material = self.lattice_constant, self.material
        return 0.0 if material is None else material.bond_nm * a / material.a_nm

    def track_kinds(self) -> np.ndarray:
        """(n_tracks,) most frequent kind of each track."""
        return tracks.majority(self.tracks, self.found.kinds)

    def estimates(self, stage: str) -> Sequence[Estimate]:
        """What an earlier stage found; empty where it did not run."""
        return self.earlier[stage].estimates if stage in self.earlier else ()

    def bar(self, what: str) -> Callable[[Any], Any] | None:
        """`progress` with a name; None for silence."""
        show = self.progress
        return None if show is None else lambda items: show(items, what)


class Stage(Protocol):
    """One question to the table; `inputs.earlier` holds what the stages before it found."""

    def __call__(self, inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult: ...


def prepare(
    found: Detections,
    cfg: AnalysisConfig,
    material: Material | None = None,
    movie: Frames | None = None,
    truth: Truth | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Inputs, list[str]]:
    """Take the drift off and link (arguments as of `pipeline.analyse`); also notes on what could not be done."""
    notes = list(found.notes)
    a = scales.lattice_constant(found, material, notes)
    notes += [crowded] if (crowded := scales.crowding(found, a)) else []
    moved = registration.register(found, cfg, a, material, movie, notes)
    found = replace(found, rows=found.rows.copy())
    corrected = found.yx - moved.yx[found.rows["frame"]] if len(found.rows) else found.yx
    follower = following.Follower(found, corrected, _sublattices(found, material), cfg.linking)
    followed = _link(follower, a, seed, None if progress is None else lambda items: progress(items, "linking"))
    done = found.corrected
    if done is not None and found.followed and (len(done.joined) or len(done.parted)):
        followed = follower.relinked(followed, done.joined, done.parted)
    found.rows["track"] = followed.links.track
    linked = follower.tracks(followed.links)
    lattice = (None, "there are fewer than 3 frames of one field")
    if found.followed and len(follower.looked.frames) >= 3:
        lattice = lattice_sites.vectors(found, linked, a)
    return Inputs(
        found=found,
        material=material,
        movie=movie,
        truth=truth,
        lattice_constant=a,
        drift=moved,
        follower=follower,
        followed=followed,
        tracks=linked,
        lattice=lattice,
        field_nm2=scales.field_area_nm2(found, movie),
        progress=progress,
    ), notes + followed.notes


def of_material(cfg: AnalysisConfig, found: Detections, material: Material | None) -> AnalysisConfig:
    """The config with the kinds that it leaves to the material: the centre (of several, the one most often found) and
    the headline."""
    if material is None:
        return cfg
    centres = [material.kind_names[k] for k in material.centre]
    centre = max(centres, key=lambda name: int((found.kinds == name).sum()), default=None)
    first = None if material.headline is None else material.kind_names[material.headline]
    first = (cfg.diffusion.kinds or [first])[0]
    return replace(
        cfg,
        transitions=replace(cfg.transitions, centre=cfg.transitions.centre or centre),
        diffusion=replace(cfg.diffusion, headline=cfg.diffusion.headline or first),
    )


def _sublattices(found: Detections, material) -> np.ndarray | None:
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
