"""A second lattice on top of a frame's own: two layers turned against each other, a crystalline support.

Its Bragg peaks are of the same kind, turned and perhaps of another size, and lie beside those of the frame's lattice.
Two grains side by side show the same peaks; they are told apart by where in the frame each lattice is.
"""

import functools
from typing import NamedTuple

import numpy as np
from scipy import fft

from stemdefects.crystal import second_lattice_loops as loops
from stemdefects.crystal.bragg import reciprocal, shells
from stemdefects.numerics import medians

RANGE = (0.75, 1.36)  # of the own shortest reciprocal vectors' length: graphene on MoS2 is 1.29
OWN_BINS = 2.1  # around an own peak nothing else is seen
NEAR_BINS = 6.0  # where a scan that is not steady spreads the own peaks
TWO_PEAKS = 13  # bins that reach a tenth of the largest around an own peak, where there are two sharp ones at most
SMEARED_BINS = 14.0  # instead of `OWN_BINS`, where the own peaks are smeared
LEAST = {False: 0.04, True: 0.2}  # of the own peaks' power, far from them and near
LEAST_PART = {False: 0.1, True: 0.4}  # in a quarter of the frame
MIN_BINS = 8.0  # of the own peaks from the origin
MIN_SNR = 25.0  # times the mean noise power around
TOLERANCE = 0.04  # of its length, where a partner is looked for, and two bins
WIDTH = 3.0  # of the windows that say where a lattice is, in lattice spacings
THERE = 0.25  # of a lattice's usual power: it is here
MIN_OVERLAP = 0.15  # of the crystal's area


class SecondLattice(NamedTuple):
    """share: of the own Bragg peaks' power; scale: length of its reciprocal vectors over the own ones'; angle_deg: by
    which it is turned; overlap: part of the crystal's area in which both are."""

    share: float
    scale: float
    angle_deg: float
    overlap: float

    @property
    def on_top(self) -> bool:
        """Does it lie over the own lattice, rather than beside it as another grain does?"""
        return self.overlap > MIN_OVERLAP


def find(image: np.ndarray, vectors_px: np.ndarray, lattice_nm: np.ndarray, parts: bool = True) -> SecondLattice | None:
    """The second lattice in `image` (H, W; any linear units), whose own has the vectors `vectors_px` (2, 2: rows a1,
    a2; y, x); None where there is none. lattice_nm: (2, 2) of the ideal crystal; parts: look
    at the frame's quarters too."""
    image = np.ascontiguousarray(image, np.float32)
    own = shells(lattice_nm)[0] @ reciprocal(vectors_px)  # (K, 2) cycles per px
    length = float(np.linalg.norm(own, axis=1).mean())
    if length * RANGE[1] > 0.48:
        return None
    limits = medians.quantile(image[::3, ::3], 0.005), medians.quantile(image[::3, ::3], 0.995)
    found = _strongest(image, limits, own, LEAST)
    if found is None and parts:  # it may be in a part of the frame, which the window hides
        half = np.array(image.shape) // 2
        for y, x in ((0, 0), (0, half[1]), (half[0], 0), tuple(half)):
            part = np.ascontiguousarray(image[y : y + half[0], x : x + half[1]])
            found = found or _strongest(part, limits, own, LEAST_PART)
    if found is None:
        return None
    share, turned = found
    turn = np.degrees(np.arctan2(*turned[0]) - np.arctan2(*own[0]))
    here, there = (_where(np.clip(image, *limits), waves, WIDTH / length) for waves in (own, turned))
    overlap = (here & there).sum() / max((here | there).sum(), 1)
    return SecondLattice(share, float(np.linalg.norm(turned[0]) / length), float(turn), float(overlap))


