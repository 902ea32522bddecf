"""The summary of a sweep (`python train.py -m ...`): a table and a parallel-coordinate picture of all its jobs.

Every job leaves what it was asked for in its folder of the sweep (`job.json`) and what it found (`result.json`, or
`error.txt`), so that jobs on other processes and machines are seen too.
Nothing here imports JAX, and nothing heavy is imported before the last job is done.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.experimental.callback import Callback

from stemdefects import entry

if TYPE_CHECKING:
    import pandas as pd

JOB, RESULT = "job.json", "result.json"
DONE, FAILED, UNFINISHED = "done", "failed", "unfinished"  # unfinished: it was killed, or is still at work
FIXED = ("run", "status", "test_score")


def record(run_id: str, score: float) -> None:
    """Leave the result of this job where the summary finds it; does nothing outside a sweep."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    folder = Path(HydraConfig.get().runtime.output_dir)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RESULT).write_text(json.dumps({"run": run_id, "test_score": float(score)}))


def collect(folder: Path) -> pd.DataFrame:
    """One row per job under `folder`, best first, those without a score last: run, status, test_score, a column per key
    that was varied, and `error` where any failed."""
    import pandas as pd

    rows = []
    for path in sorted(Path(folder).glob(f"*/{JOB}"), key=lambda p: (len(p.parent.name), p.parent.name)):
        given = json.loads(path.read_text())["overrides"]
        result, failure = path.with_name(RESULT), path.with_name(entry.ERROR_FILE)
        found: dict[str, Any] = {"run": "", "status": UNFINISHED, "test_score": None}
        if failure.is_file():
            found |= {"status": FAILED, "error": failure.read_text().strip()}
        elif result.is_file():
            found |= json.loads(result.read_text()) | {"status": DONE}
        rows.append(found | dict(one.lstrip("+~").split("=", 1) for one in given if "=" in one))
    table = pd.DataFrame(rows)
    if len(table):
        varied = [c for c in table.columns if c not in (*FIXED, "error") and table[c].nunique(dropna=False) > 1]
        told = ["error"] if "error" in table else []
        table["test_score"] = table["test_score"].astype(float)
        table = table[[*FIXED, *varied, *told]].sort_values("test_score", ascending=False, ignore_index=True)
    return table


def draw(table: pd.DataFrame, path: Path) -> Path:
    """Parallel coordinates of a `collect` table: an axis per varied key and the score, a line per job; gives `path`."""
    import numpy as np
    import pandas as pd
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    names = [c for c in table.columns if c not in (*FIXED, "error")] + ["test_score"]
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

    def on_job_start(self, config: Any, **_: Any) -> None:
        """Leave what this job was asked for, in the process that does it."""
        from hydra.types import RunMode

        if config.hydra.mode != RunMode.MULTIRUN:
            return
        folder = Path(config.hydra.runtime.output_dir)
        with contextlib.suppress(OSError):  # a full disk must end no job
            folder.mkdir(parents=True, exist_ok=True)
            (folder / JOB).write_text(json.dumps({"overrides": list(config.hydra.overrides.task)}))

    def on_multirun_end(self, config: Any, **_: Any) -> None:
        """Collect what the jobs left."""
        folder = Path(config.hydra.sweep.dir)
        entry.collect_failures(folder)
        table = collect(folder)
        if not len(table):
            return
        table.to_csv(folder / "sweep.csv", index=False)
        scored = table[table["test_score"].notna()]
        picture = draw(scored.reset_index(drop=True), folder / "sweep.png") if len(scored) else None
        shown = table.drop(columns="error", errors="ignore").to_string(index=False, na_rep="")
        print(f"\n{shown}\nsweep: {folder / 'sweep.csv'}{f'  {picture}' if picture else ''}", flush=True)
