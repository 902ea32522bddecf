"""What a network learns from, what it is, and how it is trained."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from stemdefects.schema.values import between, fraction, least, one_of, positive


@dataclass
class FourierConfig:
    """Labels from the movie's own frames. See docs/labels.md. Lengths are in lattice spacings of the movie."""

    recipe: str = one_of("local", "local", "paper")  # paper: the reference work's disk and two fixed thresholds
    first_frame: int = least(0, 0)
    n_frames: int = least(8, 1)  # laid on top of each other where nothing moves; `paper` takes the first one
    signal: str | None = None  # data set or signal of a file that holds several
    pixel_size_nm: float | None = positive(None)  # null: what the file states
    lattice_constant_nm: float | None = positive(None)  # of the crystal shown; wins over any pixel size
    window: float = positive(3.0)  # sliding window in which the crystal is taken as one
    background_window: float = positive(1.5)  # of the slow part of the intensity
    fit_rows: bool = True  # take out shifts, gains and offsets of single scan rows
    false_alarms: float = between(0.01, 1e-9, 1)  # share of the dark, of the bright labels that may be false
    unsure: float = least(1.5, 0)  # this far below the threshold (in noise units) no label is sure
    max_drift: float = least(1.5, 0)  # between neighbouring frames
    held_out: float = fraction(0.25)  # of the frame's width, for validation
    augment: bool = True  # false: crops, quarter turns and flips only
    zoom: float = between(0.08, 0, 0.5)  # largest relative change of size
    remade: float = fraction(0.5)  # share of images made anew, of noise-free scenes with fresh noise
    scenes: int = least(12, 1)  # with the found defects planted at other places
    broken: float = fraction(0.5)  # share of images with holes or amorphous patches
    presence: float = least(25.0, 0)  # the heat map weighs so many times training.loss.presence: labels alone are few
    mix: float = fraction(0.5)  # share of simulated batches where training starts from a model (training.init)
    low_pass: float = positive(0.7)  # paper: radius of the disk, of the shortest reciprocal vector
    threshold: float = positive(2.5)  # paper: both thresholds, standard deviations of the filtered frame


@dataclass
class LabelsConfig:
    """Where training targets come from."""

    name: str = MISSING
    # movie: train.py input=<movie>; corrections: train.py run=<id of a corrected run>
    source: str = one_of("simulation", "simulation", "movie", "corrections")
    fourier: FourierConfig = field(default_factory=FourierConfig)
    heat_sigma_px: float = positive(2.0)  # width of the heat map's Gaussians
    prior: dict[str, float] = field(default_factory=dict)  # kind -> prevalence, instead of the material's own
    other_prior: float | None = fraction(None)  # of kinds for which neither says it (networks older than `prevalence`)
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
    stem: int = one_of(4, 1, 2, 4)  # image pixels per cell of the finest level
    stride: int = one_of(2, 1, 2, 4)  # image pixels per output cell
    norm: str = one_of("none", "none", "group")
    frames: int = least(1, 1)  # aligned neighbouring frames the network sees; it answers for the middle one
    told_signals: bool = False  # it is told the signals of the crystal's species, and serves every crystal of its build
    pixel_size_nm: float = between(0.03, 0.001, 1)  # images are resampled to this


@dataclass
class LossConfig:
    """The loss and the weights of its parts."""

    name: str = "default"  # or a loss that another package adds (docs/extending.md)
    presence: float = least(4.0, 0)
    state: float = least(1.0, 0)
    offset: float = least(0.5, 0)
    sigma: float = least(0.05, 0)
    region: float = least(0.2, 0)
    balance: float = least(0.5, 0)  # states weigh frequency ** -balance; the posterior is corrected for it afterwards


@dataclass
class ValidationConfig:
    """Detection scores on fixed sets of the run's own simulation, at fixed doses."""

    every: int = least(500, 1)  # steps; the last step always counts
    # name -> dose; null: not validated at that one. (Empty here: what is given here would be merged into every config.)
    doses_e_per_px: dict[str, float | None] = field(default_factory=dict)
    images: int = least(16, 1)  # per dose
    size_px: int = least(256, 1)
    radius_nm: float = positive(0.09)  # a detection this close to the true column is right
    seed: int = least(1_000_003, 0)
    pictures: int = least(2, 0)  # images with detections drawn, worst first


@dataclass
class TrainingConfig:
    """The optimisation."""

    name: str = MISSING
    steps: int = least(4000, 1)
    batch_size: int = least(8, 1)  # over all devices
    size_px: int = least(192, 1)  # side of the training images
    learning_rate: float = positive(2e-3)
    warmup_steps: int = least(100, 0)
    final_rate: float = fraction(0.02)  # of learning_rate, at the last step
    weight_decay: float = least(1e-4, 0)
    clip_norm: float = positive(1.0)
    ema: float = fraction(0.998)  # decay of the averaged weights, which are the ones validated and kept
    precision: str = one_of("auto", "auto", "float32", "bfloat16")  # auto: bfloat16 on a GPU
    log_every: int = least(20, 1)  # steps
    checkpoint_minutes: float = positive(2.0)  # time between checkpoints; every validation also saves one
    patience: int | None = least(None, 1)  # validations without a better score before training stops; null: never
    ensemble: int = least(1, 1)  # members trained at once
    init: str | None = None  # run or model folder whose weights training starts from; null: random weights
    loss: LossConfig = field(default_factory=LossConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    distributed: bool = False  # join other processes by jax.distributed
    coordinator: str | None = None  # host:port of process 0; null: from SLURM's variables
    process_count: int | None = least(None, 1)
    process_id: int | None = least(None, 0)
