"""What the lattice model believes before it sees a movie."""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.evidence import Evidence
from stemdefects.analysis.kinetics.lattice import N_RATES, Rate

# Shape of the rates' Gamma priors. Of n events a posterior has its median at n + shape - 1/3 (Kerman, Electron. J.
# Stat. 5, 1450 (2011)): with exponential priors (1) rates of which a movie shows two events came out a third too large.
# 1/2 is Jeffreys' prior of a Poisson rate, whose intervals hold in 95% of movies on average.
SHAPE = 0.5


class Priors(NamedTuple):
    """Gamma priors of the rates (shape; scale: a prior exposure in s), Beta priors of densities, the light's."""

    shape: np.ndarray  # (15,)
    scale: np.ndarray  # (15,) s
    density: np.ndarray  # (3, 2) at the start: single off centres, double, at bonds
    mixing: np.ndarray  # (3,) probability that some are immobile; Beta prior of their share
    light: np.ndarray  # (5,) spread of the neighbours' shift and typical offset (line units); shape, rate of 1/noise^2;
    # spread of the bases (line units)


def priors(evidence: Evidence, n_sites: int) -> Priors:
    """The defaults. Rates: mean a fifth per frame for hops, a tenth for what centres do, a twentieth for catch and
    release, a fortieth for changes of sites in the open lattice (births: 20 a movie), an eightieth for what most
    movies do not show.
    """
    step = float(np.median(np.diff(evidence.times_s)))
    span = float(evidence.times_s[-1] - evidence.times_s[0])
    mean = np.full(N_RATES, 1 / 20)
    mean[Rate.HOP] = 1 / 5
    mean[[Rate.TURN, Rate.ATTACH, Rate.DETACH]] = 1 / 10
    mean[[Rate.VANISH, Rate.DOUBLE, Rate.HALVE]] = 1 / 40
    mean[[Rate.TURN_MORE, Rate.CLUSTER, Rate.ATTACH_MORE, Rate.DETACH_MORE, Rate.HOP_TWO]] = 1 / 80
    mean[Rate.APPEAR] = 20.0 * step / (n_sites * span)
    shape, scale = np.full(N_RATES, SHAPE), SHAPE * step / mean
    scatter, level = float(np.median(evidence.scatter)), abs(float(evidence.level[0]))
    return Priors(
        shape,
        scale,
        np.array([[0.5, 25.0], [0.5, 50.0], [1.0, 3.0]]),
        np.array([0.2, 1.0, 4.0]),
        # neighbours shift the line by 5-8% of the level, offsets are .1-.3 of a frame's scatter, full sites beside a
        # centre are up to 12% of the level off, and zero is where the median of all sites is, defects too (measured)
        np.array([0.1 * level, 0.2 * scatter, 10.0, 10.0, 0.1 * level]),
    )
