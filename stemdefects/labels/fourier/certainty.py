"""Which labels are sure: what is a point defect beyond doubt, in which frames, and what is left unsaid."""

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from scipy.stats import chi2

from stemdefects.labels.fourier import defects as fourier_defects
from stemdefects.labels.fourier.defects import Extrema

UNKNOWN, LATTICE, HOLE, AMORPHOUS = -1, 0, 1, 2  # regions
DISC = 0.42  # radius of what one defect covers, in lattice spacings
SHADOW = 0.45  # an extremum of the other sign this much weaker than its neighbour is that neighbour's ringing
DISPLACED = 0.3  # one of either sign so much weaker may be columns that have moved towards the defect
BORDER = 0.25  # of a lattice spacing
CHANGED = 1e-3  # false alarm rate of the test whether a defect changes from frame to frame
CROWD = 4


def sorted_out(found: Extrema, level: float, regions: np.ndarray, spacing: float) -> tuple[Extrema, Extrema]:
    """(labelled, unsure) of all extrema: ringing of strong neighbours, the border and the rest of the frame are not."""
    size = np.abs(found.z)
    cell = np.clip(np.rint(found.yx).astype(int), 0, np.array(regions.shape) - 1)
    sure = (size >= level) & (regions[tuple(cell.T)] == LATTICE)
    # at the border part of a column is missing, and fly-back and filling bend what is left
    sure &= ((found.yx > BORDER * spacing) & (found.yx < np.array(regions.shape) - 1 - BORDER * spacing)).all(1)
    distance = np.linalg.norm(found.yx[:, None] - found.yx[None], axis=2)
    other = np.sign(found.z)[:, None] != np.sign(found.z)[None]
    sure &= ~((distance < 1.3 * spacing) & other & (size[:, None] < SHADOW * size[None])).any(1)
    sure &= ~((distance < 0.9 * spacing) & (size[:, None] < DISPLACED * size[None])).any(1)
    return found.take(sure), found.take(~sure)


def still_there(z: np.ndarray, defects: Extrema, yx: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """(N, L) bool: the defect is in this frame beyond doubt.

    A defect that looks the same in all frames is in each of them, even where one frame could not show it. One that
    changes (it hopped, healed, a hole opened) counts only in frames that show it by themselves.

    z: (N, H, W) significance of each frame; yx: (N, L, 2); levels: (N,) thresholds of single frames.
    """
    here = np.sign(defects.z) * np.stack([
        ndimage.map_coordinates(m, p.T, order=1, mode="nearest") for m, p in zip(z, yx, strict=True)
    ])  # fmt: skip
    if len(z) == 1:
        return np.ones(here.shape, bool)
    # sub-pixel places cost a few per cent of a strong defect: that is no change
    spread = np.sqrt(1 + (0.12 * here.mean(0)) ** 2)
    changing = (((here - here.mean(0)) / spread) ** 2).sum(0) > chi2.ppf(1 - CHANGED, len(z) - 1)
    return ~changing | (here > levels[:, None])


def crowded(defects: Extrema, spacing: float) -> np.ndarray:
    """(L,) bool: one of `CROWD` or more dark neighbours, which are a hole and no point defects."""
    near = cKDTree(defects.yx).query_pairs(1.3 * spacing, output_type="ndarray")
    near = near[(defects.z[near] < 0).all(1)] if len(near) else near.reshape(0, 2)
    n = len(defects.z)
    graph = coo_matrix((np.ones(len(near)), (near[:, 0], near[:, 1])), (n, n))
    group = connected_components(graph, directed=False)[1]
    return np.bincount(group)[group] >= CROWD


def only_here(z: np.ndarray, yx: np.ndarray, level: float, spacing: float) -> np.ndarray:
    """(m, 2) what this frame shows beyond doubt although the frames together do not."""
    found = fourier_defects.extrema(z, level, DISC * spacing)
    if not len(found.z):
        return found.yx
    distance = np.linalg.norm(found.yx[:, None] - yx[None], axis=2).min(1)
    return found.yx[distance > DISC * spacing]


def cover(regions: np.ndarray, yx: np.ndarray, radius: float, value: int, keep: np.ndarray | None = None) -> None:
    """Write `value` into the discs of `radius` px around `yx` (n, 2), in place; not where `keep` (m, 2) is nearer."""
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
        regions[tuple(places[use].T)] = value
