"""How far places are from the border of an image."""

import numpy as np

from stemdefects.compiled import entry


def from_border(place_px: np.ndarray, shape: tuple[float, ...]) -> np.ndarray:
    """(n,) px from the places (n, 2) y, x to the nearest border of an image of this shape; negative outside.

    The border runs through the centres of the outermost pixels.
    """
    return _from_border(np.ascontiguousarray(place_px, float), float(shape[0]) - 1, float(shape[1]) - 1)


@entry
def _from_border(place: np.ndarray, bottom: float, right: float) -> np.ndarray:
    out = np.empty(len(place))
    for n in range(len(place)):
        y, x = place[n, 0], place[n, 1]
        out[n] = min(min(y, bottom - y), min(x, right - x))
    return out
