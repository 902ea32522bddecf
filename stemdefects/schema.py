"""Dataclasses that validate every config group (field name, type, default).

The YAML files in `configs/` choose values; what exists, of which type, and what a value may be is said here.
`config.to_object` merges a composed config into these, so that an unknown key, a wrong type or an impossible value
fails before any work is done.
Nothing here imports JAX: `--help` must answer at once.
"""

import math
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

# What a value may be stands beside its default, and nowhere else; `config.check` holds values to it.


def _range(low: float, high: float, least: float = -math.inf, most: float = math.inf):
    """Two numbers, the lower first, within [least, most]; drawn from per image."""
    return field(default_factory=lambda: [low, high], metadata={"range": (least, most)})


def _one_of(default: Any, *choices: Any):
    return field(default=default, metadata={"choices": choices})


def _between(default: Any, least: float, most: float):
    return field(default=default, metadata={"bounds": (least, most)})


def _some_of(default: list[Any], *choices: Any):
    """A list of these."""
    return field(default_factory=lambda: list(default), metadata={"each": {"choices": choices}})


def _fractions():
    """A fraction by name; none by default."""
    return field(default_factory=dict, metadata={"each": {"bounds": (0, 1)}})


def _fraction(default: Any):
    """A probability or a share."""
    return _between(default, 0, 1)


def _least(default: Any, least: float):
    return _between(default, least, math.inf)


def _positive(default: Any):
    return field(default=default, metadata={"positive": True})


@dataclass
class SiteConfig:
    """A sublattice: fractional position in the cell and the name of its ideal state."""

    position: list[float] = MISSING
    ideal: str = MISSING
    floating: bool = False  # no place in the cell: a defect anywhere; the ideal state means that nothing is there


@dataclass
class SpeciesConfig:
    """HAADF signal of one atom relative to the reference species, at each of the material's voltages."""

    intensity: list[float] = MISSING
    spread: float = 0.0  # relative half-range drawn per image
    # what `intensity` itself may be, whatever the voltage: drawn per image from these, log-uniform. For crystals that
    # stand for many
    ranges: list[list[float]] = field(default_factory=list)


@dataclass
class StateConfig:
    """What a column can be."""

    site: str = MISSING
    atoms: dict[str, int] = field(default_factory=dict)  # species: number; none: vacant
    spread: float = 0.0  # relative half-range of its signal beyond that of its species
    relax_nm: float = 0.0  # first neighbours move this far, away from it when positive


@dataclass
class KindConfig:
    """A defect kind: the state it stands for, and how common it is in training images and in real samples."""

    state: str = MISSING
    density: list[float] = _range(0.0, 0.0)  # fraction of the site's columns, range
    prevalence: float | None = None  # the same in a realistic sample; null: `labels.prior` must say it


@dataclass
class ComplexConfig:
    """Neighbouring defects that have a name together."""

    center: str = MISSING  # state of the centre column
    neighbours: list[str] = MISSING  # states of bonded columns
    probability: list[float] = _range(0.0, 0.0)  # of a centre having it, range


@dataclass
class PolymorphConfig:
    """The 1T phase: of each column of `site` one half goes to the inverted position; `state` is what is left."""

    site: str = MISSING
    state: str = MISSING


@dataclass
class MaterialConfig:
    """A crystal: lattice, sites, column states, defect kinds. See docs/materials.md."""

    name: str = MISSING
    a_nm: float = MISSING
    lattice_vectors_a: list[list[float]] = MISSING  # rows a1, a2 as (y, x), in units of a_nm
    sites: dict[str, SiteConfig] = MISSING
    voltages_kv: list[float] = MISSING
    haadf_cross_section_nm2: list[float] = MISSING  # of one atom of the reference species, at each voltage
    species: dict[str, SpeciesConfig] = MISSING
    states: dict[str, StateConfig] = MISSING
    kinds: dict[str, KindConfig] = MISSING
    complexes: dict[str, ComplexConfig] = field(default_factory=dict)
    centre: list[str] | None = None  # kinds that catch moving defects; null: those at the centre of a complex
    headline: str | None = None  # kind whose motion is the first number of a report; null: the first that is no centre
    phase_1T: PolymorphConfig | None = None


