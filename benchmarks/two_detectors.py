"""What a second detector of the same scan says of what was called by the first: part of `real.py`."""

from typing import Any

import numpy as np
from scipy.spatial import cKDTree


def told(alone: Any, both: Any, called: np.ndarray, label: np.ndarray) -> str:
    """What the second detector says of the columns that the first one alone called Ti, or their labels do.

    alone: `FrameDefects` of it, both: of the two, whose `called` (n,) are Ti and `label` (n,) are known.

    The noise of the two is independent: a column is Ti to the second one where its light is nearer to the median of
    those that both labels and calls of the first say are Ti, than to that of the others."""
    columns = [np.stack([f.columns.y_px, f.columns.x_px], 1) for f in (both, alone)]
    away, near = cKDTree(columns[1]).query(columns[0])
    first = np.zeros(len(alone.ratio), bool)
    first[alone.called[alone.rows["kind"] == b"Ti_W"]] = True
    mine = first[near] & (away < 1)
    light, metal = both.second, np.isin(label, ["W", "Ti_W"])
    usual = [np.nanmedian(light[m]) for m in (mine & (label == "Ti_W"), metal & ~mine & (label == "W"))]
    is_ti = np.abs(light - usual[0]) < np.abs(light - usual[1])
    counts = [
        f"of {int(m.sum())} {what} {int((m & is_ti).sum())}"
        for what, m in (
            ("called and labelled Ti", mine & (label == "Ti_W")),
            ("called Ti and labelled W", mine & (label == "W")),
            ("labelled Ti and not called", ~mine & (label == "Ti_W")),
            ("called Ti by both together and labelled W", called & (label == "W")),
        )
    ]
    half, ideal = label == "V_Se", np.nanmedian(light[label == "Se2"])
    return (
        f"The inner detector, whose noise is another one, sees Ti (light nearer to {usual[0]:.2f} than to "
        f"{usual[1]:.2f}): {'; '.join(counts)}. Of the {int(half.sum())} columns labelled V_Se it sees "
        f"{', '.join(f'{v:.2f}' for v in np.sort(light[half] / ideal))} of an ideal column's light."
    )
