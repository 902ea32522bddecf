"""Sites at which a frame calls a defect though the network shows no column there: both atoms are gone, or nearly.

A column that is not shown has no log-ratios, but its place has light, and that is a reading. Without it a place that is
empty in every frame would be no site at all.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int

from stemdefects.inference.columns.site_columns import Frame
from stemdefects.numerics.nearest import nearest

SAME_PX = 0.05  # a frame's defects are among its columns: what their places differ by is rounding


class Blank(NamedTuple):
    """Called places without a column, of one frame. keys: (k, 3) cell in the frame's numbers and sublattice; place:
    (k, 2) y, x in square pixels; light: (k,) over that of an ideal column, NaN: not known."""

    keys: Int[np.ndarray, "blanks 3"]
    place: Float32[np.ndarray, "blanks 2"]
    light: Float32[np.ndarray, " blanks"]


def of_frame(frame: Frame, material: Any, aspect: float) -> Blank:
    """The blank sites of a frame on the lattice of the movie; none where it has no lattice."""
    rows = frame.rows
    none = Blank(np.zeros((0, 3), int), np.zeros((0, 2), np.float32), np.zeros(0, np.float32))
    if not len(rows) or not len(frame.columns) or np.isnan(frame.lattice).any():
        return none
    site_of = {k.name.encode(): material.states[k.state].site for k in material.kinds}
    site = np.array([site_of[kind] for kind in rows["kind"].tolist()])
    fixed = np.array([not s.floating for s in material.sites])
    place = np.column_stack([rows["y_px"] * aspect, rows["x_px"]])
    shown = np.column_stack([frame.columns["y_px"], frame.columns["x_px"]])
    away, _ = nearest(shown, place, 1)
    use = (away[:, 0] > SAME_PX) & fixed[site]
    if not use.any():
        return none
    cell = (place[use] - frame.lattice[2]) @ np.linalg.inv(frame.lattice[:2]) - material.basis[site[use]]
    keys = np.column_stack([np.rint(cell).astype(int), site[use]])
    known = np.column_stack([frame.columns["cell"], frame.columns["site"]])
    _, first = np.unique(keys, axis=0, return_index=True)
    first = first[[not (known == keys[i]).all(1).any() for i in first]]
    return Blank(keys[first], place[use][first].astype(np.float32), rows["light"][use][first])
