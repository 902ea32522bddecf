"""What is where in which frame: defects that stay are told from all frames together, those that move from each alone.

The mean of frames in which an atom sits at two places shows it at both, half as bright: a mean is right only where
nothing has changed. So every defect that the mean shows is looked at in the single frames; where these contradict each
other (chi-square), the mean says nothing about that place, and each frame speaks for itself.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.stats import chi2

from stemdefects.labels.fourier.points import certainty
from stemdefects.labels.fourier.points.certainty import DISC, LATTICE
from stemdefects.labels.fourier.points.defects import Extrema, Levels, Significance, extrema
from stemdefects.labels.fourier.points.defects import levels as levels_of

CHANGED = 1e-3  # false alarm rate of the test whether a defect changes from frame to frame
CLEAR_PLACE = 5.0  # standard deviations at which a single frame says where a defect is
ASTRAY = (
    0.7  # lattice spacings from the mean's place to a frame's: places of one cell are not farther apart than twice it
)
STEADY = 0.08  # lattice spacings by which the scan and the nearest pixel put a resting one off
CONTRADICTED = -4.0  # log-likelihood ratio at which a frame speaks against a defect that stays
SURELY_GONE = 6.0  # log-likelihood ratio at which a defect seen in other frames is not in this one
# defects that clear in the usual frame, of which a frame shows less than this share, say that it lies wrong
BLUR_LEAST, BLUR_CLEAR, BLURRED = 5, 3.0, 0.4
ALL = -1  # the frame of a defect that all frames together show


@dataclass(frozen=True)
class Told:
    """defects: L of them, places in the first frame, those of all frames first; frame: (L,) int the only frame it was
    seen in, `ALL`; yx: (N, L, 2) places in each frame; sure: (N, L) bool; unsure: per frame (m, 2) places where
    something may be; gone: per frame (k, 2) places that surely hold nothing now and something in other frames; levels:
    of single frames."""

    defects: Extrema
    frame: np.ndarray
    yx: np.ndarray
    sure: np.ndarray
    unsure: list[np.ndarray]
    gone: list[np.ndarray]
    levels: Levels | None


def in_frames(z: np.ndarray, sign: np.ndarray, yx: np.ndarray) -> np.ndarray:
    """(N, L) significance in each frame of defects of `sign` (L,), positive where it is of that sign. z: (N, H, W)."""
    at = [ndimage.map_coordinates(m, p.T, order=1, mode="nearest") for m, p in zip(z, yx, strict=True)]
    return sign * np.stack(at)


def wandering(z: np.ndarray, sign: np.ndarray, yx: np.ndarray, spacing: float, sigma_px: float) -> np.ndarray:
    """(L,) bool: the frames that show a defect clearly show it at different places.

    A mean sees an atom that hops between two near places in the middle of both, not very different from frame to frame.
    z: (N, H, W), filtered with a Gaussian of `sigma_px`; sign: (L,); yx: (N, L, 2) places in each frame.
    """
    count, n = yx.shape[:2]
    off, size = np.zeros((count, n, 2)), np.zeros((count, n))
    if count < 2 or not n:
        return np.zeros(n, bool)
    for t, one in enumerate(z):
        found = extrema(one, CLEAR_PLACE, DISC * spacing)
        distance, nearest = cKDTree(yx[t]).query(found.yx, distance_upper_bound=ASTRAY * spacing)
        for k in np.flatnonzero(np.isfinite(distance)):  # the strongest are first
            whose = nearest[k]
            if np.sign(found.z[k]) == sign[whose] and size[t, whose] == 0:
                off[t, whose], size[t, whose] = found.yx[k] - yx[t, whose], abs(found.z[k])
    clear = size > 0
    weight = np.where(clear, 1 / (2 * (sigma_px / np.maximum(size, CLEAR_PLACE)) ** 2 + (STEADY * spacing) ** 2), 0.0)
    centre = (weight[..., None] * off).sum(0) / np.maximum(weight.sum(0), 1e-12)[:, None]
    distance = (weight[..., None] * (off - centre) ** 2).sum((0, 2))
    freedom = np.maximum(2 * (clear.sum(0) - 1), 1)
    return (clear.sum(0) > 1) & (distance > chi2.ppf(1 - CHANGED, freedom))


def changing(here: np.ndarray) -> np.ndarray:
    """(L,) bool: what the frames show, (N, L) from `in_frames`, is not the same in all of them."""
    # sub-pixel places cost a few per cent of a strong defect: that is no change
    if len(here) < 2:
        return np.zeros(here.shape[1], bool)
    spread = np.sqrt(1 + (0.12 * here.mean(0)) ** 2)
    return (((here - here.mean(0)) / spread) ** 2).sum(0) > chi2.ppf(1 - CHANGED, len(here) - 1)


def only_first(static: Extrema) -> Told:
    """What there is to tell of one frame."""
    count, empty = len(static.z), [np.zeros((0, 2))]
    return Told(static, np.full(count, ALL), static.yx[None], np.ones((1, count), bool), empty, empty, None)


def blurring(here: np.ndarray) -> np.ndarray:
    """(N,) bool: frames in which next to nothing is of what most frames show: they lie wrong on the others.

    here: (N, c) from `in_frames`. The first frame, whose places all are in, is none.
    """
    usual = np.median(here, axis=0)
    clear = usual > BLUR_CLEAR
    if len(here) < 3 or clear.sum() < BLUR_LEAST:
        return np.zeros(len(here), bool)
    blurred = np.median(here[:, clear] / usual[clear], axis=1) < BLURRED
    blurred[0] = False
    return blurred


class Candidates(NamedTuple):
    """What all frames together show: static (c), places in each frame yx (N, c, 2), here (N, c) from `in_frames`;
    stays, moves: (c,) bool, those that are the same in all frames and those that are not."""

    static: Extrema
    yx: np.ndarray
    here: np.ndarray
    stays: np.ndarray
    moves: np.ndarray


def tell(
    candidates: Candidates,
    single: list[Significance],
    own_regions: np.ndarray,
    spacing: float,
    shift_px: np.ndarray,
    share: float,
    unsure: float,
) -> Told:
    """Which of the `candidates` are defects, and what else single frames show.

    single: significance of each frame; own_regions: (N, H, W) of each; share, unsure: settings.
    """
    static, static_yx, here, stays, moves = candidates
    n = len(single)
    z = np.stack([s.z for s in single])
    if n == 1:
        return only_first(static.take(stays))
    found = []
    for t, one in enumerate(single):
        points = extrema(one.z, 2.5, DISC * spacing)
        if stays.any() and len(points.z):  # seen already
            points = points.take(cKDTree(static_yx[t][stays]).query(points.yx)[0] > DISC * spacing)
        found.append(points)
    every = Extrema(np.concatenate([p.yx for p in found]), np.concatenate([p.z for p in found]))
    inside = [certainty.region_at(r, p.yx) == LATTICE for r, p in zip(own_regions, found, strict=True)]
    roughness = float(np.mean([s.roughness for s in single]))
    levels = levels_of(every, np.concatenate(inside), float(z.size), roughness, share, n)
    kept, kept_frame, unsure_yx, gone = [static.take(stays)], [np.full(stays.sum(), ALL)], [], []
    for t, points in enumerate(found):
        size = np.abs(points.z)
        # ringing of those that stay is no defect either
        now = (here[t] * np.sign(static.z))[stays]
        around = Extrema(np.concatenate([points.yx, static_yx[t][stays]]), np.concatenate([points.z, now]))
        good = certainty.accepted(around, levels.of(around.z), own_regions[t], spacing)[: len(size)]
        mine = points.take(good)
        mine = mine.take(~certainty.crowded(mine, spacing))
        kept.append(Extrema(mine.yx - shift_px[t], mine.z))
        kept_frame.append(np.full(len(mine.z), t))
        near = certainty.distance_to(mine.yx, points.yx) > 1e-6
        maybe = near & (size > levels.of(points.z) - unsure)
        # what other frames show clearly and this one does not is not there, so that its absence can be learned
        strength = np.sort(here[:, moves], axis=0)[-max(2, n // 4) :].mean(0)
        absent = strength * (0.5 * strength - here[t, moves]) > SURELY_GONE
        old = static_yx[t][moves]
        gone.append(old[absent])
        doubtful = old[~absent & (certainty.distance_to(mine.yx, old) > DISC * spacing)]
        unsure_yx.append(np.concatenate([points.yx[maybe], doubtful]))
    defects = Extrema(np.concatenate([k.yx for k in kept]), np.concatenate([k.z for k in kept]))
    of = np.concatenate(kept_frame)
    yx = np.stack([np.concatenate([static_yx[t][stays], defects.yx[of != ALL] + shift_px[t]]) for t in range(n)])
    sure = of[None] == np.arange(n)[:, None]
    usual = np.median(here[:, stays], axis=0)
    sure[:, of == ALL] = usual * (here[:, stays] - 0.5 * usual) > CONTRADICTED
    unsure_yx = [np.concatenate([u, yx[t][(of == ALL) & ~sure[t]]]) for t, u in enumerate(unsure_yx)]
    return Told(defects, of, yx, sure, unsure_yx, gone, levels)
