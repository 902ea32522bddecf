"""Length and time units as microscope files write them, and numbers that files may state or leave out."""

from typing import Any

import numpy as np

from stemdefects.numerics.figures import positive

_NANOMETRES = {  # in the unit
    "m": 1e9, "meter": 1e9, "metre": 1e9, "meters": 1e9, "metres": 1e9, "cm": 1e7, "centimeter": 1e7,
    "centimetre": 1e7, "mm": 1e6, "millimeter": 1e6, "millimetre": 1e6, "um": 1e3, "micron": 1e3, "microns": 1e3,
    "micrometer": 1e3, "micrometre": 1e3, "micrometers": 1e3, "micrometres": 1e3, "nm": 1.0, "nanometer": 1.0,
    "nanometre": 1.0, "nanometers": 1.0, "nanometres": 1.0, "a": 0.1, "å": 0.1, "angstrom": 0.1, "angstroms": 0.1,
    "ångström": 0.1, "ångstrom": 0.1, "pm": 1e-3, "picometer": 1e-3, "picometre": 1e-3, "picometers": 1e-3,
    "picometres": 1e-3, "inch": 2.54e7, "inches": 2.54e7, "in": 2.54e7,
}  # fmt: skip
_SECONDS = {  # in the unit
    "s": 1.0, "sec": 1.0, "secs": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "msec": 1e-3, "millisec": 1e-3,
    "millisecond": 1e-3, "milliseconds": 1e-3, "us": 1e-6, "usec": 1e-6, "microsecond": 1e-6, "microseconds": 1e-6,
    "ns": 1e-9, "nsec": 1e-9, "nanosecond": 1e-9, "nanoseconds": 1e-9, "min": 60.0, "mins": 60.0, "minute": 60.0,
    "minutes": 60.0, "h": 3600.0, "hr": 3600.0, "hour": 3600.0, "hours": 3600.0, "d": 86400.0, "day": 86400.0,
    "days": 86400.0,
}  # fmt: skip


def _key(unit: object) -> str:
    # micro sign and Greek mu are two characters, and ImageJ writes either as an escape; hyperspy writes [nm] or "nm"
    text = str(unit or "").replace("\\u00B5", "u").replace("\\u00b5", "u").replace("\\u00C5", "å")
    return text.replace("\u00b5", "u").replace("\u03bc", "u").strip(" []().\x00\"'").lower()


def to_nm(value: float | str | None, unit: object) -> float | None:
    """`value` in `unit` as nanometres; None when the unit is no length or the value is not positive and finite."""
    return _convert(value, unit, _NANOMETRES)


def to_s(value: float | str | None, unit: object) -> float | None:
    """`value` in `unit` as seconds; None when the unit is no time or the value is not positive and finite."""
    return _convert(value, unit, _SECONDS)


def is_time(unit: object) -> bool:
    """Whether `unit` is a known unit of time."""
    return _key(unit) in _SECONDS


def is_length(unit: object) -> bool:
    """Whether `unit` is a known unit of length."""
    return _key(unit) in _NANOMETRES


def is_other(unit: object) -> bool:
    """A unit of something that is neither a place nor a time: energies, angles, reciprocal lengths."""
    key = _key(unit).replace(" ", "")
    return key in ("ev", "kev", "mrad", "rad", "deg", "degrees", "hz") or key.startswith("1/") or key.endswith("-1")


def stated_yx(value: Any) -> tuple[float, float] | None:
    """`value`, a number or a (y, x) pair, as (y, x); None where either says nothing."""
    pair = np.ravel(np.asarray(value, dtype=object)) if value is not None else np.empty(0, object)
    if len(pair) not in (1, 2):
        return None
    y, x = (positive(pair[0]), positive(pair[-1]))
    return None if y is None or x is None else (y, x)


def start_times(values: Any, n_frames: int, factor: float = 1.0) -> np.ndarray | None:
    """Starts of `n_frames` frames in s, from recorded `values` times `factor`.

    None where they say nothing: another number of them, not finite, not increasing.
    """
    try:
        times = np.asarray(values, float).reshape(-1) * factor
    except (TypeError, ValueError):
        return None
    return times if len(times) == n_frames and np.isfinite(times).all() and (np.diff(times) > 0).all() else None


def seconds_of(unit: object) -> float | None:
    """Seconds in one `unit`; None when it is no time."""
    return _SECONDS.get(_key(unit))


def _convert(value: Any, unit: object, table: dict[str, float]) -> float | None:
    factor, number = table.get(_key(unit)), positive(value)
    return None if factor is None or number is None else positive(number * factor)
