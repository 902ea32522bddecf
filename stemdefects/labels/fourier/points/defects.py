"""From the residual to point defects: matched filter, noise statistics, thresholds at a chosen false-alarm rate.

The residual is filtered with the probe (a Gaussian as wide as the columns are), weighted with the expected noise. What
the filtered map does where there is no defect is taken from the map itself: its spread in each part of the unit cell
(scan noise sits on the flanks of columns), its skewness, and how quickly it varies. The number of maxima of a Gaussian
random field above a level then gives the threshold for a chosen number of false alarms.

Of the labels of one sign a share may be false that is bounded by those there are (`levels`): one atom of +35 standard
deviations takes no maxima of +4 with it, and says nothing about dark ones.

Source of that number: Adler, The Geometry of Random Fields (1981); Worsley et al., Hum. Brain Mapp. 4, 58 (1996). Of
the bound: Benjamini and Hochberg, J. R. Stat. Soc. B 57, 289 (1995).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage, optimize
from scipy.stats import norm

from stemdefects.labels.fourier.periodic.residual import Residual
from stemdefects.numerics import robust

PHASE_BINS = 6  # per lattice vector, for the noise in the unit cell
SKEWED = 7.0  # standard deviations: noise does not reach farther, so that its skewness says nothing there
DARK, BRIGHT = 0, 1  # signs of a defect, in the order of the material that labels of a movie make up
MOST = 1.0  # false labels of one sign expected in one frame's area
TAIL = (3.0, 4.0)  # where the number of extrema tells how long the noise's tail is
# Counted electrons have a longer tail than a Gaussian beyond four standard deviations: perfect crystals
# (benchmarks/labels_movies.py without atoms and others, 260 frames) have 59 maxima beyond 4.5 where 38 are expected,
# and 14 beyond 5 where 4 are
LONGER = 0.1
CLEARLY_REAL = 6.0  # a Gaussian reaches this at one place in a billion
ENOUGH_TAIL = 5  # extrema, whose number is then known to half
LEAST_LEVEL, LARGEST_LEVEL = 2.0, 30.0


@dataclass(frozen=True)
class Significance:
    """The matched-filtered residual in units of its own noise.

    z: (H, W) standard normal where there is only noise; roughness: root of the determinant of the covariance of its
    gradient, 1/px2 (how many independent places there are); sigma_px: width of the filter; excess: spread of the
    filtered residual, in units of what counting electrons would give it (defects everywhere make it large).
    """

    z: np.ndarray
    roughness: float
    sigma_px: float
    excess: float


@dataclass(frozen=True)
class Extrema:
    """Points where the residual is most negative or most positive, all with |z| above a low level."""

    yx: np.ndarray  # (n, 2) px
    z: np.ndarray  # (n,) signed

    @property
    def state(self) -> np.ndarray:
        """(n,) DARK or BRIGHT."""
        return np.where(self.z < 0, DARK, BRIGHT)

    def take(self, index: np.ndarray) -> "Extrema":
        return Extrema(self.yx[index], self.z[index])


def column_sigma_px(parts: Residual, spacing_px: float) -> float:
    """Width (standard deviation) of a column, from the curvature of the brightest places of the periodic part."""
    lattice = ndimage.gaussian_filter(parts.periodic - parts.background, 0.5)
    top = (lattice == ndimage.maximum_filter(lattice, max(3, int(0.35 * spacing_px) | 1))) & (parts.weight > 0.5)
    curvature = -ndimage.laplace(lattice)
    if not top.any():
        return 0.18 * spacing_px
    strong = top & (lattice > np.quantile(lattice[top], 0.5))
    low = np.quantile(lattice[parts.weight > 0.5], 0.03)
    square = 2 * np.median((lattice - low)[strong] / np.maximum(curvature[strong], 1e-30)) - 0.25
    return float(np.clip(np.sqrt(max(square, 0)), 0.1 * spacing_px, 0.26 * spacing_px))


def significance(
    residual: np.ndarray,
    variance: np.ndarray,
    phase: np.ndarray,
    weight: np.ndarray,
    sigma_px: float,
    calm: np.ndarray | None = None,
) -> Significance:
    """Filter `residual` (H, W) with a column of `sigma_px` and bring it to unit noise.

    variance: expected, of one pixel; phase: (2, H, W) place in the unit cell; weight: 0 where nothing is known;
    calm: (H, W) bool, where the noise is measured (everywhere with weight, by default).
    """
    inverse = weight / np.maximum(variance, 1e-6 * max(float(variance.max()), 1e-30))  # 0 where nothing was seen
    filtered = ndimage.gaussian_filter(residual * inverse, sigma_px, mode="constant")
    # the squared kernel is again a Gaussian, sqrt(2) narrower, and 1 / (4 pi sigma^2) high in sum
    noise = ndimage.gaussian_filter(inverse, sigma_px / np.sqrt(2), mode="constant") / (4 * np.pi * sigma_px**2)
    z = filtered / np.sqrt(np.maximum(noise, 1e-12 * noise.max()))
    use = weight > 0.5 if calm is None else calm
    if use.sum() < 0.05 * use.size:
        use = np.ones_like(use)
    excess = robust.scatter(z[use], 0.0)
    z = z / _scale_in_cell(z, phase, use)
    z = _unskewed(z, use)
    return Significance((z * np.sqrt(weight)).astype(np.float32), _roughness(z, use), sigma_px, excess)


def _scale_in_cell(z: np.ndarray, phase: np.ndarray, use: np.ndarray) -> np.ndarray:
    """(H, W) robust spread of z at each pixel's place in the unit cell, smoothed over the cell."""
    index = np.minimum((phase * PHASE_BINS).astype(int), PHASE_BINS - 1)
    label = index[0] * PHASE_BINS + index[1]
    whole = robust.scatter(z[use], 0.0)
    table = np.full(PHASE_BINS**2, whole)
    order = np.argsort(label[use], kind="stable")
    values, labels = z[use][order], label[use][order]
    edges = np.searchsorted(labels, np.arange(PHASE_BINS**2 + 1))
    for i in range(PHASE_BINS**2):
        part = values[edges[i] : edges[i + 1]]
        if len(part) > 100:
            table[i] = robust.scatter(part, 0.0)
    table = ndimage.gaussian_filter(table.reshape(PHASE_BINS, PHASE_BINS), 0.7, mode="wrap")
    value = ndimage.map_coordinates(table, phase * PHASE_BINS - 0.5, order=1, mode="grid-wrap")
    return np.maximum(value, 1e-6 * max(whole, 1e-30))


