"""Labels from a movie's own frames: what does not repeat with the lattice is a defect.

`label(frames, cfg)` finds the lattice, takes each frame apart, lays the frames on top of each other, calls dark and
bright point defects at a chosen false-alarm rate, and says where it is not sure. No crystal structure is needed.
"""

import dataclasses
import functools
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from stemdefects import config
from stemdefects.errors import UserError
from stemdefects.io.movie import FrameError, Movie
from stemdefects.labels.fourier import checks
from stemdefects.labels.fourier.checks import Warned
from stemdefects.labels.fourier.periodic import align, dirt, grains, regions, residual
from stemdefects.labels.fourier.periodic.grains import Grains
from stemdefects.labels.fourier.periodic.lattice import ImageLattice, find_lattice
from stemdefects.labels.fourier.points import certainty, moving, paper
from stemdefects.labels.fourier.points import defects as fourier_defects
from stemdefects.labels.fourier.points.certainty import DISC, LATTICE, UNKNOWN
from stemdefects.labels.fourier.points.defects import Extrema
from stemdefects.schema import FourierConfig

LEAST_LOOKED_AT = 1.5  # standard deviations of the noise


@dataclass(frozen=True)
class MovieLabels:
    """Labels of the first frames of a movie.

    frames: (N, H, W) float32; indices: their numbers in the movie; lattice: of the frames; shift_px: (N, 2) content
    of each frame against the first; defects: those labelled, places in the first frame; frame: (L,) the only one
    that a defect was seen in, `moving.ALL`: it stays; yx: (N, L, 2) their places in each frame; sure: (N, L) bool;
    unsure_yx: (U, 2) places in the first frame that may hold one; regions: (N, H, W) int8: 0 crystal, 1 hole, 2
    amorphous, -1 nothing is said; residuals: (N, H, W) what does not repeat in each frame; clean: (H, W) periodic
    part of the first frame without what the scan did; cell: (2, H, W) centre (y, x) of the unit cell each pixel
    belongs to; sigma_px: width of a column; levels: thresholds in noise units, of all frames together and of single
    ones; strongest: largest significance in the crystal; false: (2,) how many dark and bright labels are expected
    to be false; gain, read_variance: of the noise; grains: all lattices, `lattice` the largest one's; member: (H,
    W) which of them a pixel of the first frame belongs to, None where there is one; seam: (H, W) bool where they
    meet, and how long that is in px; steps: maps for pictures and scenes; warnings: lines for people, with
    codes; covered: (N, H, W) bool, what lies on the crystal, `clean` has what may be below; None: nothing does.
    """

    frames: np.ndarray
    indices: np.ndarray
    lattice: ImageLattice
    shift_px: np.ndarray
    defects: Extrema
    frame: np.ndarray
    yx: np.ndarray
    sure: np.ndarray
    unsure_yx: np.ndarray
    regions: np.ndarray
    residuals: np.ndarray
    clean: np.ndarray
    cell: np.ndarray
    sigma_px: float
    levels: tuple[fourier_defects.Levels, ...]
    false: np.ndarray
    strongest: float
    gain: float
    read_variance: float
    row_jitter_px: float
    steps: dict[str, np.ndarray] = field(repr=False)
    grains: Grains | None = None
    member: np.ndarray | None = None
    seam: tuple[np.ndarray, float] | None = None
    warnings: tuple[Warned, ...] = ()
    covered: np.ndarray | None = None

    def level_of(self) -> np.ndarray:
        """(L,) threshold that each defect has passed."""
        levels = np.array([level.of(self.defects.z) for level in self.levels])
        return np.where(self.frame == moving.ALL, levels[0], levels[-1])


def read_frames(movie: Movie, cfg: FourierConfig) -> tuple[np.ndarray, np.ndarray, list[Warned], np.ndarray]:
    """The frames to label (N, H, W), their numbers, warnings about those that could not be used, and which of their
    pixels hold no intensity (N, H, W bool).

    Raises UserError when the first one is unusable or outside the movie.
    """
    if not 0 <= cfg.first_frame < len(movie):
        raise UserError(f"labels.fourier.first_frame={cfg.first_frame}: the movie has frames 0..{len(movie) - 1}")
    wanted = range(cfg.first_frame, min(cfg.first_frame + cfg.n_frames, len(movie)))
    frames, indices, warnings, invalid = [], [], [], []
    for i in wanted:
        try:
            image, bad = movie.checked(i)
            frames.append(image)
            indices.append(i)
            invalid.append(np.zeros(image.shape, bool) if bad is None else bad)
            if bad is not None:
                said = f"frame {i}: {bad.sum()} pixels hold no intensity; nothing is labelled there"
                warnings.append(Warned(checks.Code.PIXELS_MISSING, said))
        except FrameError as error:
            if i == cfg.first_frame:
                raise UserError(
                    f"{error}. Labels are made from this frame: looked for a lattice and defects, found no usable "
                    "image; choose another with labels.fourier.first_frame=<number>"
                ) from None
            warnings.append(Warned(checks.Code.FRAMES_LEFT_OUT, f"left out: {error}"))
    return np.stack(frames), np.array(indices), warnings, np.stack(invalid)


