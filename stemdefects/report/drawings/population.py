"""Counts, growth laws, lines of defects, shares of the field."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stemdefects.report.style import COLOURS, GREY, pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    weight = np.convolve(np.ones_like(values, float), np.ones(width), "same")
    return np.convolve(values, np.ones(width), "same") / weight


def running(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Running mean of (n,) values over a fifteenth of them, three at least; half of its 95% band by their scatter."""
    n, y = len(values), np.asarray(values, float)
    width = min(max(3, n // 15) | 1, max(n // 2, 1) | 1)
    mean = _moving_mean(y, width)
    return mean, 1.96 * np.sqrt(_moving_mean((y - mean) ** 2, width) / max(width - 1, 1))


def counts(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Defects per frame against time: points, and a running mean with its own scatter."""
    c = data["counts"]
    if not len(c.kinds) or len(c.times) < 2:
        return None
    figure, axes = pyplot().subplots(figsize=(6.4, 3.6))
    good = ~c.skipped
    for kind, values in zip(c.kinds, c.counts.T, strict=True):
        colour, y = colours[kind], values[good].astype(float)
        mean, half = running(y)
        axes.plot(c.times[good], y, ".", ms=3, color=colour, alpha=0.35)
        axes.plot(c.times[good], mean, color=colour, lw=1.6, label=kind)
        axes.fill_between(c.times[good], np.maximum(mean - half, 0), mean + half, color=colour, alpha=0.12, lw=0)
    axes.set(xlabel=f"time ({data['time_unit']})", ylabel="defects per frame", ylim=(0, None))
    axes.legend(ncols=3, fontsize=8)
    return figure


def regions(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Share of the field that is lattice, hole, contaminated or 1T, against time."""
    frames = data["frames"]
    names = {
        "fraction_lattice": "lattice",
        "fraction_hole": "hole",
        "fraction_amorphous": "amorphous, contaminated",
        "fraction_1T": "1T",
    }
    if frames is None or not set(names) <= set(frames) or len(frames) < 3:
        return None
    values = frames[list(names)].to_numpy(float)
    if not np.isfinite(values).any() or np.nansum(values[:, 1:], 1).max() < 0.002:
        return None
    figure, axes = pyplot().subplots(figsize=(5.6, 3.0))
    times = data["times"][frames["frame"].to_numpy(int)]
    for number, name in enumerate(names.values()):
        axes.plot(times, 100 * values[:, number], color=COLOURS[number], lw=1.4, label=name)
    axes.set(xlabel=f"time ({data['time_unit']})", ylabel="share of the field (%)", ylim=(0, None))
    axes.legend(fontsize=8)
    return figure


def growth(data: Any, colours: Mapping[str, str]) -> "Figure":
    """Each series with the laws fitted to it."""
    series = list(data["laws"].values())[:8]
    columns = min(3, len(series))
    rows = -(-len(series) // columns)
    figure, axes = pyplot().subplots(rows, columns, figsize=(3.1 * columns + 0.4, 2.3 * rows + 0.4), squeeze=False)
    for place in axes.flat[len(series) :]:
        place.set_axis_off()
    handles = {}
    for place, g in zip(axes.flat, series, strict=False):
        place.plot(g.times, g.values, ".", ms=3, color=GREY)
        for k, law in enumerate(g.laws.values()):
            possible = law.name in g.rivals
            line = place.plot(
                g.times, law.curve, color=COLOURS[k], lw=1.6 if possible else 0.8, ls="-" if possible else ":"
            )[0]
            handles[law.name] = line
        place.set_title(g.subject, fontsize=8)
        unit = "per frame" if g.unit == "defects" else g.unit.replace("^2", "²")
        place.set(xlabel=f"time ({data['time_unit']})", ylabel=f"{g.subject} ({unit})", ylim=(0, None))
        place.yaxis.label.set_size(7)
    from matplotlib.lines import Line2D

    shown = [Line2D([], [], color=COLOURS[k], label=name) for k, name in enumerate(handles)]
    figure.legend(handles=shown, loc="outside upper center", ncols=4, fontsize=8)
    return figure


def lines(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Lines per frame by their length, against chance."""
    found = {kind: v for kind, v in data["lines"].items() if any(n + c > 0 for n, c in v.histogram.values())}
    if not found:
        return None
    figure, axes = pyplot().subplots(1, len(found), figsize=(2.6 * len(found) + 0.6, 2.5), squeeze=False)
    for place, (kind, v) in zip(axes[0], found.items(), strict=True):
        k = np.array(list(v.histogram))
        seen, chance = np.array(list(v.histogram.values())).T
        place.bar(k - 0.2, seen, 0.4, color=COLOURS[0], label="found")
        place.bar(k + 0.2, chance, 0.4, color=GREY, label="random sites")
        place.set_title(f"{kind}, p = {v.p:.2f}", fontsize=8)
        place.set(xlabel="defects in the line", ylabel="lines per frame", xticks=k[:: max(1, len(k) // 8)])
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8)
    return figure
