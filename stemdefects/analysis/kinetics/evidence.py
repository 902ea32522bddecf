"""What every frame says of every site: the input of the lattice model, arrays only."""

from typing import NamedTuple

import numpy as np


class Evidence(NamedTuple):
    """The light of N sites of one sublattice in T frames. Lengths in nm, times in s, coordinates `(y, x)`.

    `line` (T, N) is a coordinate of the site's light that is normal with standard deviation `scatter` about an ideal
    site's mean of 0 and about `scale * level` with one or two vacancies on the site; NaN where the site was not seen.
    """

    yx_nm: np.ndarray  # (N, 2) ideal positions in the specimen's frame
    neighbours: np.ndarray  # (N, 6) nearest sites of the same sublattice, -1: none
    bonds: np.ndarray  # (N, 3) sites of the other sublattice next to each, -1: none
    centre: np.ndarray  # (M,) or (T, M) probability that the other sublattice's site is a centre that catches vacancies
    line: np.ndarray  # (T, N), NaN: not seen
    scatter: np.ndarray  # () or (T,)
    level: np.ndarray  # (2,) expected line of one vacancy and of two; NaN for two: not known to the material
    scale_low: float  # bounds of the factor on `level`
    scale_high: float
    times_s: np.ndarray  # (T,) true starts of the frames
    allowed: np.ndarray  # (T, N) nothing is said of sites in holes, strange regions and at the border
    edge: np.ndarray  # (N,) near the border of the field: the light there is not that of a whole column
    hole: np.ndarray | None = None  # (T, N) the site lies in a hole; None: not known