@dataclass
class ViewConfig:
    """What the image shows of the crystal. Two numbers are a range drawn per image (equal: fixed)."""

    size_px: list[int] = field(default_factory=lambda: [256, 256])  # height, width; training sets its own
    pixel_size_nm: list[float] = _range(0.027, 0.033, least=0.005, most=0.06)
    voltage_kv: list[float] = _range(60.0, 100.0, least=20, most=1000)
    rotation_deg: list[float] = _range(0.0, 360.0)
    strain: list[float] = _range(-0.01, 0.01, least=-0.2, most=0.2)  # of each axis
    shear: list[float] = _range(-0.01, 0.01, least=-0.2, most=0.2)
    displacement_nm: list[float] = _range(0.0, 0.006, least=0, most=0.1)  # static, rms per axis


@dataclass
class DefectsConfig:
    """How many defects and how they gather; kinds and complexes not named here are as the material says."""

    density: dict[str, list[float]] = field(default_factory=dict)  # kind: fraction of the site's columns, range
    density_at: float | None = _fraction(None)  # where in each range all images lie; null: anywhere, per image
    density_scale: float = _least(1.0, 0)  # multiplies every density
    rare_kinds: bool = True  # also kinds whose usual range starts at 0
    complexes: dict[str, list[float]] = field(default_factory=dict)  # complex: probability per centre, range
    clustering: list[float] = _range(0.0, 1.0, least=0, most=3)  # rms of the logarithm of the local density
    clustering_length_nm: list[float] = _range(0.6, 2.0, least=0.1)
    line_probability: float = _fraction(0.15)  # of an image with lines of vacancies
    line_kind: str | None = None  # default: the material's first kind
    line_length_sites: list[float] = _range(3.0, 10.0, least=1)
    relaxation: list[float] = _range(0.0, 1.5, least=-10, most=10)  # multiplies the material's relax_nm


@dataclass
class RegionsConfig:
    """Extended structures: probability of an image with them, and the fraction of its area."""

    hole_probability: float = _fraction(0.15)
    hole_fraction: list[float] = _range(0.03, 0.3, least=0, most=1)
    amorphous_probability: float = _fraction(0.15)
    amorphous_fraction: list[float] = _range(0.03, 0.3, least=0, most=1)
    phase_1T_probability: float = _fraction(0.05)  # only for materials that have it
    phase_1T_fraction: list[float] = _range(0.05, 0.3, least=0, most=1)
    twin_probability: float = _fraction(0.05)  # mirror-twin boundary; only for materials that have phase_1T
    length_nm: list[float] = _range(0.8, 2.5, least=0.1)  # correlation length of their outlines
    patch_signal: list[float] = _range(0.3, 1.5, least=0)  # added in amorphous patches, of the perfect crystal's mean
    patch_disorder_nm: list[float] = _range(0.04, 0.12, least=0, most=1)  # rms displacement of columns there
    roughness: float = _least(0.15, 0)  # ragged edges: rms of the outline's noise from column to column


@dataclass
class ProbeConfig:
    """The electron probe. Aberrations have random azimuths."""

    semi_angle_mrad: list[float] = _range(25.0, 32.0, least=5, most=60)
    C10_nm: list[float] = _range(-3.0, 3.0)
    C12_nm: list[float] = _range(0.0, 1.5, least=0)
    C21_nm: list[float] = _range(0.0, 30.0, least=0)
    C23_nm: list[float] = _range(0.0, 40.0, least=0)
    C30_um: list[float] = _range(-0.6, 0.6)
    source_fwhm_nm: list[float] = _range(0.05, 0.14, least=0, most=1)
    thermal_nm: float = _least(0.009, 0)  # rms width per axis of a column itself: thermal motion


@dataclass
class ScanConfig:
    """Distortions of the scan, in pixels."""

    row_jitter_px: list[float] = _range(0.1, 0.8, least=0, most=10)  # rms, along the fast axis, new in every row
    slow_jitter_px: list[float] = _range(0.0, 0.8, least=0, most=10)  # rms, correlated over slow_jitter_rows
    slow_jitter_rows: list[float] = _range(8.0, 60.0, least=1)
    row_jitter_y_px: list[float] = _range(0.0, 0.2, least=0, most=3)  # rms, along the slow axis
    drift_px: list[float] = _range(0.0, 4.0, least=0)  # during one frame, any direction
    flyback_px: list[float] = _range(0.0, 1.5, least=-10, most=10)
    flyback_length_px: list[float] = _range(4.0, 20.0, least=0.1)


