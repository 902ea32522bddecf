"""What every frame says of every site: the input of the lattice model, arrays only."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int


class Evidence(NamedTuple):
    """The light of N sites of one sublattice in T frames. Lengths in nm, times in s, coordinates `(y, x)`.

    `line` (T, N) is a coordinate of the site's light that is normal with standard deviation `scatter` about an ideal
    site's mean of 0 and about `scale * level` with one or two vacancies on the site; NaN where the site was not seen.
    """

    yx_nm: Float[np.ndarray, "sites 2"]  # ideal positions in the specimen's frame
    neighbours: Int[np.ndarray, "sites 6"]  # nearest sites of the same sublattice, -1: none
    bonds: Int[np.ndarray, "sites 3"]  # sites of the other sublattice next to each, -1: none
    # probability that the other sublattice's site is a centre that catches vacancies, in all frames or in each
    centre: Float[np.ndarray, "*frames others"]
    line: Float[np.ndarray, "frames sites"]  # NaN: not seen
    scatter: Float[np.ndarray, "*frames"] | float  # of all frames or of each
    level: Float[np.ndarray, " 2"]  # expected line of one vacancy and of two; NaN for two: not known to the material
    scale_low: float  # bounds of the factor on `level`
    scale_high: float
    times_s: Float[np.ndarray, " frames"]  # true starts of the frames
    allowed: Bool[np.ndarray, "frames sites"]  # nothing is said of sites in holes, strange regions and at the border
    edge: Bool[np.ndarray, " sites"]  # near the border of the field: the light there is not that of a whole column
    hole: Bool[np.ndarray, "frames sites"] | None = None  # the site lies in a hole; None: not known
    # how far inside the line up to which vacancies are counted, along the border of the field; None: not known
    inside_nm: Float[np.ndarray, "frames sites"] | None = None
