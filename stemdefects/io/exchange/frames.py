"""DataFrames: trackpy's, and any with a frame and a position."""

from typing import Any

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.tables.table_columns import DEFECT_DTYPE, dataframe, empty

OTHERS = {"y_px": ("y",), "x_px": ("x",), "track": ("particle", "track_id"), "kind": ("label", "class")}
UNKNOWN = "defect"  # kind of what another program found


def to_trackpy(rows: np.ndarray) -> Any:
    """`y`, `x` (px), `frame`, `particle`, and the other columns as they are. Where rows are linked, those without a
    track are left out, as trackpy does; where none is, there is no `particle`, as from `trackpy.locate`."""
    table = dataframe(rows).rename(columns={"y_px": "y", "x_px": "x", "track": "particle"})
    linked = table["particle"] >= 0
    table = table[linked] if linked.any() else table.drop(columns="particle")
    first = [name for name in ("y", "x", "frame", "particle") if name in table]
    return table[[*first, *(name for name in table if name not in first)]].reset_index(drop=True)


def from_dataframe(table: Any, pixel_size_nm: float | None = None) -> np.ndarray:
    """Rows of a DataFrame with our names of columns or trackpy's; what is missing is unknown, kinds are `defect`.

    Raises UserError without a frame or a position in px.
    """
    rows = empty(len(table))
    found = set()
    rows["kind"], rows["score"], rows["kind_prob"] = UNKNOWN.encode(), 1, 1
    for name in DEFECT_DTYPE.names or ():
        given = next((one for one in (name, *OTHERS.get(name, ())) if one in table), None)
        if given is None:
            continue
        found.add(name)
        column = table[given]
        if name == "kind":
            rows[name] = [str(value).encode() for value in column]
        else:
            missing = -1 if DEFECT_DTYPE[name].kind == "i" else np.nan
            rows[name] = column.fillna(missing).to_numpy()
    if missing := [name for name in ("frame", "y_px", "x_px") if name not in found]:
        raise UserError(f"table: has no column {missing[0]}; it needs frame, y_px (or y) and x_px (or x)")
    if pixel_size_nm is not None:
        rows["y_nm"], rows["x_nm"] = rows["y_px"] * pixel_size_nm, rows["x_px"] * pixel_size_nm
    return rows[np.argsort(rows["frame"], kind="stable")]
