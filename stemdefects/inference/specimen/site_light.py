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
from stemdefects.numerics.borders import from_border

AROUND = 37  # columns of the brightest sublattice that say what is usual: three rings and a half
EMPTY = 6  # empty places that say what the background is here
MIN_APART = 0.9  # of the bond: an empty place is this far from every column
BORDER = 2.0  # widths of the Gaussian: nearer to the border light is missing
_STEPS = 12  # of the search for empty places, along each lattice vector; takes in thirds and quarters


class SiteLight(NamedTuple):
    """ratio: (n,) light over that of an ideal column of the sublattice `unit`, NaN at the border and where the lattice
    has no empty place; unit: the brightest sublattice by the material's signals."""

    ratio: np.ndarray
    unit: int


def empty_places(material: Material) -> np.ndarray:
    """(k, 2) places of the cell, in units of the lattice vectors, that are farthest from all columns; none where the
    columns leave no room (nearer than `MIN_APART` bonds)."""
    fixed = [tuple(s.position) for s in material.sites if not s.floating]
    return _empty_places(tuple(fixed), np.asarray(material.lattice_nm, float).tobytes())


def measure(
    image: np.ndarray, place_px: np.ndarray, site: np.ndarray, material: Material, vectors_px: np.ndarray,
    pixel_nm: float,
) -> SiteLight:  # fmt: skip
    """The light of n columns. image: (H, W) counts in any unit; place_px: (n, 2) y, x; site: (n,) sublattice;
    vectors_px: (2, 2) lattice vectors, all in pixels of the image; pixel_nm: of the image, for the Gaussian's width."""
    signal = material.intensities()[material.ideal_states]
    fixed = np.array([not s.floating for s in material.sites])
    unit = int(np.argmax(np.where(fixed, signal, -np.inf)))
    ratio = np.full(len(site), np.nan)
    lit = np.flatnonzero(site == unit)
    empty = empty_places(material)
    if len(lit) < column_intensity.MIN_COLUMNS or not len(empty):
        return SiteLight(ratio, unit)
    width_px = column_intensity.WIDTH_NM / pixel_nm
    steps = (empty - material.sites[unit].position) @ vectors_px
    nothing = (place_px[lit][:, None] + steps).reshape(-1, 2)
    spacing = np.sqrt(abs(np.linalg.det(vectors_px)))
    away, _ = cKDTree(place_px).query(nothing)
    nothing = nothing[(from_border(nothing, image.shape) > 0) & (away > 0.3 * spacing)]
    if len(nothing) < column_intensity.MIN_COLUMNS:
        return SiteLight(ratio, unit)
    image, places = np.asarray(image, np.float32), np.concatenate([place_px, nothing]).astype(float)
    light = column_intensity.amplitudes(column_intensity.smoothed(image, places, width_px), places, width_px)
    n = len(site)
    distance, near = cKDTree(nothing).query(place_px, k=EMPTY)
    weight = np.exp(-0.5 * (distance / (0.7 * spacing)) ** 2) + 1e-9
    light, background = light[:n], (light[n:][near] * weight).sum(1) / weight.sum(1)
    light = light - background
    _, near = cKDTree(place_px[lit]).query(place_px, k=min(AROUND, len(lit)))
    usual = np.median(light[lit][near], axis=1)
    border = from_border(place_px, image.shape)
    good = (usual > 0) & (border >= BORDER * width_px)
    ratio[good] = light[good] / usual[good]
    return SiteLight(ratio, unit)


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