@dataclass
class DetectorConfig:
    """Dose, background and detector."""

    dose_e_per_px: list[float] = _range(100.0, 4000.0, least=0.001, most=1e09)  # incident, log-uniform
    signal_scale: list[float] = _range(0.7, 1.4, least=0.001, most=1000)  # collection angles: times the cross-section
    background: list[float] = _range(0.0, 0.4, least=0)  # of the mean of the perfect crystal
    blotches: list[float] = _range(0.0, 0.25, least=0)  # rms, of that mean
    blotch_length_nm: list[float] = _range(0.7, 3.0, least=0.05)
    poisson: bool = True
    pulse_spread: list[float] = _range(0.0, 0.9, least=0)  # relative rms height of one electron's pulse
    afterglow_px: list[float] = _range(0.0, 0.8, least=0, most=4)  # decay length along the fast axis
    line_gain: list[float] = _range(0.0, 0.02, least=0, most=1)  # rms from row to row
    read_noise_e: list[float] = _range(0.0, 0.5, least=0)  # rms per pixel, in detected electrons
    gain: list[float] = _range(1.0, 1.0, least=1e-09)  # counts per detected electron
    offset: list[float] = _range(0.0, 0.0)  # counts
    integer: bool = False  # round to whole counts
    saturation: float | None = _positive(None)  # counts are clipped to 0..saturation; null: no limit


@dataclass
class ClipConfig:
    """How the frames of a training clip differ."""

    drift_px: list[float] = _range(0.0, 0.3, least=0)  # rms step from frame to frame that alignment leaves
    hop_probability: list[float] = _range(0.0, 0.1, least=0, most=1)  # of a mobile vacancy, per frame


@dataclass
class MovieConfig:
    """Movies by kinetic Monte Carlo. Rates are per second, beam damage is per incident electron."""

    n_frames: int = _least(100, 1)
    frame_time_s: float = _positive(2.25)
    drift_px_per_frame: list[float] = field(default_factory=lambda: [0.1, -0.06])  # y, x
    drift_wander_px: float = _least(0.15, 0)  # rms random step per frame and axis
    drift_step_px: float = _least(0.0, 0)  # rms size of sudden steps
    drift_step_probability: float = _fraction(0.0)  # per frame
    mobile_kind: str | None = None  # kind that hops; default: the material's first kind
    hop_rate_per_s: float = _least(0.005, 0)  # of one mobile defect to one given free neighbour
    pair_factor: float = _least(1.0, 0)  # times the hop rate where another vacancy is next to it; below 1: they pair
    line_factor: float = _least(1.0, 0)  # the same for a vacancy between two others in a row; below 1: lines grow
    center_kind: str | None = None  # immobile centre; default: that of the material's first complex
    attach_rate_per_s: float = _least(0.02, 0)  # a centre catches a vacancy on one given neighbour
    detach_rate_per_s: float = _least(0.04, 0)
    switch_rate_per_s: float = _least(0.04, 0)  # of a complex into one given other orientation
    attach_second_rate_per_s: float = _least(0.0, 0)  # a second vacancy on one given neighbour
    detach_second_rate_per_s: float = _least(0.0, 0)  # of one given vacancy of two
    switch_second_rate_per_s: float = _least(0.0, 0)
    damage_cross_section_nm2: float = _least(0.0, 0)  # a whole mobile-sublattice column loses an atom: per e per nm2
    damage_second_cross_section_nm2: float | None = _least(
        None, 0
    )  # one that has lost an atom loses another; null: alike
    damage_beside_factor: float = _least(1.0, 0)  # times both where a neighbouring column lacks an atom
    fill_cross_section_nm2: float = _least(0.0, 0)  # an atom comes back to a column that lacks one
    metal_cross_section_nm2: float = _least(0.0, 0)  # a column of another sublattice is lost
    hole_cross_section_nm2: float = _least(0.0, 0)  # a hole opens at a column: per electron per nm2
    hole_radius_nm: float = _least(0.35, 0)  # of a hole that has just opened
    hole_rate_per_s: float = _least(0.0, 0)  # a column at the edge of a hole is lost, per missing neighbour
    exchange_rate_per_s: float = _least(0.0, 0)  # of a lone centre with one given neighbour of its sublattice
    block_frames: int = _least(8, 1)  # frames rendered and written at once


