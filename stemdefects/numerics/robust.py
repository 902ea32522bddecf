"""Scatter of the bulk of values, which a minority of others does not reach."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from stemdefects.numerics import medians

NORMAL = 1.4826  # standard deviation of a normal distribution over its median absolute deviation


def scatter(values: ArrayLike, centre: ArrayLike | None = None, axis: int | None = None) -> Any:
    """Standard deviation of the bulk, from the median absolute deviation; NaN is left out.

    values: (...); centre: what they scatter about, None: their median. Returns a float, or an array without `axis`.
    """
    values = np.asarray(values)
    if axis is None and values.dtype.kind == "f" and (centre is None or isinstance(centre, int | float)):
        return float(NORMAL * medians.deviation(values, centre))
    middle = np.nanmedian if np.isnan(values).any() else np.median
    deviation = np.abs(values - (middle(values, axis, keepdims=True) if centre is None else centre))
    found = NORMAL * middle(deviation, axis)
    return float(found) if axis is None else found
