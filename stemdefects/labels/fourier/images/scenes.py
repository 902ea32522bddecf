"""Scenes: noise-free pictures of the movie's own crystal with its own defects planted in other unit cells.

The labelled defects are sorted by sign and by their place in the unit cell; the mean residual of each sort is its
shape, every label gives a height. A scene is what repeats with the lattice plus many shapes of drawn heights at places
where that sort of defect can sit. So few and weak labels become many exact ones, of exactly this movie's contrast,
without any crystal structure, and what was labelled by mistake is no longer shown at the same places again and again.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from stemdefects.labels.fourier.points.certainty import DISC, LATTICE
from stemdefects.labels.fourier.points.moving import ALL

if TYPE_CHECKING:
    from stemdefects.labels.fourier.label import MovieLabels


SAME_PLACE = 0.2  # of a lattice spacing: labels this near in the unit cell are of one sort
APART = 0.45  # of a lattice spacing: least distance of planted defects
REACH, FLAT = 1.05, 0.6  # of a lattice spacing: extent of a shape, and to where it does not fade out
ALONE = 1.3  # lattice spacings around a defect that shows its shape undisturbed
DENSITY = (0.03, 0.08)  # planted defects per unit cell, at least and at most
LIKE = 0.25  # heights this close (relative) count as the same when rare ones are drawn more often
SPREAD = 0.1  # relative, of planted heights around measured ones
SHAPE_KNOWN, PIXELS_KNOWN = 64.0, 1000.0  # summed z^2 at which the measured shape, its single pixels count by half
BELIEVED = 3  # labels of one sort and height, or one this much surer than the threshold:
MARGIN = 1.5  # standard deviations of the noise


@dataclass(frozen=True)
class Sort:
    """Defects of one sign at one place of the unit cell: state (0 dark, 1 bright), offset_px (2,) from the centre of
    the cell, shape (s, s) of height about 1; of its labels: heights (n,) in the frames' units, z (n,), numbers (n,)."""

    state: int
    offset_px: np.ndarray
    shape: np.ndarray
    heights: np.ndarray
    z: np.ndarray
    labels: np.ndarray


class Scenes(NamedTuple):
    """M pictures (M, H, W) and what was planted: yx (M, P, 2), label (M, P) it is a copy of, there (M, P) bool."""

    pictures: np.ndarray
    yx: np.ndarray
    label: np.ndarray
    there: np.ndarray


def cell_origins(labels: "MovieLabels") -> np.ndarray:
    """(n, 2) places of the brightest column of each cell in the first frame, wherever the scan has put it."""
    spacing = labels.lattice.spacing_px
    height, width = labels.cell.shape[1:]
    place = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1)
    centre = np.moveaxis(labels.cell, 0, -1)
    centre = centre[np.linalg.norm(place - centre, axis=-1) < 0.75]
    pairs = cKDTree(centre).query_pairs(0.3 * spacing, output_type="ndarray").reshape(-1, 2)
    graph = coo_matrix((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), (len(centre), len(centre)))
    n, group = connected_components(graph, directed=False)
    count = np.bincount(group, minlength=n)
    origins = np.stack([np.bincount(group, c, n) / count for c in centre.T], 1)
    # cells at the border may have their brightest column outside and others inside
    for step in (*labels.lattice.vectors_px, *-labels.lattice.vectors_px):
        more = origins + step
        distance, _ = cKDTree(origins).query(more)
        edge = ((more > -1.2 * spacing) & (more < np.array([height, width]) + 1.2 * spacing)).all(1)
        origins = np.concatenate([origins, more[(distance > 0.6 * spacing) & edge]])
    return origins


