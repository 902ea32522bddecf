"""Drawings of the lattice model: occupancy and hops on the sites, D, counts, the centres' changes, the chains."""

from collections.abc import Mapping
from math import lgamma
from typing import TYPE_CHECKING, Any

import numpy as np

from stemdefects.report.style import COLOURS, GREY, pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


LABELLED = 1.0  # hops on an edge from which its number is written


def lattice(data: Any, colours: Mapping[str, str]) -> "Figure":
    """Mean occupancy of every site, and the hops between them."""
    from matplotlib.collections import LineCollection

    yx, occupancy, edges = data["yx_nm"], data["occupancy"], data["edges"]
    known = np.isfinite(occupancy)
    size = 6.4 * np.ptp(yx, axis=0) / max(np.ptp(yx, axis=0).max(), 1e-9)
    figure, axes = pyplot().subplots(figsize=(max(size[1], 3) + 1.2, max(size[0], 2.4)))
    axes.scatter(yx[~known, 1], yx[~known, 0], s=2, c="#dddddd", marker="x", linewidths=0.6)
    spacing = np.sqrt(np.ptp(yx[:, 0]) * np.ptp(yx[:, 1]) / len(yx))
    per_nm = 72 * 6.4 / max(np.ptp(yx, axis=0).max(), 1e-9)
    discs = axes.scatter(
        yx[known, 1],
        yx[known, 0],
        s=(0.55 * spacing * per_nm) ** 2,
        c=np.minimum(occupancy[known], 1),
        cmap="Blues",
        vmin=0,
        vmax=1,
        linewidths=0.3,
        edgecolors="#d5dce4",
    )
    a, b = edges[:, :2].astype(int).T
    lines = np.stack([yx[a][:, ::-1], yx[b][:, ::-1]], 1) if len(edges) else np.zeros((0, 2, 2))
    width = np.clip(0.4 + 1.1 * edges[:, 2], 0, 5)
    often = edges[:, 2] >= 0.05
    axes.add_collection(LineCollection(list(lines[often]), linewidths=width[often], colors=COLOURS[1], alpha=0.85))
    for (y, x), n in zip((yx[a] + yx[b])[often] / 2, edges[often, 2], strict=True):
        if n >= LABELLED:
            axes.text(
                x,
                y,
                f"{n:.0f}",
                fontsize=5.5,
                ha="center",
                va="center",
                color="k",
                bbox={"boxstyle": "round,pad=0.1", "fc": "w", "ec": "none", "alpha": 0.75},
            )
    centres = data["centres_nm"]
    axes.scatter(centres[:, 1], centres[:, 0], marker="^", s=22, facecolors="none", edgecolors=COLOURS[2], lw=1.1)
    axes.set(xlabel="x (nm)", ylabel="y (nm)", aspect="equal")
    axes.grid(False)
    axes.invert_yaxis()
    figure.colorbar(discs, ax=axes, label=f"occupancy by {data['name']}", shrink=0.7)
    return figure


