"""The lattice of one frame from the columns the network found: for frames of another field than the rest.

A folder of images is read as one movie, but each image may be turned and scaled as it comes; the windows made for the
movie's lattice (`bragg_map`) then see none.
"""

import numpy as np
from scipy.spatial import cKDTree

from stemdefects.crystal.bragg import rotation

N_COLUMNS = 120  # spread over the frame, whose steps to their neighbours are looked at
STEP_DEG = 2.0  # the best is within 1 degree, 0.017 of a spacing at a neighbour, far below `CLOSE`
SCALES = (0.96, 1.0, 1.04)  # of the spacing that the neighbours say
CLOSE = 0.2  # of the spacing, a step that agrees with the lattice
MIN_AGREEING = 0.5  # share of the steps


def fit(position_px: np.ndarray, site: np.ndarray, shape: np.ndarray) -> np.ndarray | None:
    """(2, 2) lattice vectors, rows a1, a2 (y, x) in px; None where the columns lie on none.

    position_px: (n, 2) y, x; site: (n,) sublattice; shape: (2, 2) vectors of the ideal crystal in any unit and
    orientation. Which of the equivalent directions comes out is left to chance.
    """
    largest = np.bincount(site).argmax()
    place = position_px[site == largest]
    if len(place) < 12:
        return None
    some = place[:: max(1, len(place) // N_COLUMNS)]
    distance, near = cKDTree(place).query(some, k=7)
    steps = (place[near[:, 1:]] - some[:, None]).reshape(-1, 2)
    # of six neighbours the third and fourth: scatter makes the first ones too near and the last ones too far
    around = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 2), -1).reshape(-1, 2) @ shape
    ideal = np.sort(np.linalg.norm(around, axis=1))[3:5].mean()
    unit, spacing = shape / ideal, float(np.median(distance[:, 3:5].mean(1)))
    tried = [
        unit @ rotation(np.radians(angle)) * spacing * scale
        for scale in SCALES
        for angle in np.arange(0, 180, STEP_DEG)
    ]
    best = max(tried, key=lambda vectors: _agreeing(steps, vectors, spacing).mean())
    for _ in range(3):
        good = _agreeing(steps, best, spacing)
        if good.mean() < MIN_AGREEING:
            return None
        index = np.rint(steps[good] @ np.linalg.inv(best))
        if np.linalg.matrix_rank(index) < 2:
            return None
        best, *_ = np.linalg.lstsq(index, steps[good], rcond=None)
    return best


def _agreeing(steps: np.ndarray, vectors: np.ndarray, spacing: float) -> np.ndarray:
    """(n,) bool: the step (n, 2) is about a vector of the lattice, and not none."""
    index = steps @ np.linalg.inv(vectors)
    whole = np.rint(index)
    off = ((index - whole) @ vectors) / spacing
    return ((off**2).sum(1) < CLOSE**2) & whole.any(1)
