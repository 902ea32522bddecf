"""Grains: windows of a frame are asked for their own lattice, and orientations that many of them share are grains.

A perfect second grain is crystal, not rubble beside the first. Each grain is taken apart with its own lattice; where
two meet there is a boundary, about which the labels say nothing.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from stemdefects.crystal import bragg
from stemdefects.errors import UserError
from stemdefects.labels.fourier.periodic import residual
from stemdefects.labels.fourier.periodic.harmonics import local_amplitude
from stemdefects.labels.fourier.periodic.lattice import ImageLattice, find_lattice
from stemdefects.labels.fourier.periodic.residual import Residual

WINDOW = 8.0  # lattice spacings along the side of a window; stepped by half of it
APART_DEG = 6.0  # grains differ by more; less is a bend or the scan
SAME_SIZE = 0.15  # relative difference of spacings that windows of one crystal may have
LEAST_SHARE, LEAST_WINDOWS = 0.06, 3  # of the windows that show a lattice
FEW_BETWEEN = 0.4  # of the windows of the rarer of two orientations: more halfway between them are a bend
BRIGHT = 1.5  # times the usual intensity within a spacing: something lies on the crystal
N_FRAMES = 4  # whose spectra are taken together
BAND = 0.8  # lattice spacings on either side of where two grains meet that are their boundary, at least:
ALIKE = 0.25  # of a spacing by which both lattices have to differ to tell on which side a column is


@dataclass(frozen=True)
class Grains:
    """lattices: one of each grain, the largest first; turn_deg: (K,) rotation of each against the first, as small as
    the lattice's symmetry allows."""

    lattices: tuple[ImageLattice, ...]
    turn_deg: np.ndarray

    def __len__(self) -> int:
        return len(self.lattices)

    @property
    def vectors_px(self) -> np.ndarray:
        """(K, 2, 2) of each."""
        return np.stack([lattice.vectors_px for lattice in self.lattices])


def one(lattice: ImageLattice) -> Grains:
    """A crystal of a single grain."""
    return Grains((lattice,), np.zeros(1))


def find(frames: np.ndarray, whole: ImageLattice) -> Grains:
    """The grains that `frames` (n, H, W) show; `whole`: the lattice of all of it (`find_lattice`)."""
    side = round(WINDOW * whole.spacing_px)
    height, width = frames.shape[1:]
    if min(height, width) < 1.5 * side:
        return one(whole)
    frames = _without_dirt(frames[:N_FRAMES], whole.spacing_px)
    corners, vectors = [], []
    for y in _starts(height, side):
        for x in _starts(width, side):
            try:
                own = find_lattice(frames[:, y : y + side, x : x + side])
            except UserError:
                continue
            corners.append((y, x))
            vectors.append(own.vectors_px)
    if len(vectors) < 2 * LEAST_WINDOWS:
        return one(whole)
    alike = _of_usual_size(np.array(vectors), whole.spacing_px)
    corners, vectors = ([x for x, use in zip(xs, alike, strict=True) if use] for xs in (corners, vectors))
    if len(vectors) < 2 * LEAST_WINDOWS:
        return one(whole)
    groups = _clusters(
        np.array([turn_deg(v, vectors[0]) for v in vectors]), 360 / len(bragg.equivalent_cells(vectors[0], vectors[0]))
    )
    least = max(LEAST_WINDOWS, LEAST_SHARE * len(vectors))
    groups = [g for g in groups if len(g) >= least]
    usual = float(np.median(_sizes(np.array(vectors))))
    if len(groups) < 2 and abs(usual / whole.spacing_px - 1) < SAME_SIZE:
        return one(whole)
    lattices = []
    for group in groups:
        mask = np.zeros((height, width), np.float32)
        for i in group:
            y, x = corners[i]
            part = mask[y : y + side, x : x + side]
            np.maximum(part, _hann(side), out=part)
        level = (frames[0] * mask).sum() / mask.sum()
        try:
            near = np.array([bragg.equivalent_cells(vectors[i], vectors[group[0]])[0] for i in group])
            own = find_lattice((frames - level) * mask, near_px=np.median(near, axis=0))
        except UserError:
            continue
        if all(abs(turn_deg(own.vectors_px, other.vectors_px)) > APART_DEG for other in lattices):
            lattices.append(own)
    if not lattices or (len(lattices) < 2 and abs(usual / whole.spacing_px - 1) < SAME_SIZE):
        return one(whole)
    turns = np.array([turn_deg(own.vectors_px, lattices[0].vectors_px) for own in lattices])
    return Grains(tuple(lattices), turns)


