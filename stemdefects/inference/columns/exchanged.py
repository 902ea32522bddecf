"""Which sublattice is which, where the network may be wrong about it: by the light of all columns together.

Seen from above the two sublattices of a honeycomb differ by their brightness alone. Where they are about equally bright
a network takes one for the other, column by column or in the whole frame. Which columns belong together is told by
their neighbours; what the crystal can be, on either sublattice, tells the rest: some columns twice as bright as the
others are dopants on a metal's place, and no state of a chalcogen column.
"""

from typing import NamedTuple

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.inference.columns import column_intensity
from stemdefects.inference.network.engine import Columns
from stemdefects.inference.specimen import light_levels, site_light
from stemdefects.numerics.borders import from_border
from stemdefects.numerics.medians import median
from stemdefects.numerics.nearest import medians, nearest

AROUND = 18  # columns of each sublattice that say what is usual
EMPTY = 0.6  # of a bond: an empty place is this far from every column
NEAR = 6  # empty places that say what the background is here
CLOSE = 0.3  # of a bond: a column this near to the end of a bond is the one it leads to
RATIO_PRIOR = 0.35  # of the logarithm: what is believed of the material's ratio of both sublattices' signals
AGREED = 0.97  # share of the columns that the network puts on one way round, for it to be of one mind
SURE = 5.0  # of a log-likelihood: odds of 150, for what the network says to be overruled
UNTOLD = 3.0  # likewise, odds of 20: below, which sublattice is which is not told


class Sublattices(NamedTuple):
    """columns: with the sublattices they are found to be of; moved: (n,) bool, those that the network took for the
    other's, of whose states nothing is known; told: False where both ways round are about as likely."""

    columns: Columns
    moved: np.ndarray
    told: bool


def checked(
    columns: Columns,
    image: np.ndarray,
    scale: float,
    vectors_px: np.ndarray,
    material: Material,
    stated: np.ndarray,
    image_px_nm: float,
) -> Sublattices:
    """`columns` on the likeliest of: the sublattices that the network says, and the two ways round by the neighbours.

    image: (h, w), `scale` pixels of it to one of the frame; vectors_px: (2, 2) lattice vectors of the frame, whichever
    way they put the sublattices; stated: (S,) how common the states are; image_px_nm: of the image. Crystals that are
    no honeycomb of two sublattices are left as they are."""
    nothing = Sublattices(columns, np.zeros(len(columns.site), bool), True)
    bonds = _bonds(material, vectors_px)
    if bonds is None or len(columns.site) < 2 * column_intensity.MIN_COLUMNS:
        return nothing
    place = np.stack([columns.y_px, columns.x_px], 1).astype(float)
    side = _side(place, bonds)
    first, second = np.flatnonzero([not s.floating for s in material.sites])
    known = (side != 0) & np.isin(columns.site, (first, second))
    if known.sum() < 2 * column_intensity.MIN_COLUMNS:
        return nothing
    forward = np.where(known, np.where(side > 0, first, second), columns.site)
    backward = np.where(known, np.where(side > 0, second, first), columns.site)
    agreed = float((forward == columns.site)[known].mean())
    own = forward if agreed >= 0.5 else backward
    light = _light(image, place * scale, np.where(known, side, 0), bonds * scale, image_px_nm)
    if not np.isfinite(light).any() or (max(agreed, 1 - agreed) > AGREED and _as_stated(light, own, material)):
        return nothing
    fits = np.array([_fit(light, site, material, stated) for site in (columns.site, forward, backward)])
    if not np.isfinite(fits).all():
        return nothing
    fits[1 if agreed >= 0.5 else 2] += SURE * (max(agreed, 1 - agreed) > AGREED)
    best = int(np.argmax(fits))
    if fits[best] - fits[0] < SURE:
        best = 0
    site = (columns.site, forward, backward)[best]
    opposite = fits[2] if (forward == site)[known].mean() >= 0.5 else fits[1]
    found = columns._replace(site=site.astype(columns.site.dtype))
    return Sublattices(found, site != columns.site, bool(fits[best] - opposite > UNTOLD))


def _bonds(material: Material, vectors_px: np.ndarray) -> np.ndarray | None:
    """(k, 2) steps from a column of the first sublattice to the nearest of the second; None where there are not two of
    different signal, or the steps back are the same (a square lattice)."""
    fixed = np.flatnonzero([not s.floating for s in material.sites])
    if len(fixed) != 2 or np.ptp(material.intensities()[material.ideal_states[fixed]]) == 0:
        return None
    cells = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 2, indexing="ij"), -1).reshape(-1, 2)
    steps = (cells + material.basis[fixed[1]] - material.basis[fixed[0]]) @ vectors_px
    length = np.linalg.norm(steps, axis=1)
    bonds = steps[length < 1.2 * length.min()]
    back = np.linalg.norm(bonds[:, None] + bonds[None], axis=-1).min()
    return None if back < CLOSE * length.min() else bonds


