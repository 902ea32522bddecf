"""Columns around a defect: where the ideal crystal has them, the picture in the crystal's own frame, and a linear fit
of all their displacements at once.

The fit is linear in the picture: a column of height A at r0 moved by d looks like A p(r - r0) - A d . grad p(r - r0),
for displacements far below the width of p. So the mean over noisy pictures is the fit of their mean, without the bias
that fitting each noisy column by itself has. p is a sum of two Gaussians, fitted to the ideal crystal of the movie.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter
from scipy.optimize import minimize

from stemdefects.crystal.material import Material

STEP_NM = 0.04  # between points of the pictures in the crystal's frame: about a pixel of usual movies
REACH = 0.1  # displacements beyond are no displacements of this column
HALO = 1.6  # width of the light that a changed centre adds or lacks, of the spot's narrow part


@dataclass(frozen=True)
class Surroundings:
    """Ideal columns around a column of one sublattice, in nm relative to it, in the crystal's frame.

    position_nm: (m, 2) y, x by distance, the column itself first; site: (m,) sublattice; inner: (m,) bool, the column
    and its nearest neighbours, whole shells of them; known: (m,) bool, inside the picture, the others only add light.
    """

    position_nm: np.ndarray
    site: np.ndarray
    inner: np.ndarray
    known: np.ndarray

    @property
    def distance_nm(self) -> np.ndarray:
        return np.hypot(*self.position_nm.T)


def surroundings(material: Material, site: int, radius_nm: float, n_nearest: int = 7) -> Surroundings:
    """Columns within `radius_nm` (and a margin of 0.2 nm) of one of sublattice `site`; whole shells are nearest until
    there are at least `n_nearest` of them, the column itself included."""
    from stemdefects.crystal import lattice

    around = lattice.disc(material, radius_nm + 0.2 + 2 * material.a_nm)
    atoms = np.array([sum(n for _, n in material.states[s.ideal].atoms) for s in material.sites])
    own = np.flatnonzero((around.site == site) & (around.cell == 0).all(1))[0]
    position = around.position_nm - around.position_nm[own]
    distance = np.hypot(*position.T)
    keep = np.flatnonzero((distance < radius_nm + 0.2) & ((atoms[around.site] > 0) | (distance < 1e-9)))
    keep = keep[np.argsort(distance[keep], kind="stable")]
    distance = distance[keep]
    last = distance[min(n_nearest, len(keep)) - 1]
    return Surroundings(
        position[keep], around.site[keep], distance < last + 0.02, distance < radius_nm - 0.05 * (radius_nm > 0.3)
    )


def grid(radius_nm: float) -> np.ndarray:
    """(p, 2) points y, x of a disc, STEP_NM apart."""
    n = int(radius_nm / STEP_NM)
    y, x = np.meshgrid(*[np.arange(-n, n + 1) * STEP_NM] * 2, indexing="ij")
    points = np.stack([y.ravel(), x.ravel()], 1)
    return points[np.hypot(*points.T) <= radius_nm]


def smooth(image: np.ndarray) -> np.ndarray:
    """Spline coefficients of an image, for `pictures`."""
    return spline_filter(np.asarray(image, np.float32), order=3, output=np.float32)


def pictures(coefficients: np.ndarray, centres_px: np.ndarray, to_px: np.ndarray, points_nm: np.ndarray) -> np.ndarray:
    """The image in the crystal's frame around each centre.

    Args:
        coefficients: (H, W) of `smooth`.
        centres_px: (n, 2).
        to_px: (2, 2) or (n, 2, 2) matrix from crystal nm (row vectors) to image px.
        points_nm: (p, 2) of `grid`.

    Returns:
        (n, p); points outside the image take the nearest value.
    """
    offset = points_nm @ np.broadcast_to(to_px, (len(centres_px), 2, 2))
    place = centres_px[:, None] + offset
    return map_coordinates(coefficients, place.transpose(2, 0, 1), order=3, mode="nearest", prefilter=False)


@dataclass(frozen=True)
class Spot:
    """Image of one column: two Gaussians of unit height, widths in nm, `share` of the wider one."""

    narrow: float
    wide: float
    share: float

    def value(self, offset: np.ndarray) -> np.ndarray:
        """(..., 2) offsets -> (...)."""
        square = (offset**2).sum(-1)
        return (1 - self.share) * np.exp(-square / (2 * self.narrow**2)) + self.share * np.exp(
            -square / (2 * self.wide**2)
        )

    def slope(self, offset: np.ndarray) -> np.ndarray:
        """(..., 2) gradient."""
        square = (offset**2).sum(-1)
        weight = (1 - self.share) / self.narrow**2 * np.exp(-square / (2 * self.narrow**2))
        weight = weight + self.share / self.wide**2 * np.exp(-square / (2 * self.wide**2))
        return -offset * weight[..., None]


def fit_spot(mean: np.ndarray, points_nm: np.ndarray, around: Surroundings) -> Spot:
    """The spot that explains the mean picture (p,) of an ideal column's surroundings best, with one height per
    sublattice and a flat background."""
    offset = points_nm[:, None] - around.position_nm
    sites = np.unique(around.site)

    def misfit(x):
        narrow, wide = np.exp(x[:2])
        spot = Spot(narrow, wide, 1 / (1 + np.exp(-x[2])))
        value = spot.value(offset)
        design = np.column_stack([*[value[:, around.site == g].sum(1) for g in sites], np.ones(len(mean))])
        left = mean - design @ np.linalg.lstsq(design, mean, rcond=None)[0]
        return float((left**2).mean())

    start = np.log([0.045, 0.09]), -1.5
    found = minimize(misfit, [*start[0], start[1]], method="Nelder-Mead", options={"maxiter": 200, "xatol": 1e-3})
    narrow, wide = np.sort(np.exp(found.x[:2]))
    share = 1 / (1 + np.exp(-found.x[2]))
    if np.exp(found.x[0]) > np.exp(found.x[1]):
        share = 1 - share
    return Spot(float(np.clip(narrow, 0.02, 0.1)), float(np.clip(wide, 0.025, 0.3)), float(share))


class Fit:
    """The linear fit for one kind of surroundings and one spot: heights and moments of many pictures at once.

    The true spot is not two Gaussians, and a centre brighter or darker than the crystal's throws other light on its
    neighbours than the ideal one; a halo around the centre takes that up, else neighbours of a vacancy seem to move.
    """

    def __init__(self, points_nm: np.ndarray, around: Surroundings, spot: Spot):
        self.around = around
        offset = points_nm[:, None] - around.position_nm
        value, slope = spot.value(offset), spot.slope(offset)
        known = np.flatnonzero(around.known)
        halo = np.exp(-(points_nm**2).sum(1) / (2 * (HALO * spot.narrow) ** 2))
        beyond = [value[:, (around.site == g) & ~around.known].sum(1) for g in np.unique(around.site)]
        design = np.column_stack(
            [
                value[:, known],
                -slope[:, known, 0],
                -slope[:, known, 1],
                *beyond,
                halo,
                np.ones(len(points_nm)),
                points_nm,
            ]
        )
        scale = np.maximum(np.abs(design).max(0), 1e-9)
        self._solve = np.linalg.pinv(design / scale, rcond=1e-4) / scale[:, None]
        self.known, self.n = known, len(known)

    def __call__(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pictures (n, p) -> heights (n, k) and moments A d (n, k, 2) of the k known columns."""
        found = pictures @ self._solve.T
        k = self.n
        return found[:, :k], np.stack([found[:, k : 2 * k], found[:, 2 * k : 3 * k]], -1)


def relative(displacement: np.ndarray, position: np.ndarray, weight: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Displacements (n, k, 2) less what the columns outside `inner` (k,) do together: shift, turn and stretch.

    weight: (k,) of each column. With fewer than six outer columns only the shift of all is taken off.
    """
    outer = ~inner
    if outer.sum() < 6:
        return displacement - np.average(displacement, axis=1, weights=weight)[:, None]
    design = np.column_stack([np.ones(len(position)), position])
    root = np.sqrt(weight[outer])[:, None]
    solve = np.linalg.pinv(design[outer] * root)
    affine = np.einsum("ck,nkd->ncd", solve, displacement[:, outer] * root)
    return displacement - np.einsum("kc,ncd->nkd", design, affine)
