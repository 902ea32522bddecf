"""What stays the same over a movie: its settings checked, its calibration, the network compiled for its frames."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from stemdefects import config
from stemdefects.crystal import elements, second_lattice
from stemdefects.crystal.lattice import same_lattice
from stemdefects.errors import UserError
from stemdefects.inference import electrons, undistorted
from stemdefects.inference.columns.defects import Rules, find_defects
from stemdefects.inference.network import calibration as calibrating
from stemdefects.inference.network import cover as covering
from stemdefects.inference.network.engine import Engine
from stemdefects.inference.source import selected
from stemdefects.inference.specimen import grains
from stemdefects.inference.specimen.learned import untaught
from stemdefects.inference.undistorted import Undistortion
from stemdefects.io.movie import Checked, FrameError, Movie
from stemdefects.models.frames.resample import square_pixels
from stemdefects.models.probability.prevalence import state_prior
from stemdefects.schema import InferenceConfig

FAINT = 0.2  # of `inference.presence`: what shows less is hardly ever a defect of an unknown crystal
SAME_FIELD = 0.15  # of the lattice vectors: what a frame may differ by from the movie


@dataclass
class Setup:
    """All that stays the same over a movie. reference_px: lattice vectors of the movie with the sublattices told apart,
    None where there is no lattice; indices: the frames used; lattice_nm: of the ideal crystal shown; aspect: height
    over width of a pixel. Where that is not 1, all pixels here are square ones, as wide as the movie's."""

    model: Any
    settings: InferenceConfig
    calibration: calibrating.Calibration
    engine: Engine
    reference_px: np.ndarray | None
    rules: Rules
    indices: np.ndarray
    frame_time_s: float | None
    lattice_nm: np.ndarray
    aspect: float = 1.0
    times_s: np.ndarray | None = None  # recorded starts of all frames of the movie
    second_lattice: bool = True  # in one of the first frames looked at, be it in a part of it
    recent: dict[int, Checked | FrameError] = field(default_factory=dict)  # frames just read, for their neighbours
    steps_px: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # between pairs of them, likewise
    straighten: Undistortion | None = None  # frames are resampled by it, and pixels here are straightened ones
    raw_shape: tuple[int, int] = (0, 0)  # (H, W) of the frames as they are read
    dose: electrons.Dose = electrons.UNKNOWN
    grains_px: np.ndarray | None = None  # (K, 2, 2) lattice vectors of several grains, the reference's first

    @property
    def grains_turn_deg(self) -> list[float]:
        """Rotation of each further grain against the first; empty where there is one."""
        return [] if self.grains_px is None else grains.turns_deg(self.grains_px)

    @property
    def of_movie(self) -> bool:
        """Has the network learned from labels of a movie, of defects anywhere in the cell?"""
        return all(site.floating for site in self.model.material.sites)

    @property
    def n_blocks(self) -> int:
        return -(-len(self.indices) // self.settings.block_frames)

    @property
    def shape_px(self) -> tuple[float, float]:
        """(H, W) of a frame in square pixels."""
        height, width = self.raw_shape
        return (height - 1) * self.aspect + 1, width

    def learned(self) -> dict[str, Any]:
        """What was learned of the movie, in plain values: `prepare` and `teach` take it as `known`."""
        return {
            "calibration": self.calibration.to_dict(),
            "reference_px": None if self.reference_px is None else self.reference_px.tolist(),
            "grains_px": None if self.grains_px is None else self.grains_px.tolist(),
            "specimen": None if self.rules.specimen is None else self.rules.specimen.to_plain(),
            "dose": list(self.dose),
            "cover": None if self.engine.cover is None else list(self.engine.cover),
        }

    def raw_vectors(self, vectors_px: np.ndarray) -> np.ndarray:
        """(n, 2) vectors y, x in pixels of the frames as they are read."""
        if self.straighten is None:
            return vectors_px / (self.aspect, 1)
        return vectors_px @ self.straighten.matrix

    def raw_places(self, place_px: np.ndarray) -> np.ndarray:
        """(n, 2) places y, x in pixels of the frames as they are read."""
        return place_px / (self.aspect, 1) if self.straighten is None else self.straighten.raw(place_px)

    @property
    def region_step_px(self) -> list[float]:
        """(y, x) pixels of the frames as they are read per cell of the maps of regions."""
        step = self.engine.region_step_px
        return step if self.straighten is None else [step[0] / self.aspect, step[1]]

    @property
    def region_shape(self) -> tuple[int, int]:
        """(ny, nx) of the maps of regions."""
        if self.straighten is None:
            return self.engine.region_shape
        ny, nx = (int(-(-n // step)) for n, step in zip(self.raw_shape, self.region_step_px, strict=True))
        return ny, nx

    @property
    def keeps_columns(self) -> bool:
        """Are all columns kept, for the state of sites over time?"""
        followed = is_movie(self.indices, self.settings) and self.reference_px is not None
        return followed and self.model.trained is None  # what frames say of another crystal's states was not measured

    @property
    def evidence_weight(self) -> float:
        """Of one frame's evidence over time: frames that were looked at together show the same electrons."""
        return self.settings.over_time.evidence_weight / max(self.model.frames, self.settings.average_frames)

    def block(self, number: int) -> np.ndarray:
        """Frame numbers of a block."""
        return self.indices[number * self.settings.block_frames : (number + 1) * self.settings.block_frames]


def is_movie(indices: np.ndarray, settings: InferenceConfig) -> bool:
    """Are these frames enough for the state of sites over time?"""
    return settings.over_time.enabled and len(indices) >= settings.over_time.min_frames


# small products: several threads of BLAS would mostly wait for each other
@threadpool_limits.wrap(limits=1, user_api="blas")
def prepare(movie: Movie, model: Any, settings: InferenceConfig, known: dict[str, Any] | None = None) -> Setup:
    """Calibrate `movie` and compile `model` for it.

    known: `calibration`, `reference_px` and `dose` of an interrupted inference, taken as they are.
    Raises UserError for settings that make no sense and movies without a usable frame.
    """
    check(settings, model.material)
    if settings.average_frames > 1 and model.frames > 1:
        raise UserError(
            f"inference.average_frames={settings.average_frames}: model {model.id} takes {model.frames} frames by "
            "itself; use a single-frame model"
        )
    indices = selected(settings.frames, len(movie))
    if known and "dose" in known:
        setup = _calibrated(movie, model, settings, indices, known)
        setup.dose = electrons.Dose(*known["dose"])
        return setup
    samples = calibrating.sample_frames(movie, among=settings.first_frames)
    with ThreadPoolExecutor(1, "dose") as beside:
        dose = beside.submit(electrons.of_movie, movie, settings, model.material, samples)
        setup = _calibrated(movie, model, settings, indices, known, samples)
        setup.dose = dose.result()
    return setup


def _calibrated(
    movie: Movie,
    model: Any,
    settings: InferenceConfig,
    indices: np.ndarray,
    known: dict[str, Any] | None,
    samples: np.ndarray | None = None,
) -> Setup:
    """`prepare` but for the dose. samples: some frames, read where they are None and wanted."""
    lattice_nm = model.material.lattice_nm
    if settings.lattice_constant_nm is not None:
        lattice_nm = lattice_nm * (settings.lattice_constant_nm / model.material.a_nm)
    reference = None
    of_movie = all(site.floating for site in model.material.sites)  # learned from frames as they are
    if known:
        found = calibrating.Calibration(**known["calibration"])
        reference = None if known["reference_px"] is None else np.array(known["reference_px"])
    else:
        samples = calibrating.sample_frames(movie, among=settings.first_frames) if samples is None else samples
        shown = square_pixels(samples, movie.aspect)
        found = calibrating.calibrate(
            shown,
            lattice_nm,
            movie.pixel_size_nm,
            settings.pixel_size_nm,
            calibrating.Trust(
                settings.calibration, settings.calibration_tolerance, settings.max_strain, faint=of_movie
            ),
            movie.source,
        )
    # the network sees the crystal at the size it was trained on, whatever a nanometre is
    shown_nm = found.sampling_nm * (model.trained or model).material.a_nm / float(np.linalg.norm(lattice_nm[0]))
    straighten, shape, aspect = None, movie.shape[1:], movie.aspect
    vectors = None if found.vectors_px is None else np.array(found.vectors_px)
    if settings.straighten and not of_movie and not is_movie(indices, settings):
        straighten = undistorted.measured(found, lattice_nm, shape, aspect)
    if straighten is not None and vectors is not None:
        square = np.linalg.inv(straighten.matrix * (aspect, 1))
        shape, aspect, vectors = straighten.shape, 1.0, vectors @ square
    grains_px = None
    if known and known.get("grains_px") is not None:
        grains_px = np.array(known["grains_px"])
    elif samples is not None and vectors is not None and straighten is None:
        further = grains.others(square_pixels(samples, movie.aspect), vectors, lattice_nm)
        grains_px = np.concatenate([vectors[None], further]) if len(further) else None
    # all frames together judge also what one frame shows faintly (`evidence.floating.calls`)
    looking = replace(settings, presence=FAINT * settings.presence) if of_movie else settings
    engine = Engine(model, shape, shown_nm, looking, aspect, vectors if grains_px is None else grains_px, lattice_nm)
    thresholds = {**model.thresholds, **settings.thresholds}
    excluded = tuple(settings.exclude_regions)
    if model.by_light and not settings.light:
        raise UserError(
            f"inference.light=false: model {model.id} knows no state of {model.material.name} (inference.material); "
            "the light of its columns must say what they are"
        )
    stated = state_prior(model.config.labels, model.material)
    other = model.trained is not None
    nothing_yet = untaught(model.material, stated, model.by_light, other) if settings.light else None
    rules = Rules(thresholds, excluded, settings.patch_nm, settings.edge_nm, settings.require_lattice, nothing_yet)
    frame_time_s = settings.frame_time_s or movie.frame_time_s
    setup = Setup(
        model=model,
        settings=settings,
        calibration=found,
        engine=engine,
        reference_px=reference,
        rules=rules,
        indices=indices,
        frame_time_s=frame_time_s,
        lattice_nm=np.asarray(lattice_nm),
        aspect=movie.aspect,
        times_s=movie.times_s,
        straighten=straighten,
        raw_shape=movie.shape[1:],
        grains_px=grains_px,
    )
    if known and known.get("cover"):
        engine.cover = covering.Cover(*known["cover"])
    elif setup.of_movie and vectors is not None:
        samples = calibrating.sample_frames(movie, among=settings.first_frames) if samples is None else samples
        engine.cover = covering.measured(samples, vectors, aspect)
    return _with_lattice(setup, samples, vectors, movie, known)


def _with_lattice(
    setup: Setup, samples: np.ndarray | None, vectors: np.ndarray | None, movie: Movie, known: dict[str, Any] | None
) -> Setup:
    """`setup` with what the frames `samples` (read where they are None) say of its lattice, about `vectors` (2, 2)."""
    found = setup.calibration
    if found.vectors_px is not None and vectors is not None:
        among = setup.settings.first_frames
        samples = calibrating.sample_frames(movie, among=among) if samples is None else samples
        seen = np.array(found.vectors_px)
        over = [second_lattice.find(frame, seen, setup.lattice_nm) for frame in square_pixels(samples, movie.aspect)]
        setup.second_lattice = any(one is not None and one.on_top for one in over)
        if not known:
            setup.reference_px = _reference(setup, samples, vectors)
    return setup


def check(settings: InferenceConfig, material: Any) -> None:
    """Raise UserError for values that make no sense, naming the key."""
    config.check(settings)
    if settings.average_frames % 2 == 0:
        raise UserError(
            f"inference.average_frames={settings.average_frames}: must be odd, with the frame itself in the middle"
        )
    if settings.overlap_px > settings.tile_px // 2:
        raise UserError(f"inference.overlap_px={settings.overlap_px}: at most half of tile_px={settings.tile_px}")
    elements.check(settings.species, f"inference.species=[{','.join(settings.species)}]")
    kinds = {*(k.name for k in material.kinds), "defect"}
    for name in settings.thresholds:
        if name not in kinds:
            raise UserError(f"inference.thresholds.{name}: no such kind; there are: {', '.join(sorted(kinds))}")


def _reference(setup: Setup, samples: np.ndarray, guess: np.ndarray) -> np.ndarray | None:
    """Lattice vectors with the sublattices told apart, from the columns of the first sample that shows the lattice of
    most, else of the first that shows any.

    guess: (2, 2) about the lattice's vectors.
    """
    rules = replace(setup.rules, specimen=None)
    material = setup.model.material
    if all(site.floating for site in material.sites):  # nothing but the Bragg peaks says where the cells are
        return guess
    any_lattice = None
    for sample in samples:
        if setup.straighten is not None:
            sample = setup.straighten.image(sample)
        output = setup.engine(np.stack([sample] * setup.model.frames)[None])[0]
        found = find_defects(output, material, rules, guess, setup.calibration.pixel_size_nm / output.scale)
        if found.sites is None or found.sites.on_lattice.mean() <= 0.3:
            continue
        if same_lattice(found.sites.vectors_px, guess, SAME_FIELD):
            return found.sites.vectors_px
        any_lattice = found.sites.vectors_px if any_lattice is None else any_lattice
    return any_lattice