def _of_usual_size(vectors: np.ndarray, whole_px: float) -> np.ndarray:
    """(n,) bool: windows whose lattice (n, 2, 2) is as large as that of most, or as that of the whole frame.

    The peaks of two grains together can be indexed by a cell that neither of them has: windows know better.
    """
    size = _sizes(vectors)
    ratio = size[:, None] / size[None]
    alike = np.maximum(ratio, 1 / ratio) < 1 + SAME_SIZE
    most = alike[alike.sum(1).argmax()]
    as_whole = np.abs(size / whole_px - 1) < SAME_SIZE
    return most if most.sum() > 0.5 * len(size) and not as_whole[most].any() else as_whole


def _sizes(vectors: np.ndarray) -> np.ndarray:
    """(n,) spacing of each lattice of `vectors` (n, 2, 2), as `ImageLattice.spacing_px`."""
    return np.sqrt(np.linalg.norm(vectors, axis=2).prod(1))


def _hann(side: int) -> np.ndarray:
    return np.outer(*[np.hanning(side + 2)[1:-1].astype(np.float32)] * 2)


def _starts(length: int, side: int) -> np.ndarray:
    number = int(np.ceil((length - side) / (0.5 * side))) + 1
    return np.unique(np.linspace(0, length - side, number).astype(int))


def turn_deg(vectors: np.ndarray, others: np.ndarray) -> float:
    """Smallest rotation that brings the lattice of `others` (2, 2) onto that of `vectors`, with its sign."""
    u, _, vt = np.linalg.svd(np.linalg.solve(others, bragg.equivalent_cells(vectors, others)[0]))
    turn = u @ vt
    return float(np.degrees(np.arctan2(turn[0, 1], turn[0, 0])))


def _clusters(angle_deg: np.ndarray, period_deg: float) -> list[np.ndarray]:
    """Numbers of the windows of each orientation, the most common first.

    Windows with a boundary in them lie anywhere between two grains, so that orientations that many share are taken, and
    are grains where few lie halfway: a bend has as many there.
    """

    def off(a: np.ndarray, b: float) -> np.ndarray:
        return np.abs(np.mod(a - b + 0.5 * period_deg, period_deg) - 0.5 * period_deg)

    near = 0.25 * APART_DEG
    left, groups, modes = np.arange(len(angle_deg)), [], []
    while len(left):
        counts = np.array([(off(angle_deg[left], angle_deg[i]) < near).sum() for i in left])
        mode = float(angle_deg[left[counts.argmax()]])
        mine = off(angle_deg[left], mode) <= 0.5 * APART_DEG
        if all(off(np.array([mode]), m)[0] > APART_DEG and _parted(angle_deg, off, mode, m, near) for m in modes):
            groups.append(left[mine])
            modes.append(mode)
        left = left[~mine]
    return groups


def _parted(angle_deg: np.ndarray, off: Callable, mode: float, other: float, near: float) -> bool:
    """Are few of the windows halfway between two orientations (the shorter way round)?"""
    step = mode - other
    middle = other + 0.5 * step
    if off(np.array([middle]), mode)[0] + off(np.array([middle]), other)[0] > off(np.array([mode]), other)[0] + 1e-6:
        return True  # halfway lies on the far side: too far apart to be a bend
    least = min((off(angle_deg, m) < near).sum() for m in (mode, other))
    return bool((off(angle_deg, middle) < near).sum() <= FEW_BETWEEN * least)


def _without_dirt(frames: np.ndarray, spacing: float) -> np.ndarray:
    """`frames` (n, H, W) with what is much brighter than usual brought to the usual level: its rim hides a lattice."""
    frames = np.array(frames, np.float32)
    for frame in frames:
        slow = ndimage.gaussian_filter(frame, spacing)
        usual = np.median(slow)
        dirt = slow > BRIGHT * usual
        if usual > 0 and dirt.any():
            frame[ndimage.distance_transform_edt(~dirt) < spacing] = usual
    return frames