def label(
    frames: np.ndarray,
    cfg: FourierConfig,
    where: str = "movie",
    indices: np.ndarray | None = None,
    lattice: ImageLattice | None = None,
    invalid: np.ndarray | None = None,
    shift_px: np.ndarray | None = None,
) -> MovieLabels:
    """Labels of `frames` (N, H, W), which show one field of view (drifting) of one crystal.

    indices: their numbers in the movie; lattice: what they show, where that has been found already; invalid: (N, H, W)
    bool, pixels that hold no intensity and were filled: nothing is said there; shift_px: (N, 2) content of each frame
    against the first, where that is known.

    Raises UserError when no lattice is found and when the frames hold no crystal. Whether there is anything to learn
    from is told by `findings.needed`.
    """
    config.check(cfg, "labels.fourier.")
    frames = np.asarray(frames, np.float32)
    if cfg.recipe == "paper":
        frames = frames[:1]
    indices = np.arange(len(frames)) if indices is None else indices[: len(frames)]
    lattice = find_lattice(frames, where) if lattice is None else lattice
    spacing = lattice.spacing_px
    crystal = grains.find(frames, lattice) if cfg.recipe == "local" else grains.one(lattice)
    lattice = crystal.lattices[0]
    parts, covers = dirt.taken_apart(frames, crystal, cfg, invalid)
    sigma = fourier_defects.column_sigma_px(parts[0], spacing)
    single = [fourier_defects.significance(p.residual, p.variance, p.phase, p.weight, sigma, p.calm) for p in parts]
    weights = np.stack([p.weight for p in parts])
    largest = weights if len(crystal) == 1 else weights * np.stack([p.member == 0 for p in parts])
    phases = np.stack([p.phase for p in parts])
    if shift_px is None:
        unlike = [
            s.z if c is None else s.z + dirt.marks(f, p, c, spacing)
            for s, c, f, p in zip(single, covers, frames, parts, strict=True)
        ]
        alignment = align.align(np.stack(unlike), phases, lattice, largest, cfg.max_drift * spacing)
    else:
        alignment = align.Alignment(np.asarray(shift_px, float), np.ones(len(frames), bool))
    shift = alignment.shift_px
    mean, trust = align.mean_at(np.stack([p.residual for p in parts]), weights, shift)
    variance, _ = align.mean_at(np.stack([p.variance for p in parts]), weights, shift)
    calm, _ = align.mean_at(np.stack([p.calm for p in parts]).astype(np.float32), np.ones_like(weights), shift)
    together = fourier_defects.significance(
        mean, variance / np.maximum(trust, 1e-3), parts[0].phase, np.minimum(trust, 1.0), sigma, calm > 0.9
    )
    order, _ = align.mean_at(np.stack([p.order for p in parts]), np.ones_like(weights), shift)
    region = regions.find(order, parts[0], frames[0], crystal, covers[0])
    if (region == LATTICE).mean() < 0.05:
        raise UserError(
            f"{where}: a lattice of {spacing:.1f} px shows in {(region == LATTICE).mean():.0%} of the frame only; take "
            "earlier or other frames (labels.fourier.first_frame)"
        )
    if cfg.recipe == "paper":
        region = np.zeros_like(region)
        per_frame = region[None].astype(np.int8)
        told = moving.only_first(paper.defects(frames[0], lattice, cfg.low_pass, cfg.threshold))
        unsure = np.zeros((0, 2))
        levels = fourier_defects.Levels(cfg.threshold, cfg.threshold, np.zeros(2))
    else:
        area, rough = float(frames[0].size), together.roughness
        threshold = functools.partial(fourier_defects.levels, area_px=area, roughness=rough, share=cfg.false_alarms)
        found = fourier_defects.extrema(together.z, LEAST_LOOKED_AT, DISC * spacing)
        inside = certainty.region_at(region, found.yx) == LATTICE
        levels = threshold(found, inside)
        good = certainty.accepted(found, levels.of(found.z), region, spacing)
        static, maybe = found.take(good), found.take(~good & (np.abs(found.z) > levels.of(found.z) - cfg.unsure))
        phase = np.stack([certainty.region_at(p, static.yx) for p in parts[0].phase], 1)
        crowd = certainty.crowded(static, spacing) | certainty.displaced(static, phase, lattice.vectors_px, spacing)
        unsure = np.concatenate([maybe.yx, static.yx[crowd]])
        static = static.take(~crowd)
        own = grains.vectors_at(crystal, parts[0].member, static.yx)
        static_yx = np.stack(
            [align.local_shift(p.phase, parts[0].phase, s, own, static.yx) for p, s in zip(parts, shift, strict=True)]
        )
        z = np.stack([s.z for s in single])
        here = moving.in_frames(z, np.sign(static.z), static_yx)
        blurred = moving.blurring(here)
        if blurred.any():  # the mean is sharper without frames that do not show what all others do
            some = label(
                frames[~blurred],
                cfg,
                where,
                indices[~blurred],
                None,
                *(None if a is None else a[~blurred] for a in (invalid, shift_px)),
            )
            said = checks.left_out(indices[blurred], where)
            return dataclasses.replace(some, warnings=(said, *some.warnings))
        per_frame = regions.in_frames(frames, region, shift, spacing, covers)
        stays = ~moving.changing(here) & ~moving.wandering(z, np.sign(static.z), static_yx, spacing, sigma)
        for own, places in zip(per_frame, static_yx, strict=True):  # the mean says nothing where a hole comes and goes
            stays &= (certainty.region_at(own, places) <= LATTICE) & ~certainty.beside_hole(own, places, spacing)
        # what moves is told frame by frame and lends no weak label its good name
        others = found.take(certainty.distance_to(static.yx[~stays], found.yx) > 0)
        inside = certainty.region_at(region, others.yx) == LATTICE
        levels = threshold(others, inside)
        weak = stays & (np.abs(static.z) < levels.of(static.z))
        unsure = np.concatenate([unsure, static.yx[weak]])
        told = moving.tell(
            moving.Candidates(static, static_yx, here, stays & ~weak, ~stays),
            single,
            per_frame,
            spacing,
            shift,
            cfg.false_alarms,
            cfg.unsure,
        )
    for t, s in enumerate(shift):
        if invalid is not None and invalid[t].any():
            per_frame[t][ndimage.distance_transform_edt(~invalid[t]) < DISC * spacing] = UNKNOWN
        # columns that have moved towards a defect must not blot out the defect itself, nor hide that it has gone
        doubtful = np.concatenate([unsure + s, told.unsure[t]])
        doubtful = doubtful[certainty.distance_to(told.gone[t], doubtful) > DISC * spacing]
        certainty.cover(per_frame[t], doubtful, DISC * spacing, UNKNOWN, keep=told.yx[t][told.sure[t]])
    first = parts[0]
    smooth = ndimage.gaussian_filter(mean, 0.6 * sigma)
    steps = {"frame": frames[0], "periodic": first.periodic, "z": together.z, "residual": mean}
    clean = clean_part(first)
    steps["lattice"] = clean - first.background
    steps["regions"] = region
    # structure that stays from frame to frame and is no defect: columns out of place, weak defects
    real = max(0.0, 1 - together.excess**-2)
    odd = np.concatenate([told.defects.yx, unsure, *(g - s for g, s in zip(told.gone, shift, strict=True))])
    steps["rest"] = real * smooth * (1 - regions.bumps(frames[0].shape, odd, 0.3 * spacing, DISC * spacing))
    if cfg.recipe == "paper":
        steps["z"] = paper.low_pass(frames[0], lattice, cfg.low_pass)
    warnings = checks.of_lattice(crystal, first, alignment, indices, where)
    warnings += checks.of_labels(told, levels, region, spacing, single[0].excess, where)
    return MovieLabels(
        frames=frames,
        indices=np.asarray(indices),
        lattice=lattice,
        shift_px=shift,
        defects=told.defects,
        frame=told.frame,
        yx=told.yx,
        sure=told.sure,
        unsure_yx=unsure,
        regions=per_frame,
        residuals=np.stack([p.residual for p in parts]),
        clean=clean,
        cell=regions.cell_centres(first, crystal, steps["lattice"]),
        sigma_px=sigma,
        levels=(levels,) if told.levels is None else (levels, told.levels),
        false=checks.expected_false(told, levels),
        strongest=max(float(np.abs(s.z[region == LATTICE]).max()) for s in (together, *single)),
        gain=first.gain,
        read_variance=first.read_variance,
        row_jitter_px=float(np.std(first.row_shift_px)),
        steps=steps,
        grains=crystal,
        seam=regions.seam(first.member, region == LATTICE, crystal, covers[0]),
        member=first.member,
        warnings=tuple(warnings),
        covered=dirt.masks(covers, frames.shape),
    )


def clean_part(parts: residual.Residual) -> np.ndarray:
    """Periodic part with background, without what the scan did to single rows."""
    rows = np.stack([parts.row_shift_px, parts.row_gain - 1, parts.row_offset])
    lattice_part = parts.periodic - parts.background
    for _ in range(3):  # the faults are small: undo them by fixed-point steps
        lattice_part = parts.periodic - parts.background - residual.faults(lattice_part, rows)
    return parts.background + lattice_part
