"""Rings along a grain boundary: cells with five or seven neighbours, where the columns are resolved.

A hexagonal crystal has one bright column, or one dark hollow, in a cell, each with six neighbours (a ring of six atoms
around a hollow of graphene). Where two grains meet some have five or seven. They are counted by the Delaunay
triangulation of these places; whether an image is sharp enough for it the grains' own inside says, where all have six.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import Delaunay

SMOOTH = (0.12, 0.16, 0.2, 0.25, 0.3)  # lattice spacings, standard deviations that are tried
APART = 0.4  # lattice spacings between two places of a kind
ONE_A_CELL = 0.04  # relative error of their number inside the grains
RESOLVED = 0.02  # share of cells inside the grains that may seem to have other than six neighbours
BESIDE, INSIDE = 1.5, 2.5  # lattice spacings: nearer to where grains meet is along it, farther away is inside
FROM_EDGE = 1.5  # lattice spacings from the border or from what is no crystal: neighbours are missing there
LEAST = 50  # cells inside the grains, to tell whether they are resolved


class Rings(NamedTuple):
    """Along a boundary: yx (n, 2) px of its cells, neighbours (n,) of each; share_inside: of cells inside the grains
    that seem to have other than six; n_inside: how many those are in all."""

    yx: np.ndarray
    neighbours: np.ndarray
    share_inside: float
    n_inside: int

    def count(self, number: int) -> int:
        """How many cells along the boundary have `number` neighbours."""
        return int((self.neighbours == number).sum())


def find(image: np.ndarray, meets: np.ndarray, crystal: np.ndarray, vectors_px: np.ndarray) -> Rings | None:
    """The rings of `image` (H, W) along `meets` (H, W bool); None where its columns are not resolved or not hexagonal.

    crystal: (H, W) bool, grains with what lies between them; vectors_px: (2, 2) of one grain.
    """
    spacing = float(np.sqrt(np.linalg.norm(vectors_px, axis=1).prod()))
    outside = np.pad(~crystal, 1, constant_values=True)
    usable = ndimage.distance_transform_edt(~outside)[1:-1, 1:-1] > FROM_EDGE * spacing
    to_seam = ndimage.distance_transform_edt(~meets)
    inside, along = usable & (to_seam > INSIDE * spacing), usable & (to_seam < BESIDE * spacing)
    cells = inside.sum() / abs(np.linalg.det(vectors_px))
    if cells < LEAST or not along.any():
        return None
    best = None
    for width in SMOOTH:
        smooth = ndimage.gaussian_filter(image, width * spacing)
        for sign in (1, -1):
            yx = _tops(sign * smooth, APART * spacing)
            if len(yx) < LEAST:
                continue
            at = tuple(np.rint(yx).astype(int).T)
            mine = inside[at]
            if abs(mine.sum() / cells - 1) > ONE_A_CELL + 1 / np.sqrt(cells):
                continue
            neighbours = _neighbours(yx)
            share = float((neighbours[mine] != 6).mean())
            if share <= RESOLVED and (best is None or share < best.share_inside):
                best = Rings(yx[along[at]], neighbours[along[at]], share, int(mine.sum()))
    return best


def _tops(image: np.ndarray, radius_px: float) -> np.ndarray:
    """(n, 2) local maxima of `image` (H, W), the highest within `radius_px`."""
    reach = int(np.ceil(radius_px))
    grid = np.arange(-reach, reach + 1)
    disc = np.hypot(grid[:, None], grid) <= radius_px
    return np.argwhere(image == ndimage.maximum_filter(image, footprint=disc, mode="nearest")).astype(float)


def _neighbours(yx: np.ndarray) -> np.ndarray:
    """(n,) how many others each of `yx` (n, 2) is joined to by the Delaunay triangulation."""
    start, _ = Delaunay(yx).vertex_neighbor_vertices
    return np.diff(start)
