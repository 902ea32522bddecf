"""Columns of the tables that inference writes and everything else reads: types, units, empty rows."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd


SCHEMA_VERSION = 3  # 2: /sites and /evidence; 3: `light`; older files are read, what they lack is unknown
KIND_BYTES = 24  # of a kind's name
NOTE_BYTES = 120  # of the reason why a frame was skipped
PATCH_PX = 32  # side of an image patch

DEFECT_DTYPE = np.dtype(
    [
        ("frame", "i4"),
        ("time_s", "f8"),
        ("y_px", "f4"),
        ("x_px", "f4"),
        ("y_nm", "f4"),
        ("x_nm", "f4"),
        ("sigma_nm", "f4"),  # 1-sigma position uncertainty per axis
        ("score", "f4"),  # probability that this is a defect, 0..1
        ("kind", f"S{KIND_BYTES}"),  # material's kind name, e.g. b"V_S", b"Mo_W"
        ("kind_prob", "f4"),  # probability of `kind`, 0..1
        ("kind_spread", "f4"),  # of an ensemble: standard deviation of its members' kind_prob; NaN: one network
        ("light", "f4"),  # of an ideal column of the same sublattice and kind: 1 as usual, 0 nothing; NaN unknown
        ("cluster", "i4"),  # -1: not clustered
        ("track", "i4"),  # -1: not linked
        ("complex", "i4"),  # same number within a frame: neighbouring rows of one complex; -1: alone
        ("orientation", "i1"),  # 0/1/2: where the vacancy of a complex sits; -1: none or undecided
    ]
)

# what a CSV of states over time says of each of its rows: all frames were looked at together
ALL_FRAMES = "all_frames"

FRAME_DTYPE = np.dtype(
    [
        ("frame", "i4"),
        ("time_s", "f8"),
        ("n_defects", "i4"),
        ("drift_y_px", "f4"),  # how far the specimen has moved since the first good frame
        ("drift_x_px", "f4"),
        ("a1_y_px", "f4"),  # lattice vectors of this frame
        ("a1_x_px", "f4"),
        ("a2_y_px", "f4"),
        ("a2_x_px", "f4"),
        ("fraction_lattice", "f4"),  # of the frame's area
        ("fraction_hole", "f4"),
        ("fraction_amorphous", "f4"),
        ("fraction_1T", "f4"),
        ("fraction_brighter", "f4"),  # of an alloyed sublattice's columns: of its brightest kind; NaN: no alloy
        ("n_sites", "i4"),  # lattice sites in the frame; 0: no lattice found
        ("n_missed", "i4"),  # of these, sites where no column was found although its neighbours were
        ("pixel_size_nm", "f4"),  # along x, by the frame's own Bragg components and the material's cell
        ("angle_deg", "f4"),  # rotation of the lattice against the material's axes, counter-clockwise with y down
        *((f"strain_{axes}", "f4") for axes in ("yy", "xx", "xy")),  # of the frame's lattice, scan distortion included
        ("n_invalid_px", "i4"),  # pixels that hold no intensity, see stemdefects.io.pixels
        ("n_grains", "i2"),  # that the Bragg components show; 0: not known
        ("boundary_nm", "f4"),  # length of the line where grains meet
        ("n_at_boundary", "i4"),  # defects within 0.8 lattice spacings of it
        ("n_withheld", "i4"),  # calls not made where the Bragg components show no lattice
        ("doubt", "i2"),  # 0: none; else flags, see `quality_flags`
        ("quality", "i1"),  # 0: used; else why it was skipped, see stemdefects.io.movie.QUALITY
        ("note", f"S{NOTE_BYTES}"),
    ]
)

UNITS = {
    "frame": "1",
    "time_s": "s",
    "y_px": "px",
    "x_px": "px",
    "y_nm": "nm",
    "x_nm": "nm",
    "sigma_nm": "nm",
    "score": "1",
    "kind": "",
    "kind_prob": "1",
    "kind_spread": "1",
    "light": "1",
    "cluster": "1",
    "track": "1",
    "complex": "1",
    "orientation": "1",
}


def empty(n_rows: int = 0) -> np.ndarray:
    """`n_rows` rows with every optional column at its 'unknown' value.

    Returns a structured array of `DEFECT_DTYPE`, shape (n_rows,).
    """
    rows = np.zeros(n_rows, DEFECT_DTYPE)
    for name in ("cluster", "track", "complex", "orientation"):
        rows[name] = -1
    for name in ("time_s", "sigma_nm", "y_nm", "x_nm", "kind_spread", "light"):
        rows[name] = np.nan
    return rows


def empty_frames(n_rows: int = 0) -> np.ndarray:
    """`n_rows` rows of `FRAME_DTYPE`; what is measured is NaN, `frame` counts from 0."""
    rows = np.zeros(n_rows, FRAME_DTYPE)
    for name in FRAME_DTYPE.names or ():
        if FRAME_DTYPE[name].kind == "f":
            rows[name] = np.nan
    rows["frame"] = np.arange(n_rows)
    return rows


def dataframe(rows: np.ndarray) -> "pd.DataFrame":
    """A structured array as a pandas DataFrame, bytes as text."""
    import pandas as pd

    columns = {}
    for name in rows.dtype.names or ():
        column = rows[name]
        columns[name] = [v.decode(errors="replace") for v in column] if column.dtype.kind == "S" else column
    return pd.DataFrame(columns)


def encode(value: Any) -> Any:
    """`value` as an HDF5 attribute."""
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=float)
    return str(value) if isinstance(value, Path) else value
