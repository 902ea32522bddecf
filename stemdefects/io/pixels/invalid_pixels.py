"""Pixels that hold no intensity: not finite, dead lines, black borders of registered stacks, saturated blocks, burnt-in
scale bars and text, spikes of cosmic rays and hot or dead pixels.

`find` says where they are in one frame, `fill` puts what their surroundings have in their place. What a detector can
show of a specimen is left alone: empty pixels of a low dose, which chance puts next to each other, and columns,
however bright, which are as wide as the probe.
"""

import numpy as np
from scipy import ndimage

from stemdefects.io.pixels import burnt_in_marks as marks
from stemdefects.io.pixels import loops
from stemdefects.numerics.medians import quantile

CHANCE = marks.CHANCE
SPIKE = 5.0  # times what all but one in `ONE_IN` pixels stand above their fourth-brightest neighbour
ONE_IN = 100  # pixels: few enough that spikes do not set the measure they are judged by
SHARP = 0.2  # of a spike's height, at most, is left at its fourth-brightest neighbour; a probe of 1 px sigma leaves 0.6
MIN_FRAME = 16  # px; smaller ones say nothing about what is usual
ROUNDS = 3  # spikes of up to 5 px are taken off from outside
SAMPLE = 8192  # pixels that say how far usual ones stand out
LEVELS = 4  # of brightness
LEAST = 0.3  # of what is usual where it is most
MIN_RUN = 24  # px
RARE = 0.2  # share of a value around a run of it, up to which the run is news
NEAR_LINES = 8  # lines to either side that say how usual a value is


def find(image: np.ndarray) -> np.ndarray | None:
    """(H, W) bool: pixels of `image` (H, W; counts or any linear intensity) that hold no intensity; None: all do."""
    work = np.ascontiguousarray(image, np.float32)
    invalid = None if loops.n_finite(work) == work.size else ~np.isfinite(work)
    if min(image.shape) < MIN_FRAME:
        return invalid
    grain = _grain(work if invalid is None else work[~invalid])
    if invalid is not None:
        if invalid.mean() > 0.9:
            return invalid
        work = fill(work, invalid)
    lines = _dead_lines(work)
    if lines is not None:
        invalid = _joined(invalid, lines)
        if invalid.all():
            return invalid
        work = fill(work, invalid)
    if (runs := _dead_runs(work, invalid)) is not None:
        invalid, work = _joined(invalid, runs), fill(work, runs)
    for more in (_spikes(work, grain, invalid), marks.find(work, invalid)):
        invalid = invalid if more is None else _joined(invalid, more)
    return invalid


def fill(image: np.ndarray, invalid: np.ndarray) -> np.ndarray:
    """`image` (H, W) float32 with its `invalid` pixels (H, W bool) replaced by a mean of the valid ones around them,
    further and further around until there are any."""
    out = np.where(invalid, 0, image).astype(np.float32)
    left = invalid.copy()
    if left.all() or not left.any():
        return out
    low, high = _box(left, 16)
    for sigma in (0.8, 2.0, 6.0):
        part = (slice(low[0], high[0]), slice(low[1], high[1]))
        valid = (~invalid[part]).astype(np.float32)
        weight = ndimage.gaussian_filter(valid, sigma)
        mean = ndimage.gaussian_filter(np.where(invalid[part], 0, image[part]).astype(np.float32), sigma)
        known = left[part] & (weight > 0.05)
        out[part][known] = mean[known] / weight[known]
        left[part] &= ~known
        if not left.any():
            return out
    out[left] = np.float32(image[~invalid].astype(np.float64).mean())
    return out


def _joined(one: np.ndarray | None, other: np.ndarray) -> np.ndarray:
    return other if one is None else one | other


def _box(mask: np.ndarray, margin: int) -> tuple[np.ndarray, np.ndarray]:
    where = [np.flatnonzero(mask.any(axis)) for axis in (1, 0)]
    low = np.array([max(int(w[0]) - margin, 0) for w in where])
    high = np.array([min(int(w[-1]) + margin + 1, n) for w, n in zip(where, mask.shape, strict=True)])
    return low, high


def _dead_lines(image: np.ndarray) -> np.ndarray | None:
    """Rows and columns of one value from end to end, where the values of the lines around them make that no accident.

    Rows first, then columns on the rows that are left, and again: a border is dead along two sides.
    """
    row_out, column_out = np.zeros(image.shape[0], bool), np.zeros(image.shape[1], bool)
    for _ in range(2):
        before = row_out.sum() + column_out.sum()
        for out, other, turned in ((row_out, column_out, image), (column_out, row_out, image.T)):
            if other.all():
                break
            same = loops.constant_lines(turned, other) & ~out
            if same.any() and not (same | out).all():
                out |= _no_accident(turned[:, ~other], same, out)
        if row_out.sum() + column_out.sum() == before:
            break
    lines = row_out[:, None] | column_out[None]
    return lines if lines.any() else None


