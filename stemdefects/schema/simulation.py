"""What simulated images and movies may look like."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from stemdefects.schema.values import fraction, least, positive, range_of


@dataclass
class ViewConfig:
    """What the image shows of the crystal. Two numbers are a range drawn per image (equal: fixed)."""

    size_px: list[int] = field(default_factory=lambda: [256, 256])  # height, width; training sets its own
    pixel_size_nm: list[float] = range_of(0.027, 0.033, least=0.005, most=0.06)
    voltage_kv: list[float] = range_of(60.0, 100.0, least=20, most=1000)
    rotation_deg: list[float] = range_of(0.0, 360.0)
    strain: list[float] = range_of(-0.01, 0.01, least=-0.2, most=0.2)  # of each axis
    shear: list[float] = range_of(-0.01, 0.01, least=-0.2, most=0.2)
    displacement_nm: list[float] = range_of(0.0, 0.006, least=0, most=0.1)  # static, rms per axis


@dataclass
class DefectsConfig:
    """How many defects and how they gather; kinds and complexes not named here are as the material says."""

    density: dict[str, list[float]] = field(default_factory=dict)  # kind: fraction of the site's columns, range
    density_at: float | None = fraction(None)  # where in each range all images lie; null: anywhere, per image
    density_scale: float = least(1.0, 0)  # multiplies every density
    rare_kinds: bool = True  # also kinds whose usual range starts at 0
    complexes: dict[str, list[float]] = field(default_factory=dict)  # complex: probability per centre, range
    clustering: list[float] = range_of(0.0, 1.0, least=0, most=3)  # rms of the logarithm of the local density
    clustering_length_nm: list[float] = range_of(0.6, 2.0, least=0.1)
    line_probability: float = fraction(0.15)  # of an image with lines of vacancies
    line_kind: str | None = None  # default: the material's first kind
    line_length_sites: list[float] = range_of(3.0, 10.0, least=1)
    relaxation: list[float] = range_of(0.0, 1.5, least=-10, most=10)  # multiplies the material's relax_nm


@dataclass
class RegionsConfig:
    """Extended structures: probability of an image with them, and the fraction of its area."""

    hole_probability: float = fraction(0.15)
    hole_fraction: list[float] = range_of(0.03, 0.3, least=0, most=1)
    amorphous_probability: float = fraction(0.15)
    amorphous_fraction: list[float] = range_of(0.03, 0.3, least=0, most=1)
    phase_1T_probability: float = fraction(0.05)  # only for materials that have it
    phase_1T_fraction: list[float] = range_of(0.05, 0.3, least=0, most=1)
    twin_probability: float = fraction(0.05)  # mirror-twin boundary; only for materials that have phase_1T
    length_nm: list[float] = range_of(0.8, 2.5, least=0.1)  # correlation length of their outlines
    patch_signal: list[float] = range_of(0.3, 1.5, least=0)  # added in amorphous patches, of the perfect crystal's mean
    patch_disorder_nm: list[float] = range_of(0.04, 0.12, least=0, most=1)  # rms displacement of columns there
    roughness: float = least(0.15, 0)  # ragged edges: rms of the outline's noise from column to column


@dataclass
class ProbeConfig:
    """The electron probe. Aberrations have random azimuths."""

    semi_angle_mrad: list[float] = range_of(25.0, 32.0, least=5, most=60)
    C10_nm: list[float] = range_of(-3.0, 3.0)
    C12_nm: list[float] = range_of(0.0, 1.5, least=0)
    C21_nm: list[float] = range_of(0.0, 30.0, least=0)
    C23_nm: list[float] = range_of(0.0, 40.0, least=0)
    C30_um: list[float] = range_of(-0.6, 0.6)
    source_fwhm_nm: list[float] = range_of(0.05, 0.14, least=0, most=1)
    thermal_nm: float = least(0.009, 0)  # rms width per axis of a column itself: thermal motion


@dataclass
class ScanConfig:
    """Distortions of the scan, in pixels."""

    row_jitter_px: list[float] = range_of(0.1, 0.8, least=0, most=10)  # rms, along the fast axis, new in every row
    slow_jitter_px: list[float] = range_of(0.0, 0.8, least=0, most=10)  # rms, correlated over slow_jitter_rows
    slow_jitter_rows: list[float] = range_of(8.0, 60.0, least=1)
    row_jitter_y_px: list[float] = range_of(0.0, 0.2, least=0, most=3)  # rms, along the slow axis
    drift_px: list[float] = range_of(0.0, 4.0, least=0)  # during one frame, any direction
    flyback_px: list[float] = range_of(0.0, 1.5, least=-10, most=10)
    flyback_length_px: list[float] = range_of(4.0, 20.0, least=0.1)


@dataclass
class DetectorConfig:
    """Dose, background and detector."""

    dose_e_per_px: list[float] = range_of(100.0, 4000.0, least=0.001, most=1e09)  # incident, log-uniform
    signal_scale: list[float] = range_of(0.7, 1.4, least=0.001, most=1000)  # collection angles: times the cross-section
    background: list[float] = range_of(0.0, 0.4, least=0)  # of the mean of the perfect crystal
    blotches: list[float] = range_of(0.0, 0.25, least=0)  # rms, of that mean
    blotch_length_nm: list[float] = range_of(0.7, 3.0, least=0.05)
    poisson: bool = True
    pulse_spread: list[float] = range_of(0.0, 0.9, least=0)  # relative rms height of one electron's pulse
    afterglow_px: list[float] = range_of(0.0, 0.8, least=0, most=4)  # decay length along the fast axis
    line_gain: list[float] = range_of(0.0, 0.02, least=0, most=1)  # rms from row to row
    read_noise_e: list[float] = range_of(0.0, 0.5, least=0)  # rms per pixel, in detected electrons
    gain: list[float] = range_of(1.0, 1.0, least=1e-09)  # counts per detected electron
    offset: list[float] = range_of(0.0, 0.0)  # counts
    integer: bool = False  # round to whole counts
    saturation: float | None = positive(None)  # counts are clipped to 0..saturation; null: no limit


@dataclass
class ClipConfig:
    """How the frames of a training clip differ."""

    drift_px: list[float] = range_of(0.0, 0.3, least=0)  # rms step from frame to frame that alignment leaves
    hop_probability: list[float] = range_of(0.0, 0.1, least=0, most=1)  # of a mobile vacancy, per frame


@dataclass
class MovieConfig:
    """Movies by kinetic Monte Carlo. Rates are per second, beam damage is per incident electron."""

    n_frames: int = least(100, 1)
    frame_time_s: float = positive(2.25)
    drift_px_per_frame: list[float] = field(default_factory=lambda: [0.1, -0.06])  # y, x
    drift_wander_px: float = least(0.15, 0)  # rms random step per frame and axis
    drift_step_px: float = least(0.0, 0)  # rms size of sudden steps
    drift_step_probability: float = fraction(0.0)  # per frame
    mobile_kind: str | None = None  # kind that hops; default: the material's first kind
    hop_rate_per_s: float = least(0.005, 0)  # of one mobile defect to one given free neighbour
    pair_factor: float = least(1.0, 0)  # times the hop rate where another vacancy is next to it; below 1: they pair
    line_factor: float = least(1.0, 0)  # the same for a vacancy between two others in a row; below 1: lines grow
    center_kind: str | None = None  # immobile centre; default: that of the material's first complex
    attach_rate_per_s: float = least(0.02, 0)  # a centre catches a vacancy on one given neighbour
    detach_rate_per_s: float = least(0.04, 0)
    switch_rate_per_s: float = least(0.04, 0)  # of a complex into one given other orientation
    attach_second_rate_per_s: float = least(0.0, 0)  # a second vacancy on one given neighbour
    detach_second_rate_per_s: float = least(0.0, 0)  # of one given vacancy of two
    switch_second_rate_per_s: float = least(0.0, 0)
    damage_cross_section_nm2: float = least(0.0, 0)  # a whole mobile-sublattice column loses an atom: per e per nm2
    damage_second_cross_section_nm2: float | None = least(
        None, 0
    )  # one that has lost an atom loses another; null: alike
    damage_beside_factor: float = least(1.0, 0)  # times both where a neighbouring column lacks an atom
    fill_cross_section_nm2: float = least(0.0, 0)  # an atom comes back to a column that lacks one
    metal_cross_section_nm2: float = least(0.0, 0)  # a column of another sublattice is lost
    hole_cross_section_nm2: float = least(0.0, 0)  # a hole opens at a column: per electron per nm2
    hole_radius_nm: float = least(0.35, 0)  # of a hole that has just opened
    hole_rate_per_s: float = least(0.0, 0)  # a column at the edge of a hole is lost, per missing neighbour
    exchange_rate_per_s: float = least(0.0, 0)  # of a lone centre with one given neighbour of its sublattice
    block_frames: int = least(8, 1)  # frames rendered and written at once


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