def sorts(labels: "MovieLabels", use: np.ndarray) -> list[Sort]:
    """The sorts of defects among the labels `use` (L,) bool, the strongest first."""
    spacing, vectors = labels.lattice.spacing_px, labels.lattice.vectors_px
    yx, z = labels.defects.yx, labels.defects.z
    shape = np.array(labels.clean.shape)
    centre = labels.cell[(slice(None), *np.clip(np.rint(yx).astype(int), 0, shape - 1).T)].T
    steps = np.stack(np.meshgrid((-1, 0, 1), (-1, 0, 1), indexing="ij"), -1).reshape(-1, 2) @ vectors
    offset = yx - centre
    groups: list[list[int]] = []
    middle: list[np.ndarray] = []
    for i in np.argsort(-np.abs(z), kind="stable"):
        if not use[i]:
            continue
        for number, members in enumerate(groups):
            images = offset[i] + steps
            distance = np.linalg.norm(images - middle[number], axis=1)
            if np.sign(z[members[0]]) == np.sign(z[i]) and distance.min() < SAME_PLACE * spacing:
                offset[i] = images[np.argmin(distance)]
                members.append(int(i))
                middle[number] = np.average(offset[members], axis=0, weights=np.abs(z[members]))
                break
        else:
            groups.append([int(i)])
            middle.append(offset[i].copy())
    everything = np.concatenate([yx, labels.unsure_yx])
    of = np.concatenate([labels.frame, np.full(len(labels.unsure_yx), ALL)])
    alone = _alone(len(yx), everything, of, ALONE * spacing)
    found = []
    for members, where in zip(groups, middle, strict=True):
        members = np.array(members)
        ideal = yx[members] - offset[members] + where
        pieces = np.stack([_seen(labels, i, p, spacing) for i, p in zip(members, ideal, strict=True)])
        shape, heights = _shaped(pieces, alone[members], z[members], labels.sigma_px, spacing)
        found.append(Sort(int(z[members[0]] > 0), where, shape, heights, z[members], members))
    return found


def _alone(n: int, yx: np.ndarray, frame: np.ndarray, reach: float) -> np.ndarray:
    """(n,) bool: the first `n` of `yx` (m, 2) that have no other within `reach` in the frames that show them.

    frame: (m,) the only frame that shows a point, or `ALL`.
    """
    pairs = cKDTree(yx).query_pairs(reach, output_type="ndarray").reshape(-1, 2)
    together = (frame[pairs[:, 0]] == frame[pairs[:, 1]]) | (frame[pairs] == ALL).any(1)
    return ~np.isin(np.arange(n), pairs[together])


def _grid(spacing: float) -> np.ndarray:
    reach = int(np.ceil(REACH * spacing))
    return np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).astype(float)


def gaussian(spacing: float, sigma_px: float) -> np.ndarray:
    """(s, s) of height 1, of the extent of a shape."""
    return np.exp(-0.5 * (_grid(spacing) ** 2).sum(-1) / sigma_px**2)


def _piece(image: np.ndarray, centre: np.ndarray, spacing: float) -> np.ndarray:
    """(s, s) of `image` around `centre`, fading out beyond the nearest columns, which may have moved."""
    grid = _grid(spacing)
    distance = np.linalg.norm(grid, axis=-1)
    ramp = np.clip((REACH * spacing - distance) / ((REACH - FLAT) * spacing), 0, 1)
    places = np.moveaxis(grid + centre, -1, 0)
    return ndimage.map_coordinates(image, places, order=3, mode="nearest") * ramp**2 * (3 - 2 * ramp)


def _seen(labels, number: int, centre: np.ndarray, spacing: float) -> np.ndarray:
    """Piece around `centre` (2,), in the first frame, of what shows label `number`: all frames or its own one."""
    frame = labels.frame[number]
    if frame == ALL:
        return _piece(labels.steps["residual"], centre, spacing)
    return _piece(labels.residuals[frame], centre + labels.shift_px[frame], spacing)


def _shaped(pieces, alone, z, sigma_px, spacing) -> tuple[np.ndarray, np.ndarray]:
    """Shape (s, s) and heights (n,) of one sort, whose product comes closest to its pieces (n, s, s)."""
    column = gaussian(spacing, sigma_px)
    near = gaussian(spacing, DISC * spacing)  # further out are the neighbours' own defects
    norm = (column**2).sum()
    trust = float((z[alone] ** 2).sum())  # pieces with other defects in them teach no shape
    blur = 0.6 * sigma_px * PIXELS_KNOWN / (trust + PIXELS_KNOWN)

    def measure(shape):
        return (pieces * near * shape).sum((1, 2)) / (near * shape**2).sum()

    shape = column
    for _ in range(3):
        if not alone.any():
            break
        heights = measure(shape)[alone]
        mean = (heights[:, None, None] * pieces[alone]).sum(0) / (heights**2).sum()
        mean = ndimage.gaussian_filter(mean, blur)
        mean = mean * norm / max((mean * column).sum(), 0.3 * norm)
        shape = (trust * mean + SHAPE_KNOWN * column) / (trust + SHAPE_KNOWN)
    heights = measure(shape)
    # a neighbour in the piece may turn a height around: then what the filter saw counts
    heights = np.where(np.sign(heights) == np.sign(z), heights, z * np.median(np.abs(heights)) / np.median(np.abs(z)))
    return shape, heights


