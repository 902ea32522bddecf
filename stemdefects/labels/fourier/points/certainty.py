"""Which labels are sure: what is a point defect beyond doubt, and what is left unsaid."""

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from stemdefects.labels.fourier.points.defects import Extrema
from stemdefects.numerics.borders import from_border

UNKNOWN, LATTICE, HOLE, AMORPHOUS = -1, 0, 1, 2  # regions
DISC = 0.42  # radius of what one defect covers, in lattice spacings
SHADOW = 0.45  # an extremum of the other sign this much weaker than its neighbour is that neighbour's ringing
DISPLACED = 0.3  # one of either sign so much weaker may be columns that have moved towards the defect
BESIDE = 0.9  # lattice spacings: columns this near are neighbours of different sublattices
OFF_PLACE = 0.1  # lattice spacings: five times the error of the faintest labels
BORDER = 0.25  # of a lattice spacing
NEAR_BORDER = 1.4  # times the level, within a spacing of the border
NEAR_DIRT = 3.0  # lattice spacings, a window of the periodic part: beside dirt, whose light falls off slowly
DIRT_LEVEL = 2.0  # times the level there: with 1.4 thin film makes labels (labels_grains.py)
CROWD = 4  # dark neighbours: complexes of up to three columns are defects that people name
BESIDE_HOLE = 1.5  # lattice spacings: where the crystal ends nothing dark is a defect (`regions.DIRT_WINDOW`)
RING = 1.3  # lattice spacings around a defect in which it rings, and neighbours are one hole


def moved(regions: np.ndarray, shift_px: np.ndarray) -> np.ndarray:
    """`regions` (H, W) of the first frame in one that shows it shifted by `shift_px` (2,); int8."""
    if np.abs(shift_px).max() < 1e-6:
        return regions.astype(np.int8)
    return ndimage.shift(regions.astype(np.float32), shift_px, order=0, mode="constant", cval=UNKNOWN).astype(np.int8)


def region_at(regions: np.ndarray, yx: np.ndarray) -> np.ndarray:
    """(n,) region at the points `yx` (n, 2)."""
    at = np.clip(np.rint(yx).astype(int), 0, np.array(regions.shape) - 1)
    return regions[tuple(at.T)]


def distance_to(points: np.ndarray, yx: np.ndarray) -> np.ndarray:
    """(n,) distance of each of `yx` (n, 2) to the nearest of `points` (m, 2); inf where there is none."""
    if not len(points) or not len(yx):
        return np.full(len(yx), np.inf)
    return cKDTree(points).query(yx)[0]


def accepted(found: Extrema, level: np.ndarray, regions: np.ndarray, spacing: float) -> np.ndarray:
    """(n,) bool: extrema beyond `level` (n,) in the crystal; ringing of strong neighbours and the border are not."""
    size = np.abs(found.z)
    sure = (size >= level) & (region_at(regions, found.yx) == LATTICE)
    # at the border part of a column is missing, fly-back and filling bend what is left, and the periodic part leans out
    inwards = from_border(found.yx, regions.shape)
    sure &= (inwards > BORDER * spacing) & ((inwards > spacing) | (size > NEAR_BORDER * level))
    dirt = regions == AMORPHOUS
    if dirt.any():
        away = region_at(ndimage.distance_transform_edt(~dirt), found.yx)
        sure &= (away > NEAR_DIRT * spacing) | (size > DIRT_LEVEL * level)
    sure &= ~((found.z < 0) & beside_hole(regions, found.yx, spacing))
    distance = np.linalg.norm(found.yx[:, None] - found.yx[None], axis=2)
    other = np.sign(found.z)[:, None] != np.sign(found.z)[None]
    sure &= ~((distance < RING * spacing) & other & (size[:, None] < SHADOW * size[None])).any(1)
    sure &= ~((distance < BESIDE * spacing) & (size[:, None] < DISPLACED * size[None])).any(1)
    return sure


def beside_hole(regions: np.ndarray, yx: np.ndarray, spacing: float) -> np.ndarray:
    """(n,) bool: points `yx` (n, 2) within `BESIDE_HOLE` of a hole."""
    hole = regions == HOLE
    if not hole.any():
        return np.zeros(len(yx), bool)
    return region_at(ndimage.distance_transform_edt(~hole), yx) < BESIDE_HOLE * spacing


def crowded(defects: Extrema, spacing: float) -> np.ndarray:
    """(L,) bool: one of `CROWD` or more dark neighbours, which are a hole and no point defects."""
    near = cKDTree(defects.yx).query_pairs(RING * spacing, output_type="ndarray")
    near = near[(defects.z[near] < 0).all(1)] if len(near) else near.reshape(0, 2)
    n = len(defects.z)
    graph = coo_matrix((np.ones(len(near)), (near[:, 0], near[:, 1])), (n, n))
    group = connected_components(graph, directed=False)[1]
    return np.bincount(group)[group] >= CROWD


def displaced(found: Extrema, phase: np.ndarray, vectors_px: np.ndarray, spacing: float) -> np.ndarray:
    """(n,) bool: beside a stronger one, and at no place of the cell where those sit that stand alone.

    A vacancy pulls its neighbours, and a heavy column that has moved a little leaves as dark a spot beside itself as a
    light one that is missing. phase: (n, 2) places in the cell; vectors_px: (2, 2). Where nothing stands alone, places
    are not known.
    """
    size, distance = np.abs(found.z), np.linalg.norm(found.yx[:, None] - found.yx[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    alone = distance.min(1, initial=np.inf) > RING * spacing
    beside = ((distance < BESIDE * spacing) & (size[None] > size[:, None])).any(1)
    if not alone.any():
        return np.zeros(len(size), bool)
    off = phase[:, None] - phase[alone][None]
    away = np.linalg.norm((off - np.rint(off)) @ vectors_px, axis=2).min(1)
    return beside & (away > OFF_PLACE * spacing)


def cover(regions: np.ndarray, yx: np.ndarray, radius: float, value: int, keep: np.ndarray | None = None) -> None:
    """Write `value` over crystal in the discs of `radius` px around `yx` (n, 2), in place; not where `keep` (m, 2) is
    nearer."""
    reach = int(np.ceil(radius))
    grid = np.arange(-reach, reach + 1)
    offsets = np.stack(np.meshgrid(grid, grid, indexing="ij"), -1).reshape(-1, 2)
    kept = cKDTree(keep) if keep is not None and len(keep) else None
    for centre in yx:
        places = np.rint(centre).astype(int) + offsets
        distance = np.linalg.norm(places - centre, axis=1)
        use = (distance <= radius) & ((places >= 0) & (places < np.array(regions.shape))).all(1)
        if kept is not None:
            use &= kept.query(places)[0] >= distance
        places = places[use]
        places = places[regions[tuple(places.T)] == LATTICE]
        regions[tuple(places.T)] = value