def _no_accident(part: np.ndarray, same: np.ndarray, out: np.ndarray) -> np.ndarray:
    """(n,) bool of the lines `same`: their value is too rare on the nearest lines of several values."""
    usual = np.flatnonzero(~same & ~out)
    dead = np.zeros(len(part), bool)
    for line in np.flatnonzero(same):
        near = usual[np.argsort(np.abs(usual - line), kind="stable")[: 2 * NEAR_LINES]]
        often = ((part[near] == part[line, 0]).sum() + 1) / (part[near].size + 2)
        dead[line] = len(part) * often ** part.shape[1] < CHANCE
    return dead


def _dead_runs(image: np.ndarray, invalid: np.ndarray | None) -> np.ndarray | None:
    """Parts of rows and columns of one value, `MIN_RUN` px and longer, where that value is rare on the lines around."""
    found = None
    for turned in (False, True):
        part = image.T if turned else image
        count, lines = (loops.runs_in_columns if turned else loops.runs_in_rows)(image, MIN_RUN)
        if not count or count > 0.1 * len(part) * (part.shape[1] - MIN_RUN + 1):  # of few values: no accident there
            continue
        for line in np.flatnonzero(lines):
            same = part[line, 1:] == part[line, :-1]
            edges = np.flatnonzero(np.diff(np.concatenate([[0], same.astype(np.int8), [0]])))
            for first, last in edges.reshape(-1, 2):
                if last - first + 1 < MIN_RUN:
                    continue
                low, high = max(line - NEAR_LINES, 0), line + NEAR_LINES + 1
                around = np.delete(part[low:high, first : last + 1], line - low, axis=0)
                often = ((around == part[line, first]).sum() + 1) / (around.size + 2)
                if often < RARE and image.size * often ** (last - first + 1) < CHANCE:
                    found = np.zeros(image.shape, bool) if found is None else found
                    (found.T if turned else found)[line, first : last + 1] = True
    if found is not None and invalid is not None:
        found &= ~invalid
    return found if found is not None and found.any() else None


def _spikes(image: np.ndarray, grain: float, invalid: np.ndarray | None) -> np.ndarray | None:
    """Single pixels and small groups that stand out of their surroundings, upwards or downwards, with no flank."""
    work, found = image, None
    for _ in range(ROUNDS):
        outstanding = _outstanding(work, grain)
        for row, column, instead in outstanding:
            if invalid is not None:
                new = ~invalid[row, column]
                row, column, instead = row[new], column[new], instead[new]
            if len(row):
                work, found = (image.copy(), np.zeros(image.shape, bool)) if found is None else (work, found)
                work[row, column], found[row, column] = instead, True
        if found is None:
            break
    return found


def _outstanding(image: np.ndarray, grain: float) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Row, column and surroundings (n,) of pixels that stand out upwards, and of those that do downwards."""
    sample = np.arange(0, image.size, max(1, image.size // SAMPLE))
    fourth, fifth = loops.around(image, sample // image.shape[1], sample % image.shape[1], 1)
    value = image.ravel()[sample]
    usual = [_usual(value, fourth, fifth, grain), _usual(-value, -fifth, -fourth, grain)]
    places = loops.standing_out(image, *(SPIKE * float(u.min()) for _, u in usual))
    if not any(map(len, places)):
        return []
    return [_sure(image, sign, place, known) for sign, place, known in zip((1, -1), places, usual, strict=True)]


def _usual(value: np.ndarray, level: np.ndarray, fourth: np.ndarray, grain: float) -> tuple[np.ndarray, np.ndarray]:
    """What stands out by chance, (LEVELS,), of pixels whose neighbours are about as bright as (LEVELS,) `level`."""
    # brighter places are noisier: what is usual is looked at by how bright the neighbours are
    order = np.array_split(loops.in_order(level), LEVELS)
    over = value - fourth
    usual = np.array([max(float(quantile(over[part], 1 - 1 / ONE_IN)), grain) for part in order])
    usual = np.maximum(usual, LEAST * usual.max())  # at the edge of a hole both meet
    middle = [(len(part) // 2, (len(part) - 1) // 2) for part in order]  # in order as they are: their medians
    return np.array([level[part[[*m]]].mean() for part, m in zip(order, middle, strict=True)], float), usual


def _sure(
    image: np.ndarray, sign: int, place: np.ndarray, usual: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row and column (n,) of those of `place` (m, 2) that stand out more than usual, with no flank, and what is around
    them (n,). sign: 1 upwards, -1 downwards; `usual` is then of the image times -1."""
    row, column = place.T
    near, far = (np.array(loops.around(image, row, column, away))[::sign] * sign for away in (1, 2))
    (level, fourth), surroundings, value = near, far.mean(0), sign * image[row, column]
    flat = fourth - surroundings < SHARP * (value - surroundings)
    sure = flat & (value - np.maximum(fourth, far[1]) > SPIKE * np.interp(level, *usual))
    return row[sure], column[sure], sign * surroundings[sure]


def _grain(image: np.ndarray) -> float:
    """Smallest step between two values of the frame: one count, where there are counts."""
    values = image.ravel()[:: max(1, image.size // SAMPLE)].astype(np.float32)
    steps = np.diff(values[loops.in_order(values)])
    steps = steps[steps > 0]
    return float(steps.min()) if len(steps) else 0.0
