"""The summary of a sweep (`python train.py -m ...`): a table and a parallel-coordinate picture of all its jobs.

Every job leaves `result.json` in its folder of the sweep, so that jobs on other processes and machines are seen too.
Nothing here imports JAX, and nothing heavy is imported before the last job is done.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

from stemdefects import entry

if TYPE_CHECKING:
    import pandas as pd

RESULT = "result.json"


def record(run_id: str, score: float) -> None:
    """Leave the result of this job where the summary finds it; does nothing outside a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    result = {"run": run_id, "test_score": float(score), "overrides": list(hydra.overrides.task)}
    (folder / RESULT).write_text(json.dumps(result))


def collect(folder: Path) -> pd.DataFrame:
    """One row per finished job under `folder`, best first: run, test_score, and a column per key that was varied."""
    import pandas as pd

    rows = []
    for path in sorted(Path(folder).glob(f"*/{RESULT}")):
        result = json.loads(path.read_text())
        given = dict(override.lstrip("+~").split("=", 1) for override in result["overrides"] if "=" in override)
        rows.append({"run": result["run"], "test_score": result["test_score"]} | given)
    table = pd.DataFrame(rows)
    if len(table):
        varied = [c for c in table.columns[2:] if table[c].nunique(dropna=False) > 1]
        table = table[["run", "test_score", *varied]].sort_values("test_score", ascending=False, ignore_index=True)
    return table


def draw(table: pd.DataFrame, path: Path) -> Path:
    """Parallel coordinates of a `collect` table: an axis per varied key and the score, a line per job; gives `path`."""
    import numpy as np
    import pandas as pd
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    names = [*table.columns[2:], "test_score"]
    figure = Figure(figsize=(max(1.8 * len(names), 4), 3.6), layout="constrained")
    axes = figure.subplots()
    height = np.zeros((len(table), len(names)))
    for i, name in enumerate(names):
        values = pd.to_numeric(table[name], errors="coerce")
        if values.isna().any():  # names: evenly spaced, in order of appearance
            labels, codes = np.unique(table[name].astype(str), return_inverse=True)
            values, ticks = pd.Series(codes, dtype=float), dict(enumerate(labels))
        else:
            ticks = {v: f"{v:g}" for v in sorted({values.min(), values.max()})}
        low, span = values.min(), max(values.max() - values.min(), 1e-12)
        height[:, i] = (values - low) / span if values.max() > low else 0.5
        axes.axvline(i, color="0.8", zorder=0)
        for value, text in ticks.items():
            at = (value - low) / span if values.max() > low else 0.5
            axes.annotate(text, (i, at), (4, 2), textcoords="offset points", fontsize=7)
    scale = table["test_score"].rank(pct=True) if len(table) > 1 else pd.Series([1.0])
    for row, share in zip(height, scale, strict=True):
        axes.plot(row, color=colormaps["viridis"](float(share)))
    axes.set(ylim=(-0.08, 1.12), yticks=[], xticks=range(len(names)))
    axes.set_xticklabels(names, fontsize=8)
    axes.set_title(
        "each line is one run, brighter is better; axes from their least to their greatest value", fontsize=8
    )
    figure.savefig(path, dpi=120)
    return path


class Summary(Callback):
    """Hydra callback: after the last job, `sweep.csv` and `sweep.png` in the sweep's folder, and the table printed."""

    def on_multirun_end(self, config: Any, **_: Any) -> None:
        """Collect what the jobs left."""
        folder = Path(config.hydra.sweep.dir)
        entry.collect_failures(folder)
        table = collect(folder)
        if not len(table):
            return
        table.to_csv(folder / "sweep.csv", index=False)
        draw(table, folder / "sweep.png")
        print(f"\n{table.to_string(index=False)}\nsweep: {folder / 'sweep.csv'}  {folder / 'sweep.png'}", flush=True)
