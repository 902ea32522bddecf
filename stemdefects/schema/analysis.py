"""From defect tables to tracks, classes, diffusion, transitions."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from stemdefects.schema.values import between, fraction, least, one_of, positive, positives


@dataclass
class TableConfig:
    """How a defect table without our own attributes is read."""

    columns: dict[str, list[str]] = field(default_factory=dict)  # our column -> names it may have in a CSV
    pixel_size_nm: float | None = positive(None)  # null: from the table, else from `known`
    pixel_size_relative_sigma: float | None = least(None, 0)
    frame_time_s: float | None = positive(None)
    dose_e_per_nm2_per_frame: float | None = positive(None)
    dose_relative_sigma: float | None = least(None, 0)  # of the dose; null: as its source has it
    min_score: float = least(0.0, 0)  # rows below are left out; inference has its own thresholds per kind
    known: dict[str, Any] = field(default_factory=dict)  # file name -> what a table without metadata is known to be


@dataclass
class DriftConfig:
    """Drift correction."""

    method: str = one_of("auto", "auto", "table", "bragg", "points", "none")
    max_step_nm: float = positive(2.0)  # largest step between neighbouring frames
    radius_nm: float = positive(0.06)  # two sightings of a resting defect lie this close
    min_points: int = least(4, 1)  # fewer matched points in a frame: the step is filled in and flagged
    fiducials: list[str] | None = None  # kinds that rest in the sample: the drift is then theirs alone


@dataclass
class LinkingConfig:
    """From detections to tracks."""

    gate_nm: float | None = positive(None)  # null: gate_lattice times the lattice constant
    gate_lattice: float | None = positive(1.5)  # null: 1.5, 2.2 or 2.9, as the hop rate and false detections ask for
    memory: int = least(3, 0)  # frames a defect may be missed and still be the same
    kind_cost: float = least(0.4, 0)  # added to (distance / gate)^2 when the kinds differ; links cost less than 1
    gap_cost: float = least(0.1, 0)  # added for every missed frame
    same_site_only: bool = True  # a defect of one sublattice never becomes one of another
    min_length: int = least(3, 1)  # detections in a track used for figures of motion


@dataclass
class ClusteringConfig:
    """Unsupervised classes of the image patches."""

    name: str = "default"
    features: str = one_of("columns", "columns", "threefold", "zernike", "raw")
    n_pca: int = least(5, 1)
    classes: int | None = least(None, 1)  # null: chosen by BIC and stability
    max_classes: int = least(8, 1)
    covariance: str = one_of("full", "full", "tied", "diag", "spherical")
    max_patches: int = least(3000, 1)
    n_resamples: int = least(3, 0)
    outlier_quantile: float = fraction(0.01)
    method: str = one_of("mixture", "mixture", "hdbscan")


@dataclass
class DiffusionConfig:
    """Diffusion constants."""

    method: str = one_of("cve", "cve", "msd", "sites", "hops")  # the headline
    kinds: list[str] | None = None  # null: every kind that has tracks
    headline: str | None = None  # the kind whose D comes first; null: the first of `kinds`, else the material's
    n_bootstrap: int = least(1000, 1)
    max_lag: int = least(20, 1)
    gate_scan_lattice: list[float] = field(default_factory=lambda: [0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 2.5])


@dataclass
class TransitionsConfig:
    """Switching between states of a defect."""

    states: str = one_of("auto", "auto", "complexes", "kind", "cluster")
    centre: str | None = None  # kind of the resting part of a complex; null: the material's
    confusion: str = "estimate"  # estimate | model (the network's own) | a CSV: state, label, probability
    n_gibbs: int = least(400, 1)
    n_burn: int = least(100, 0)
    prior: float = positive(1.0)  # Dirichlet weight per row, spread over the states
    tie_orientations: bool = False
    n_windows: int = least(4, 1)
    max_states: int = least(8, 2)


@dataclass
class KineticsConfig:
    """The lattice model: rates, occupancy and counts sampled from the evidence of every site (docs/kinetics.md)."""

    enabled: bool = True
    chains: int = least(4, 2)  # that start apart: one alone cannot show that it has not converged
    threads: int = least(2, 1)
    warmup: int = least(60, 3)  # sweeps of each chain that are thrown away, at least
    sweeps: int = least(80, 20)  # sweeps of each chain that are kept, at least
    max_sweeps: int = least(960, 20)  # the same at most, where chains do not agree before
    # sweeps x sites x frames of a chain at most, but `sweeps` in any case: large movies stop after four or five minutes
    # (two cores)
    max_work: float = positive(1e8)
    rough_sweeps: int = least(160, 20)  # from so many on chains that agree roughly do: intervals are wider for it
    seconds: float | None = positive(None)  # no prolonging beyond about this time; null: until they agree
    r_hat: float = between(1.1, 1, 2)  # of every headline; above: not converged
    effective_samples: float = least(50.0, 1)  # of all chains: an interval's ends to a third of a deviation


@dataclass
class DamageConfig:
    """Damage of several runs together, by voltage or temperature (docs/damage.md)."""

    joint: str | None = one_of(None, "voltage", "temperature", "dose_rate")  # what the runs of run=[a,b,c] differ in
    voltage_kv: list[float] = positives()  # of every run, in their order; none: as the files say
    temperature_k: list[float] = positives()  # of every run, in their order
    debye_k: float | None = positive(None)  # of the moving atoms; null: whatever fits within what crystals have


@dataclass
class CrystalConfig:
    """Displaced neighbours of the defects and strain of the field, from the movie's frames."""

    enabled: bool = True
    nearest_columns: int = least(7, 1)  # around each defect, its own included; whole shells are taken
    strain_frames: int = least(12, 1)  # at most, evenly over the movie; 1: the first frame alone


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
    damage: DamageConfig = field(default_factory=DamageConfig)
    crystal: CrystalConfig = field(default_factory=CrystalConfig)
    truth_radius_nm: float = positive(0.09)  # a detection this close to a true defect of its kind is right
    slider_frames: int = least(40, 0)  # frames shown in the page
    leave_out: list[str] = field(default_factory=list)  # stages by name (`analysis/pipeline.py`), e.g. [space, strain]
