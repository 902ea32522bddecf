"""Dataclasses that validate every config group (field name, type, default).

The YAML files in `configs/` choose values; what exists, and of which type, is said here. `config.compose` merges
a composed config into these, so that an unknown key or a wrong type fails before any work is done.
Nothing here imports JAX: `--help` must answer at once.
"""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class MaterialConfig:
    """A crystal: lattice, sites, column states, defect kinds. See docs/materials.md."""

    name: str = MISSING
    # filled in by crystal/


@dataclass
class SimulationConfig:
    """Images and movies of the material. See configs/simulation/."""

    name: str = MISSING


@dataclass
class LabelsConfig:
    """Where training targets come from."""

    name: str = MISSING


@dataclass
class ModelConfig:
    """The network."""

    name: str = MISSING


@dataclass
class TrainingConfig:
    """The optimisation."""

    name: str = MISSING


@dataclass
class InferenceConfig:
    """From a movie file to a defect table."""

    name: str = MISSING


@dataclass
class AnalysisConfig:
    """From a defect table to tracks, classes, diffusion, transitions."""

    name: str = MISSING


@dataclass
class LoggingConfig:
    """Weights & Biases."""

    name: str = MISSING
    mode: str = "offline"  # offline | online | disabled
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
    run: str | None = None  # id, unique prefix or `latest` of a run to go on with; null: a new run
    runs_dir: str = "runs"
    seed: int = 0


@dataclass
class InferRoot:
    """What `infer.py` takes."""

    input: Any = None  # a movie or image file
    run: str | None = None  # the run whose model is used, and which gets the table
    material: MaterialConfig = field(default_factory=MaterialConfig)
    inference: InferenceConfig = field(default_factory=InferenceConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    runs_dir: str = "runs"
    overwrite: bool = False


@dataclass
class AnalyzeRoot:
    """What `analyze.py` takes."""

    run: str | None = None  # the run whose defects.h5 is analysed
    table: str | None = None  # or any defect table, CSV or HDF5
    truth: str | None = None  # simulated movie to compare with; default: the table's source file when it holds truth
    material: MaterialConfig = field(default_factory=MaterialConfig)
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    runs_dir: str = "runs"
    seed: int = 0
    overwrite: bool = False


@dataclass
class SimulateRoot:
    """What `simulate.py` takes."""

    output: str | None = None  # movie file to write
    preview: bool = False  # contact sheet instead of a movie
    material: MaterialConfig = field(default_factory=MaterialConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    seed: int = 0
    overwrite: bool = False