@dataclass
class SimulationConfig:
    """Images and movies of the material. See configs/simulation/ and docs/simulation.md."""

    name: str = MISSING
    view: ViewConfig = field(default_factory=ViewConfig)
    defects: DefectsConfig = field(default_factory=DefectsConfig)
    regions: RegionsConfig = field(default_factory=RegionsConfig)
    probe: ProbeConfig = field(default_factory=ProbeConfig)
    scan: ScanConfig = field(default_factory=ScanConfig)
    detector: DetectorConfig = field(default_factory=DetectorConfig)
    clip: ClipConfig = field(default_factory=ClipConfig)
    movie: MovieConfig = field(default_factory=MovieConfig)


@dataclass
class FourierConfig:
    """Labels from the movie's own frames. See docs/labels.md. Lengths are in lattice spacings of the movie."""

    recipe: str = _one_of("local", "local", "paper")  # paper: the reference work's disk and two fixed thresholds
    first_frame: int = _least(0, 0)
    n_frames: int = _least(8, 1)  # laid on top of each other where nothing moves; `paper` takes the first one
    signal: str | None = None  # data set or signal of a file that holds several
    pixel_size_nm: float | None = _positive(None)  # null: what the file states
    lattice_constant_nm: float | None = _positive(None)  # of the crystal shown; wins over any pixel size
    window: float = _positive(3.0)  # sliding window in which the crystal is taken as one
    background_window: float = _positive(1.5)  # of the slow part of the intensity
    fit_rows: bool = True  # take out shifts, gains and offsets of single scan rows
    false_alarms: float = _between(0.01, 1e-9, 1)  # share of the dark, of the bright labels that may be false
    unsure: float = _least(1.5, 0)  # this far below the threshold (in noise units) no label is sure
    max_drift: float = _least(1.5, 0)  # between neighbouring frames
    held_out: float = 0.25  # of the frame's width, for validation
    augment: bool = True  # false: crops, quarter turns and flips only
    zoom: float = _between(0.08, 0, 0.5)  # largest relative change of size
    remade: float = _fraction(0.5)  # share of images made anew, of noise-free scenes with fresh noise
    scenes: int = _least(12, 1)  # with the found defects planted at other places
    broken: float = _fraction(0.5)  # share of images with holes or amorphous patches
    presence: float = _least(25.0, 0)  # the heat map weighs so many times training.loss.presence: labels alone are few
    mix: float = _fraction(0.5)  # share of simulated batches where training starts from a model (training.init)
    low_pass: float = _positive(0.7)  # paper: radius of the disk, of the shortest reciprocal vector
    threshold: float = _positive(2.5)  # paper: both thresholds, standard deviations of the filtered frame


@dataclass
class LabelsConfig:
    """Where training targets come from."""

    name: str = MISSING
    # movie: train.py input=<movie>; corrections: train.py run=<id of a corrected run>
    source: str = _one_of("simulation", "simulation", "movie", "corrections")
    fourier: FourierConfig = field(default_factory=FourierConfig)
    heat_sigma_px: float = _positive(2.0)  # width of the heat map's Gaussians
    prior: dict[str, float] = field(default_factory=dict)  # kind -> prevalence, instead of the material's own
    other_prior: float | None = _fraction(None)  # of kinds for which neither says it (networks older than `prevalence`)
    corrected: dict[str, str] = field(default_factory=dict)  # runs they come from: SHA-256 of their corrections.csv

    @property
    def of_movie(self) -> bool:
        """Whether a movie, not the simulator alone, says what is right."""
        return self.source in ("movie", "corrections")


@dataclass
class ModelConfig:
    """The network."""

    name: str = MISSING
    architecture: str = "unet"  # or one that another package adds (docs/extending.md)
    options: dict[str, Any] = field(default_factory=dict)  # of such an architecture, as it likes
    filters: list[int] = field(default_factory=lambda: [32, 64, 128])  # channels per level, finest first
    depths: list[int] = field(default_factory=lambda: [1, 1, 1])  # residual blocks per level
    stem: int = _least(4, 1)  # image pixels per cell of the finest level
    stride: int = _least(2, 1)  # image pixels per output cell
    norm: str = _one_of("none", "none", "group")
    frames: int = _least(1, 1)  # aligned neighbouring frames the network sees; it answers for the middle one
    told_signals: bool = False  # it is told the signals of the crystal's species, and serves every crystal of its build
    pixel_size_nm: float = _positive(0.03)  # images are resampled to this


