"""What each command takes as a whole."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from stemdefects.schema.analysis import AnalysisConfig
from stemdefects.schema.inference import InferenceConfig, LiveConfig
from stemdefects.schema.material import MaterialConfig
from stemdefects.schema.simulation import SimulationConfig
from stemdefects.schema.training import LabelsConfig, ModelConfig, TrainingConfig
from stemdefects.schema.values import between, least, one_of


@dataclass
class LoggingConfig:
    """Weights & Biases."""

    name: str = MISSING
    mode: str = one_of("offline", "offline", "online", "disabled")
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
    input: Any = None  # a movie to make labels from (labels=fourier), or frames that `training.init` is adapted to
    # id, unique prefix or `latest` of a run to go on with; with labels=corrections of corrected ones; null: a new run
    run: str | None = None
    runs_dir: str = "runs"
    seed: int = least(0, 0)
    verbose: int = between(1, 0, 2)  # 0: results, warnings and errors; 1: what is done, too; 2: also how long it takes


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
    cluster: str | None = one_of(None, "local", "dask")  # each file of `input` is a run of its own; null: one movie
    scheduler: str | None = None  # of cluster=dask, tcp://<host>:<port>
    workers: int | None = least(None, 1)  # processes of cluster=local; null: one per two cores
    verbose: int = between(1, 0, 2)  # 0: results, warnings and errors; 1: what is done, too; 2: also how long it takes


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
    seed: int = least(0, 0)
    overwrite: bool = False
    verbose: int = between(1, 0, 2)  # 0: results, warnings and errors; 1: what is done, too; 2: also how long it takes


@dataclass
class SimulateRoot:
    """What `simulate.py` takes."""

    output: str | None = None  # movie file to write
    preview: bool = False  # contact sheet instead of a movie
    material: MaterialConfig = field(default_factory=MaterialConfig)
    simulation: SimulationConfig = field(default_factory=SimulationConfig)
    seed: int = least(0, 0)
    overwrite: bool = False
    verbose: int = between(1, 0, 2)  # 0: results, warnings and errors; 1: what is done, too; 2: also how long it takes
