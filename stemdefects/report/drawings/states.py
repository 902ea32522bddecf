"""Transition matrices, classes of patches, scores against the truth."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from stemdefects.analysis.estimates import in_words
from stemdefects.report.style import COLOURS, pyplot

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def transitions(data: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Transition matrices side by side, with the half-width of each interval."""
    shown = {name: t for name, t in data["transitions"].items() if np.isfinite(t.P).any()}
    if not shown:
        return None
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
        place.set_title(in_words(name).replace(", ", ",\n"), fontsize=8)
        place.grid(False)
        place.set(xticks=range(len(names)), yticks=range(len(names)), xlabel=f"to, {data['step']}")
        place.set_xticklabels(names, rotation=40, ha="right", fontsize=7)
        place.set_yticklabels(names if place is axes[0][0] else [], fontsize=7)
    axes[0][0].set_ylabel("from")
    return figure


def class_averages(c: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Mean patch of each class with its count, and how the number of classes was chosen."""
    if not len(c.averages):
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


def scores(found: Any, colours: Mapping[str, str]) -> "Figure | None":
    """Precision and recall of every kind against the simulation's truth."""
    shown = [s for s in found if s.n_true + s.n_found > 0]
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