def _strongest(
    image: np.ndarray, limits: tuple[float, float], own: np.ndarray, floor: dict[bool, float]
) -> tuple[float, np.ndarray] | None:
    """Power of the strongest other lattice in `image`, cut at the `limits`, of that of the `own` Bragg vectors (K, 2),
    and its vectors."""
    shape, length = np.array(image.shape), float(np.linalg.norm(own, axis=1).mean())
    if length * shape.min() < MIN_BINS:
        return None
    window = _window(image.shape)
    shown = loops.windowed(image, limits, window, _window_sum(image.shape))
    # half plane x >= 0 of the ring
    reach = np.ceil(length * RANGE[1] * shape).astype(int) + 2
    across = max(reach[1], int(np.abs(own[:, 1]).max() * shape[1] + NEAR_BINS) + 2) + 1
    found = fft.fft(fft.rfft(shown)[:, :across], axis=0)
    power = found.real**2 + found.imag**2  # of the magnitude the root would be taken first
    level = float(np.median([_around(power, k, shape, 1).max() for k in own]))
    between = RANGE[0] * length, RANGE[1] * length
    ring = loops.ring(power, reach, shape.astype(float), between, own * shape, NEAR_BINS)
    if not len(ring.far):
        return None
    noise = float(medians.median(ring.far)) / np.log(2)
    own_bins = SMEARED_BINS if _smeared(power, own, shape) else OWN_BINS
    enough = tuple(max(floor[near] * level, MIN_SNR * noise) for near in (False, True))
    part, least, places = loops.standing_out(ring, own_bins, NEAR_BINS, enough)
    best = None
    for i, j in places[np.argsort(-part[tuple(places.T)], kind="stable")[:12]]:
        turned = _turned(own, np.array([i - reach[0], j]) / shape)
        values = [_largest(part, least, g * shape, np.maximum(2, TOLERANCE * length * shape), reach[0]) for g in turned]
        known = [v for v in values if v is not None]
        if len(known) >= min(2, len(own)) and all(enough for _, enough in known):
            share = float(np.median([v for v, _ in known])) / level
            if best is None or share > best[0]:
                best = share, turned
    return best


@functools.lru_cache(maxsize=8)
def _window(shape: tuple[int, int]) -> np.ndarray:
    return np.outer(*(np.hanning(n + 2)[1:-1] for n in shape)).astype(np.float32)


@functools.lru_cache(maxsize=8)
def _window_sum(shape: tuple[int, int]) -> float:
    return float(_window(shape).sum())


def _smeared(power: np.ndarray, own: np.ndarray, shape: np.ndarray) -> bool:
    """Are the own peaks spread over many bins, as a scan that is not steady does, rather than one or two sharp ones?"""
    around = [_around(power, k, shape, int(NEAR_BINS)) for k in own]
    return bool(np.median([(a > 0.1 * a.max()).sum() for a in around]) > TWO_PEAKS)


def _around(power: np.ndarray, k: np.ndarray, shape: np.ndarray, reach: int) -> np.ndarray:
    """Bins of the half plane within `reach` of the frequency `k` (y, x)."""
    y, x = np.rint((k if k[1] >= 0 else -k) * shape).astype(int)
    columns = slice(max(x - reach, 0), x + reach + 1)
    return power[(y + np.arange(-reach, reach + 1)) % power.shape[0], columns]


def _turned(own: np.ndarray, peak: np.ndarray) -> np.ndarray:
    """(K, 2) the shortest own vectors turned and scaled so that the first one is `peak`."""
    scale = np.linalg.norm(peak) / np.linalg.norm(own[0])
    angle = np.arctan2(*peak) - np.arctan2(*own[0])
    c, s = np.cos(angle), np.sin(angle)
    return scale * own @ np.array([[c, -s], [s, c]])


def _largest(
    part: np.ndarray, least: np.ndarray, bin_: np.ndarray, reach: np.ndarray, zero: int
) -> tuple[float, bool] | None:
    """Largest power near a place in bins (y, x), and is it enough; None where an own peak hides it."""
    if bin_[1] < 0:
        bin_ = -bin_
    y, x = bin_[0] + zero, bin_[1]
    rows = slice(max(int(np.floor(y - reach[0])), 0), int(np.ceil(y + reach[0])) + 1)
    columns = slice(max(int(np.floor(x - reach[1])), 0), int(np.ceil(x + reach[1])) + 1)
    values = part[rows, columns]
    if not values.size or (values == 0).mean() > 0.6:
        return None
    i = np.unravel_index(np.argmax(values), values.shape)
    return float(values[i]), bool(values[i] > least[rows, columns][i])


def _where(image: np.ndarray, waves: np.ndarray, sigma_px: float) -> np.ndarray:
    """(ny, nx) bool on a grid: the lattice of these waves is here."""
    parts = []
    for k in waves:
        sides = []
        for n, f in zip(image.shape, k, strict=True):
            centre = np.linspace(0.5 * sigma_px, n - 1 - 0.5 * sigma_px, max(int(n / sigma_px), 2))
            x = np.arange(n)
            window = np.exp(-0.5 * ((x - centre[:, None]) / sigma_px) ** 2)
            sides.append(window / window.sum(1, keepdims=True) * np.exp(-2j * np.pi * f * x))
        parts.append(np.abs(sides[0] @ image @ sides[1].T) ** 2)
    power = np.mean(parts, axis=0)
    return power > THERE * np.quantile(power, 0.9)
