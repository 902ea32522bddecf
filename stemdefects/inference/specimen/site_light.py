"""How much light each lattice site has, over that of an ideal column of the brightest sublattice around it.

Equal Gaussians are fitted at all columns and at the empty places of the lattice together (`column_intensity`). What an
empty place has is background and tails, as its neighbours have them too: their mean is taken off (compare Krivanek et
al., Nature 464, 571 (2010)). What is left is measured in units of the median of the brightest sublattice's columns
around: dose, gain and blur cancel, and no signal of the material is needed.
"""

import functools
from typing import NamedTuple

import numpy as np
from scipy.spatial import cKDTree

from stemdefects.crystal.material import Material
from stemdefects.inference.columns import column_intensity
from stemdefects.inference.columns.lattice import surroundings
from stemdefects.numerics.borders import from_border
from stemdefects.numerics.nearest import any_within, medians, nearest

AROUND = 37  # columns of the brightest sublattice that say what is usual: three rings and a half
EMPTY = 6  # empty places that say what the background is here
NEAR = 0.7  # lattice spacings: width of the Gaussian that weighs them
MIN_APART = 0.9  # of the bond: an empty place is this far from every column
BORDER = 2.0  # widths of the Gaussian: nearer to the border light is missing
STRAYED = 0.75  # of the way to an empty place: as far beside its own an atom at a hole's edge or under film may stand
_STEPS = 12  # of the search for empty places, along each lattice vector; takes in thirds and quarters


class Compared(NamedTuple):
    """What columns are compared with. lit: (m,) columns of the brightest sublattice, light seen at them (m,); nothing:
    (k, 2) empty places y, x, light seen at them (k,), and of: (k,) the one of the columns that each is looked at
    from. The light is `column_intensity.smoothed`."""

    lit: np.ndarray
    on_lit: np.ndarray
    nothing: np.ndarray
    on_nothing: np.ndarray
    of: np.ndarray


class Nothing(NamedTuple):
    """Places where the lattice has none: place_px: (k, 2); of: (k,) the column that each is looked at from; which: (k,)
    of the `empty_places` of the cell."""

    place_px: np.ndarray
    of: np.ndarray
    which: np.ndarray


class SiteLight(NamedTuple):
    """ratio: (n,) light over that of an ideal column of the sublattice `unit`, NaN at the border and where the lattice
    has no empty place; unit: the brightest sublattice by the material's signals; compared: None where there is too
    little to compare with."""

    ratio: np.ndarray
    unit: int
    compared: Compared | None = None


def empty_places(material: Material) -> np.ndarray:
    """(k, 2) places of the cell, in units of the lattice vectors, that are farthest from all columns; none where the
    columns leave no room (nearer than `MIN_APART` bonds)."""
    fixed = [tuple(s.position) for s in material.sites if not s.floating]
    return _empty_places(tuple(fixed), np.asarray(material.lattice_nm, float).tobytes())


def measure(
    image: np.ndarray,
    columns: column_intensity.Places,
    material: Material,
    vectors_px: np.ndarray,
    pixel_nm: float,
    known: np.ndarray | None = None,
) -> SiteLight:
    """The light of n columns; NaN of those on no site. image: (H, W) counts in any unit; columns: of it; vectors_px:
    (2, 2) lattice vectors, in pixels of the image; pixel_nm: of the image, for the Gaussian's width; known:
    `column_intensity.smoothed` at the first columns, where that was worked out already."""
    place_px, site, _ = columns
    unit, ratio = _unit(material), np.full(len(site), np.nan)
    lit = np.flatnonzero(site == unit)
    if len(lit) < column_intensity.MIN_COLUMNS or not len(empty_places(material)):
        return SiteLight(ratio, unit)
    width_px = column_intensity.WIDTH_NM / pixel_nm
    nothing = _nothing(image.shape, place_px, lit, material, vectors_px)
    if len(nothing.of) < column_intensity.MIN_COLUMNS:
        return SiteLight(ratio, unit)
    image, places = np.asarray(image, np.float32), np.concatenate([place_px, nothing.place_px]).astype(float)
    known = np.zeros(0) if known is None else known
    seen = np.concatenate([known, column_intensity.smoothed(image, places[len(known) :], width_px)])
    light = column_intensity.amplitudes(seen, places, width_px)
    n = len(site)
    light = light[:n] - _background(light[n:], nothing, columns, material, vectors_px)
    usual = _usual(light, lit, columns, material)
    border = from_border(place_px, image.shape)
    good = (usual > 0) & (border >= BORDER * width_px)
    ratio[good] = light[good] / usual[good]
    return SiteLight(ratio, unit, Compared(lit, seen[lit], nothing.place_px, seen[n:], nothing.of))


