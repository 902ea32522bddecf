"""Length and time units as microscope files write them."""

_NANOMETRES = {
    "m": 1e9, "meter": 1e9, "metre": 1e9, "cm": 1e7, "mm": 1e6, "millimeter": 1e6, "um": 1e3, "micron": 1e3,
    "microns": 1e3, "micrometer": 1e3, "micrometre": 1e3, "nm": 1.0, "nanometer": 1.0, "nanometre": 1.0, "a": 0.1,
    "å": 0.1, "angstrom": 0.1, "angstroms": 0.1, "ångström": 0.1, "pm": 1e-3, "picometer": 1e-3, "inch": 2.54e7,
    "in": 2.54e7,
}  # fmt: skip
_SECONDS = {"s": 1.0, "sec": 1.0, "second": 1.0, "seconds": 1.0, "ms": 1e-3, "millisecond": 1e-3, "us": 1e-6,
            "min": 60.0, "h": 3600.0}  # fmt: skip


def _key(unit: object) -> str:
    # micro sign and Greek mu are two characters; hyperspy writes [nm] or "nm"
    return str(unit or "").replace("\u00b5", "u").replace("\u03bc", "u").strip(" []\x00\"'").lower()


def to_nm(value: float | None, unit: object) -> float | None:
    """`value` in `unit` as nanometres; None when the unit is no length or the value is not positive and finite."""
    return _convert(value, unit, _NANOMETRES)


def to_s(value: float | None, unit: object) -> float | None:
    """`value` in `unit` as seconds; None when the unit is no time or the value is not positive and finite."""
    return _convert(value, unit, _SECONDS)


def is_time(unit: object) -> bool:
    return _key(unit) in _SECONDS


def is_length(unit: object) -> bool:
    return _key(unit) in _NANOMETRES


def _convert(value: float | None, unit: object, table: dict[str, float]) -> float | None:
    factor = table.get(_key(unit))
    try:
        number = float(value) * factor
    except (TypeError, ValueError):
        return None
    return number if 0 < number < float("inf") else None
