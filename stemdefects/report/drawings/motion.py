"""The figures about motion: D by method, mean squared displacement, gate, hop directions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stemdefects.analysis.estimates import in_words
from stemdefects.report.style import COLOURS, GREY, pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


METHODS_SHOWN = ("cve", "msd", "sites", "hops", "paper")  # from top to bottom


def diffusion(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """D of every kind by every method, with 95% intervals."""
    results = data["results"]
    kinds = [k for k, methods in results.items() if any(np.isfinite(d.D) for d in methods.values())]
    if not kinds:
        return None
    methods = [m for m in METHODS_SHOWN if any(m in results[k] for k in kinds)]
    figure, axes = pyplot().subplots(figsize=(6.8, 0.9 + 0.24 * len(kinds) * len(methods)))
    top = 0
    for row, kind in enumerate(kinds):
        for number, method in enumerate(methods):
            d = results[kind].get(method)
            if d is None or not np.isfinite(d.D):
                continue
            y = row + (number - (len(methods) - 1) / 2) * 0.8 / len(methods)
            colour = COLOURS[number] if method != "paper" else GREY
            if np.isfinite(d.low):
                axes.plot([max(d.low, 0), d.high], [y, y], color=colour, lw=1.4)
                top = max(top, d.high if method != "paper" else 0)
            axes.plot(d.D, y, "o", color=colour, ms=4)
            top = max(top, 1.3 * d.D)
    axes.set(
        yticks=range(len(kinds)), yticklabels=kinds, xlabel=f"D ({data['unit'].replace('^2', '²')})", xlim=(0, top)
    )
    axes.invert_yaxis()
    if data["true"]:
        kind, value = data["true"]
        row = kinds.index(kind)
        axes.plot([value] * 2, [row - 0.45, row + 0.45], color="k", lw=1.2, ls="--", label="true (simulation)")
    for number, method in enumerate(methods):
        colour = COLOURS[number] if method != "paper" else GREY
        axes.plot([], [], "o-", color=colour, ms=4, label=in_words(method))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", fontsize=8, ncols=2)
    return figure


def msd_band(extra: Mapping[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Lags, MSD and the ends of its 95% band over resampled tracks, where there is anything; (n,) each."""
    ok = extra["counts"] > 0
    low, high = np.nanquantile(extra["curves"][:, ok], [0.025, 0.975], axis=0)
    return extra["times"][ok], extra["curve"][ok], low, high


def msd(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Mean squared displacement against lag of the headline kind, with the line of the covariance estimate."""
    kind, units = data["kind"], data["units"]
    d = data["methods"].get("msd")
    if d is None or "curve" not in d.extra:
        return None
    e, cve = d.extra, data["methods"]["cve"]
    figure, axes = pyplot().subplots(figsize=(5.2, 3.4))
    times, curve, low, high = msd_band(e)
    axes.fill_between(times, low, high, color=COLOURS[0], alpha=0.2, lw=0, label="95% (tracks resampled)")
    axes.plot(times, curve, "o-", ms=3, color=COLOURS[0], label=kind)
    axes.plot(e["times"][: e["lags"]], e["curve"][: e["lags"]], "o", ms=6, mfc="none", color="k", label="lags used")
    if np.isfinite(cve.D):
        t = np.array([0, times[-1]])
        axes.plot(t, 4 * cve.D * t + 4 * cve.sigma**2, "--", color=COLOURS[1], label="covariance estimate")
    axes.set(
        xlabel=f"lag ({units['time']})",
        ylabel=f"MSD ({units['length']}²)",
        xlim=(0, None),
        ylim=(0, None),
    )
    axes.legend(fontsize=8)
    return figure


def gate_scan(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """D against the linking gate: where it does not level off, linking is ambiguous."""
    rows, units = data["rows"], data["units"]
    if not rows or not np.isfinite([r[1] for r in rows]).any():
        return None
    figure, axes = pyplot().subplots(figsize=(5.2, 3.2))
    gate, value, low, high = np.array([r[:4] for r in rows], float).T
    bars = np.nan_to_num([value - low, high - value])
    axes.errorbar(gate, value, bars, fmt="o-", ms=4, lw=1.2, capsize=2, color=COLOURS[0], label=data["kind"])
    axes.axvline(data["a"], color=GREY, ls=":", label="one lattice constant")
    axes.axvline(data["gate"], color="k", ls="--", lw=1, label="gate used")
    D_unit = units["D"].replace("^2", "²")
    axes.set(xlabel=f"linking gate ({units['length']})", ylabel=f"D ({D_unit})", ylim=(0, None))
    axes.legend(fontsize=8)
    return figure


def rose(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Directions and lengths of the counted hops of the headline kind."""
    kind, jumps = data["kind"], data["jumps"]
    if len(jumps) < 10:
        return None
    figure = pyplot().figure(figsize=(3.4, 3.4))
    axes = figure.add_subplot(projection="polar")
    edges = np.linspace(-np.pi, np.pi, 37)
    counts, _ = np.histogram(np.arctan2(-jumps[:, 0], jumps[:, 1]), edges)
    axes.bar((edges[1:] + edges[:-1]) / 2, counts, np.diff(edges), color=COLOURS[0], alpha=0.8)
    axes.set_title(f"{len(jumps)} hops of {kind}", fontsize=8)
    axes.tick_params(labelsize=7)
    return figure
