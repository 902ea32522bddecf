"""The figures about growth and lines."""

import numpy as np

from stemdefects.report.style import COLOURS, GREY, pyplot


def growth(result):
    """Each series with the laws fitted to it."""
    series = list(result.growth.values())[:8]
    if not series:
        return None
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
            )[0]  # fmt: skip
            handles[law.name] = line
        place.set_title(g.subject, fontsize=8)
        unit = "per frame" if g.unit == "defects" else g.unit.replace("^2", "²")
        place.set(xlabel=f"time ({result.found.time_unit})", ylabel=f"{g.subject} ({unit})", ylim=(0, None))
        place.yaxis.label.set_size(7)
    from matplotlib.lines import Line2D

    shown = [Line2D([], [], color=COLOURS[k], label=name) for k, name in enumerate(handles)]
    figure.legend(handles=shown, loc="outside upper center", ncols=4, fontsize=8)
    return figure


def lines(result):
    """Lines per frame by their length, against chance."""
    found = {kind: v for kind, v in result.lines.items() if any(n + c > 0 for n, c in v.histogram.values())}
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
