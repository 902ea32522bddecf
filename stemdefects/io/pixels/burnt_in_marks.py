"""Patches of one value in a frame: scale bars and text burnt into it, saturated or empty blocks, corners of turned
frames."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy import ndimage

from stemdefects.io.pixels import loops
from stemdefects.numerics.medians import median

CHANCE = 1e-6  # expected number of accidents per frame below which a pattern is no accident
MIN_MARK = 12  # px of one value that touch
MIN_SIDE = 8  # px, of a rectangle of one value; saturated columns are discs, and smaller
LIKE_BAR = 0.12  # of a scale bar's step from the frame's median, that smoothed letters may differ from it
MIN_BAR = 16  # px, the length of a scale bar
RECTANGLE = 0.95  # of its bounding box that a rectangle fills
STEP = 5.0  # noise of the pixels, that a mark stands off its surroundings
WAY = 0.5  # of the way from its value to the frame's median: saturated columns fall off more slowly
VALUES = 8  # that are looked at, the most frequent ones in patches of one value
ENLARGED = 0.02  # of the frame, in patches of all other values: its pixels were repeated, one value says nothing
MARKS = 8  # of one value that a frame has
FRINGE = 1  # px around a mark: smoothed by whoever drew it


def find(image: np.ndarray, invalid: np.ndarray | None) -> np.ndarray | None:
    """(H, W) bool: patches of one value in `image` (H, W) outside `invalid`: rectangles that chance does not make, and
    shapes of any kind with edges too sharp for a probe. None: there are none."""
    row, column = loops.flat_squares(image)
    if invalid is not None:
        known = ~invalid[row, column]
        row, column = row[known], column[known]
    if not len(row):
        return None
    values, counts = np.unique(image[row, column], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    if counts[order[VALUES:]].sum() > ENLARGED * image.size:
        return None
    # a mark holds three such squares at least: they have no more than four pixels each
    order = [k for k in order[:VALUES] if 4 * counts[k] >= MIN_MARK]
    if not order:
        return None
    flat = np.zeros((image.shape[0] - 1, image.shape[1] - 1), bool)
    flat[row, column] = True
    noise, middle, found = _noise(image), float(median(image)), None
    for value in values[order]:
        patches = list(_patches(image == value, flat))
        areas = np.array([_rectangle(whole) for _, whole in patches])
        for (inside, whole), area in zip(patches, areas, strict=True):
            ring = ndimage.binary_dilation(whole, np.ones((3, 3))) & ~whole
            outside = image[inside][ring]
            alike = (np.sum(outside == value) + 1) / (len(outside) + 2)
            step = np.abs(np.median(outside) - value)
            sharp = step > STEP * noise and step > WAY * abs(middle - value)
            # pixels of few counts are often alike, above all between columns: how often they are around says what size
            # chance makes, and marks are not all over the frame
            usual = np.log(_share_around(image == value, inside, area)) if area else 0.0
            chance = np.log(image.size) + area * usual < np.log(CHANCE) and (areas > area / 2).sum() <= MARKS
            if sharp or (alike < WAY and chance):
                found = np.zeros(image.shape, bool) if found is None else found
                found[inside] |= ndimage.binary_dilation(whole, np.ones((3, 3)), FRINGE)
                near = np.abs(image - value) < LIKE_BAR * abs(value - middle)
                if (letters := _lettering(near, whole, inside)) is not None:
                    found[letters] = True
    return found


def _lettering(like: np.ndarray, bar: np.ndarray, inside: tuple[slice, slice]) -> tuple[slice, slice] | None:
    """Box around what is about as bright (`like`, H, W) as a scale bar, above or below it: its length in words."""
    rows, columns = (np.flatnonzero(bar.any(axis)) for axis in (1, 0))
    height, width = len(rows), len(columns)
    if width < MIN_BAR or width < 3 * height:
        return None
    top, left = inside[0].start + rows[0], inside[1].start + columns[0]
    reach = max(width // 2, 24)
    area = (slice(max(top - reach, 0), top + height + reach), slice(max(left - height, 0), left + width + height))
    around = like[area].copy()
    y, x = top - area[0].start, left - area[1].start
    around[max(y - 1, 0) : y + height + 1, max(x - 1, 0) : x + width + 1] = False
    n, rest = int(around.sum()), int(like.sum() - like[area].sum())
    if n < MIN_MARK or n / around.size < 2 * (rest + 1) / (like.size - around.size + 1):
        return None
    rows, columns = (np.flatnonzero(around.any(axis)) for axis in (1, 0))
    low = area[0].start + rows[0] - 2, area[1].start + columns[0] - 2
    high = area[0].start + rows[-1] + 3, area[1].start + columns[-1] + 3
    return slice(max(low[0], 0), high[0]), slice(max(low[1], 0), high[1])


def _patches(same: np.ndarray, flat: np.ndarray) -> Iterator[tuple[tuple[slice, slice], np.ndarray]]:
    """Patches of `same` (H, W) that hold squares of 2 x 2 px, and are larger than chance makes them or rectangles: box
    with two pixels around, and mask (h, w) in it."""
    core = np.zeros(same.shape, bool)
    core[:-1, :-1] = flat & same[:-1, :-1]
    core[1:] |= core[:-1]
    core[:, 1:] |= core[:, :-1]
    groups, n = ndimage.label(core)
    areas = np.bincount(groups.ravel(), minlength=n + 1)
    for number, box in enumerate(ndimage.find_objects(groups), 1):
        size = (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
        if areas[number] < MIN_MARK or size > 0.7 * same.size:
            continue
        usual = (same.sum() - same[box].sum() + 1) / (same.size - size + 1)
        # a patch grows around a first pixel: each further one may lie in some three places
        accident = np.log(same.size) + areas[number] * np.log(min(3 * usual, 1)) > np.log(CHANCE)
        group = groups[box] == number
        if accident and not _rectangle(group):
            continue
        inside: Any = tuple(slice(max(s.start - 2, 0), s.stop + 2) for s in box)
        yield inside, ndimage.binary_propagation(groups[inside] == number, mask=same[inside])


def _share_around(same: np.ndarray, inside: tuple[slice, slice], area: int) -> float:
    """Share of `same` (H, W) in a field three times as large as the box `inside`, without `area` pixels of it."""
    wide = tuple(slice(max(2 * s.start - s.stop, 0), 2 * s.stop - s.start) for s in inside)
    field = same[wide]
    return float((field.sum() - area + 1) / (field.size - area + 2))


def _rectangle(group: np.ndarray) -> int:
    """Pixels of it if it is one, or of what is left of it without what touches it at its edges; 0: it is none."""
    for shape in (group, ndimage.binary_opening(group, np.ones((4, 4)))):
        if not shape.any():
            continue
        rows, columns = (np.flatnonzero(shape.any(axis)) for axis in (1, 0))
        sides = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
        if max(sides) >= MIN_SIDE and shape.sum() >= RECTANGLE * sides[0] * sides[1]:
            return int(shape.sum())
    return 0


def _noise(image: np.ndarray) -> float:
    """Standard deviation of the pixels' noise, from second differences along both axes (Immerkaer, Comput. Vis. Image
    Underst. 64, 300 (1996))."""
    part = image[:512, :512]
    twice = np.diff(np.diff(part, 2, axis=0), 2, axis=1)
    return float(np.sqrt(np.mean(np.clip(twice, *np.quantile(twice, (0.02, 0.98))) ** 2))) / 6
