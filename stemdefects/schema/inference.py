"""From movie files to defect tables, and frames as they come."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING

from stemdefects.schema.values import between, fraction, fractions, least, one_of, positive, some_of


@dataclass
class PicturesConfig:
    """Pictures that inference makes."""

    frames: bool = True  # annotated PNGs of the first, the middle and the last frame
    every: int | None = least(None, 1)  # one of so many frames as PNG too, in pictures/frames/; 1: all; null: none
    contact_sheet: bool = True  # defects of every kind as small pictures
    animation: bool = True  # the annotated movie: MP4 with imageio-ffmpeg, else GIF
    animation_frames: int = least(60, 1)  # at most, spread over the movie
    animation_fps: float = positive(8.0)
    max_width_px: int = least(1200, 1)


@dataclass
class OverTimeConfig:
    """State of every lattice site at every frame, from all frames of a movie together."""

    enabled: bool = True
    min_frames: int = least(4, 1)  # shorter movies are left as they are
    window_frames: int = least(256, 1)  # frames smoothed together; windows overlap by `overlap_frames` on each side
    overlap_frames: int = least(24, 0)
    evidence_weight: float = positive(1.0)  # of a frame; below 1: errors of neighbouring frames are alike
    threshold: float = fraction(0.5)  # least posterior of a kind
    max_gap_frames: int = least(2, 0)  # a site that was not seen this close in time is not reported
    max_step_nm: float = positive(2.0)  # largest drift between neighbouring frames


@dataclass
class InferenceConfig:
    """From a movie file to a defect table."""

    name: str = MISSING
    model: str | None = None  # model folder to use in a new run, instead of run=
    material: str | None = None  # the crystal shown, where it is not the model's own: a material's name or file
    formula: str | None = None  # the same by its formula, e.g. W0.95Ti0.05Se2 (material: auto, or left out)
    # elements that may be there beside those of the material, for columns of no state it has; none: any. With
    # material=auto all that may be there, the crystal's own first: they make the material
    species: list[str] = field(default_factory=list)
    # data set or signal of a file that holds several, e.g. HAADF; [a, b]: b is a second detector of the same scan, of
    # the same file or in a file of its own
    signal: Any = None
    pixel_size_nm: float | None = positive(None)  # null: what the file states, checked against the lattice
    frame_time_s: float | None = positive(None)  # null: what the file states
    dose_e_per_px: float | None = positive(None)  # incident, per pixel and frame; null: what the file states
    current_pA: float | None = positive(None)  # of the beam: times dwell_us it is the dose; null: what the file states
    dwell_us: float | None = positive(None)  # of the beam on a pixel, in one frame; null: what the file states
    # of the detector, where nobody states the dose: counts that an electron on it makes, counts without beam, and
    # counts above these of a pixel with the whole beam on it; null: from the frames' noise, or not known
    counts_per_electron: float | None = positive(None)
    dark_counts: float | None = None
    beam_counts: float | None = positive(None)
    dose_relative_sigma: float | None = least(None, 0)  # relative standard error of the dose; null: not known
    calibration: str = one_of("lattice", "lattice", "metadata")  # which counts where they disagree
    calibration_tolerance: float = least(0.03, 0)  # relative disagreement that is reported as such
    lattice_constant_nm: float | None = positive(None)  # of the crystal shown; null: of the model's material
    frames: str | None = None  # part of the movie, start:stop:step as in Python; null: all
    # frames that calibration and specimen are learned from: the first so many; null: some spread over the movie
    first_frames: int | None = least(None, 1)
    batch_size: int | None = least(None, 1)  # frames computed at once on each device; null: 1 on a CPU, 8 on a GPU
    block_frames: int = least(32, 1)  # frames kept at once; what a kill costs at most
    tile_px: int = least(512, 64)  # larger frames are cut into tiles, model pixels
    overlap_px: int = least(64, 0)
    presence: float = fraction(0.5)  # least probability of a column
    average_frames: int = least(1, 1)  # odd: a single-frame model is shown the mean of so many aligned frames
    light: bool = True  # the light of each column is heard too, by how much of its scatter is noise
    symmetries: int = one_of(1, 1, 2, 4, 8)  # answers averaged over turned and mirrored frames; takes longer
    thresholds: dict[str, float] = fractions()  # least posterior per kind; others: the model's own
    exclude_regions: list[str] = some_of(["hole", "amorphous"], "lattice", "hole", "amorphous", "1T")
    require_lattice: bool = True  # nothing is called where a frame's own Bragg components show no lattice
    edge_nm: float = least(0.15, 0)  # nothing is called this close to the border of a frame
    patch_nm: float = positive(0.96)  # side of the square patch around each defect
    resample_tolerance: float = least(0.02, 0)  # of samplings outside those the model was trained on, left as they are
    straighten: bool = True  # a lattice that the scan distorts is straightened before the network looks, in images
    max_strain: float = least(0.15, 0)  # a lattice more distorted than this is not believed
    over_time: OverTimeConfig = field(default_factory=OverTimeConfig)
    pictures: PicturesConfig = field(default_factory=PicturesConfig)


@dataclass
class LiveConfig:
    """Frames as they come (`infer.py watch=`). See docs/live.md."""

    settle_s: float = least(0.5, 0)  # a file that has not changed for so long is whole
    poll_s: float = between(0.1, 0.005, 10)  # between two looks at the folder
    stop_after_s: float | None = positive(300.0)  # without a new frame, after which the table is made; null: never
    stop_frames: int | None = least(None, 1)  # frames after which the table is made; null: any number
    port: int | None = between(8765, 0, 65535)  # of the page on this machine; 0: any; null: no page
    publish: str = "none"  # a line of JSON a frame: none | stdout | tcp://<address>:<port> (ZeroMQ)
    quantity: str = one_of("cross_section", "cross_section", "diffusion")  # that is to be known
    precision: float = between(0.2, 0.001, 1)  # half its 95% interval over its value
