"""The figures about the crystal around defects: displaced neighbours, their principal components, strain of the
field."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stemdefects.report.style import COLOURS, GREY, pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MAX_CLASSES = 8  # that fit on a page
MAGNIFIED = 15  # arrows of 10 pm can be seen


def _shown(local) -> list:
    return sorted(local.classes.values(), key=lambda c: ("@" in c.name, c.name))[:MAX_CLASSES]


def displacements(local: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Mean picture of each class in the crystal's frame, with its columns' displacements as arrows, magnified."""
    from stemdefects.analysis.crystallography.columns import STEP_NM

    shown = _shown(local)
    if not shown:
        return None
    columns = min(4, len(shown))
    rows = -(-len(shown) // columns)
    figure, axes = pyplot().subplots(rows, columns, figsize=(2.5 * columns + 0.5, 2.7 * rows), squeeze=False)
    low, high = np.nanquantile([c.picture for c in shown], [0.01, 0.99])
    for place in axes.flat[len(shown) :]:
        place.set_axis_off()
    for place, c in zip(axes.flat, shown, strict=False):
        reach = (len(c.picture) // 2 + 0.5) * STEP_NM
        place.imshow(c.picture, cmap="gray", vmin=low, vmax=high, extent=(-reach, reach, reach, -reach))
        y, x = c.position_nm.T
        moved = c.mean_pm / 1000
        clear = ((c.low_pm > 0) | (c.high_pm < 0)).any(1)
        for kind, colour in ((clear, COLOURS[1]), (~clear, COLOURS[5])):
            ok = kind & np.isfinite(moved).all(1)
            place.quiver(
                x[ok],
                y[ok],
                MAGNIFIED * moved[ok, 1],
                MAGNIFIED * moved[ok, 0],
                color=colour,
                angles="xy",
                scale_units="xy",
                scale=1,
                width=0.014,
            )
        place.set_title(f"{c.name} ({c.n})", fontsize=8)
        place.grid(False)
        place.set(xlim=(-0.5, 0.5), ylim=(0.5, -0.5))
        place.tick_params(labelsize=6)
    for place in axes[-1]:
        place.set_xlabel("along a1 (nm)", fontsize=7)
    for place in axes[:, 0]:
        place.set_ylabel("across (nm)", fontsize=7)
    figure.suptitle(
        f"displacements × {MAGNIFIED}: an arrow of 0.15 nm is 10 pm; orange: 95% interval leaves 0", fontsize=8
    )
    return figure


def components(local: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Share of the variance of the neighbours' displacements per principal component, against chance and ideal
    columns."""
    shown = [c for c in _shown(local) if "@" not in c.name]
    if not shown:
        return None
    figure, axes = pyplot().subplots(1, len(shown), figsize=(1.9 * len(shown) + 0.8, 2.4), squeeze=False, sharey=True)
    for place, c in zip(axes[0], shown, strict=True):
        k = np.arange(1, len(c.explained) + 1)
        place.bar(k, 100 * c.explained, color=COLOURS[0], label="defects")
        place.plot(k, 100 * c.chance, "_", color="k", ms=9, label="95% of shuffled")
        place.plot(k, 100 * c.ideal, "o", color=COLOURS[1], ms=3, label="ideal columns")
        place.set_title(c.name, fontsize=8)
        place.set_xlabel("component")
    axes[0][0].set_ylabel("explained variance (%)")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=3, fontsize=7)
    return figure


def strain(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Maps of exx, eyy, exy and rotation at the columns of the brightest sublattice."""
    s, unit = data["strain"], data["unit"]
    if not np.isfinite(s.exx).any():
        return None
    figure, axes = pyplot().subplots(1, 4, figsize=(10.5, 2.9))
    parts = (
        ("exx (%)", 100 * s.exx),
        ("eyy (%)", 100 * s.eyy),
        ("exy (%)", 100 * s.exy),
        ("rotation (deg)", np.degrees(s.rotation)),
    )
    limit = max(float(np.nanquantile(np.abs(np.concatenate([v for _, v in parts[:3]])), 0.98)), 1e-3)
    turn = max(float(np.nanquantile(np.abs(parts[3][1]), 0.98)), 1e-3)
    size = float(np.clip(30000 / max(len(s.exx), 1), 3, 60))
    for place, (name, values) in zip(axes, parts, strict=True):
        top = turn if "deg" in name else limit
        place.scatter(*s.yx_nm[np.isnan(values), ::-1].T, s=1, c=GREY, linewidths=0)
        dots = place.scatter(*s.yx_nm[:, ::-1].T, s=size, c=values, cmap="RdBu_r", vmin=-top, vmax=top, linewidths=0)
        figure.colorbar(dots, ax=place, shrink=0.75)
        place.set_title(name, fontsize=8)
        place.set(xlabel=f"x ({unit})", aspect="equal")
        place.invert_yaxis()
        place.grid(False)
        place.tick_params(labelsize=6)
    axes[0].set_ylabel(f"y ({unit})")
    return figure
