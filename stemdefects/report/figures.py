"""The figures of an analysis. Each function draws one and returns it, or None when there is nothing to draw."""

from collections.abc import Callable
from functools import partial

import numpy as np

from stemdefects.report import crystal_figures, evolution_figures, kinetics_figures, motion_figures
from stemdefects.report.style import COLOURS, GREY, colours, pyplot


def _moving_mean(values: np.ndarray, width: int) -> np.ndarray:
    weight = np.convolve(np.ones_like(values, float), np.ones(width), "same")
    return np.convolve(values, np.ones(width), "same") / weight


def counts(result):
    """Defects per frame against time: points, and a running mean with its own scatter."""
    c = result.counts
    if not len(c.kinds) or len(c.times) < 2:
        return None
    figure, axes = pyplot().subplots(figsize=(6.4, 3.6))
    good = ~c.skipped
    width = min(max(3, len(c.times) // 15) | 1, max(good.sum() // 2, 1) | 1)
    for kind, colour in colours(c.kinds).items():
        y = c.counts[:, c.kinds.index(kind)][good].astype(float)
        mean = _moving_mean(y, width)
        axes.plot(c.times[good], y, ".", ms=3, color=colour, alpha=0.35)
        axes.plot(c.times[good], mean, color=colour, lw=1.6, label=kind)
        half = 1.96 * np.sqrt(_moving_mean((y - mean) ** 2, width) / max(width - 1, 1))
        axes.fill_between(c.times[good], np.maximum(mean - half, 0), mean + half, color=colour, alpha=0.12, lw=0)
    axes.set(xlabel=f"time ({result.found.time_unit})", ylabel="defects per frame", ylim=(0, None))
    axes.legend(ncols=3, fontsize=8)
    return figure


def drift(result):
    """Drift against time and as a path."""
    d = result.drift
    if d.method == "none" or len(d.yx) < 2:
        return None
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(6.8, 3.0), width_ratios=(1.6, 1))
    unit, seen = result.found.length_unit, result.found.observed
    times, yx, sigma, filled = result.found.times[seen], d.yx[seen], d.sigma[seen], d.filled[seen]
    for axis, name in enumerate("yx"):
        left.plot(times, yx[:, axis], color=COLOURS[axis], lw=1.2, label=name)
        band = 1.96 * np.nan_to_num(sigma)
        left.fill_between(times, yx[:, axis] - band, yx[:, axis] + band, color=COLOURS[axis], alpha=0.2, lw=0)
        left.plot(times[filled], yx[filled, axis], "x", color="k", ms=4)
    left.set(xlabel=f"time ({result.found.time_unit})", ylabel=f"drift ({unit})")
    left.legend()
    points = right.scatter(yx[:, 1], yx[:, 0], c=times, s=6, cmap="viridis")
    right.plot(yx[:, 1], yx[:, 0], color=GREY, lw=0.5, zorder=0)
    right.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", aspect="equal")
    right.invert_yaxis()
    figure.colorbar(points, ax=right, label=f"time ({result.found.time_unit})", shrink=0.8)
    return figure


def trajectories(result):
    """Tracks in the sample's frame, coloured by kind; long tracks are drawn stronger."""
    t = result.tracks
    keep = t.lengths >= result.cfg.linking.min_length
    if not keep.any():
        return None
    some, kinds = t.select(keep), result.track_kinds()[keep]
    colour = colours(result.counts.kinds)
    figure, axes = pyplot().subplots(figsize=(6.2, 5.6))
    from matplotlib.collections import LineCollection
    from matplotlib.lines import Line2D

    lines = np.split(some.yx[:, ::-1], np.flatnonzero(np.diff(some.track)) + 1)
    shades = [colour[k] for k in kinds]
    axes.add_collection(
        LineCollection(lines, colors=shades, linewidths=np.clip(some.lengths / 25, 0.5, 1.6), alpha=0.7)
    )
    middle = np.array([line.mean(0) for line in lines])
    axes.scatter(*middle.T, s=4, c=shades, linewidths=0)
    unit = result.found.length_unit
    axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", aspect="equal")
    axes.invert_yaxis()
    seen = [k for k in result.counts.kinds if (kinds == k).any()]
    handles = [Line2D([], [], color=colour[k], label=f"{k} ({int((kinds == k).sum())} tracks)") for k in seen]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=8)
    return figure


