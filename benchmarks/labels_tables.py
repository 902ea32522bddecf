"""Tables and picture of benchmarks/labels.py."""

from pathlib import Path

import numpy as np
from labels_scores import KINDS

BARS = (("typical", "Mo_W"), ("typical", "V_W"), ("high_dose", "V_S2"))
PARENTS = ("simulated", "fourier")
WHEN = ("early", "late")


def everything(results: dict, gains: dict) -> str:
    """All tables, Markdown; gains: per dose, from `labels_scores.gains`."""
    return "\n\n".join((scores(results), bars(results), kept(results), tuning(gains), effort(results)))


def scores(results: dict) -> str:
    """F1 early / late per dose, method and kind."""
    lines = ["| dose | method | " + " | ".join(f"{k} early / late" for k in KINDS) + " |", "|---" * 6 + "|"]
    for dose, methods in results.items():
        for method, kinds in methods.items():
            cells = [f"{kinds[k]['early']:.3f} / {kinds[k]['late']:.3f}".replace(" / nan", "") for k in KINDS]
            lines.append(f"| {dose} | {method} | " + " | ".join(cells) + " |")
        some = next(iter(methods.values()))
        numbers = [f"{some[k]['n_early']} / {some[k]['n_late']}" for k in KINDS]
        lines.append(f"| {dose} | (defects) | " + " | ".join(numbers) + " |")
    return "\n".join(lines)


def bars(results: dict) -> str:
    """Errors (1 - F1) on the intact first frames beside the paper's recipe."""
    lines = [
        "| dose, kind | error, fourier_paper | error, fourier | share | ideal observer's error |",
        "|---" * 5 + "|",
    ]
    for dose, kind in BARS:
        methods = results.get(dose, {})
        if {"paper", "fourier", "ideal"} <= set(methods):
            paper, ours, ideal = (1 - methods[m][kind]["early"] for m in ("paper", "fourier", "ideal"))
            share = f"{ours / paper:.2f}" if paper > 0 else "-"
            lines.append(f"| {dose}, {kind} | {paper:.3f} | {ours:.3f} | {share} | {ideal:.3f} |")
    return "\n".join(lines)


def kept(results: dict) -> str:
    """What is kept of F1 in broken frames."""
    lines = ["| late F1 / early F1 | " + " | ".join(KINDS[:3]) + " |", "|---" * 4 + "|"]
    for dose, methods in results.items():
        for method in ("residual", "paper", "fourier", "tuned"):
            if method in methods:
                pairs = [[methods[method][kind][when] for when in WHEN] for kind in KINDS[:3]]
                cells = [f"{last / first:.2f}" if first > 0.3 else "-" for first, last in pairs]
                lines.append(f"| {dose}, {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tuning(gains: dict) -> str:
    """F1 of the fine-tuned network less that of either parent, with 95% intervals."""
    columns = [f"{when}, less {parent}" for parent in PARENTS for when in WHEN]
    lines = ["| tuned: dose, kind | " + " | ".join(columns) + " |", "|---" * 5 + "|"]
    for dose, kinds in gains.items():
        for kind, gain in kinds.items():
            cells = []
            for name in (f"{parent} {when}" for parent in PARENTS for when in WHEN):
                value, low, high = gain[name]
                cells.append(f"{value:+.3f} ({low:+.3f} to {high:+.3f})")
            lines.append(f"| {dose}, {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def effort(results: dict) -> str:
    """One line: CPU seconds from the command to the finished model."""
    parts = []
    for dose, methods in results.items():
        for method in ("paper", "fourier", "tuned"):
            seconds = methods.get(method, {}).get("train_cpu_s", float("nan"))
            if np.isfinite(seconds):
                parts.append(f"{dose} {method} {seconds:.0f}")
    return "CPU seconds from the movie to the finished model (two cores have 600 in 5 minutes): " + ", ".join(parts)


def picture(results: dict, path: Path) -> None:
    """F1 per kind as bars, early and late, one row per dose."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.2 * len(results)), layout="constrained")
    axes = np.atleast_2d(figure.subplots(len(results), 2, sharey=True))
    for row, (dose, methods) in zip(axes, results.items(), strict=True):
        for ax, when in zip(row, WHEN, strict=True):
            for n, (method, kinds) in enumerate(methods.items()):
                ax.bar(np.arange(len(KINDS)) + 0.14 * (n - 2.5), [kinds[k][when] for k in KINDS], 0.13, label=method)
            ax.set(
                xticks=range(len(KINDS)), xticklabels=KINDS, ylim=(0, 1), ylabel="F1", title=f"{dose}, {when} frames"
            )
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
