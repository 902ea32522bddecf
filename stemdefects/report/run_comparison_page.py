"""The page that shows several analyses side by side."""

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stemdefects.analysis.damage.series import joint as joint_fits
from stemdefects.analysis.damage.series import statements
from stemdefects.analysis.estimates import in_words, number
from stemdefects.report import rendering, style
from stemdefects.report.drawings import damage
from stemdefects.report.style import COLOURS, pyplot

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


HEAD = ("quantity", "of", "method", "runs", "first", "second", "difference", "95% interval", "p", "p corrected")


def write(
    folder: Path,
    rows: "pd.DataFrame",
    tables: dict[str, "pd.DataFrame"],
    notes: list[str],
    titles: dict[str, str],
    joint: joint_fits.Joint | None = None,
) -> Path:
    """Write comparison.csv, figures and comparison.html into `folder`; returns the page.

    Args:
        rows: `analysis.run_comparison.side_by_side`.
        tables: estimates by name.
        notes: what makes them hard to compare.
        titles: a line on each analysis.
        joint: fits over the runs, where they are asked for: joint.csv and joint_points.csv, and a section.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows.to_csv(folder / "comparison.csv", index=False)
    pictures = {}
    for name, draw in (("D", diffusion), ("counts", counts), ("rates", rates)):
        figure = draw(tables)
        if figure is not None:
            path = style.save(figure, folder / "figures", f"comparison_{name}")
            pictures[name] = rendering.shown(path)
    shown = [
        ("Tested together", True, _cells(rows[rows["main"]])),
        ("All other quantities", False, _cells(rows[~rows["main"]])),
    ]
    return rendering.write(
        folder / "comparison.html",
        "comparison.html.j2",
        title="Comparison",
        subtitle=f"{len(tables)} analyses, {time.strftime('%Y-%m-%d %H:%M')}.",
        analyses=[(titles[name], COLOURS[k % len(COLOURS)]) for k, name in enumerate(tables)],
        notes=notes,
        pictures=pictures,
        joint=None if joint is None else _joint(folder, joint),
        sentences=sentences(rows),
        head=HEAD,
        tables=[table for table in shown if table[2]],
    )


def _joint(folder: Path, joint: joint_fits.Joint) -> dict:
    """What the page shows of joint fits; their tables and picture are written."""
    table = statements.parameters(joint)
    table.to_csv(folder / "joint.csv", index=False)
    statements.points(joint).to_csv(folder / "joint_points.csv", index=False)
    figure = damage.joint(joint)
    picture = None if figure is None else rendering.shown(style.save(figure, folder / "figures", "joint"))
    return {
        "over": joint_fits.WHAT[joint.over][0],
        "remarks": statements.remarks(joint),
        "sentences": statements.sentences(joint),
        "picture": picture,
    }


def sentences(rows: "pd.DataFrame") -> list[str]:
    """The differences that stand after correction, in plain words; else that there is none."""
    main = rows[rows["main"]]
    out = []
    for r in main[main["p_corrected"] < 0.05].sort_values("p").itertuples():
        what = f"{r.quantity} of {r.subject}" if r.subject else r.quantity
        unit = "" if r.unit == "1" else f" {r.unit}"
        out.append(
            f"{what} differs: {number(r.value_a)} in {r.a}, {number(r.value_b)}{unit} in {r.b}; difference "
            f"{number(r.difference)}, 95% interval {number(r.low)} to {number(r.high)} "
            f"({in_words(r.method)}; p = {r.p:.1g}, {r.p_corrected:.1g} corrected for {len(main)} comparisons)."
        )
    if not len(main):
        return ["Nothing that both analyses determine with an interval can be compared."]
    return out or [f"None of {len(main)} comparisons shows a difference beyond chance (Holm-corrected p < 0.05)."]


def _cells(rows) -> list[dict[str, str]]:
    """What a table of the page shows of each row."""

    def share(p: float) -> str:
        return "" if not np.isfinite(p) else f"{p:.2g}"

    def span(low: float, high: float) -> str:
        return f"{number(low)} to {number(high)}" if np.isfinite([low, high]).all() else ""

    return [
        {
            "quantity": r.quantity,
            "subject": r.subject,
            "method": in_words(r.method),
            "runs": f"{r.a} / {r.b}",
            "first": number(r.value_a),
            "first_interval": span(r.low_a, r.high_a),
            "second": number(r.value_b),
            "second_interval": span(r.low_b, r.high_b),
            "unit": "" if r.unit == "1" else r.unit,
            "difference": number(r.difference),
            "interval": span(r.low, r.high),
            "p": share(r.p),
            "p_corrected": share(r.p_corrected),
        }
        for r in rows.itertuples()
    ]


def _forest(tables: dict, wanted, label: str):
    """Values with bars: one row per quantity, one colour per analysis, one panel per unit."""
    panels: dict[str, dict[str, list]] = {}
    for k, table in enumerate(tables.values()):
        for e in table.fillna({"subject": ""}).itertuples():
            name = wanted(e)
            if name and np.isfinite([e.value, e.low, e.high]).all():
                panels.setdefault(str(e.unit), {}).setdefault(name, []).append((k, e.value, e.low, e.high))
    panels = {u: {n: v for n, v in rows.items() if len(v) > 1} for u, rows in panels.items()}
    panels = {u: rows for u, rows in panels.items() if rows}
    if not panels:
        return None
    longest = max(len(rows) for rows in panels.values())
    letters = max(len(name) for rows in panels.values() for name in rows)  # of 9 pt, 0.07 inches wide each
    size = (3.2 + 0.07 * letters) * len(panels), 0.9 + 0.32 * longest
    figure, axes = pyplot().subplots(1, len(panels), figsize=size, squeeze=False)
    for place, (unit, rows) in zip(axes[0], panels.items(), strict=True):
        for y, values in enumerate(rows.values()):
            for k, value, low, high in values:
                at = y + (k - (len(tables) - 1) / 2) * 0.5 / len(tables)
                place.plot([low, high], [at, at], color=COLOURS[k % len(COLOURS)], lw=1.4)
                place.plot(value, at, "o", ms=4, color=COLOURS[k % len(COLOURS)])
        place.set(yticks=range(len(rows)), yticklabels=list(rows), xlabel=f"{label} ({unit.replace('^2', '²')})")
        place.invert_yaxis()
    for k, name in enumerate(tables):
        axes[0][0].plot([], [], "o-", color=COLOURS[k % len(COLOURS)], ms=4, label=name)
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=8)
    return figure


def diffusion(tables: dict[str, "pd.DataFrame"]) -> "Figure | None":
    """D by kind and method."""

    def name(e) -> str:
        shown = e.quantity == "D" and e.method != "paper"
        return f"{e.subject}, {in_words(e.method)}" if shown else ""

    return _forest(tables, name, "D")


def counts(tables: dict[str, "pd.DataFrame"]) -> "Figure | None":
    """Counts per frame by kind."""
    return _forest(tables, lambda e: e.subject if e.quantity == "count per frame" else "", "count per frame")


def rates(tables: dict[str, "pd.DataFrame"]) -> "Figure | None":
    """Switching and hop rates."""
    return _forest(
        tables,
        lambda e: f"{e.quantity} {e.subject}".strip() if e.quantity.startswith(("rate ", "hop rate")) else "",
        "rate",
    )