def _side(place_px: np.ndarray, bonds_px: np.ndarray) -> np.ndarray:
    """(n,) 1: more columns lie at the ends of the bonds than opposite to them; -1: fewer; 0: as many."""
    reach = CLOSE * np.linalg.norm(bonds_px, axis=1).min()
    count = np.zeros(len(place_px), int)
    for sign in (1, -1):
        for bond in bonds_px:
            away, _ = nearest(place_px, place_px + sign * bond, 1)
            count += sign * (away[:, 0] < reach)
    return np.sign(count)


def _light(
    image: np.ndarray, place_px: np.ndarray, side: np.ndarray, bonds_px: np.ndarray, pixel_nm: float
) -> np.ndarray:
    """(n,) light of the columns less that of the empty places around, over the mean of both sides' around, wherever a
    twin exchanges them; NaN unknown. side: (n,) of `_side`, 0 of columns that are not compared with."""
    out, bond = np.full(len(side), np.nan), float(np.linalg.norm(bonds_px[0]))
    empty = place_px[side > 0] - bonds_px[0]  # opposite to a bond, and so once for each ring of six columns
    free = nearest(place_px, empty, 1)[0][:, 0] > EMPTY * bond
    empty = empty[free & (from_border(empty, image.shape) > 0)]
    if min(len(empty), (side > 0).sum(), (side < 0).sum()) < column_intensity.MIN_COLUMNS:
        return out
    width_px = column_intensity.WIDTH_NM / pixel_nm
    places = np.concatenate([place_px, empty])
    seen = column_intensity.smoothed(np.asarray(image, np.float32), places, width_px)
    light = column_intensity.amplitudes(seen, places, width_px)
    n = len(side)
    light = light[:n] - medians(light[n:], empty, place_px, NEAR)
    usual = [medians(light[side == s], place_px[side == s], place_px, AROUND) for s in (1, -1)]
    mean = 0.5 * (usual[0] + usual[1])
    good = (mean > 0) & (from_border(place_px, image.shape) >= site_light.BORDER * width_px)
    out[good] = light[good] / mean[good]
    return out


def _as_stated(light: np.ndarray, site: np.ndarray, material: Material) -> bool:
    """Is the sublattice that the material says brighter by at least half as much as it says?"""
    first, second = np.flatnonzero([not s.floating for s in material.sites])
    signal = material.intensities()[material.ideal_states]
    usual = [median(light[(site == g) & np.isfinite(light)]) for g in (first, second)]
    stated = np.log(signal[second] / signal[first])
    return min(usual) > 0 and float(np.log(usual[1] / usual[0]) / stated) > 0.5


def _fit(light: np.ndarray, site: np.ndarray, material: Material, stated: np.ndarray) -> float:
    """Log-likelihood of the `light` (n,) of all columns in any unit, were they of the sublattices `site` (n,); NaN:
    unknown."""
    signal = material.intensities()[material.ideal_states]
    first, second = np.flatnonzero([not s.floating for s in material.sites])
    unit = first if signal[first] > signal[second] else second
    ratio = light / median(light[(site == unit) & np.isfinite(light)])
    known = np.isfinite(ratio) & (ratio > light_levels.RANGE[0]) & (ratio < light_levels.RANGE[1])
    levels = light_levels.learn(ratio, site, material, stated)
    total, ideal = 0.0, levels.level[material.ideal_states]
    for g in (first, second):
        if not np.isfinite(levels.scatter[g]):
            return np.nan
        states = np.flatnonzero(material.site_of_state == g)
        x, shape = ratio[known & (site == g), None], (levels.scatter[g], levels.tail[g])
        density = light_levels.bell(x, levels.level[states], shape) @ stated[states]
        anywhere = light_levels.UNKNOWN / (light_levels.RANGE[1] - light_levels.RANGE[0])
        # of the light in its own unit, and not in that of a sublattice that may be the other one
        total += float(np.log((density + anywhere) * (ratio[known][0] / light[known][0])).sum())
    seen = np.maximum(ideal[[first, second]], 1e-3)
    off = np.log(seen[1] / seen[0]) - np.log(signal[second] / signal[first])
    return total - 0.5 * (off / RATIO_PRIOR) ** 2
