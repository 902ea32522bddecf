"""Several grains in the frames of a movie: their lattices, where they meet, and what is called inside and along it.

A perfect second grain is crystal: without its lattice every call in it would be withheld as one where there is none.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from stemdefects.crystal.bragg import equivalent_cells
from stemdefects.errors import UserError
from stemdefects.inference.columns.defects import FrameDefects
from stemdefects.inference.columns.lattice.sites import NOWHERE
from stemdefects.inference.network import bragg_map
from stemdefects.inference.network.bragg_map import ABSENT, LocalLattice
from stemdefects.labels.fourier.periodic import grains as windowed
from stemdefects.labels.fourier.periodic.lattice import find_lattice

LOOKED_AT = 0.06  # of the frame without the lattice: as little as a grain that is one (`windowed.LEAST_SHARE`)
FINE = 8  # points per lattice spacing on which it is decided where grains meet
NEIGHBOURS = 4  # frames before and after one that does not show by itself which grain is where
ISLAND = 12  # cells: a smaller part of another grain is noise, or a hole


class Meeting(NamedTuple):
    """Grains of a frame: how many it shows; length of the line where they meet, px; band: (h, w) bool, what lies along
    it, in cells of `step_px`."""

    n_grains: int
    length_px: float
    band: np.ndarray
    step_px: float

    def along(self, place_px: np.ndarray) -> np.ndarray:
        """(n,) bool: which of the points (n, 2) lie along the line."""
        cell = np.rint(np.asarray(place_px).reshape(-1, 2) / self.step_px).astype(int)
        return self.band[tuple(np.clip(cell, 0, np.array(self.band.shape) - 1).T)]


def others(frames: np.ndarray, vectors_px: np.ndarray, lattice_nm: np.ndarray) -> np.ndarray:
    """(K, 2, 2) lattice vectors of further grains that `frames` (n, H, W) show beside that of `vectors_px` (2, 2),
    which is looked for in places first; mostly there are none.

    lattice_nm: (2, 2) of the ideal crystal. Vectors are named as `vectors_px`.
    """
    none = np.zeros((0, 2, 2))
    made = bragg_map.windows(frames.shape[1:], vectors_px, lattice_nm)
    if made is None:
        return none
    own = bragg_map.of_frame(frames[0], made)
    if not np.isfinite(own.power).all():  # the first frame shows another lattice
        return none
    power = own.power / max(float(np.quantile(own.power, bragg_map.USUAL)), 1e-9)
    if (power < ABSENT).mean() < LOOKED_AT:
        return none
    try:
        found = windowed.find(frames, find_lattice(frames))
    except UserError:
        return none
    size = abs(np.linalg.det(vectors_px))
    further = []
    for lattice in found.lattices:
        alike = abs(abs(np.linalg.det(lattice.vectors_px)) / size - 1) < 2 * windowed.SAME_SIZE
        if alike and abs(windowed.turn_deg(lattice.vectors_px, vectors_px)) > windowed.APART_DEG:
            further.append(equivalent_cells(lattice.vectors_px, vectors_px)[0])
    return np.array(further).reshape(-1, 2, 2)


def turns_deg(grains_px: np.ndarray) -> list[float]:
    """Rotation of each further grain of `grains_px` (K, 2, 2) against the first, as small as its symmetry allows."""
    return [windowed.turn_deg(vectors, grains_px[0]) for vectors in grains_px[1:]]


def around(lattices: Sequence[LocalLattice | None]) -> list[LocalLattice | None]:
    """The lattices of frames of one movie that show several grains: a frame's own where it is clear, else the mean of
    it and its neighbours; None where there is nothing to go by."""
    shown: list[LocalLattice | None] = []
    for i, own in enumerate(lattices):
        if own is not None and not own.clear:
            near = [one for one in lattices[max(i - NEIGHBOURS, 0) : i + NEIGHBOURS + 1] if one is not None]
            maps = [one.grains for one in near if one.grains is not None and np.isfinite(one.grains).all()]
            mean = np.mean(maps, axis=0) if maps else None
            own = None if mean is None else own._replace(power=mean[0], grains=mean)
        shown.append(own)
    return shown


def meeting(lattice: LocalLattice, shape: tuple[float, float], grains_px: np.ndarray) -> Meeting:
    """Where the grains (K, 2, 2) of a frame of `shape` (H, W) px meet."""
    spacing = float(np.sqrt(np.linalg.norm(lattice.vectors_px, axis=1).prod()))
    step = spacing / FINE
    axes = [np.arange(0, n, step) for n in shape]
    y, x = (a.ravel() for a in np.meshgrid(*axes, indexing="ij"))
    size = tuple(len(a) for a in axes)
    member = _without_islands(lattice.grain_at(y, x).reshape(size))
    crystal = (lattice.of_any_grain(y, x) >= ABSENT).reshape(size)
    share = np.bincount(member[crystal]) / max(crystal.sum(), 1)
    band, length = windowed.boundary(member, crystal, FINE, grains_px)
    return Meeting(int((share >= windowed.LEAST_SHARE).sum()), length * step, band, step)


def told(found: FrameDefects, met: Meeting, lattice: LocalLattice) -> FrameDefects:
    """`found` of a network that labels of the movie taught, which say nothing about the boundary: without calls along
    it, and with sites in the first grain only. lattice: as shown by the frame and its neighbours."""
    rows, weak = (~met.along(np.column_stack([r["y_px"], r["x_px"]])) for r in (found.rows, found.weak_rows))
    sites = found.sites
    if sites is not None:
        place = np.column_stack([found.columns.y_px, found.columns.x_px])
        out = met.along(place) | (lattice.grain_at(*place.T) != 0)
        sites = dataclasses.replace(sites, cell=np.where(out[:, None], NOWHERE, sites.cell))
    return dataclasses.replace(
        found,
        rows=found.rows[rows],
        patches=found.patches[rows],
        called=found.called[rows],
        sites=sites,
        weak_rows=found.weak_rows[weak],
        weak_patches=found.weak_patches[weak],
    )


def _without_islands(member: np.ndarray) -> np.ndarray:
    """`member` (h, w) with its small parts given to what is around them."""
    member = member.copy()
    small = np.zeros(member.shape, bool)
    for k in np.unique(member):
        part, n = ndimage.label(member == k)
        area = np.bincount(part.ravel(), minlength=n + 1)
        small |= (member == k) & (area[part] < ISLAND * FINE**2)
    if small.any() and not small.all():
        nearest = ndimage.distance_transform_edt(small, return_distances=False, return_indices=True)
        member = member[tuple(nearest)]
    return member