def broom(result):
    """Detections in space and time: resting defects draw straight handles, moving ones the bristles."""
    t = result.tracks
    if t.n_tracks == 0 or result.found.n_frames < 3:
        return None
    kinds = result.track_kinds()
    colour = colours(result.counts.kinds)
    figure = pyplot().figure(figsize=(6.2, 5.6))
    axes = figure.add_subplot(projection="3d")
    pick = np.random.default_rng(0).permutation(len(t.frame))[:20000]
    shade = np.array([colour[k] for k in kinds])[t.track[pick]]
    axes.scatter(t.yx[pick, 1], t.yx[pick, 0], t.time[pick], s=2, c=list(shade), linewidths=0, alpha=0.6)
    unit = result.found.length_unit
    axes.set(xlabel=f"x ({unit})", ylabel=f"y ({unit})", zlabel=f"time ({result.found.time_unit})")
    axes.invert_yaxis()
    axes.view_init(18, -60)
    axes.set_box_aspect(None, zoom=0.86)
    return figure


def transitions(result):
    """Transition matrices side by side, with the half-width of each interval."""
    shown = {name: t for name, t in result.transitions.items() if np.isfinite(t.P).any()}
    if not shown:
        return None
    titles = {
        "hmm": "hidden Markov model",
        "hmm_model": "the same, network's own confusion",
        "hmm_estimate": "the same, confusion estimated",
        "pooled": "pooled counts (labels at face value)",
        "paper": "published formula",
    }
    names = next(iter(shown.values())).names
    size = max(2.4, 0.62 * len(names))
    figure, axes = pyplot().subplots(1, len(shown), figsize=(1.2 + size * len(shown), size + 1.1), squeeze=False)
    for place, (name, t) in zip(axes[0], shown.items(), strict=True):
        place.imshow(np.nan_to_num(t.P), vmin=0, vmax=1, cmap="Blues")
        for i, j in np.ndindex(*t.P.shape):
            if not np.isfinite(t.P[i, j]):
                text = "–"
            else:
                half = (t.high[i, j] - t.low[i, j]) / 2
                text = f"{t.P[i, j]:.3f}" + (f"\n±{half:.3f}" if np.isfinite(half) else "")
            place.text(j, i, text, ha="center", va="center", fontsize=6.5, color="w" if t.P[i, j] > 0.55 else "k")
        place.set_title(titles.get(name, name), fontsize=8)
        place.grid(False)
        place.set(xticks=range(len(names)), yticks=range(len(names)), xlabel=f"to, {result.step}")
        place.set_xticklabels(names, rotation=40, ha="right", fontsize=7)
        place.set_yticklabels(names if place is axes[0][0] else [], fontsize=7)
    axes[0][0].set_ylabel("from")
    return figure


def class_averages(result):
    """Mean patch of each class with its count, and how the number of classes was chosen."""
    c = result.classes
    if c is None or not len(c.averages):
        return None
    n = len(c.averages)
    columns = n + (2 if len(c.scores) > 1 else 0)
    figure, axes = pyplot().subplots(1, columns, figsize=(1.35 * columns, 1.9), squeeze=False)
    low, high = np.quantile(c.averages, [0.005, 0.995])
    for k in range(n):
        axes[0][k].imshow(c.averages[k], cmap="gray", vmin=low, vmax=high)
        axes[0][k].set_title(f"class {k}\n{c.counts[k]}", fontsize=8)
        axes[0][k].set_axis_off()
    if columns > n:
        k = [s["classes"] for s in c.scores]
        for place, key, name in ((axes[0][n], "bic", "BIC"), (axes[0][n + 1], "stability", "worst class comes back")):
            place.plot(k, [s[key] for s in c.scores], "o-", ms=3, color=COLOURS[0])
            chosen = [s for s in c.scores if s.get("chosen")]
            place.plot([s["classes"] for s in chosen], [s[key] for s in chosen], "o", ms=7, mfc="none", color="k")
            place.set_title(name, fontsize=8)
            place.tick_params(labelsize=6)
            place.set_xlabel("classes", fontsize=7)
    return figure


