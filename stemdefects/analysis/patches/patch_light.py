"""How much light the column in the middle of a patch and its three bonded columns have, by least squares.

A patch is fitted as a sum of equal Gaussians at the columns of its lattice plus a plane. So uneven background is taken
off patch by patch and the tails of neighbours are told apart from light of a column's own (compare Van Aert et al.,
Ultramicroscopy 109, 1236 (2009)). Columns may stand a little off their places: a vacancy draws its neighbours in, and
tails that come 0.01 nm nearer look like light of half a sulphur atom.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from stemdefects.analysis.patches import patch_fit
from stemdefects.crystal import lattice as geometry
from stemdefects.crystal.material import Material
from stemdefects.numerics import robust

WIDTHS_NM = (0.035, 0.04, 0.045, 0.05, 0.055, 0.06, 0.07)  # of the Gaussian; the one that fits best is taken
MOVED_NM = 0.01  # standard deviation of a column's displacement from its place, before the patch is seen
SHIFT_NM = 0.05  # and of the whole patch
FREE_NM = 0.40  # columns so near move by themselves, those beyond with the patch
N_BONDS = 3  # of a column in a honeycomb
_ROUNDS = 5  # of Gauss-Newton
_RIDGE = 1e-3  # keeps the normal equations solvable
_BLOCK = 200  # patches at a time, for bounded memory
_LEAST_FLOOR = 0.05  # of the light under a column, in units of an ideal one


@dataclass(frozen=True)
class Light:
    """Light of columns in units of an ideal column of the brighter sublattice in the same patch; NaN where unknown.

    own: (n,) of the column in the middle; beside: (n, 3) of its bonded columns, counted by angle; site: (n,) sublattice
    of the middle, -1 where unknown, and 0 for all where the sublattices are alike. floor: the light that lies under
    every column, so that the variance of what is measured is in proportion to light + floor (counting electrons).
    """

    own: np.ndarray
    beside: np.ndarray
    site: np.ndarray
    floor: float = np.inf

    @property
    def known(self) -> np.ndarray:
        """(n,) bool."""
        return np.isfinite(self.own) & np.isfinite(self.beside).all(1)

    def even(self, light: np.ndarray) -> np.ndarray:
        """Light on a scale where the noise is as large everywhere and as good as Gaussian (Anscombe, Biometrika 35,
        246 (1948)); small values stay as they are."""
        if not np.isfinite(self.floor):
            return light
        least = 0.1 * self.floor  # below, the root is carried on by its tangent
        root = np.sqrt(np.maximum(light + self.floor, least))
        root = np.where(light + self.floor < least, root + (light + self.floor - least) / (2 * root), root)
        return 2 * np.sqrt(self.floor) * (root - np.sqrt(self.floor))


def measure(patches: np.ndarray, vectors_px: np.ndarray, material: Material | None, patch_nm: float) -> Light | None:
    """Light of patches (n, h, h) of side `patch_nm`; vectors_px: (n, 2, 2) lattice vectors in pixels of the patch.

    None for a material whose lattice is no honeycomb of two sublattices. Which sublattice a patch is centred on is
    what fits it better. About .7 ms of a processor a patch.
    """
    sites = _honeycomb(material)
    if material is None or sites is None:
        return None
    signal = material.intensities()[material.ideal_states[list(sites)]]
    bright, alike = sites[int(np.argmax(signal))], bool(np.isclose(*signal))
    n, pixel_nm = len(patches), patch_nm / patches.shape[1]
    own, beside, site = np.full(n, np.nan), np.full((n, N_BONDS), np.nan), np.full(n, -1)
    usable = np.flatnonzero(np.isfinite(vectors_px).all((1, 2)) & np.isfinite(patches).all((1, 2)))
    if not len(usable):
        return Light(own, beside, site)
    around = [_around(material, g, 0.71 * patch_nm + 0.07) for g in sites]
    width_px = _width(patches, vectors_px, usable, around, pixel_nm)
    level, noise, usual = np.full(n, np.nan), np.full(n, np.nan), np.full((n, 4), np.nan)
    for start in range(0, len(usable), _BLOCK):
        rows = usable[start : start + _BLOCK]
        best = np.full(len(rows), np.inf)
        fits = _fits(patches[rows], vectors_px[rows], [(columns, width_px) for columns in around], pixel_nm)
        for g, columns, (light, misfit) in zip(sites, around, fits, strict=True):
            # not those that are measured: what is common to a value and its unit is no Gaussian any more
            other = (np.arange(len(columns.cell)) > N_BONDS) & (columns.distance_nm < 0.55 * patch_nm)
            brighter = light[:, other & ((columns.site == bright) | alike)]
            fainter = light[:, other & (columns.site != bright)]
            unit = np.median(brighter, 1)
            # with places and heights free a faint sublattice may lie where nothing is; the bright one may not
            possible = unit > (0 if alike else np.maximum(np.median(fainter, 1), 0))
            mine = (misfit < best) & possible
            best[mine], row = misfit[mine], rows[mine]
            own[row], beside[row] = light[mine, 0], light[mine, 1 : 1 + N_BONDS]
            site[row], level[row] = sites[0] if alike else g, unit[mine]
            noise[row] = (np.pi / 2) * brighter[mine].var(1) / brighter.shape[1]  # of a median
            usual[row] = np.column_stack([f(v[mine], 1) for v in (brighter, fainter) for f in (np.mean, np.var)])
    level = _shrunk(level, noise)
    if not (site >= 0).any():
        return Light(own, beside, site)
    return Light(own / level, beside / level[:, None], site, _floor(np.nanmedian(usual, 0), float(np.nanmedian(level))))


def _width(patches, vectors_px, usable, around, pixel_nm: float) -> float:
    """Width of the Gaussian in px that leaves least of some of the patches."""
    some = usable[np.unique(np.linspace(0, len(usable) - 1, 60).astype(int))]
    tried = [(columns, width / pixel_nm) for width in WIDTHS_NM for columns in around]
    left = np.array([misfit for _, misfit in _fits(patches[some], vectors_px[some], tried, pixel_nm)])
    left = left.reshape(len(WIDTHS_NM), len(around), -1).min(1).mean(1)
    return WIDTHS_NM[int(np.argmin(left))] / pixel_nm


def _floor(usual: np.ndarray, level: float) -> float:
    """Light under a column, from mean and variance of the bright and the faint columns (4,); inf when that is unknown:
    the straight line of variance against light is zero at minus the floor."""
    bright, scatter, faint, faint_scatter = usual / np.array([level, level**2] * 2)
    slope = (scatter - faint_scatter) / (bright - faint) if bright - faint > 0.1 else 0.0
    return max(float(faint_scatter / slope - faint), _LEAST_FLOOR) if slope > 0 else np.inf


def _shrunk(value: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Values drawn to their median as far as their scatter is what their own variances make (James and Stein)."""
    known = np.isfinite(value)
    if not known.any():
        return value
    middle = np.median(value[known])
    spread = robust.scatter(value[known], middle) ** 2
    return middle + max(0.0, 1 - float(np.median(variance[known])) / max(spread, 1e-12)) * (value - middle)