@dataclass
class LossConfig:
    """The loss and the weights of its parts."""

    name: str = "default"  # or a loss that another package adds (docs/extending.md)
    presence: float = _least(4.0, 0)
    state: float = _least(1.0, 0)
    offset: float = _least(0.5, 0)
    sigma: float = _least(0.05, 0)
    region: float = _least(0.2, 0)
    balance: float = _least(0.5, 0)  # states weigh frequency ** -balance; the posterior is corrected for it afterwards


@dataclass
class ValidationConfig:
    """Detection scores on fixed sets of the run's own simulation, at fixed doses."""

    every: int = _least(500, 1)  # steps; the last step always counts
    # name -> dose; null: not validated at that one. (Empty here: what is given here would be merged into every config.)
    doses_e_per_px: dict[str, float | None] = field(default_factory=dict)
    images: int = _least(16, 1)  # per dose
    size_px: int = _least(256, 1)
    radius_nm: float = _positive(0.09)  # a detection this close to the true column is right
    seed: int = 1_000_003
    pictures: int = _least(2, 0)  # images with detections drawn, worst first


@dataclass
class TrainingConfig:
    """The optimisation."""

    name: str = MISSING
    steps: int = _least(4000, 1)
    batch_size: int = _least(8, 1)  # over all devices
    size_px: int = _least(192, 1)  # side of the training images
    learning_rate: float = _positive(2e-3)
    warmup_steps: int = _least(100, 0)
    final_rate: float = _fraction(0.02)  # of learning_rate, at the last step
    weight_decay: float = _least(1e-4, 0)
    clip_norm: float = _positive(1.0)
    ema: float = _fraction(0.998)  # decay of the averaged weights, which are the ones validated and kept
    precision: str = _one_of("auto", "auto", "float32", "bfloat16")  # auto: bfloat16 on a GPU
    log_every: int = _least(20, 1)  # steps
    checkpoint_minutes: float = _positive(2.0)  # time between checkpoints; every validation also saves one
    patience: int | None = _least(None, 1)  # validations without a better score before training stops; null: never
    ensemble: int = _least(1, 1)  # members trained at once
    init: str | None = None  # run or model folder whose weights training starts from; null: random weights
    loss: LossConfig = field(default_factory=LossConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    distributed: bool = False  # join other processes by jax.distributed
    coordinator: str | None = None  # host:port of process 0; null: from SLURM's variables
    process_count: int | None = _least(None, 1)
    process_id: int | None = _least(None, 0)


@dataclass
class PicturesConfig:
    """Pictures that inference makes."""

    frames: bool = True  # annotated PNGs of the first, the middle and the last frame
    every: int | None = _least(None, 1)  # one of so many frames as PNG too, in pictures/frames/; 1: all; null: none
    contact_sheet: bool = True  # defects of every kind as small pictures
    animation: bool = True  # the annotated movie: MP4 with imageio-ffmpeg, else GIF
    animation_frames: int = _least(60, 1)  # at most, spread over the movie
    animation_fps: float = _positive(8.0)
    max_width_px: int = _least(1200, 1)


@dataclass
class OverTimeConfig:
    """State of every lattice site at every frame, from all frames of a movie together."""

    enabled: bool = True
    min_frames: int = _least(4, 1)  # shorter movies are left as they are
    window_frames: int = _least(256, 1)  # frames smoothed together; windows overlap by `overlap_frames` on each side
    overlap_frames: int = _least(24, 0)
    evidence_weight: float = _positive(1.0)  # of a frame; below 1: errors of neighbouring frames are alike
    threshold: float = _fraction(0.5)  # least posterior of a kind
    max_gap_frames: int = _least(2, 0)  # a site that was not seen this close in time is not reported
    max_step_nm: float = _positive(2.0)  # largest drift between neighbouring frames


@dataclass
class InferenceConfig:
    """From a movie file to a defect table."""

    name: str = MISSING
    model: str | None = None  # model folder to use in a new run, instead of run=
    material: str | None = None  # the crystal shown, where it is not the model's own: a material's name or file
    formula: str | None = None  # the same by its formula, e.g. W0.95Ti0.05Se2 (material: auto, or left out)
    # elements that may be there beside those of the material, for columns of no state it has; none: any
    species: list[str] = field(default_factory=list)
    # data set or signal of a file that holds several, e.g. HAADF; [a, b]: b is a second detector of the same scan, of
    # the same file or in a file of its own
    signal: Any = None
    pixel_size_nm: float | None = _positive(None)  # null: what the file states, checked against the lattice
    frame_time_s: float | None = _positive(None)  # null: what the file states
    dose_e_per_px: float | None = _positive(None)  # incident, per pixel and frame; null: what the file states
    current_pA: float | None = _positive(None)  # of the beam: times dwell_us it is the dose; null: what the file states
    dwell_us: float | None = _positive(None)  # of the beam on a pixel, in one frame; null: what the file states
    dose_relative_sigma: float | None = _least(None, 0)  # relative standard error of the dose; null: not known
    calibration: str = _one_of("lattice", "lattice", "metadata")  # which counts where they disagree
    calibration_tolerance: float = _least(0.03, 0)  # relative disagreement that is reported as such
    lattice_constant_nm: float | None = _positive(None)  # of the crystal shown; null: of the model's material
    frames: str | None = None  # part of the movie, start:stop:step as in Python; null: all
    # frames that calibration and specimen are learned from: the first so many; null: some spread over the movie
    first_frames: int | None = _least(None, 1)
    batch_size: int | None = _least(None, 1)  # frames computed at once on each device; null: 2 on a CPU, 8 on a GPU
    block_frames: int = _least(32, 1)  # frames kept at once; what a kill costs at most
    tile_px: int = _least(512, 64)  # larger frames are cut into tiles, model pixels
    overlap_px: int = _least(64, 0)
    presence: float = _fraction(0.5)  # least probability of a column
    average_frames: int = _least(1, 1)  # odd: a single-frame model is shown the mean of so many aligned frames
    light: bool = True  # the light of each column is heard too, by how much of its scatter is noise
    symmetries: int = _one_of(1, 1, 2, 4, 8)  # answers averaged over turned and mirrored frames; takes longer
    thresholds: dict[str, float] = _fractions()  # least posterior per kind; others: the model's own
    exclude_regions: list[str] = _some_of(["hole", "amorphous"], "lattice", "hole", "amorphous", "1T")
    require_lattice: bool = True  # nothing is called where a frame's own Bragg components show no lattice
    edge_nm: float = _least(0.15, 0)  # nothing is called this close to the border of a frame
    patch_nm: float = _positive(0.96)  # side of the square patch around each defect
    resample_tolerance: float = _least(0.02, 0)  # of samplings outside those the model was trained on, left as they are
    straighten: bool = True  # a lattice that the scan distorts is straightened before the network looks, in images
    max_strain: float = _least(0.15, 0)  # a lattice more distorted than this is not believed
    over_time: OverTimeConfig = field(default_factory=OverTimeConfig)
    pictures: PicturesConfig = field(default_factory=PicturesConfig)


@dataclass
class TableConfig:
    """How a defect table without our own attributes is read."""

    columns: dict[str, list[str]] = field(default_factory=dict)  # our column -> names it may have in a CSV
    pixel_size_nm: float | None = _positive(None)  # null: from the table, else from `known`
    pixel_size_relative_sigma: float | None = _least(None, 0)
    frame_time_s: float | None = _positive(None)
    dose_e_per_nm2_per_frame: float | None = _positive(None)
    dose_relative_sigma: float | None = _least(None, 0)  # of the dose; null: as its source has it
    min_score: float = _least(0.0, 0)  # rows below are left out; inference has its own thresholds per kind
    known: dict[str, Any] = field(default_factory=dict)  # file name -> what a table without metadata is known to be


@dataclass
class DriftConfig:
    """Drift correction."""

    method: str = _one_of("auto", "auto", "table", "bragg", "points", "none")
    max_step_nm: float = _positive(2.0)  # largest step between neighbouring frames
    radius_nm: float = _positive(0.06)  # two sightings of a resting defect lie this close
    min_points: int = _least(4, 1)  # fewer matched points in a frame: the step is filled in and flagged
    fiducials: list[str] | None = None  # kinds that rest in the sample: the drift is then theirs alone


@dataclass
class LinkingConfig:
    """From detections to tracks."""

    gate_nm: float | None = _positive(None)  # null: gate_lattice times the lattice constant
    gate_lattice: float | None = _positive(1.5)  # null: 1.5, 2.2 or 2.9, as the hop rate and false detections ask for
    memory: int = _least(3, 0)  # frames a defect may be missed and still be the same
    kind_cost: float = _least(0.4, 0)  # added to (distance / gate)^2 when the kinds differ; links cost less than 1
    gap_cost: float = _least(0.1, 0)  # added for every missed frame
    same_site_only: bool = True  # a defect of one sublattice never becomes one of another
    min_length: int = _least(3, 1)  # detections in a track used for figures of motion


@dataclass
class ClusteringConfig:
    """Unsupervised classes of the image patches."""

    name: str = "default"
    features: str = _one_of("columns", "columns", "threefold", "zernike", "raw")
    n_pca: int = _least(5, 1)
    classes: int | None = _least(None, 1)  # null: chosen by BIC and stability
    max_classes: int = _least(8, 1)
    covariance: str = _one_of("full", "full", "tied", "diag", "spherical")
    max_patches: int = _least(3000, 1)
    n_resamples: int = _least(3, 0)
    outlier_quantile: float = _fraction(0.01)
    method: str = _one_of("mixture", "mixture", "hdbscan")


@dataclass
class DiffusionConfig:
    """Diffusion constants."""

    method: str = _one_of("cve", "cve", "msd", "sites", "hops")  # the headline
    kinds: list[str] | None = None  # null: every kind that has tracks
    headline: str | None = None  # the kind whose D comes first; null: the first of `kinds`, else the material's
    n_bootstrap: int = _least(1000, 1)
    max_lag: int = _least(20, 1)
    gate_scan_lattice: list[float] = field(default_factory=lambda: [0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5])


@dataclass
class TransitionsConfig:
    """Switching between states of a defect."""

    states: str = _one_of("auto", "auto", "complexes", "kind", "cluster")
    centre: str | None = None  # kind of the resting part of a complex; null: the material's
    confusion: str = "estimate"  # estimate | model (the network's own) | a CSV: state, label, probability
    n_gibbs: int = _least(400, 1)
    n_burn: int = _least(100, 0)
    prior: float = _positive(1.0)  # Dirichlet weight per row, spread over the states
    tie_orientations: bool = False
    n_windows: int = _least(4, 1)
    max_states: int = _least(8, 2)


@dataclass
class KineticsConfig:
    """The lattice model: rates, occupancy and counts sampled from the evidence of every site (docs/kinetics.md)."""

    enabled: bool = True
    chains: int = _least(4, 2)  # that start apart: one alone cannot show that it has not converged
    threads: int = _least(2, 1)
    warmup: int = _least(60, 3)  # sweeps of each chain that are thrown away, at least
    sweeps: int = _least(80, 20)  # sweeps of each chain that are kept, at least
    max_sweeps: int = _least(960, 20)  # the same at most, where chains do not agree before
    seconds: float | None = _positive(None)  # no prolonging beyond about this time; null: until they agree
    r_hat: float = _between(1.1, 1, 2)  # of every headline; above: not converged
    effective_samples: float = _least(50.0, 1)  # of all chains: an interval's ends to a third of a deviation


@dataclass
class CrystalConfig:
    """Displaced neighbours of the defects and strain of the field, from the movie's frames."""

    enabled: bool = True
    nearest_columns: int = _least(7, 1)  # around each defect, its own included; whole shells are taken
    strain_frames: int = _least(12, 1)  # at most, evenly over the movie; 1: the first frame alone


@dataclass
class AnalysisConfig:
    """From a defect table to tracks, classes, diffusion, transitions."""

    name: str = MISSING
    table: TableConfig = field(default_factory=TableConfig)
    drift: DriftConfig = field(default_factory=DriftConfig)
    linking: LinkingConfig = field(default_factory=LinkingConfig)
    clustering: ClusteringConfig = field(default_factory=ClusteringConfig)
    diffusion: DiffusionConfig = field(default_factory=DiffusionConfig)
    transitions: TransitionsConfig = field(default_factory=TransitionsConfig)
    kinetics: KineticsConfig = field(default_factory=KineticsConfig)
    crystal: CrystalConfig = field(default_factory=CrystalConfig)
    truth_radius_nm: float = _positive(0.09)  # a detection this close to a true defect of its kind is right
    slider_frames: int = _least(40, 0)  # frames shown in the page
    leave_out: list[str] = field(default_factory=list)  # stages by name (`analysis/pipeline.py`), e.g. [space, strain]


@dataclass
class LoggingConfig:
    """Weights & Biases."""

    name: str = MISSING
    mode: str = _one_of("offline", "offline", "online", "disabled")
    project: str = "stemdefects"
    entity: str | None = None
    images: bool = True


@dataclass
class TrainRoot:
    """What `train.py` takes."""

    material: MaterialConfig = field(default_factory=MaterialConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    labels: LabelsConfig = field(default_factory=LabelsConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    input: Any = None  # a movie to make labels from (labels=fourier)
    # id, unique prefix or `latest` of a run to go on with; with labels=corrections of corrected ones; null: a new run
    run: str | None = None
    runs_dir: str = "runs"
    seed: int = 0
    verbose: int = _between(1, 0, 2)  # 0: results, warnings and errors; 1: what is done, too; 2: also how long it takes


@dataclass
class LiveConfig:
    """Frames as they come (`infer.py watch=`). See docs/live.md."""

    settle_s: float = _least(0.5, 0)  # a file that has not changed for so long is whole
    poll_s: float = _between(0.1, 0.005, 10)  # between two looks at the folder
    stop_after_s: float | None = _positive(300.0)  # without a new frame, after which the table is made; null: never
    stop_frames: int | None = _least(None, 1)  # frames after which the table is made; null: any number
    port: int | None = _between(8765, 0, 65535)  # of the page on this machine; 0: any; null: no page
    publish: str = "none"  # a line of JSON a frame: none | stdout | tcp://<address>:<port> (ZeroMQ)
    quantity: str = _one_of("cross_section", "cross_section", "diffusion")  # that is to be known
    precision: float = _between(0.2, 0.001, 1)  # half its 95% interval over its value


@dataclass
class InferRoot:
    """What `infer.py` takes."""

    input: Any = None  # a movie or image file; with `cluster` any number of them
    watch: str | None = None  # instead of input=: a folder into which files come, or a file that grows
    live: LiveConfig = field(default_factory=LiveConfig)
    run: str | None = None  # the run whose model is used, and which gets the table
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    runs_dir: str = "runs"
    overwrite: bool = False
    cluster: str | None = _one_of(None, "local", "dask")  # each file of `input` is a run of its own; null: one movie
    scheduler: str | None = None  # of cluster=dask, tcp://<host>:<port>
    workers: int | None = _least(None, 1)  # processes of cluster=local; null: one per two cores
    verbose: int = _between(1, 0, 2)  # 0: results, warnings and errors; 1: what is done, too; 2: also how long it takes


@dataclass
class AnalyzeRoot:
    """What `analyze.py` takes."""

    run: str | None = None  # the run whose defects.h5 is analysed
    table: str | None = None  # or any defect table, CSV or HDF5
    truth: str | None = None  # simulated movie to compare with; default: the table's source file when it holds truth
    corrections: str | None = None  # corrections.csv that the page of an analysis saved: applied beside the table
    material: MaterialConfig = field(default_factory=MaterialConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    runs_dir: str = "runs"
    seed: int = 0
    overwrite: bool = False
    verbose: int = _between(1, 0, 2)  # 0: results, warnings and errors; 1: what is done, too; 2: also how long it takes


@dataclass
class SimulateRoot:
    """What `simulate.py` takes."""

    output: str | None = None  # movie file to write
    preview: bool = False  # contact sheet instead of a movie
    material: MaterialConfig = field(default_factory=MaterialConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    seed: int = 0
    overwrite: bool = False
    verbose: int = _between(1, 0, 2)  # 0: results, warnings and errors; 1: what is done, too; 2: also how long it takes