def pairs(result):
    """Pair correlation of each kind against random places, with the band of chance for one frame."""
    if not result.pairs:
        return None
    n = len(result.pairs)
    columns = min(n, 3)
    lines = -(-n // columns)
    figure, axes = pyplot().subplots(lines, columns, figsize=(2.5 * columns, 2.2 * lines), squeeze=False)
    colour = colours(result.counts.kinds)
    for place in axes.flat[n:]:
        place.set_axis_off()
    for place, (kind, g) in zip(axes.flat, result.pairs.items(), strict=False):
        place.fill_between(g.r, g.low, g.high, color=GREY, alpha=0.25, lw=0)
        place.axhline(1, color="k", lw=0.6)
        place.plot(g.r, g.g, "o-", ms=3, lw=1.2, color=colour[kind])
        place.set_title(kind, fontsize=8)
        place.set(xlabel=f"distance ({result.found.length_unit})", ylabel="pairs / chance", ylim=(0, None))
    return figure


def regions(result):
    """Share of the field that is lattice, hole, contaminated or 1T, against time."""
    frames = result.found.frames
    names = {"fraction_lattice": "lattice", "fraction_hole": "hole", "fraction_amorphous": "amorphous, contaminated",
             "fraction_1T": "1T"}  # fmt: skip
    if frames is None or not set(names) <= set(frames) or len(frames) < 3:
        return None
    values = frames[list(names)].to_numpy(float)
    if not np.isfinite(values).any() or np.nansum(values[:, 1:], 1).max() < 0.002:
        return None
    figure, axes = pyplot().subplots(figsize=(5.6, 3.0))
    times = result.found.times[frames["frame"].to_numpy(int)]
    for number, name in enumerate(names.values()):
        axes.plot(times, 100 * values[:, number], color=COLOURS[number], lw=1.4, label=name)
    axes.set(xlabel=f"time ({result.found.time_unit})", ylabel="share of the field (%)", ylim=(0, None))
    axes.legend(fontsize=8)
    return figure


def scores(result):
    """Precision and recall of every kind against the simulation's truth."""
    shown = [s for s in result.scores if s.n_true + s.n_found > 0]
    if not shown:
        return None
    figure, axes = pyplot().subplots(figsize=(5.6, 0.9 + 0.34 * len(shown)))
    y = np.arange(len(shown))
    for shift, key, colour in ((-0.18, "precision", COLOURS[0]), (0.18, "recall", COLOURS[1])):
        values = [getattr(s, key) for s in shown]
        axes.barh(y + shift, [v or 0 for v in values], 0.34, color=colour, label=key)
        for place, value in zip(y + shift, values, strict=True):
            axes.text(
                (value or 0) + 0.01, place, f"{value:.2f}" if value is not None else "none", va="center", fontsize=7
            )
    axes.set(yticks=y, yticklabels=[f"{s.kind} ({s.n_true} true)" for s in shown], xlim=(0, 1.08), xlabel="fraction")
    axes.invert_yaxis()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8)
    return figure


FIGURES = {
    "scores": scores, "counts": counts, "growth": evolution_figures.growth, "drift": drift,
    "trajectories": trajectories, "broom": broom, "classes": class_averages, "diffusion": motion_figures.diffusion,
    "msd": motion_figures.msd, "gate_scan": motion_figures.gate_scan, "rose": motion_figures.rose, "pairs": pairs,
    "lines": evolution_figures.lines, "regions": regions, "transitions": transitions,
    "displacements": crystal_figures.displacements, "components": crystal_figures.components,
    "strain": crystal_figures.strain,
}  # fmt: skip

OF_STAGES = kinetics_figures.DRAWINGS  # name of a stage's figure -> what draws it from the stage's data


def of(result) -> dict[str, Callable]:
    """All figures by name, those of the stages too: each is drawn when it is called."""
    drawn = {name: partial(draw, result) for name, draw in FIGURES.items()}
    for stage in result.stages:
        drawn |= {name: partial(OF_STAGES[name], data) for name, data in stage.figures.items()}
    return drawn
