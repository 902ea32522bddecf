"""Figures as files and people state them."""

import numpy as np


def positive(value: object) -> float | None:
    """`value` as a number; None where nothing is said by it: 0, NaN, infinite, empty, negative, no number."""
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    try:
        number = float(value) if isinstance(value, str) else float(np.asarray(value).item())
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None
