"""How strong an extremum must be for its label: false labels are bounded by the true ones of the same sign.

The number of maxima that noise alone has above a level is known (`defects.expected_maxima`, and what the extrema
themselves say of longer tails). Of the labels of one sign a share of at most `share` may be false (Benjamini and
Hochberg, J. R. Stat. Soc. B 57, 289 (1995)), and never more than `most` in one frame's area. One atom of +35 standard
deviations thus takes no maxima of +4 with it, and says nothing about dark ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import optimize

from stemdefects.labels.fourier.defects import Extrema, expected_maxima

MOST = 1.0  # false labels of one sign expected in one frame's area
TAIL = (3.0, 4.0)  # where the number of extrema tells how long the noise's tail is
# Counted electrons have a longer tail than a Gaussian beyond four standard deviations: perfect crystals
# (benchmarks/labels_movies.py without atoms and others, 260 frames) have 59 maxima beyond 4.5 where 38 are expected,
# and 14 beyond 5 where 4 are
LONGER = 0.1
CLEARLY_REAL = 6.0
ENOUGH_TAIL = 5
LEAST_LEVEL, LARGEST_LEVEL = 2.0, 30.0


@dataclass(frozen=True)
class Levels:
    """Of labels made together: dark and bright: least |z| of each sign; false: (2,) expected false labels (dark,
    bright) beyond them."""

    dark: float
    bright: float
    false: np.ndarray

    def of(self, z: np.ndarray) -> np.ndarray:
        """(n,) level of the sign of each of `z` (n,)."""
        return np.where(np.asarray(z) < 0, self.dark, self.bright)

    @property
    def lowest(self) -> float:
        return min(self.dark, self.bright)


def levels(
    found: Extrema, inside: np.ndarray, area_px: float, roughness: float, share: float, n_frames: int = 1
) -> Levels:
    """Levels for extrema `found`, of which `inside` (n,) bool may become labels.

    area_px: searched in all; roughness: of the maps (`defects.Significance`); share: of false labels among those of one
    sign, at most; n_frames: that were searched one by one.
    """
    size = np.abs(found.z)
    expected = _expected(found, inside, area_px, roughness)
    most = MOST * n_frames
    noise = _level(lambda u: _of_noise(u, area_px, roughness), most)
    capped = max(noise, min(_level(expected, most), CLEARLY_REAL))
    result, false = [], []
    for sign in (-1, 1):
        mine = np.sort(size[inside & (np.sign(found.z) == sign)])[::-1]
        mine = mine[mine > capped]
        rank = np.arange(1, len(mine) + 1)
        passed = np.flatnonzero(np.array([expected(u) for u in mine]) <= share * rank)
        number = int(passed[-1]) + 1 if len(passed) else 0
        level = max(capped, _level(expected, share * max(number, 1)))
        result.append(level)
        false.append(expected(level))
    return Levels(*result, np.array(false))


def _level(expected: Callable[[float], float], number: float) -> float:
    if expected(LEAST_LEVEL) <= number:
        return LEAST_LEVEL
    if expected(LARGEST_LEVEL) > number:
        return LARGEST_LEVEL
    return float(optimize.brentq(lambda u: np.log(max(expected(u), 1e-300) / number), LEAST_LEVEL, LARGEST_LEVEL))


def _of_noise(level: float, area_px: float, roughness: float) -> float:
    """Expected maxima of counting noise above `level`, one sign."""
    at = min(level, LARGEST_LEVEL)
    return float(expected_maxima(at, area_px, roughness) * np.exp(LONGER * max(at**2 - TAIL[1] ** 2, 0.0)))


def _expected(found: Extrema, inside: np.ndarray, area_px: float, roughness: float) -> Callable[[float], float]:
    """Number of false extrema of one sign above a level.

    Columns out of place and other structure that stays from frame to frame have longer tails than noise. The tail is a
    Gaussian's, of a width and a number fitted to the extrema beyond `TAIL` of the sign that has fewer of them (defects
    are mostly of one sign); those beyond `CLEARLY_REAL` do not count.
    """
    low, high = TAIL
    size = np.abs(found.z)
    counts = []
    for sign in (-1, 1):
        this = inside & (np.sign(found.z) == sign) & (size < CLEARLY_REAL)
        counts.append((int((this & (size > low)).sum()), int((this & (size > high)).sum())))
    n_low, n_high = min(counts)
    if n_high < ENOUGH_TAIL:  # too few to tell
        return lambda u: _of_noise(u, area_px, roughness)
    width2 = 0.5 * (high**2 - low**2) / max(np.log(n_low / n_high * high / low), 0.5)

    def expected(u: float) -> float:
        noise = _of_noise(u, area_px, roughness)
        return noise if u < high else max(noise, n_high * u / high * np.exp(-0.5 * (u**2 - high**2) / width2))

    return expected