def posterior_of_D(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Posterior of D with its prior; None where D is not given."""
    draws = data["draws"]
    if draws is None or not len(draws):
        return None
    figure, axes = pyplot().subplots(figsize=(5.2, 2.8))
    low, median, high = np.quantile(draws, [0.025, 0.5, 0.975])
    span = np.quantile(draws, [0.0005, 0.9995]) + np.array([-0.4, 0.4]) * (high - low)
    left, right = (float(v) for v in np.maximum(span, 0))
    axes.hist(
        draws, bins=np.linspace(left, right, 60).tolist(), density=True, color=COLOURS[0], alpha=0.6, label="posterior"
    )
    x = np.linspace(left, right, 201)[1:]  # the prior has no limit at 0
    shape, per = data["prior_shape"], data["prior_shape"] / data["prior_mean"]
    prior = np.exp(shape * np.log(per) + (shape - 1) * np.log(x) - per * x - lgamma(shape))
    axes.plot(x, prior, color=GREY, lw=1.4, label="prior")
    axes.axvline(median, color="k", lw=1.2, label="median")
    axes.axvspan(low, high, color=COLOURS[0], alpha=0.1, lw=0, label="95%")
    axes.set(xlabel=f"D of {data['name']} (nm²/s)", ylabel="density", xlim=(left, right))
    axes.ticklabel_format(axis="both", style="sci", scilimits=(-2, 3))
    axes.legend(fontsize=8)
    return figure


def windows(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """D by window of time as bands, and by place as points; None where there is one window and one place."""
    table = data["table"].dropna(subset=["D_nm2_per_s"])
    of_time, of_place = table[table["place"] == "all"], table[table["place"] != "all"]
    if len(of_time) < 2 and len(of_place) < 2:
        return None
    figure, (left, right) = pyplot().subplots(
        1, 2, figsize=(7.2, 2.8), sharey=True, gridspec_kw={"width_ratios": [3, 1]}, constrained_layout=True
    )
    for row in of_time.itertuples():
        left.fill_between([row.from_s, row.to_s], row.low, row.high, color=COLOURS[0], alpha=0.25, lw=0)
        left.plot([row.from_s, row.to_s], [row.D_nm2_per_s] * 2, color=COLOURS[0], lw=1.6)
    left.set(xlabel="time (s)", ylabel=f"D of {data['name']} (nm²/s)", ylim=(0, None))
    left.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    at = np.arange(len(of_place))
    value = of_place["D_nm2_per_s"].to_numpy()
    error = np.stack([value - of_place["low"], of_place["high"] - value])
    right.errorbar(at, value, error, fmt="o", color=COLOURS[1], capsize=3)
    right.set(xlim=(-0.6, len(of_place) - 0.4), xticks=at)
    right.set_xticklabels(of_place["place"], rotation=30, ha="right", fontsize=7)
    return figure


def counts(data: Any, colours: Mapping[str, str]) -> "Figure":
    """Vacancies per frame against time with their band."""
    figure, axes = pyplot().subplots(figsize=(6.4, 3.0))
    times = data["times_s"]
    for kind, (low, median, high) in data["bands"].items():
        colour = colours[kind]
        axes.fill_between(times, low, high, step="mid", color=colour, alpha=0.2, lw=0)
        axes.step(times, median, where="mid", color=colour, lw=1.4, label=kind)
    axes.set(xlabel="time (s)", ylabel="per frame", ylim=(0, None))
    axes.legend(fontsize=8, ncols=2)
    return figure


def switching(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Chances of the centres' changes per frame with intervals and numbers."""
    P, names, seen = data["P"], data["names"], data["seen"]
    if not np.isfinite(P).any():
        return None
    size = max(3.0, 0.85 * len(names))
    figure, axes = pyplot().subplots(figsize=(size + 1.4, size + 0.6))
    axes.imshow(P[..., 0], vmin=0, vmax=1, cmap="Blues")
    for i, j in np.ndindex(*P.shape[:2]):
        value, low, high = P[i, j]
        text = f"{value:.3f}\n{low:.3f}–{high:.3f}\n{seen[i, j]:.3g}×"
        axes.text(j, i, text, ha="center", va="center", fontsize=6.5, color="w" if value > 0.55 else "k")
    axes.grid(False)
    axes.set(xticks=range(len(names)), yticks=range(len(names)), xlabel="to, a frame later", ylabel="from")
    axes.set_xticklabels(names, rotation=40, ha="right", fontsize=7)
    axes.set_yticklabels(names, fontsize=7)
    return figure


def chains(data: Any, colours: Mapping[str, str]) -> "Figure":
    """Draws of every chain, one row per quantity."""
    figure, places = pyplot().subplots(len(data), 1, figsize=(6.4, 1.3 * len(data)), sharex=True, squeeze=False)
    for place, (name, draws) in zip(places[:, 0], data.items(), strict=True):
        for number, chain in enumerate(draws):
            place.plot(chain, lw=0.7, color=COLOURS[number % len(COLOURS)], alpha=0.8)
        place.set_ylabel(name, fontsize=7)
        place.tick_params(labelsize=7)
    places[-1, 0].set_xlabel("sweep")
    return figure