def _unskewed(z: np.ndarray, use: np.ndarray) -> np.ndarray:
    """Centre, scale and unskew z by its central quantiles (Cornish-Fisher), which defects do not reach.

    Skewness is noise's: beyond `SKEWED` standard deviations z only moves on, else a defect of ten would be one of
    seven in one frame and of thirty in the next.
    """
    p = np.linspace(0.08, 0.92, 29)
    normal = norm.ppf(p)
    quantiles = np.quantile(z[use], p)
    design = np.stack([np.ones_like(normal), normal, normal**2 - 1], 1)
    centre, scale, skew = np.linalg.lstsq(design, quantiles, rcond=None)[0]
    scale = max(scale, 1e-12)
    c = float(np.clip(skew / scale, -0.06, 0.06))
    x = (z - centre) / scale
    if abs(c) < 1e-6:
        return x
    # x = n + c (n^2 - 1), solved for n; on the short tail only as far as the slope stays below two
    steep = -0.1875 / c - c
    near = np.clip(x, max(-SKEWED, steep), SKEWED) if c > 0 else np.clip(x, -SKEWED, min(SKEWED, steep))
    return (np.sqrt(1 + 4 * c * (near + c)) - 1) / (2 * c) + x - near


def _roughness(z: np.ndarray, use: np.ndarray) -> float:
    """Square root of the determinant of the covariance of the gradient of z, 1/px2, by robust spreads."""
    dy, dx = z[1:, :-1] - z[:-1, :-1], z[:-1, 1:] - z[:-1, :-1]
    inside = use[:-1, :-1]
    sy, sx = (robust.scatter(d[inside], 0.0) for d in (dy, dx))
    return float(max(sy * sx, 1e-12))


