"""Places that the lattice promises and the network shows no column at: they are judged by their light all the same.

A metal vacancy looks like nothing, and a network that was shown few of them shows no column there; it also loses
columns in dark or dirty parts of an image. The lattice of the columns that were found, carried on from neighbour to
neighbour, says where the others must be.
"""

from typing import NamedTuple

import numpy as np

from stemdefects.inference.columns.lattice import bent_lattice, free_sites
from stemdefects.inference.columns.lattice.sites import SiteView
from stemdefects.numerics.borders import from_border
from stemdefects.numerics.nearest import nearest

NEAR = 6  # columns whose distance from the even lattice says how it is bent here
REACH = 3.0  # spacings from a column found: farther away nobody knows how the lattice goes on
SEATED = 0.2  # spacings: a column this near to a place of the lattice is that place's
AGREEING = 0.9  # share of the columns that must be of the sublattice whose place they are on
LEAST = 60  # columns, to say how the lattice bends over the frame


class Promised(NamedTuple):
    """cell: (m, 2) and site: (m,) of places inside the frame without a column; place_px: (m, 2) y, x in pixels of the
    frame; bent_px: (m, 2) how far that is from the even lattice."""

    cell: np.ndarray
    site: np.ndarray
    place_px: np.ndarray
    bent_px: np.ndarray


class Crystal(NamedTuple):
    """What is known of the crystal shown. basis: (G, 2) places of the sublattices in the cell; fixed: (G,) bool,
    sublattices whose columns are always there; lattice_nm: (2, 2) of the ideal crystal."""

    basis: np.ndarray
    fixed: np.ndarray
    lattice_nm: np.ndarray


class Picture(NamedTuple):
    """A frame of `shape_px` (H, W) as it is seen: `image` (h, w), `scale` pixels of it to one of the frame; the first
    pixels coincide."""

    image: np.ndarray
    scale: float
    shape_px: tuple[float, float]


def places(
    position_px: np.ndarray, site: np.ndarray, sites: SiteView, crystal: Crystal, frame: Picture, margin_px: float
) -> Promised:
    """All promised places without a column, farther than `margin_px` from the border.

    position_px: (n, 2) and site: (n,) of the columns of `sites`, in pixels of the frame.
    """
    basis, fixed, shape_px, scale = crystal.basis, crystal.fixed, frame.shape_px, frame.scale
    vectors, size = sites.vectors_px, np.array(shape_px) - 1
    spacing = np.sqrt(abs(np.linalg.det(vectors)))
    corners = (np.array([(0, 0), (0, 1), (1, 0), (1, 1)]) * size - sites.origin_px) @ np.linalg.inv(vectors)
    low, high = np.floor(corners.min(0)).astype(int) - 2, np.ceil(corners.max(0)).astype(int) + 2
    lattice = free_sites.Lattice(np.where(fixed[:, None], basis, np.nan), vectors, sites.origin_px)
    margin = (*map(float, size), float(margin_px))
    free, its_free, even = free_sites.free(position_px, sites.cell, site, low, high, lattice, margin)
    on = sites.on_lattice & fixed[site]
    if not len(free) or not on.any():
        return Promised(free[:0], its_free[:0], even[:0], even[:0])
    cell, its, there_px = sites.cell[on], site[on], position_px[on]
    bent = there_px - (cell + basis[its]) @ vectors - sites.origin_px
    distance, near = nearest(there_px, even, NEAR)
    moved = bent[near].mean(1)
    place = even + moved
    use = np.flatnonzero((from_border(place, shape_px) >= margin_px) & (distance[:, 0] < REACH * spacing))
    found = Promised(free[use], its_free[use], place[use], moved[use])
    even = found.place_px - found.bent_px
    lost = bent_lattice.Bent(even * scale, basis[found.site] @ vectors * scale, found.bent_px * scale)
    there = bent_lattice.Bent((there_px - bent) * scale, basis[its] @ vectors * scale, bent * scale)
    moved = bent_lattice.displaced(frame.image, lost, there, vectors * scale, crystal.lattice_nm) / scale
    found = found._replace(place_px=even + moved, bent_px=moved)
    return Promised(*(part[_free(found, position_px, 0.25 * spacing)] for part in found))


def _free(found: Promised, position_px: np.ndarray, within_px: float) -> np.ndarray:
    """(m,) bool: no column, of whatever sublattice, stands at the place."""
    if not len(found.site):
        return np.zeros(0, bool)
    away, _ = nearest(position_px, found.place_px, 1)
    return away[:, 0] > within_px


def seated(
    position_px: np.ndarray, site: np.ndarray, sites: SiteView, basis: np.ndarray, fixed: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) cell and (n,) sublattice of every column, by the lattice alone where that is whole.

    A network shown another crystal, or dirt, takes one sublattice for the other in places; followed from neighbour to
    neighbour such columns bend the lattice by a bond. Here the lattice bends no faster than a cubic polynomial over the
    frame; a column on the place of another sublattice is that one's. basis, fixed: as in `Crystal`.
    """
    cell, site = sites.cell.copy(), site.copy()
    on = sites.on_lattice & fixed[site]
    if on.sum() < LEAST:
        return cell, site
    vectors, spacing = sites.vectors_px, np.sqrt(abs(np.linalg.det(sites.vectors_px)))
    rest = position_px - (np.where(on[:, None], sites.cell, 0) + basis[site]) @ vectors - sites.origin_px
    middle, scale = position_px.mean(0), np.ptp(position_px, axis=0).max() / 2
    y, x = ((position_px - middle) / scale).T
    terms = np.stack([y**i * x**j for i in range(4) for j in range(4 - i)], 1)
    good, bend = on.copy(), np.zeros((terms.shape[1], 2))
    for _ in range(4):
        bend, *_ = np.linalg.lstsq(terms[good], rest[good], rcond=None)
        off = np.linalg.norm(rest - terms @ bend, axis=1)
        good = on & (off < max(3 * np.median(off[on]), 0.05 * spacing))
    even = position_px - sites.origin_px - terms @ bend
    choices = np.flatnonzero(fixed)
    whole = np.stack([np.rint(even @ np.linalg.inv(vectors) - basis[g]) for g in choices])
    away = np.stack([np.linalg.norm(even - (whole[k] + basis[g]) @ vectors, axis=1) for k, g in enumerate(choices)])
    best = away.argmin(0)
    mine = fixed[site] & (away.min(0) < SEATED * spacing)
    if (choices[best] == site)[on].mean() < AGREEING:
        return cell, site
    wrong = mine & ((choices[best] != site) | ~on)
    cell[wrong], site[wrong] = whole[best[wrong], np.flatnonzero(wrong)], choices[best[wrong]]
    return cell, site
