"""Tables of other programs, and our own after editing: what their columns mean, by names, units and content.

Known are plain CSV, TrackMate spots, trackpy, ImageJ results, our own `defects.csv`. A length says its
unit in its name, its header or a line of units; without any it counts pixels, as in trackpy. What stays ambiguous is a
`UserError` that says which setting decides.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects.analysis.data import foreign_frames
from stemdefects.analysis.data.foreign_columns import LENGTHS_NM, PIXELS, explicit, find, found, no_column, plain
from stemdefects.errors import UserError
from stemdefects.io.tables import table as defect_table
from stemdefects.io.tables import text_table
from stemdefects.io.tables.text_table import TextTable
from stemdefects.schema import TableConfig

IN_IMAGE_UNITS = ("position_x", "position_y")  # TrackMate: in whatever unit its image has
LEAST_EXTENT_PX, LEAST_ROWS = 20.0, 20  # so many detections in fewer pixels than this are not in pixels
SAME_SCALE = 0.02  # of the largest position: what pixels and nanometres of one place may differ by
MAX_KINDS = 50  # more labels are numbers or names of single defects, no kinds
OVER_TIME = "defects_over_time"


def read(path: Path, cfg: TableConfig) -> dict[str, Any]:
    """The fields of `Detections` of a text table, not cleaned yet; UserError for what cannot be understood."""
    text = text_table.read(path)
    known = dict(cfg.known.get(path.name, {}))
    notes = [f"Source: {known['reference']}."] if "reference" in known else []
    notes += [f"{known['note'][0].upper()}{known['note'][1:]}."] if "note" in known else []
    rows = defect_table.empty(len(text))
    stated_s = cfg.frame_time_s or known.get("frame_time_s")
    timed = foreign_frames.read(text, cfg, stated_s)
    rows["frame"], rows["time_s"] = timed.frame, timed.time_s
    pixel_yx = _positions(text, cfg, rows, cfg.pixel_size_nm or known.get("pixel_size_nm"), notes)
    rows["score"], rows["kind_prob"] = 1, 1
    _probabilities(text, cfg, rows, notes)
    rows["kind"] = _kinds(text, cfg, notes)
    for name in ("track", "complex", "orientation"):
        if (column := find(text, cfg, name)) is not None:
            values = text_table.numbers(text, column)
            limits = np.iinfo(rows.dtype[name])
            rows[name] = np.where((values >= 0) & (values <= limits.max), values, -1)
    if "position_sigma_px" in known and np.isnan(rows["sigma_nm"]).all() and pixel_yx is not None:
        rows["sigma_nm"] = known["position_sigma_px"] * pixel_yx[1]
    relative = cfg.pixel_size_relative_sigma or known.get("pixel_size_relative_sigma") or 0.0
    smoothed = _smoothed(text)
    return {
        "smoothed": smoothed,
        "rows": rows,
        "n_frames": len(timed.clock.times),
        "times": timed.clock.times,
        "pixel_size_nm": None if pixel_yx is None else float(pixel_yx[1]),
        "pixel_size_relative_sigma": float(relative),
        "frame_time_s": timed.clock.frame_time_s,
        "source": str(path),
        "attrs": {"known": known},
        "notes": notes + timed.notes,
        "pixel_size_yx_nm": pixel_yx,
        "observed": timed.observed,
    }


def _smoothed(text: TextTable) -> bool:
    """Are these the states that all frames together gave? Their rows say so, or, in tables of before, their name."""
    name = defect_table.ALL_FRAMES
    said = name in text.columns and bool((text_table.numbers(text, name) == 1).any())
    return said or OVER_TIME in text.path.stem


def _length(text: TextTable, cfg: TableConfig, axis: str) -> dict[str, tuple[str, float]]:
    """Columns of an axis: `px` and `nm`, where they are, as (name, factor)."""
    out: dict[str, tuple[str, float]] = {}
    for default in ("px", "nm"):
        for name in found(text, cfg, f"{axis}_{default}"):
            base, unit = plain(name)
            unit = (text.units.get(name, "") or unit).strip().lower().rstrip(".")
            unit = unit if unit in LENGTHS_NM or unit in PIXELS else unit.removesuffix("s")
            if explicit(cfg, f"{axis}_{default}", name):
                unit = default
            if not unit and base in IN_IMAGE_UNITS:
                raise UserError(
                    f"{text.path}: {name} has no unit; say analysis.table.columns.{axis}_nm=[{name}] where it is in "
                    f"nanometres, .{axis}_px=[{name}] where in pixels"
                )
            if unit in PIXELS or (not unit and default == "px"):
                out.setdefault("px", (name, 1.0))
            elif unit in LENGTHS_NM or not unit:
                out.setdefault("nm", (name, LENGTHS_NM.get(unit, 1.0)))
            else:
                raise UserError(f"{text.path}: column {name!r} is in {unit!r}, which is not a known unit of length")
    return out


def _positions(text, cfg, rows, stated_nm, notes) -> np.ndarray | None:
    """Fill in positions; returns (2,) height and width of a pixel, None when unknown."""
    columns = {axis: _length(text, cfg, axis) for axis in "yx"}
    for axis in "yx":
        if not columns[axis]:
            raise no_column(text, f"column for {axis}", f"{axis}_px")
    values = {
        (axis, unit): text_table.numbers(text, name) * factor
        for axis in "yx"
        for unit, (name, factor) in columns[axis].items()
    }
    both = [axis for axis in "yx" if {(axis, "px"), (axis, "nm")} <= set(values)]
    own = {axis: _scale(text, columns[axis], values[axis, "px"], values[axis, "nm"], notes) for axis in both}
    own = {axis: size for axis, size in own.items() if size}
    width = stated_nm or own.get("x") or own.get("y")
    if own and stated_nm and abs(stated_nm / width_of(own) - 1) > 0.01:
        notes.append(
            f"The table's own positions give {width_of(own):.5g} nm per pixel, {stated_nm:.5g} is stated; the stated "
            "one is used."
        )
    aspect = own["y"] / own["x"] if len(own) == 2 else 1.0
    if abs(aspect - 1) < 1e-4:
        aspect = 1.0  # rounding of the positions
    if width is None and not any(unit == "px" for _, unit in values):
        width = 1.0  # all in nm already: one pixel is one nm
    pixel_yx = None if width is None else np.array([aspect * width, width])
    for k, axis in enumerate("yx"):
        if (axis, "px") in values:
            rows[f"{axis}_px"] = values[axis, "px"]
        elif pixel_yx is None:
            raise UserError(f"{text.path}: one axis is in pixels, {axis} in nm; give analysis.table.pixel_size_nm=<nm>")
        else:
            rows[f"{axis}_px"] = values[axis, "nm"] / pixel_yx[k]
    if not own and all(plain(columns[a].get("px", ("_px", 1))[0])[1] == "" for a in "yx"):
        _in_pixels(text, cfg, columns, values)
    if (name := find(text, cfg, "sigma_nm")) is not None:
        rows["sigma_nm"] = text_table.numbers(text, name) * (width / width_of(own) if own and width else 1.0)
    return pixel_yx


def width_of(own: dict[str, float]) -> float:
    """nm per pixel along x where that is known, else along y."""
    return own.get("x") or own["y"]


def _scale(text, columns, px, nm, notes) -> float | None:
    """nm per pixel by which two columns of one axis fit; UserError where they do not."""
    good = np.isfinite(px) & np.isfinite(nm)
    if not (px[good] ** 2).any():
        return None
    ratio = np.median(nm[good & (px != 0)] / px[good & (px != 0)])
    if not ratio > 0:
        ratio = np.nan
    near = np.abs(nm - ratio * px) <= SAME_SCALE * np.abs(nm[good]).max()
    names = f"{columns['px'][0]} and {columns['nm'][0]}"
    if near[good].mean() < 0.95:
        raise UserError(f"{text.path}: {names} contradict each other (no scale fits both); remove one of them")
    if (~near[good]).any():
        notes.append(f"In {int((~near[good]).sum())} rows {names} contradict each other; the pixels are used.")
    fit = good & near
    return float((px[fit] * nm[fit]).sum() / (px[fit] ** 2).sum())


def _in_pixels(text, cfg, columns, values) -> None:
    """UserError where columns without a unit can hardly be in pixels."""
    if any("px" not in columns[a] or explicit(cfg, f"{a}_px", columns[a]["px"][0]) for a in "yx"):
        return
    places = [values[a, "px"][np.isfinite(values[a, "px"])] for a in "yx"]
    if min(map(len, places)) >= LEAST_ROWS and max(np.ptp(p) for p in places) < LEAST_EXTENT_PX:
        y, x = (columns[a]["px"][0] for a in "yx")
        raise UserError(
            f"{text.path}: {y} and {x} state no unit and span {max(np.ptp(p) for p in places):.3g} in all: nanometres? "
            f"Say analysis.table.columns.y_nm=[{y}] analysis.table.columns.x_nm=[{x}], or .y_px and .x_px for pixels"
        )


def _probabilities(text, cfg, rows, notes) -> None:
    for meaning in ("score", "kind_prob", "kind_spread"):
        if (name := find(text, cfg, meaning)) is None:
            continue
        values = text_table.numbers(text, name)
        if np.nanmax(values, initial=0) > 1 or np.nanmin(values, initial=0) < 0:
            notes.append(f"Column {name} is no probability between 0 and 1; it is not used.")
            continue
        rows[meaning] = values if meaning == "kind_spread" else np.where(np.isfinite(values), values, 1)


def _kinds(text, cfg, notes) -> np.ndarray:
    """(n,) names of kinds as bytes; a column that names each row (TrackMate's LABEL, a number of regions) is none."""
    trackmate = any(plain(name)[0] in IN_IMAGE_UNITS for name in text.columns)
    for name in found(text, cfg, "kind"):
        if trackmate and plain(name)[0] == "label" and not explicit(cfg, "kind", name):
            continue
        texts = np.array([_kind(t) for t in text.columns[name]], str)
        kinds = np.unique(texts)
        if not explicit(cfg, "kind", name) and (
            len(kinds) > MAX_KINDS or (len(texts) >= 20 and len(kinds) > len(texts) / 2)
        ):
            notes.append(
                f"Column {name} has {len(kinds)} different values in {len(texts)} rows: names of rows, no kinds."
            )
            continue
        coded = np.array([t.encode()[: defect_table.KIND_BYTES].decode(errors="ignore").encode() for t in kinds])
        if len(np.unique(coded)) < len(kinds):
            raise UserError(
                f"{text.path}: kinds in {name} that agree in {defect_table.KIND_BYTES} letters; shorten them"
            )
        return coded[np.searchsorted(kinds, texts)]
    return np.full(len(text), b"defect", f"S{defect_table.KIND_BYTES}")


def _kind(text: str) -> str:
    text = text.strip()
    if text.lower() in text_table.MISSING:
        return "unknown"
    return text[:-2] if re.fullmatch(r"-?\d+\.0", text) else text