def expected_maxima(level: float, area_px: float, roughness: float) -> float:
    """Expected number of maxima above `level` of unit Gaussian noise over `area_px`, for high levels (one sign)."""
    return area_px * roughness * (2 * np.pi) ** -1.5 * level * np.exp(-0.5 * level**2)


def threshold(false_alarms: float, area_px: float, roughness: float) -> float:
    """Level above which `false_alarms` maxima of pure noise are expected over `area_px`; at least 2."""
    if expected_maxima(2.0, area_px, roughness) <= false_alarms:
        return 2.0
    return float(optimize.brentq(lambda u: expected_maxima(u, area_px, roughness) - false_alarms, 2.0, 40.0))


def extrema(z: np.ndarray, lowest: float, radius_px: float) -> Extrema:
    """Local minima below -`lowest` and maxima above it, strongest within `radius_px`, with sub-pixel places."""
    size = max(3, 2 * int(np.floor(radius_px)) + 1)
    grid = np.arange(size) - size // 2
    disc = np.hypot(grid[:, None], grid) <= max(radius_px, 1.0) + 1e-9
    found = []
    for sign in (-1.0, 1.0):
        map_ = sign * z
        top = (map_ == ndimage.maximum_filter(map_, footprint=disc, mode="nearest")) & (map_ > lowest)
        yx = np.argwhere(top)
        found.append((yx + _subpixel(map_, yx), sign * map_[top]))
    yx, value = (np.concatenate(part) for part in zip(*found, strict=True))
    order = np.argsort(-np.abs(value), kind="stable")
    return Extrema(yx[order].reshape(-1, 2), value[order])


def _subpixel(map_: np.ndarray, yx: np.ndarray) -> np.ndarray:
    """(n, 2) offsets of the vertex of a parabola through the three values along each axis; 0 at the border."""
    padded = np.pad(map_, 1, mode="edge")
    y, x = yx[:, 0] + 1, yx[:, 1] + 1
    offsets = []
    for dy, dx in ((1, 0), (0, 1)):
        before, here, after = padded[y - dy, x - dx], padded[y, x], padded[y + dy, x + dx]
        curvature = before - 2 * here + after
        shift = np.where(curvature < -1e-9, 0.5 * (before - after) / np.minimum(curvature, -1e-9), 0.0)
        offsets.append(np.clip(shift, -0.5, 0.5))
    return np.stack(offsets, 1)


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
    # of frames together, what stands out as `CLEARLY_REAL` is a label however long the tail seems
    cap = CLEARLY_REAL if n_frames == 1 else LARGEST_LEVEL

    def level_at(number: float) -> float:
        noise = _level(lambda u: _of_noise(u, area_px, roughness), number)
        return max(noise, min(_level(expected, number), cap))

    capped = level_at(most)
    result, false = [], []
    for sign in (-1, 1):
        mine = np.sort(size[inside & (np.sign(found.z) == sign)])[::-1]
        mine = mine[mine > capped]
        rank = np.arange(1, len(mine) + 1)
        passed = np.flatnonzero(np.array([expected(u) for u in mine]) <= share * rank)
        number = int(passed[-1]) + 1 if len(passed) else 0
        level = max(capped, level_at(share * max(number, 1)))
        result.append(level)
        false.append(expected(level))
    return Levels(result[0], result[1], np.array(false))


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
