"""Electrons per pixel from what files say of the beam: its current, and how long it stays on a pixel; its voltage.

Where they say it: RosettaSciIO's metadata (`TEM.beam_current` in nA, from DigitalMicrograph's probe current;
`TEM.dwell_time` in s, `TEM.beam_energy` in keV), Velox (`Scan.DwellTime` in s, `Optics.AccelerationVoltage` in V). What
a screen measured at some time before (Velox) is not the current during a frame and is passed over.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from stemdefects.numerics.figures import positive

Names = Mapping[tuple[str, ...], float]
E_PER_PA_US = 1e-12 * 1e-6 / 1.602176634e-19  # electrons in 1 pA times 1 us; the elementary charge is exact (SI)
CURRENT_PA: Names = {("TEM", "beam_current"): 1e3}  # by the last two keys: pA in the unit
DWELL_US: Names = {("TEM", "dwell_time"): 1e6, ("Scan", "DwellTime"): 1e6}  # the same: us in the unit
VOLTAGE_KV: Names = {("TEM", "beam_energy"): 1.0, ("Optics", "AccelerationVoltage"): 1e-3}  # the same: kV in the unit
DEEPEST = 8  # levels of a file's metadata


class Beam(NamedTuple):
    """What a file says of the beam; None: nothing."""

    current_pA: float | None
    dwell_us: float | None
    voltage_kv: float | None = None


def of_file(metadata: Mapping[str, Any]) -> Beam:
    """What `Movie.metadata` says."""
    parts = [metadata.get("general"), metadata.get("vendor"), metadata.get("first"), metadata]
    return Beam(_found(parts, CURRENT_PA), _found(parts, DWELL_US), _found(parts, VOLTAGE_KV))


def electrons(current_pA: float, dwell_us: float) -> float:
    """Incident electrons per pixel."""
    return current_pA * dwell_us * E_PER_PA_US


def _found(parts: list[Any], names: Names) -> float | None:
    """The first positive number under one of `names`, times its unit."""
    for part in parts:
        for keys, value in _walk(part, (), 0):
            if keys[-2:] in names and (number := positive(value)) is not None:
                return number * names[keys[-2:]]
    return None


def _walk(part: Any, keys: tuple[str, ...], depth: int) -> list[tuple[tuple[str, ...], Any]]:
    """Every value below a mapping, with the keys that lead to it."""
    if not isinstance(part, Mapping) or depth > DEEPEST:
        return [(keys, part)]
    return [one for key, value in part.items() for one in _walk(value, (*keys, str(key)), depth + 1)]
