"""Dataclasses that validate every config group (field name, type, default), one module a subject.

The YAML files in `configs/` choose values; what exists, of which type, and what a value may be is said here.
`config.to_object` merges a composed config into these, so that an unknown key, a wrong type or an impossible value
fails before any work is done.
Nothing here imports JAX: `--help` must answer at once.
"""

from stemdefects.schema.analysis import (
    AnalysisConfig,
    ClusteringConfig,
    CrystalConfig,
    DamageConfig,
    DiffusionConfig,
    DriftConfig,
    KineticsConfig,
    LinkingConfig,
    TableConfig,
    TransitionsConfig,
)
from stemdefects.schema.inference import InferenceConfig, LiveConfig, OverTimeConfig, PicturesConfig
from stemdefects.schema.material import (
    ComplexConfig,
    KindConfig,
    MaterialConfig,
    PolymorphConfig,
    SiteConfig,
    SpeciesConfig,
    StateConfig,
)
from stemdefects.schema.roots import AnalyzeRoot, InferRoot, LoggingConfig, SimulateRoot, TrainRoot
from stemdefects.schema.simulation import (
    ClipConfig,
    DefectsConfig,
    DetectorConfig,
    MovieConfig,
    ProbeConfig,
    RegionsConfig,
    ScanConfig,
    SimulationConfig,
    ViewConfig,
)
from stemdefects.schema.training import (
    FourierConfig,
    LabelsConfig,
    LossConfig,
    ModelConfig,
    TrainingConfig,
    ValidationConfig,
)

__all__ = [
    "AnalysisConfig",
    "AnalyzeRoot",
    "ClipConfig",
    "ClusteringConfig",
    "ComplexConfig",
    "CrystalConfig",
    "DamageConfig",
    "DefectsConfig",
    "DetectorConfig",
    "DiffusionConfig",
    "DriftConfig",
    "FourierConfig",
    "InferRoot",
    "InferenceConfig",
    "KindConfig",
    "KineticsConfig",
    "LabelsConfig",
    "LinkingConfig",
    "LiveConfig",
    "LoggingConfig",
    "LossConfig",
    "MaterialConfig",
    "ModelConfig",
    "MovieConfig",
    "OverTimeConfig",
    "PicturesConfig",
    "PolymorphConfig",
    "ProbeConfig",
    "RegionsConfig",
    "ScanConfig",
    "SimulateRoot",
    "SimulationConfig",
    "SiteConfig",
    "SpeciesConfig",
    "StateConfig",
    "TableConfig",
    "TrainRoot",
    "TrainingConfig",
    "TransitionsConfig",
    "ValidationConfig",
    "ViewConfig",
]
