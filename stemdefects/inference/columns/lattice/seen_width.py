"""How wide the columns of an image are seen, and what that hides of a vacancy.

The neighbours of a vacancy move towards it by some picometres, and the wider columns are seen, the more of their light
falls on its place: of the light that a column lost, less is missing than the atoms that it lost had.
"""

import functools

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.inference.columns import picture_loops
from stemdefects.numerics.borders import from_border
from stemdefects.numerics.medians import median

WIDTHS_NM = (0.03, 0.06)  # of two Gaussians that the image is looked at with: a sharp probe's core, and twice that
FITTED_NM = 0.05  # width of the Gaussian that is fitted to a column (`column_intensity.WIDTH_NM`)
RANGE_NM = (0.01, 0.12)  # of what is found: a column's own thermal motion, a third of the nearest distance of two
STEPS = 56  # of it
MOST = 300  # columns that are looked at, spread over the image
LEAST = 40  # columns
CELLS = 4  # lattice constants around a column whose tails count
BONDED = 1.1  # of the nearest distance: columns so far away are bonded
# of the light that moves along: the network sees part of how neighbours moved, and training draws 0 to 1.5 of the
# file's relaxation. Of .3 to .9 on images of simulation=train, typical and limit: vacancies are found best at .5 to .9
# where the probe is wide, and at .3 on even crystal without relaxation
UNSEEN = 0.4


def nm(image: np.ndarray, place_px: np.ndarray, site: np.ndarray, material: Material, vectors_px: np.ndarray) -> float:
    """Standard deviation in nm of the Gaussian that columns are seen as; NaN where that cannot be told.

    How much brighter columns of the brightest sublattice are than the empty places opposite to a bond falls the less
    the wider they are seen, when the image is blurred more. image: (H, W); place_px: (n, 2) y, x; site: (n,);
    vectors_px: (2, 2) lattice vectors.
    """
    ends = _ends(material)
    if ends is None:
        return np.nan
    bright, faint = ends
    away = (material.basis[bright] - material.basis[faint]) @ vectors_px  # opposite to a bond
    pixel_nm = float(np.sqrt(abs(np.linalg.det(material.lattice_nm) / np.linalg.det(vectors_px))))
    inside = from_border(place_px, image.shape) > 4 * WIDTHS_NM[1] / pixel_nm
    some = np.flatnonzero((site == bright) & inside)
    if len(some) < LEAST:
        return np.nan
    some = some[:: -(-len(some) // MOST)]
    image, both = np.asarray(image, np.float32), np.concatenate([place_px[some], place_px[some] + away]).astype(float)
    contrast = []
    for width in WIDTHS_NM:
        value = picture_loops.blurred(image, both, width / pixel_nm)
        contrast.append(median(value[: len(some)]) - median(value[len(some) :]))
    if min(contrast) <= 0:
        return np.nan
    signal = material.intensities()[material.ideal_states]
    lattice = np.asarray(material.lattice_nm, float)
    grid, ratio = _table(lattice.tobytes(), tuple(_bond_nm(material, ends)), float(signal[faint] / signal[bright]))
    return float(np.interp(-contrast[0] / contrast[1], -ratio, grid))


def missing(width_nm: float, material: Material) -> np.ndarray:
    """(S,) share of the light that columns with fewer of their own atoms lost that is missing at their places; 1 of all
    other states, and where the width is NaN."""
    out, signal, counts = np.ones(material.n_states), material.intensities(), material.species_counts()
    ends = _ends(material)
    if ends is None or not np.isfinite(width_nm):
        return out
    cells = np.stack(np.meshgrid(*[np.arange(-CELLS, CELLS + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
    length = np.linalg.norm(cells @ np.asarray(material.lattice_nm, float) + _bond_nm(material, ends), axis=1)
    n, bond = int((length < BONDED * length.min()).sum()), float(length.min())
    seen2 = FITTED_NM**2 + width_nm**2
    slope = bond / seen2 * np.exp(-0.5 * bond**2 / seen2)  # of a column's light over its peak, per nm
    for k, state in enumerate(material.states):
        own = material.sites[state.site].ideal
        fewer = (counts[k] <= counts[own]).all() and k != own
        if state.site not in ends or not fewer:
            continue
        beside = ends[0] if state.site == ends[1] else ends[1]
        moved = signal[material.sites[beside].ideal] * n * slope * max(-state.relax_nm, 0.0)
        out[k] = max(1 - UNSEEN * moved / (signal[own] - signal[k]), 0.0)
    return out


def counting(missing: np.ndarray, alike: float) -> np.ndarray:
    """(S,) factor to the light's weight where only the part `missing` (S,) of what a state lost is missing: it tells so
    much less than the network, with which its errors correlate by `alike` (weights of two such readings)."""
    return np.clip((1 - alike / np.maximum(missing, 1e-9)) / (1 - alike), 0.0, 1.0)


def _ends(material: Material) -> tuple[int, int] | None:
    """Brightest and faintest of the two sublattices of a lattice; None where there are not two of different signal."""
    fixed = [g for g, s in enumerate(material.sites) if not s.floating]
    signal = material.intensities()[material.ideal_states]
    if len(fixed) != 2 or signal[fixed[0]] == signal[fixed[1]]:
        return None
    first, second = fixed
    return (first, second) if signal[first] > signal[second] else (second, first)


def _bond_nm(material: Material, ends: tuple[int, int]) -> np.ndarray:
    """(2,) from a column of the brightest sublattice to the one of the other in the same cell."""
    bright, faint = ends
    return (material.basis[faint] - material.basis[bright]) @ np.asarray(material.lattice_nm, float)


@functools.lru_cache(maxsize=8)
def _table(lattice: bytes, bond_nm: tuple[float, ...], faint: float) -> tuple[np.ndarray, np.ndarray]:
    """Widths (STEPS,) nm, and how much more contrast the first of the two Gaussians sees of such columns, (STEPS,).
    faint: signal of the other sublattice over the brightest one's."""
    vectors, bond = np.frombuffer(lattice).reshape(2, 2), np.array(bond_nm)
    cells = np.stack(np.meshgrid(*[np.arange(-CELLS, CELLS + 1)] * 2, indexing="ij"), -1).reshape(-1, 2) @ vectors

    def contrast(width: float) -> float:
        """Of a column against the empty place opposite to its bond."""
        at, opposite = (
            np.exp(-0.5 * ((cells - p) ** 2).sum(1) / width**2).sum()
            + faint * np.exp(-0.5 * ((cells + bond - p) ** 2).sum(1) / width**2).sum()
            for p in (np.zeros(2), -bond)
        )
        return float(at - opposite) / width**2

    grid = np.linspace(*RANGE_NM, STEPS)
    both = [[contrast(float(np.hypot(width, own))) for own in grid] for width in WIDTHS_NM]
    return grid, np.array(both[0]) / np.array(both[1])