def take_apart(
    frame: np.ndarray,
    grains: Grains,
    invalid: np.ndarray | None = None,
    covered: np.ndarray | None = None,
    **settings: Any,
) -> Residual:
    """`residual.take_apart` of a frame (H, W) whose grains have each their own lattice; `member` says which."""
    settings["covered"] = covered
    if len(grains) == 1:
        return residual.take_apart(frame, grains.lattices[0], invalid=invalid, **settings)
    frame = np.asarray(frame, np.float32)
    member = _member(frame, grains, covered)
    parts = []
    for k, lattice in enumerate(grains.lattices):
        other = member != k
        mask = other if invalid is None else other | invalid
        parts.append(residual.take_apart(frame, lattice, invalid=mask, **settings))
    maps = {}
    for name in ("periodic", "variance", "order", "background", "weight", "calm"):
        maps[name] = np.choose(member, [getattr(p, name) for p in parts])
    maps["phase"] = np.stack([np.choose(member, [p.phase[i] for p in parts]) for i in (0, 1)])
    # a row is the same for all grains: each says of it as much as it has of it
    share = np.stack([(p.weight * (member == k)).sum(1) for k, p in enumerate(parts)]) + 1e-6
    share = share / share.sum(0)
    for name in ("row_shift_px", "row_gain", "row_offset"):
        maps[name] = (share * np.stack([getattr(p, name) for p in parts])).sum(0)
    maps["residual"] = frame - maps["periodic"]
    return dataclasses.replace(parts[0], **maps, member=member.astype(np.int8))


def _member(frame: np.ndarray, grains: Grains, covered: np.ndarray | None) -> np.ndarray:
    """(H, W) int: number of the grain whose lattice is strongest at each pixel, of the nearest one where something
    lies on it."""
    strength = []
    for lattice in grains.lattices:
        amplitude = local_amplitude(frame, lattice, covered)
        strength.append(amplitude / np.quantile(amplitude if covered is None else amplitude[~covered], 0.9))
    member = np.argmax(strength, 0)
    if covered is None or covered.all():
        return member
    nearest = ndimage.distance_transform_edt(covered, return_distances=False, return_indices=True)
    return member[tuple(nearest)]


def meeting(member: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels whose grain of `member` (H, W) is not that of the one above or to the left."""
    meets = np.zeros(member.shape, bool)
    meets[1:] |= member[1:] != member[:-1]
    meets[:, 1:] |= member[:, 1:] != member[:, :-1]
    return meets


def half_width(turned_deg: float) -> float:
    """Lattice spacings on either side of where two grains meet that are their boundary.

    Two lattices that lie on each other along it part the more slowly the less they are turned against each other.
    """
    return max(BAND, ALIKE / (2 * np.sin(np.radians(max(abs(turned_deg), APART_DEG)) / 2)))


def boundary(
    member: np.ndarray | None,
    crystal: np.ndarray,
    spacing: float,
    vectors: np.ndarray,
    covered: np.ndarray | None = None,
) -> tuple[np.ndarray, float]:
    """(H, W) bool, where grains meet in the crystal, and how long that line is in px.

    member: (H, W) grain of each pixel, None: there is one; crystal: (H, W) bool, where any lattice is; vectors:
    (K, 2, 2) of the grains; covered: (H, W) bool, where nobody sees which grain there is: the line may well go on
    there, but has no length.
    """
    band = np.zeros(crystal.shape, bool)
    if member is None:
        return band, 0.0
    near = ndimage.binary_dilation(crystal, iterations=max(1, round(2 * spacing)))
    for k in range(len(vectors)):
        for other in range(k):
            pair = (member == k) | (member == other)
            meets = meeting(np.where(pair, member, k)) & meeting(np.where(pair, member, other)) & near
            if meets.any():
                width = half_width(turn_deg(vectors[k], vectors[other])) * spacing
                band |= ndimage.distance_transform_edt(~meets) < width
    meets = meeting(member) & near
    narrow = ndimage.distance_transform_edt(~meets) < BAND * spacing if meets.any() else meets
    if covered is not None:
        narrow &= ~covered
    return band, float(narrow.sum() / (2 * BAND * spacing))


def vectors_at(grains: Grains, member: np.ndarray | None, yx: np.ndarray) -> np.ndarray:
    """(n, 2, 2) lattice vectors of the grain that each point of `yx` (n, 2) is in."""
    vectors = grains.vectors_px
    if member is None:
        return np.broadcast_to(vectors[0], (len(yx), 2, 2))
    at = np.clip(np.rint(yx).astype(int), 0, np.array(member.shape) - 1)
    return vectors[member[tuple(at.T)]]
