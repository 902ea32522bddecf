"""Drift, tracks, pairs of neighbours: what is where in the field of view."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stemdefects.report.style import COLOURS, GREY, pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def drift(data: Any, colours: Mapping[str, str]) -> "Figure":
    """Drift against time and as a path."""
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(6.8, 3.0), width_ratios=(1.6, 1))
    times, yx, sigma, filled, unit = (data[name] for name in ("times", "yx", "sigma", "filled", "unit"))
    for axis, name in enumerate("yx"):
        left.plot(times, yx[:, axis], color=COLOURS[axis], lw=1.2, label=name)
        band = 1.96 * np.nan_to_num(sigma)
        left.fill_between(times, yx[:, axis] - band, yx[:, axis] + band, color=COLOURS[axis], alpha=0.2, lw=0)
        left.plot(times[filled], yx[filled, axis], "x", color="k", ms=4)
    left.set(xlabel=f"time ({data['time_unit']})", ylabel=f"drift ({unit})")
    left.legend()
    points = right.scatter(yx[:, 1], yx[:, 0], c=times, s=6, cmap="viridis")
    right.plot(yx[:, 1], yx[:, 0], color=GREY, lw=0.5, zorder=0)
    right.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", aspect="equal")
    right.invert_yaxis()
    figure.colorbar(points, ax=right, label=f"time ({data['time_unit']})", shrink=0.8)
    return figure


def trajectories(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Tracks in the sample's frame, coloured by kind; long tracks are drawn stronger."""
    t = data["tracks"]
    keep = t.lengths >= data["min_length"]
    if not keep.any():
        return None
    some, kinds = t.select(keep), data["kinds"][keep]
    figure, axes = pyplot().subplots(figsize=(6.2, 5.6))
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    lines = np.split(some.yx[:, ::-1], np.flatnonzero(np.diff(some.track)) + 1)
    shades = [colours[k] for k in kinds]
    axes.add_collection(
        LineCollection(lines, colors=shades, linewidths=np.clip(some.lengths / 25, 0.5, 1.6), alpha=0.7)
    )
    middle = np.array([line.mean(0) for line in lines])
    axes.scatter(*middle.T, s=4, c=shades, linewidths=0)
    unit = data["unit"]
    axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", aspect="equal")
    axes.invert_yaxis()
    seen = [str(k) for k in np.unique(kinds)]
    handles = [Line2D([], [], color=colours[k], label=f"{k} ({int((kinds == k).sum())} tracks)") for k in seen]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=8)
    return figure


def broom(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Detections in space and time: resting defects draw straight handles, moving ones the bristles."""
    t = data["tracks"]
    if t.n_tracks == 0 or data["n_frames"] < 3:
        return None
    figure = pyplot().figure(figsize=(6.2, 4.6))
    axes: Any = figure.add_subplot(projection="3d")
    pick = np.random.default_rng(0).permutation(len(t.frame))[:20000]
    shade = np.array([colours[k] for k in data["kinds"]])[t.track[pick]]
    axes.scatter(t.yx[pick, 1], t.yx[pick, 0], t.time[pick], s=4, c=list(shade), linewidths=0, alpha=0.7)
    unit = data["unit"]
    axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", zlabel=f"time ({data['time_unit']})")
    axes.invert_yaxis()
    axes.view_init(18, -60)
    axes.set_box_aspect((4, 4, 3), zoom=0.95)  # the labels of its axes are inside the figure
    return figure


def pairs(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Pair correlation of each kind against random places, with the band of chance for one frame."""
    found = data["pairs"]
    if not found:
        return None
    n = len(found)
    columns = min(n, 3)
    lines = -(-n // columns)
    figure, axes = pyplot().subplots(lines, columns, figsize=(2.5 * columns, 2.2 * lines), squeeze=False)
    for place in axes.flat[n:]:
        place.set_axis_off()
    for place, (kind, g) in zip(axes.flat, found.items(), strict=False):
        place.fill_between(g.r, g.low, g.high, color=GREY, alpha=0.25, lw=0)
        place.axhline(1, color="k", lw=0.6)
        place.plot(g.r, g.g, "o-", ms=3, lw=1.2, color=colours[kind])
        place.set_title(kind, fontsize=8)
        place.set(xlabel=f"distance ({data['unit']})", ylabel="pairs / chance", ylim=(0, None))
    return figure