def _background(
    light: np.ndarray,
    nothing: Nothing,
    columns: column_intensity.Places,
    material: Material,
    vectors_px: np.ndarray,
) -> np.ndarray:
    """(n,) what the light (k,) of the places of `nothing` is around the columns, NaN off the lattice."""
    place_px, site, cell = columns
    around = surroundings.steps(material.basis, empty_places(material), material.lattice_nm, EMPTY)
    away = around.away / np.sqrt(abs(np.linalg.det(material.lattice_nm)))
    where = np.column_stack([cell[nothing.of], nothing.which]).astype(np.int64)
    weight = np.exp(-0.5 * (away / NEAR) ** 2)
    out, count = surroundings.weighted_means(light, where, cell, site, around.cells, weight)
    few = np.flatnonzero((count <= EMPTY // 2) & (cell[:, 0] != surroundings.NOWHERE))
    if len(few):
        distance, near = nearest(nothing.place_px, place_px[few], EMPTY)
        spacing = np.sqrt(abs(np.linalg.det(vectors_px)))
        weight = np.exp(-0.5 * (distance / (NEAR * spacing)) ** 2) + 1e-9
        out[few] = (light[near] * weight).sum(1) / weight.sum(1)
    return out


def _usual(light: np.ndarray, lit: np.ndarray, columns: column_intensity.Places, material: Material) -> np.ndarray:
    """(n,) median of the light (n,) of the columns `lit` around each column, NaN off the lattice."""
    place_px, site, cell = columns
    source = np.zeros(len(light), bool)
    source[lit] = cell[lit, 0] != surroundings.NOWHERE
    around = surroundings.steps(material.basis, material.basis[site[lit[:1]]], material.lattice_nm, AROUND)
    out, count = surroundings.medians(light, source, cell, site, around)
    few = np.flatnonzero((count <= AROUND // 2) & (cell[:, 0] != surroundings.NOWHERE))
    if len(few) and source.any():
        out[few] = medians(light[source], place_px[source], place_px[few], AROUND)
    return out


def beside(
    image: np.ndarray,
    asked: np.ndarray,
    place_px: np.ndarray,
    compared: Compared | None,
    material: Material,
    vectors_px: np.ndarray,
    pixel_nm: float,
) -> np.ndarray:
    """(m,) most light anywhere around the places `asked` (m,), indices of ones of the brightest sublattice, over what
    its columns have at theirs: of an atom that strayed, or of a neighbour. 0 where there are few columns.

    compared: as `measure` of the same columns says; the rest as there."""
    if not len(asked) or compared is None:
        return np.zeros(len(asked))
    others = np.ones(len(place_px), bool)
    others[asked] = False
    lit, empty = others[compared.lit], others[compared.of]
    if min(lit.sum(), empty.sum()) < column_intensity.MIN_COLUMNS:
        return np.zeros(len(asked))
    width_px, image = column_intensity.WIDTH_NM / pixel_nm, np.asarray(image, np.float32)
    cells = np.stack(np.meshgrid(*[[-1, 0, 1]] * 2, indexing="ij"), -1).reshape(-1, 1, 2)
    steps = (empty_places(material) - material.sites[_unit(material)].position + cells) @ vectors_px
    reach, step = STRAYED * np.linalg.norm(steps, axis=-1).min(), width_px / 2
    n = int(reach / step)
    grid = step * np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
    grid = grid[np.linalg.norm(grid, axis=1) <= reach]
    around = (place_px[asked][:, None] + grid).reshape(-1, 2)
    seen = column_intensity.smoothed(image, np.asarray(around, float), width_px).reshape(len(asked), -1).max(1)
    usual = medians(compared.on_lit[lit], place_px[compared.lit[lit]], place_px[asked], AROUND)
    background = medians(compared.on_nothing[empty], compared.nothing[empty], place_px[asked], EMPTY)
    return (seen - background) / np.maximum(usual - background, 1e-12)


def _nothing(
    shape: tuple[int, ...], place_px: np.ndarray, lit: np.ndarray, material: Material, vectors_px: np.ndarray
) -> Nothing:
    """Places inside an image of this `shape` where the lattice has none, seen from the columns `lit`."""
    steps = (empty_places(material) - material.sites[_unit(material)].position) @ vectors_px
    nothing, of = (place_px[lit][:, None] + steps).reshape(-1, 2), np.repeat(lit, len(steps))
    alone = ~any_within(place_px, nothing, 0.3 * float(np.sqrt(abs(np.linalg.det(vectors_px)))))
    use = np.flatnonzero((from_border(nothing, shape) > 0) & alone)
    return Nothing(nothing[use], of[use], np.tile(np.arange(len(steps)), len(lit))[use])


def _unit(material: Material) -> int:
    """The brightest sublattice of the lattice."""
    signal = material.intensities()[material.ideal_states]
    return int(np.argmax(np.where([not s.floating for s in material.sites], signal, -np.inf)))


@functools.lru_cache(maxsize=8)
def _empty_places(positions: tuple[tuple[float, float], ...], lattice: bytes) -> np.ndarray:
    vectors = np.frombuffer(lattice).reshape(2, 2)
    part = np.arange(_STEPS) / _STEPS
    tried = np.stack(np.meshgrid(part, part, indexing="ij"), -1).reshape(-1, 2)
    cells = np.stack(np.meshgrid([-2, -1, 0, 1, 2], [-2, -1, 0, 1, 2], indexing="ij"), -1).reshape(-1, 2)
    columns = ((np.array(positions)[:, None] + cells).reshape(-1, 2)) @ vectors
    away, _ = cKDTree(columns).query(tried @ vectors)
    apart, _ = cKDTree(columns).query(columns, k=2)
    if away.max() < MIN_APART * apart[:, 1].min():
        return np.zeros((0, 2))
    return tried[away > away.max() * (1 - 1e-6)]
