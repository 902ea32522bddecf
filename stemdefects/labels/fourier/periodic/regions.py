"""Where a movie's first frames show crystal, a hole or something else, and which cell of the crystal a pixel is in."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from stemdefects.labels.fourier.periodic import residual
from stemdefects.labels.fourier.periodic.dirt import ORDER_KEPT, Dirt
from stemdefects.labels.fourier.periodic.grains import Grains, boundary
from stemdefects.labels.fourier.points import certainty
from stemdefects.labels.fourier.points.certainty import AMORPHOUS, HOLE, LATTICE, UNKNOWN

ORDER_LOST = 0.35  # local amplitude of the lattice, of its usual one
# of the usual intensity in a window of one spacing, where a vacancy is a tenth, and of what the other frames have
# there, so that a shadow on the crystal is none: this much less is a hole that has come or gone
THIN, THINNER, THIN_WINDOW = 0.65, 0.8, 1.0


def find(
    order: np.ndarray, parts: residual.Residual, frame: np.ndarray, crystal: Grains, dirt: Dirt | None = None
) -> np.ndarray:
    """(H, W) int8: crystal, hole, amorphous, or unknown: where the lattice is neither there nor gone, where grains meet
    and along the rim of what lies on the crystal."""
    spacing = crystal.lattices[0].spacing_px
    zero = -parts.read_variance / parts.gain if parts.gain > 0 and parts.read_variance < 0 else 0.0
    kept = order > ORDER_KEPT

    def against_usual(width: float) -> np.ndarray:
        level = ndimage.gaussian_filter(frame, width * spacing)
        return (level - zero) / max(float(np.median(level[kept])) - zero if kept.any() else 1.0, 1e-30)

    lost = np.where(against_usual(0.7) < 0.5, HOLE, AMORPHOUS)
    region = np.where(order < ORDER_LOST, lost, np.where(kept, LATTICE, UNKNOWN)).astype(np.int8)
    if dirt is not None:
        region[dirt.rim] = UNKNOWN
        region[dirt.mask] = AMORPHOUS
    meet, _ = boundary(parts.member, region != HOLE, spacing, crystal.vectors_px)
    if meet.any():
        near = ndimage.distance_transform_edt(~meet) < spacing
        clean = True if dirt is None else ~dirt.mask
        region[((near & (region == AMORPHOUS)) | meet) & clean] = UNKNOWN
    return region


def seam(member: np.ndarray | None, shown: np.ndarray, crystal: Grains, cover: Dirt | None) -> tuple[np.ndarray, float]:
    """Where the grains of `member` meet and one sees it, and how long that is: `grains.boundary`."""
    vectors = crystal.vectors_px
    if cover is None:
        return boundary(member, shown, crystal.lattices[0].spacing_px, vectors)
    band, length = boundary(member, shown, crystal.lattices[0].spacing_px, vectors, cover.touched)
    return band & ~cover.mask, length


def in_frames(
    frames: np.ndarray, region: np.ndarray, shift_px: np.ndarray, spacing: float, dirt: Sequence[Dirt | None]
) -> np.ndarray:
    """(N, H, W) int8: `region` (H, W) of the first frame in each of `frames` (N, H, W), which show it shifted by
    `shift_px` (N, 2), with the holes and the dirt (of each frame) that this frame has and others have not.

    The mean of frames in which the edge of a hole moves has something between crystal and hole there.
    """
    own = np.stack([certainty.moved(region, s) for s in shift_px])
    if len(frames) == 1:
        return own

    def against_usual(width: float) -> list[np.ndarray]:
        levels = []
        for frame, here in zip(frames, own, strict=True):
            slow = ndimage.gaussian_filter(frame, width * spacing)
            usual = float(np.median(slow[here == LATTICE])) if (here == LATTICE).any() else 1.0
            levels.append(slow / max(usual, 1e-30))
        return levels

    thin = against_usual(THIN_WINDOW)
    back = [ndimage.shift(level, -s, order=1, mode="nearest") for level, s in zip(thin, shift_px, strict=True)]
    mean = np.mean(back, axis=0)
    for lies, level, here, s in zip(dirt, thin, own, shift_px, strict=True):
        others = ndimage.shift(mean, s, order=1, mode="nearest")
        unnamed = (here == LATTICE) | (here == UNKNOWN)
        if lies is not None:
            here[unnamed & lies.rim] = UNKNOWN
            here[unnamed & lies.mask] = AMORPHOUS
        here[unnamed & (level < THIN) & (level < THINNER * others)] = HOLE
    return own


def bumps(shape: tuple[int, int], yx: np.ndarray, flat_px: float, outer_px: float) -> np.ndarray:
    """(H, W) 1 within `flat_px` of any point, falling to 0 at 1.5 `outer_px`."""
    mask = np.ones(shape, bool)
    places = np.clip(np.rint(yx).astype(int), 0, np.array(shape) - 1)
    mask[tuple(places.T)] = False
    distance = ndimage.distance_transform_edt(mask)
    outer = 1.5 * outer_px
    ramp = np.clip((outer - distance) / max(outer - flat_px, 1e-6), 0, 1)
    return (ramp**2 * (3 - 2 * ramp)).astype(np.float32)


def cell_centres(parts: residual.Residual, grains: Grains, lattice_part: np.ndarray) -> np.ndarray:
    """(2, H, W) place (y, x) of the brightest column of the cell that each pixel belongs to."""
    height, width = lattice_part.shape
    place = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij")).astype(np.float32)
    result = np.empty_like(place)
    member = np.zeros(lattice_part.shape, np.int8) if parts.member is None else parts.member
    for k, lattice in enumerate(grains.lattices):
        mine = member == k
        if not mine.any():
            continue
        top = mine & (lattice_part >= np.quantile(lattice_part[mine], 0.97))
        origin = [np.angle(np.exp(2j * np.pi * p[top]).mean()) / (2 * np.pi) for p in parts.phase]
        off = np.mod(parts.phase[:, mine] - np.array(origin)[:, None] + 0.5, 1.0) - 0.5
        result[:, mine] = place[:, mine] - lattice.vectors_px.T @ off
    return result