@dataclass(frozen=True)
class _Columns:
    """Columns around one of a sublattice: itself, its bonds by angle, then the others by distance."""

    cell: np.ndarray  # (k, 2) in lattice vectors
    site: np.ndarray  # (k,)
    distance_nm: np.ndarray  # (k,)


def _honeycomb(material) -> tuple[int, int] | None:
    """The two sublattices, each column of which has three bonds to the other; None where it is otherwise."""
    if material is None:
        return None
    sites = [g for g, s in enumerate(material.sites) if not s.floating]
    if len(sites) != 2:
        return None
    bonds, _ = geometry.neighbour_steps(material)
    return (sites[0], sites[1]) if all(len(bonds[g]) == N_BONDS for g in sites) else None


def _around(material, site: int, radius_nm: float) -> _Columns:
    disc = geometry.disc(material, radius_nm + 2 * material.a_nm)
    middle = int(np.flatnonzero((disc.site == site) & (disc.cell == 0).all(1))[0])
    basis = material.basis
    distance = np.linalg.norm(disc.position_nm - disc.position_nm[middle], axis=1)
    floating = np.array([s.floating for s in material.sites])[disc.site]
    near = np.flatnonzero((distance < radius_nm) & ~floating)
    near = near[np.argsort(distance[near], kind="stable")]
    first = np.array([middle, *disc.bonds[middle][disc.bonds[middle] >= 0]])
    order = np.concatenate([first, near[~np.isin(near, first)]])
    return _Columns((disc.cell + basis[disc.site])[order] - basis[site], disc.site[order], distance[order])


def _fits(
    patches: np.ndarray, vectors_px: np.ndarray, tried: Sequence[tuple[_Columns, float]], pixel_nm: float
) -> list[tuple[np.ndarray, np.ndarray]]:
    """`_fit` of all that is `tried`: columns, and width of their Gaussians in px. Two at a time: compiled loops do not
    hold the interpreter's lock."""
    with ThreadPoolExecutor(2, "patches") as pool:
        return list(pool.map(lambda one: _fit(patches, vectors_px, one[0], one[1], pixel_nm), tried))


def _fit(
    patches: np.ndarray, vectors_px: np.ndarray, columns: _Columns, width: float, pixel_nm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Light (n, k) of the columns, as height of their Gaussians, and what is left (n,), mean square per pixel."""
    free = np.flatnonzero(columns.distance_nm < FREE_NM)
    sd, shift = MOVED_NM / pixel_nm, SHIFT_NM / pixel_nm
    common = np.full((len(free),) * 2, shift**2 / (sd**2 + len(free) * shift**2))
    stiff = (np.eye(len(free)) - common) / sd**2  # inverse covariance of displacements with one part in common
    return patch_fit.fit(
        np.asarray(patches, np.float64), columns.cell @ vectors_px, free, stiff, width, _RIDGE, _ROUNDS
    )