def make(labels: "MovieLabels", allowed: np.ndarray, n_scenes: int, seed: int, as_common: bool = False) -> Scenes:
    """`n_scenes` scenes with the defects of the labels within `allowed` (H, W) bool, planted there as well.

    as_common: as many in a scene as a frame shows (one at least), else more, for training.
    """
    rng = np.random.default_rng(seed)
    spacing = labels.lattice.spacing_px
    shape = np.array(labels.clean.shape)

    def inside(yx, where):
        cell = np.rint(yx).astype(int)
        ok = ((cell >= 0) & (cell < shape)).all(-1)
        return ok & where[tuple(np.clip(cell, 0, shape - 1).T)]

    # shapes and places in the cell are those of one grain, the largest
    own = np.ones(labels.clean.shape, bool) if labels.member is None else labels.member == 0
    use = inside(labels.defects.yx, allowed & own) & labels.sure.any(0)
    chosen, like = [], []  # and how many labels of the same sort are about as strong
    for sort in sorts(labels, use):
        alike = (np.abs(np.log(sort.heights[:, None] / sort.heights)) < LIKE).sum(1)
        believed = (alike >= BELIEVED) | (np.abs(sort.z) > labels.level_of()[sort.labels] + MARGIN)
        if believed.any():
            kept = {name: getattr(sort, name)[believed] for name in ("heights", "z", "labels")}
            chosen.append(dataclasses.replace(sort, **kept))
            like.append(alike[believed])
    base = labels.clean + labels.steps["rest"]
    if not chosen:
        return Scenes(
            np.repeat(base[None], n_scenes, 0),
            np.zeros((n_scenes, 1, 2)),
            np.zeros((n_scenes, 1), int),
            np.zeros((n_scenes, 1), bool),
        )
    crystal = allowed & own & (labels.steps["regions"] == LATTICE)
    origins = cell_origins(labels)
    places = [origins + s.offset_px for s in chosen]
    places = [p[inside(p, crystal)] for p in places]
    share = np.array([(n**-0.5).sum() * (len(p) > 0) for n, p in zip(like, places, strict=True)])
    n_cells = inside(origins, crystal).sum()
    n_plants = int(np.clip(2 * use.sum() / max(n_cells, 1), *DENSITY) * n_cells) + 1
    if as_common:
        n_plants = max(1, round(float(labels.sure[:, use].sum(1).mean())))
    pictures, yx = np.repeat(base[None], n_scenes, 0), np.zeros((n_scenes, n_plants, 2))
    label, there = np.zeros((n_scenes, n_plants), int), np.zeros((n_scenes, n_plants), bool)
    for m in range(n_scenes):
        taken = np.zeros((0, 2))
        for p, number in enumerate(rng.choice(len(chosen), n_plants, p=share / share.sum())):
            sort = chosen[number]
            where = places[number][rng.integers(len(places[number]))]
            if len(taken) and np.linalg.norm(taken - where, axis=1).min() < APART * spacing:
                continue
            taken = np.concatenate([taken, where[None]])
            weight = like[number] ** -0.5
            member = rng.choice(len(weight), p=weight / weight.sum())
            plant(pictures[m], where, sort.heights[member] * np.exp(SPREAD * rng.normal()) * sort.shape)
            yx[m, p], label[m, p], there[m, p] = where, sort.labels[member], True
    return Scenes(pictures, yx, label, there)


def plant(picture: np.ndarray, centre: np.ndarray, piece: np.ndarray) -> None:
    """Add `piece` (s, s) around `centre` to `picture`, in place."""
    whole = np.rint(centre).astype(int)
    moved = ndimage.shift(piece, centre - whole, order=3, mode="constant")
    reach = len(piece) // 2
    low, high = np.maximum(whole - reach, 0), np.minimum(whole + reach + 1, picture.shape)
    first = low - (whole - reach)
    last = first + (high - low)
    picture[low[0] : high[0], low[1] : high[1]] += moved[first[0] : last[0], first[1] : last[1]]
