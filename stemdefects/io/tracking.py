"""Figures, pictures, tables and artifacts of a run: to Weights & Biases and to the run folder.

W&B is offline by default: no account, no network, no waiting. `metrics.csv` in the run folder is always written,
whatever the mode, because an offline W&B run keeps its figures in a binary file.
"""

import contextlib
import csv
import os
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stemdefects.errors import UserError
from stemdefects.io import runs
from stemdefects.io.runs import Run, write_atomically
from stemdefects.schema import LoggingConfig

MODES = ("offline", "online", "disabled")


class Tracker:
    """What one stage of a run logs. Made by `start`; `wandb_run` is None when logging is disabled."""

    def __init__(self, run: Run, job_type: str, wandb_run: Any, images: bool):
        self.run, self.job_type, self.wandb_run, self.images = run, job_type, wandb_run, images
        self._rows: list[dict] = []
        self._columns: list[str] = []
        self._behind = False  # metrics.csv could not be written: a full disk
        self._path = run.path / "metrics.csv"
        if self._path.exists():
            with open(self._path, newline="") as file:
                reader = csv.DictReader(file)
                self._columns, self._rows = list(reader.fieldnames or []), list(reader)

    def log(self, figures: Mapping[str, float], step: int | None = None) -> None:
        """Log named figures at `step`: one row of metrics.csv, one W&B step."""
        figures = {name: float(value) for name, value in figures.items()}
        row = {"stage": self.job_type, "step": "" if step is None else int(step), **figures}
        new = [name for name in row if name not in self._columns]
        self._columns += new
        self._rows.append(row)
        try:
            if new or self._behind or not self._path.exists():
                self._rewrite()
            else:
                with open(self._path, "a", newline="") as file:
                    csv.DictWriter(file, self._columns).writerow(row)
            self._behind = False
        except OSError as error:  # must not end hours of work: all rows are written again when there is room
            if not self._behind:
                print(f"\nwarning: metrics.csv cannot be written ({error.strerror}); work goes on", file=sys.stderr)
            self._behind = True
        if self.wandb_run:
            self._wandb_log(figures, step)

    def rewind(self, step: int) -> None:
        """Forget this stage's rows after `step`: a resumed training logs them again."""
        kept = [r for r in self._rows if r["stage"] != self.job_type or r["step"] == "" or int(r["step"]) <= step]
        if len(kept) < len(self._rows):
            self._rows = kept
            self._rewrite()

    def image(self, name: str, picture: Any, step: int | None = None) -> None:
        """Log a picture: a path to a PNG, or an array (H, W) or (H, W, 3)."""
        if self.wandb_run and self.images:
            import wandb

            value = wandb.Image(str(picture) if isinstance(picture, str | Path) else picture)
            self._wandb_log({name: value}, step)

    def table(self, name: str, frame: Any, max_rows: int = 10_000) -> None:
        """Log a pandas DataFrame (its first `max_rows` rows)."""
        if self.wandb_run:
            import numpy as np
            import wandb

            # W&B refuses columns of mixed types, and takes numpy's strings for another type than Python's
            plain = frame.head(max_rows).map(lambda value: value.item() if isinstance(value, np.generic) else value)
            self._wandb_log({name: wandb.Table(dataframe=plain, allow_mixed_types=True)}, None)

    def artifact(self, name: str, kind: str, path: str | Path) -> None:
        """Log a file or folder as the W&B artifact `<name>-<run id>` of type `kind` (model, defect_table, report)."""
        if self.wandb_run:
            import wandb

            artifact = wandb.Artifact(f"{name}-{self.run.id}", type=kind)
            path = Path(path)
            (artifact.add_dir if path.is_dir() else artifact.add_file)(str(path), policy="immutable")
            self.wandb_run.log_artifact(artifact)

    def summary(self, figures: Mapping[str, Any]) -> None:
        """Final figures: `summary.json` of the run and the W&B summary."""
        self.run.write_summary(dict(figures))
        if self.wandb_run:
            self.wandb_run.summary.update({f"{self.job_type}/{name}": value for name, value in figures.items()})

    def _wandb_log(self, values: dict, step: int | None) -> None:
        # W&B's own step counter only grows, so a resumed or later stage logs against its own axis
        prefix = self.job_type
        named = {f"{prefix}/{name}": value for name, value in values.items()}
        if step is not None:
            named[f"{prefix}/step"] = int(step)
        self.wandb_run.log(named)

    def _rewrite(self) -> None:
        from io import StringIO

        text = StringIO()
        writer = csv.DictWriter(text, self._columns)
        writer.writeheader()
        writer.writerows(self._rows)
        write_atomically(self._path, text.getvalue())


@contextlib.contextmanager
def start(logging: LoggingConfig, run: Run, job_type: str, config: Mapping[str, Any]) -> Iterator[Tracker]:
    """Open tracking for one stage (`train`, `infer`, `analyze`) of `run`; says where the offline run is at the end.

    Raises UserError for an unknown `logging.mode`, and for `online` without an account.
    """
    wandb_run = _open_wandb(logging, run, job_type, dict(config))
    failed = True
    try:
        yield Tracker(run, job_type, wandb_run, logging.images)
        failed = False
    finally:
        if wandb_run:
            folder = Path(wandb_run.dir).parent
            offline = wandb_run.settings.mode == "offline" or wandb_run.offline
            wandb_run.finish(exit_code=int(failed))
            if offline:
                print(f"W&B (offline): {runs.short(folder)}   to upload: wandb sync {runs.short(folder)}", flush=True)
            else:
                print(f"W&B: {wandb_run.url}", flush=True)


def _open_wandb(logging: LoggingConfig, run: Run, job_type: str, config: dict) -> Any:
    if logging.mode not in MODES:
        raise UserError(f"logging.mode={logging.mode}: no such mode; there are: {', '.join(MODES)}")
    if logging.mode == "disabled":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    mode = logging.mode
    if mode == "online":
        if not wandb.login(prompt=False):
            raise UserError("logging=online: no W&B account on this machine; run `wandb login`, or use logging=offline")
        if not _reaches_wandb():
            print("warning: W&B cannot be reached; logging offline instead", file=sys.stderr, flush=True)
            mode = "offline"
    settings = wandb.Settings(
        init_timeout=30, x_disable_stats=True, x_disable_meta=True, console="off", disable_git=True, disable_code=True
    )
    wandb_run = wandb.init(
        id=run.id, name=run.id, project=logging.project, entity=logging.entity, dir=str(run.path), config=config,
        job_type=job_type, mode=mode, resume="allow" if mode == "online" else None, settings=settings,
    )  # fmt: skip
    wandb_run.define_metric(f"{job_type}/step")
    wandb_run.define_metric(f"{job_type}/*", step_metric=f"{job_type}/step")
    return wandb_run


def _reaches_wandb() -> bool:
    from urllib.parse import urlparse

    url = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    try:
        with socket.create_connection((url.hostname, url.port or 443), timeout=3):
            return True
    except OSError:
        return False
