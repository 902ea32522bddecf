"""Labels from a movie's own frames: what does not repeat with the lattice is a defect.

`label(frames, cfg)` finds the lattice, takes each frame apart, lays the frames on top of each other, calls dark and
bright point defects at a chosen false-alarm rate, and says where it is not sure. No crystal structure is needed.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from stemdefects import config
from stemdefects.errors import UserError
from stemdefects.io.movie import FrameError, Movie
from stemdefects.labels.fourier import align, certainty, paper, residual
from stemdefects.labels.fourier import defects as fourier_defects
from stemdefects.labels.fourier.certainty import AMORPHOUS, DISC, HOLE, LATTICE, UNKNOWN
from stemdefects.labels.fourier.defects import Extrema
from stemdefects.labels.fourier.lattice import ImageLattice, find_lattice
from stemdefects.schema import FourierConfig

ORDER_LOST, ORDER_KEPT = 0.35, 0.6  # local amplitude of the lattice, of its usual one
MUCH_REST = 1.4  # spread of the residual, of the noise expected
TOO_MUCH = 0.12  # of the crystal covered by labels
FEW = 5


@dataclass(frozen=True)
class MovieLabels:
    """Labels of the first frames of a movie.

    frames: (N, H, W) float32; indices: their numbers in the movie; lattice: of the frames; shift_px: (N, 2) content of
    each frame against the first; defects: those labelled, places in the first frame; yx: (N, L, 2) their places in each
    frame; sure: (N, L) bool; unsure_yx: (U, 2) places in the first frame that may hold one; regions: (N, H, W) int8:
    0 crystal, 1 hole, 2 amorphous, -1 nothing is said; clean: (H, W) periodic part of the first frame without what the
    scan did; cell: (2, H, W) centre (y, x) of the unit cell each pixel
    belongs to; sigma_px: width of a column; level: threshold in noise units; gain, read_variance: of the noise; steps:
    maps for pictures and scenes; warnings: lines for people.
    """

    frames: np.ndarray
    indices: np.ndarray
    lattice: ImageLattice
    shift_px: np.ndarray
    defects: Extrema
    yx: np.ndarray
    sure: np.ndarray
    unsure_yx: np.ndarray
    regions: np.ndarray
    clean: np.ndarray
    cell: np.ndarray
    sigma_px: float
    level: float
    gain: float
    read_variance: float
    row_jitter_px: float
    steps: dict[str, np.ndarray] = field(repr=False)
    warnings: tuple[str, ...] = ()


def read_frames(movie: Movie, cfg: FourierConfig) -> tuple[np.ndarray, np.ndarray, list[str], np.ndarray]:
    """The frames to label (N, H, W), their numbers, warnings about those that could not be used, and which of their
    pixels hold no intensity (N, H, W bool).

    Raises UserError when the first one is unusable or outside the movie.
    """
    if not 0 <= cfg.first_frame < len(movie):
        raise UserError(f"labels.fourier.first_frame={cfg.first_frame}: the movie has frames 0..{len(movie) - 1}")
    if cfg.n_frames < 1:
        raise UserError(f"labels.fourier.n_frames={cfg.n_frames}: must be at least 1")
    wanted = range(cfg.first_frame, min(cfg.first_frame + cfg.n_frames, len(movie)))
    frames, indices, warnings, invalid = [], [], [], []
    for i in wanted:
        try:
            image, bad = movie.checked(i)
            frames.append(image)
            indices.append(i)
            invalid.append(np.zeros(image.shape, bool) if bad is None else bad)
            if bad is not None:
                warnings.append(f"frame {i}: {bad.sum()} pixels hold no intensity; nothing is labelled there")
        except FrameError as error:
            if i == cfg.first_frame:
                raise UserError(
                    f"{error}. Labels are made from this frame: looked for a lattice and defects, found no usable "
                    "image; choose another with labels.fourier.first_frame=<number>"
                ) from None
            warnings.append(f"left out: {error}")
    return np.stack(frames), np.array(indices), warnings, np.stack(invalid)


def label(
    frames: np.ndarray,
    cfg: FourierConfig,
    where: str = "movie",
    indices: np.ndarray | None = None,
    lattice: ImageLattice | None = None,
    invalid: np.ndarray | None = None,
) -> MovieLabels:
    """Labels of `frames` (N, H, W), which show one field of view (drifting) of one crystal.

    indices: their numbers in the movie; lattice: what they show, where that has been found already; invalid: (N, H, W)
    bool, pixels that hold no intensity and were filled: nothing is said there.

    Raises UserError when no lattice is found, when the frames hold no crystal, and when nothing is found to learn from.
    """
    config.check(cfg, "labels.fourier.")
    frames = np.asarray(frames, np.float32)
    if cfg.recipe == "paper":
        frames = frames[:1]
    indices = np.arange(len(frames)) if indices is None else indices[: len(frames)]
    lattice = find_lattice(frames, where) if lattice is None else lattice
    spacing = lattice.spacing_px
    parts = [
        residual.take_apart(
            f,
            lattice,
            invalid=None if invalid is None else invalid[t],
            window=cfg.window,
            background=cfg.background_window,
            fit_rows=cfg.fit_rows,
        )
        for t, f in enumerate(frames)
    ]
    sigma = fourier_defects.column_sigma_px(parts[0], spacing)
    single = [fourier_defects.significance(p.residual, p.variance, p.phase, p.weight, sigma, p.calm) for p in parts]
    z_frames, weights = np.stack([s.z for s in single]), np.stack([p.weight for p in parts])
    phases = np.stack([p.phase for p in parts])
    alignment = align.align(z_frames, phases, lattice, weights, cfg.max_drift * spacing)
    shift = alignment.shift_px
    warnings = _lattice_warnings(lattice, parts[0], alignment, indices, where)
    mean, trust = align.mean_at(np.stack([p.residual for p in parts]), weights, shift)
    variance, _ = align.mean_at(np.stack([p.variance for p in parts]), weights, shift)
    calm, _ = align.mean_at(np.stack([p.calm for p in parts]).astype(np.float32), np.ones_like(weights), shift)
    together = fourier_defects.significance(
        mean, variance / np.maximum(trust, 1e-3), parts[0].phase, np.minimum(trust, 1.0), sigma, calm > 0.9
    )
    order, _ = align.mean_at(np.stack([p.order for p in parts]), np.ones_like(weights), shift)
    regions = _regions(order, parts[0], frames[0], spacing)
    crystal = regions == LATTICE
    if crystal.mean() < 0.05:
        raise UserError(
            f"{where}: a lattice of {spacing:.1f} px shows in {crystal.mean():.0%} of the frame only; take earlier or "
            "other frames (labels.fourier.first_frame)"
        )
    level = fourier_defects.threshold(cfg.false_alarms, float(frames[0].size), together.roughness)
    found = fourier_defects.extrema(together.z, max(level - cfg.unsure, 1.5), DISC * spacing)
    at = np.clip(np.rint(found.yx).astype(int), 0, np.array(regions.shape) - 1)
    level = fourier_defects.tail_threshold(found, crystal[tuple(at.T)], level, cfg.false_alarms)
    if cfg.recipe == "paper":
        defects, unsure = _paper(frames[0], lattice, cfg), found.take(np.zeros(0, int))
        regions = np.zeros_like(regions)
        level = cfg.threshold
    else:
        defects, unsure = certainty.sorted_out(found, level, regions, spacing)
    if not len(defects.z):
        strongest = f"{np.abs(found.z).max():.1f}" if len(found.z) else f"below {level - cfg.unsure:.1f}"
        raise UserError(
            f"{where}: no defect to learn from in {len(frames)} frame(s): looked for dark and bright points "
            f"{level:.1f} times above the noise, the strongest is {strongest}; take more frames "
            "(labels.fourier.n_frames) or accept more false alarms (labels.fourier.false_alarms)"
        )
    warnings += _label_warnings(defects, crystal, spacing, single[0].excess, where)
    yx = np.stack([
        align.local_shift(p.phase, parts[0].phase, s, lattice.vectors_px, defects.yx)
        for p, s in zip(parts, shift, strict=True)
    ])  # fmt: skip
    unsure_yx = [unsure.yx + s for s in shift]
    levels = np.array([fourier_defects.threshold(cfg.false_alarms, float(frames[0].size), s.roughness) for s in single])
    sure = np.ones(yx.shape[:2], bool)
    if cfg.recipe == "local":
        sure = certainty.still_there(z_frames, defects, yx, levels) & ~certainty.crowded(defects, spacing)
    per_frame = np.zeros((len(frames), *regions.shape), np.int8)
    for t, s in enumerate(shift):
        moved = ndimage.shift(regions.astype(np.float32), s, order=0, mode="constant", cval=UNKNOWN)
        per_frame[t] = moved.astype(np.int8)
        if invalid is not None and invalid[t].any():
            per_frame[t][ndimage.distance_transform_edt(~invalid[t]) < DISC * spacing] = UNKNOWN
        if cfg.recipe == "local":
            stray = certainty.only_here(z_frames[t], yx[t], levels[t], spacing)
            # columns that have moved towards a defect must not blot out the defect itself
            blurred = np.concatenate([unsure_yx[t], yx[t][~sure[t]], stray])
            certainty.cover(per_frame[t], blurred, DISC * spacing, UNKNOWN, keep=yx[t][sure[t]])
    first = parts[0]
    smooth = ndimage.gaussian_filter(mean, 0.6 * sigma)
    steps = {"frame": frames[0], "periodic": first.periodic, "z": together.z, "residual": mean}
    clean = clean_part(first)
    steps["lattice"] = clean - first.background
    steps["regions"] = regions
    # structure that stays from frame to frame and is no defect: columns out of place, weak defects
    real = max(0.0, 1 - together.excess**-2)
    odd = np.concatenate([defects.yx, unsure.yx])
    steps["rest"] = real * smooth * (1 - _bumps(frames[0].shape, odd, 0.3 * spacing, DISC * spacing))
    if cfg.recipe == "paper":
        steps["z"] = paper.low_pass(frames[0], lattice, cfg.low_pass)
    return MovieLabels(
        frames=frames,
        indices=np.asarray(indices),
        lattice=lattice,
        shift_px=shift,
        defects=defects,
        yx=yx,
        sure=sure,
        unsure_yx=unsure.yx,
        regions=per_frame,
        clean=clean,
        cell=cell_centres(first.phase, lattice, steps["lattice"]),
        sigma_px=sigma,
        level=level,
        gain=first.gain,
        read_variance=first.read_variance,
        row_jitter_px=float(np.std(first.row_shift_px)),
        steps=steps,
        warnings=tuple(warnings),
    )


def clean_part(parts: residual.Residual) -> np.ndarray:
    """Periodic part with background, without what the scan did to single rows."""
    rows = np.stack([parts.row_shift_px, parts.row_gain - 1, parts.row_offset])
    lattice_part = parts.periodic - parts.background
    for _ in range(3):  # the faults are small: undo them by fixed-point steps
        lattice_part = parts.periodic - parts.background - residual.faults(lattice_part, rows)
    return parts.background + lattice_part


def _lattice_warnings(lattice, parts, alignment, indices, where) -> list[str]:
    warnings = []
    if lattice.stray_snr > max(0.1 * lattice.snr.max(), 50):
        warnings.append(
            f"{where}: other Bragg peaks at the lattice's own spacing ({lattice.stray_snr:.0f} times the noise, "
            f"its own {lattice.snr.max():.0f}): there may be several grains; labels hold for the strongest one"
        )
    broken = float((parts.order < ORDER_LOST).mean())
    if broken > 0.3:
        warnings.append(
            f"{where}: {broken:.0%} of the first frame shows no lattice; earlier frames are better labelled"
        )
    if not alignment.clear.all():
        frames = ", ".join(str(i) for i in np.asarray(indices)[~alignment.clear])
        warnings.append(f"{where}: frame(s) {frames}: too few defects to tell the drift from one lattice vector more")
    return warnings


def _label_warnings(defects: Extrema, crystal: np.ndarray, spacing: float, excess: float, where: str) -> list[str]:
    warnings = []
    if excess > MUCH_REST:
        warnings.append(
            f"{where}: what does not repeat is {excess:.1f} times what counting electrons explains: very many defects, "
            "more than one crystal, or a scan that is not steady; only what stands out of it is labelled"
        )
    covered = len(defects.z) * np.pi * (DISC * spacing) ** 2 / max(crystal.sum(), 1)
    if covered > TOO_MUCH:
        warnings.append(
            f"{where}: labels cover {covered:.0%} of the crystal; so many defects leave no lattice to compare with, or "
            "the frame holds more than one crystal"
        )
    if len(defects.z) < FEW:
        warnings.append(
            f"{where}: only {len(defects.z)} defect(s) to learn from; take more frames (labels.fourier.n_frames)"
        )
    return warnings


def _regions(order: np.ndarray, parts: residual.Residual, frame: np.ndarray, spacing: float) -> np.ndarray:
    """(H, W) int8: crystal, hole, amorphous, or unknown where the lattice is neither there nor gone."""
    zero = -parts.read_variance / parts.gain if parts.gain > 0 and parts.read_variance < 0 else 0.0
    level = ndimage.gaussian_filter(frame, 0.7 * spacing)
    usual = np.median(level[order > ORDER_KEPT]) - zero if (order > ORDER_KEPT).any() else 1.0
    lost = np.where(level - zero < 0.5 * usual, HOLE, AMORPHOUS)
    return np.where(order < ORDER_LOST, lost, np.where(order < ORDER_KEPT, UNKNOWN, LATTICE)).astype(np.int8)


def _paper(frame: np.ndarray, lattice: ImageLattice, cfg: FourierConfig) -> Extrema:
    filtered = paper.low_pass(frame, lattice, cfg.low_pass)
    return paper.components(filtered, cfg.threshold, cfg.threshold)


def _bumps(shape: tuple[int, int], yx: np.ndarray, flat_px: float, outer_px: float) -> np.ndarray:
    """(H, W) 1 within `flat_px` of any point, falling to 0 at 1.5 `outer_px`."""
    mask = np.ones(shape, bool)
    places = np.clip(np.rint(yx).astype(int), 0, np.array(shape) - 1)
    mask[tuple(places.T)] = False
    distance = ndimage.distance_transform_edt(mask)
    outer = 1.5 * outer_px
    ramp = np.clip((outer - distance) / max(outer - flat_px, 1e-6), 0, 1)
    return (ramp**2 * (3 - 2 * ramp)).astype(np.float32)


def cell_centres(phase: np.ndarray, lattice: ImageLattice, lattice_part: np.ndarray) -> np.ndarray:
    """(2, H, W) place (y, x) of the brightest column of the cell that each pixel belongs to."""
    top = lattice_part >= np.quantile(lattice_part, 0.97)
    origin = [np.angle(np.exp(2j * np.pi * p[top]).mean()) / (2 * np.pi) for p in phase]
    off = np.mod(phase - np.array(origin)[:, None, None] + 0.5, 1.0) - 0.5
    height, width = phase.shape[1:]
    place = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij")).astype(np.float32)
    return place - np.tensordot(lattice.vectors_px.T, off, 1).astype(np.float32)
