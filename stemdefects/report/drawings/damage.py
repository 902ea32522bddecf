"""Drawings of beam damage: rates with intervals, which configuration turns into which, phases, fits over runs."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stemdefects.analysis.damage import knock_on
from stemdefects.analysis.damage.pathways import SHOWN, WHOLE
from stemdefects.analysis.damage.series import joint as joint_fits
from stemdefects.analysis.damage.series import statements
from stemdefects.report.style import COLOURS, GREY, pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


MOST_EDGES = 24  # arrows in the picture: the most frequent


def rates(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Value and interval of every process on a logarithmic axis; limits as arrows. None: nothing is known."""
    told = [e for e in data["estimates"] if e.value is not None and e.high]
    if not told:
        return None
    figure, axes = pyplot().subplots(figsize=(6.4, 0.7 + 0.3 * len(told)))
    floor = 0.3 * min(e.value if e.value > 0 else 0.1 * e.high for e in told)
    for row, e in enumerate(told):
        colour = GREY if e.value == 0 or e.code == "not converged" else COLOURS[0]
        axes.plot([max(e.low or 0, floor), e.high], [row, row], color=colour, lw=1.6)
        axes.plot(e.value if e.value > 0 else e.high, row, "o" if e.value > 0 else "<", color=colour, ms=5)
    axes.set(
        yticks=range(len(told)),
        yticklabels=[e.subject for e in told],
        xscale="log",
        xlabel=f"{told[0].quantity} ({told[0].unit})",
    )
    axes.invert_yaxis()
    return figure


def pathways(found: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Configurations in columns by how many atoms they lack, changes as arrows. None: nothing changed."""
    edges = [e for e in found.edges if e.count >= SHOWN and e.source != e.target][:MOST_EDGES]
    if not edges:
        return None
    names = sorted({n for e in edges for n in (e.source, e.target)}, key=lambda n: (found.sizes[n], n))
    columns: dict[int, list[str]] = {}
    for name in names:
        columns.setdefault(found.sizes[name], []).append(name)
    place = {}
    for x, size in enumerate(sorted(columns)):
        held = columns[size]
        for k, name in enumerate(held):
            place[name] = (2.2 * x, 1.3 * (0.5 * (len(held) - 1) - k) + 0.25 * (x % 2))
    tall = max(len(held) for held in columns.values())
    figure, axes = pyplot().subplots(figsize=(1.6 + 1.7 * len(columns), 1.6 + 1.0 * tall))
    most = max(e.count for e in edges)
    totals: dict[tuple[str, str], float] = {}
    for e in edges:
        totals[e.source, e.target] = totals.get((e.source, e.target), 0.0) + e.count
    for (source, target), n in totals.items():
        (x0, y0), (x1, y1) = place[source], place[target]
        axes.annotate(
            "",
            (x1, y1),
            (x0, y0),
            arrowprops={
                "arrowstyle": "-|>",
                "lw": 0.6 + 3 * np.sqrt(n / most),
                "color": COLOURS[1] if x1 > x0 else COLOURS[0],
                "alpha": 0.75,
                "shrinkA": 16,
                "shrinkB": 16,
                "connectionstyle": "arc3,rad=0.18",
            },
        )
        across = 0.18 * 0.55  # on the outside of the arc
        axes.text(
            0.5 * (x0 + x1) + across * (y1 - y0),
            0.5 * (y0 + y1) - across * (x1 - x0),
            f"{n:.1f}",
            fontsize=7,
            ha="center",
            va="center",
            bbox={"boxstyle": "round,pad=0.1", "fc": "w", "ec": "none"},
            zorder=4,
        )
    many = max([found.per_frame.get(n, 0) for n in names] + [1e-9])
    for name, (x, y) in place.items():
        share = 1.0 if name == WHOLE else np.sqrt(found.per_frame.get(name, 0.0) / many)
        area = 120 + 500 * share  # square points
        axes.scatter(x, y, s=area, color="#e8eef5", edgecolors=COLOURS[0], zorder=3)
        axes.annotate(
            name,
            (x, y),
            (0, -np.sqrt(area / np.pi) - 2),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=8,
            zorder=5,
            bbox={"boxstyle": "round,pad=0.1", "fc": "w", "ec": "none", "alpha": 0.8},
        )
    axes.margins(0.12)
    axes.axis("off")
    return figure


def phases(data: Any, colours: Mapping[str, str]) -> "Figure":
    """Area and edge of every phase against dose, or time."""
    table = data["table"]
    by = "dose_e_per_nm2" if "dose_e_per_nm2" in table else next(c for c in table if c.startswith("time_"))
    figure, axes = pyplot().subplots(1, 2, figsize=(7.6, 2.8))
    for number, (phase, part) in enumerate(table.groupby("phase", sort=False)):
        for place, name in zip(axes, ("area_nm2", "edge_nm"), strict=True):
            place.plot(part[by], part[name], ".-", ms=3, lw=0.8, color=COLOURS[number], label=phase)
    words = "dose (e/nm²)" if by.startswith("dose") else by.replace("time_", "time (") + ")"
    axes[0].set(xlabel=words, ylabel="area (nm²)", ylim=(0, None))
    axes[1].set(xlabel=words, ylabel="edge (nm)", ylim=(0, None))
    axes[0].legend(fontsize=8)
    return figure


def joint(found: joint_fits.Joint) -> "Figure | None":
    """Each process of a `joint.Joint` over voltage, dose rate, or 1/kT: the runs with their intervals, the fit and its
    band; upper limits as arrows. None: nothing is fitted."""
    shown = [(s, s.fit) for s in found.series if s.fit is not None and s.told]
    if not shown:
        return None
    figure, places = pyplot().subplots(1, len(shown), figsize=(0.6 + 3.6 * len(shown), 3.1), squeeze=False)
    thermal = found.over == "temperature"
    for axes, (series, fit) in zip(places[0], shown, strict=True):
        floor = 0.2 * min(t.low if t.low > 0 else 0.3 * t.high for t in series.told)
        x, curve, low, high = fit.curve
        across = 1 / (knock_on.BOLTZMANN_EV * x) if thermal and len(x) else x
        refused = statements.refused(series)
        axes.plot(across, curve, color=GREY if refused else COLOURS[0], lw=1.2, ls="--" if refused else "-")
        if not refused:
            axes.fill_between(across, np.maximum(low, 0.1 * floor), high, color=COLOURS[0], alpha=0.18, lw=0)
        for t in series.told:
            at = 1 / (knock_on.BOLTZMANN_EV * t.point.x) if thermal else t.point.x
            axes.plot([at, at], [max(t.low, floor), t.high], color=COLOURS[1], lw=1.4)
            axes.plot(at, t.value if t.value > 0 else t.high, "o" if t.value > 0 else "v", color=COLOURS[1], ms=5)
        axes.set(
            yscale="log",
            title=series.subject,
            xlabel="1/kT (1/eV)" if thermal else "{} ({})".format(*joint_fits.WHAT[found.over]),
            ylabel=f"{'cross-section' if series.unit == joint_fits.BARN else 'rate'} ({series.unit})",
            ylim=(floor, 3 * max(t.high for t in series.told)),
        )
    return figure
