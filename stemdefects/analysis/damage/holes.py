"""Holes and other phases against time and dose: area, length of their edge, and how fast the edge moves.

Lengths of edges in the maps of regions are by the Cauchy-Crofton formula: crossings along four directions, so that the
steps of the map do not lengthen them. The border of the field is no edge.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.data.scales import Dose
from stemdefects.analysis.estimates import Estimate, estimate
from stemdefects.analysis.population import growth
from stemdefects.analysis.stage import Figure, sentences

PHASES = {1: "hole", 2: "amorphous", 3: "1T"}  # as tables number the regions
MIN_SHARE = 0.002  # largest share of the field for which a phase is followed
PER = 1e6  # e/nm2 that a front's advance is quoted for


class Grown(NamedTuple):
    """What `measure` gives of holes and other phases, for the stage of beam damage."""

    estimates: Sequence[Estimate]
    tables: dict[str, Any]
    figures: dict[str, Any]
    blocks: Sequence[Any]


def measure(found: Detections, dose: Dose | None) -> Grown:
    """Area and edge of every phase in each frame, and the advance of its front where it has one."""
    import pandas as pd

    maps, step_nm = _maps(found)
    if maps is None or step_nm is None or not found.followed:
        return Grown((), {}, {}, ())
    numbers = found.frame_table()["frame"]
    keep = found.observed[numbers]
    times = found.times[numbers][keep] - found.times[numbers][keep][0]
    rows, said = [], []
    for number, phase in PHASES.items():
        share = (maps[keep] == number).mean((1, 2))
        if not len(share) or share.max() < MIN_SHARE:
            continue
        area = (maps[keep] == number).sum((1, 2)) * step_nm[0] * step_nm[1]
        edge = np.array([edge_length(one == number, one <= max(PHASES), step_nm) for one in maps[keep]])
        rows.append(
            pd.DataFrame(
                {
                    "frame": numbers[keep],
                    f"time_{found.time_unit}": times,
                    "phase": phase,
                    "fraction": share,
                    "area_nm2": area,
                    "edge_nm": edge,
                }
                | (
                    {}
                    if dose is None or not found.frame_time_s
                    else {"dose_e_per_nm2": times / found.frame_time_s * dose.e_per_nm2_per_frame}
                )
            )
        )
        said += front(phase, times, area, edge, found, dose)
    if not rows:
        return Grown((), {}, {}, ())
    table = pd.concat(rows, ignore_index=True)
    blocks = [sentences(said), Figure("phases", "Area and edge of each phase that is not lattice.")]
    return Grown(said, {"phases": table}, {"phases": {"table": table}}, blocks)


def front(
    phase: str, times: np.ndarray, area: np.ndarray, edge: np.ndarray, found: Detections, dose: Dose | None
) -> list[Estimate]:
    """How fast a phase's edge moves into the rest: its area against the edge that was there, summed over time."""
    swept = np.concatenate([[0.0], np.cumsum(0.5 * (edge[1:] + edge[:-1]) * np.diff(times))])
    fit = growth.fit(swept, area, phase) if np.ptp(swept) > 0 else None
    if fit is None:
        return []
    three = fit.laws["straight line"].parameters["rate"]
    n = len(times)
    how = "area against edge x time, least squares"
    out = [estimate("advance of the edge", *three, f"nm/{found.time_unit}", how, subject=phase, n=n, n_of="frames")]
    if dose is not None and found.frame_time_s:
        per = [v * found.frame_time_s / dose.e_per_nm2_per_frame * PER for v in three]
        half = 1.96 * dose.relative_sigma * abs(per[0])
        low, high = per[0] - np.hypot(per[0] - per[1], half), per[0] + np.hypot(per[2] - per[0], half)
        out.append(
            estimate(
                "advance of the edge per dose",
                per[0],
                low,
                high,
                "nm per 1e6 e/nm2",
                how,
                subject=phase,
                n=n,
                n_of="frames",
            )
        )
    return out


def edge_length(inside: np.ndarray, known: np.ndarray, step_nm: Sequence[float] | np.ndarray) -> float:
    """Length of the edge between `inside` (ny, nx) and the other `known` cells, nm."""
    dy, dx = step_nm
    slant = np.hypot(dy, dx)
    angle = np.arctan2(dy, dx)
    pairs = (
        (np.s_[:, :-1], np.s_[:, 1:], dy, angle),
        (np.s_[:-1], np.s_[1:], dx, np.pi / 2 - angle),
        (np.s_[:-1, :-1], np.s_[1:, 1:], dy * dx / slant, np.pi / 4),
        (np.s_[:-1, 1:], np.s_[1:, :-1], dy * dx / slant, np.pi / 4),
    )
    total = 0.0
    for a, b, spacing, sector in pairs:  # crossings x distance of the lines x angle they stand for
        total += float(((inside[a] != inside[b]) & known[a] & known[b]).sum()) * spacing * sector
    return 0.5 * total


def _maps(found: Detections) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(maps of regions of the frames of the table, size of their cells y, x in nm); None where there are none."""
    import h5py

    step = found.attrs.get("region_step_px")
    if found.path is None or step is None or found.pixel_size_nm is None or not h5py.is_hdf5(found.path):
        return None, None
    with h5py.File(found.path, "r") as file:
        maps = file["regions"][()] if "regions" in file else None
    if maps is None or len(maps) != len(found.frame_table()):
        return None, None
    return maps, np.asarray(step, float) * found.scale_yx
