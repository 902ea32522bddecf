"""Figures, pictures, tables and artifacts of a run: to Weights & Biases and to the run folder.

W&B is offline by default: no account, no network, no waiting. `metrics.csv` in the run folder is always written,
whatever the mode, because an offline W&B run keeps its figures in a binary file.
"""

import contextlib
import csv
import os
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from stemdefects import config as configs
from stemdefects.errors import UserError
from stemdefects.io import runs
from stemdefects.io.runs import Run, write_atomically
from stemdefects.messages import LOG
from stemdefects.schema import LoggingConfig


class Tracker:
    """What one stage of a run logs. Made by `start`; `wandb_run` is None when logging is disabled."""

    def __init__(self, run: Run, job_type: str, wandb_run: Any, images: bool):
        self.run, self.job_type, self.wandb_run, self.images = run, job_type, wandb_run, images
        self._rows: list[dict[str, Any]] = []
        self._is_read = False
        self._columns: list[str] = []
        self._behind = False  # metrics.csv could not be written: a full disk
        self._figures: dict[str, Any] = {}  # of summary.json, by this process
        self._path = run.path / "metrics.csv"

    def _read(self) -> None:
        if not self._is_read:
            self._is_read = True
            if self._path.exists():
                with open(self._path, newline="") as file:
                    reader = csv.DictReader(file)
                    self._columns, self._rows = list(reader.fieldnames or []), list(reader)

    def log(self, figures: Mapping[str, float], step: int | None = None) -> None:
        """Log named figures at `step`: one row of metrics.csv, one W&B step."""
        self._read()
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
                LOG.warning("metrics.csv cannot be written (%s); work continues", error.strerror)
            self._behind = True
        self._wandb_log(figures, step)

    def rewind(self, step: int) -> None:
        """Forget this stage's rows after `step`: a resumed training logs them again."""
        self._keep(lambda row: row["step"] == "" or int(row["step"]) <= step)

    def forget(self, prefix: str) -> None:
        """Forget this stage's rows with figures named `prefix...`, for what is logged once and now again: the process
        before may have been ended after it."""
        self._keep(lambda row: not any(v not in ("", None) for k, v in row.items() if k.startswith(prefix)))

    def _keep(self, keeps: Callable[[dict], bool]) -> None:
        self._read()
        kept = [row for row in self._rows if row["stage"] != self.job_type or keeps(row)]
        if len(kept) < len(self._rows):
            self._rows = kept
            self._rewrite()

    def image(self, name: str, picture: Any, step: int | None = None) -> None:
        """Log a picture: a path to a PNG, or an array (H, W) or (H, W, 3)."""
        if self.images:
            self._wandb_log(lambda wandb: {name: wandb.Image(str(picture) if _is_path(picture) else picture)}, step)

    def table(self, name: str, frame: Any, max_rows: int = 10_000) -> None:
        """Log a pandas DataFrame (its first `max_rows` rows)."""

        def made(wandb: Any) -> dict:
            import numpy as np

            # W&B refuses columns of mixed types, and takes numpy's strings for another type than Python's
            plain = frame.head(max_rows).map(lambda value: value.item() if isinstance(value, np.generic) else value)
            return {name: wandb.Table(dataframe=plain, allow_mixed_types=True)}

        self._wandb_log(made, None)

    def artifact(self, name: str, kind: str, path: str | Path) -> None:
        """Log a file or folder as the W&B artifact `<name>-<run id>` of type `kind` (model, defect_table, report)."""

        def send(wandb: Any, wandb_run: Any) -> None:
            artifact = wandb.Artifact(f"{name}-{_id(self.run)}", type=kind)
            add = artifact.add_dir if Path(path).is_dir() else artifact.add_file
            add(str(path), policy="immutable")
            wandb_run.log_artifact(artifact)

        self._wandb(send)

    def summary(self, figures: Mapping[str, Any], write: bool = True) -> None:
        """Final figures: the W&B summary and, with `write`, `summary.json` of the run."""
        if write:
            self._figures |= figures  # former figures of the stage go, those of this process stay
            self.run.write_summary(self._figures, self.job_type)
        named = {f"{self.job_type}/{name}": value for name, value in figures.items()}
        self._wandb(lambda _, wandb_run: wandb_run.summary.update(named))

    def _wandb_log(self, values: dict | Callable[[Any], dict], step: int | None) -> None:
        # W&B's own step counter only grows, so a resumed or later stage logs against its own axis
        prefix = self.job_type

        def send(wandb: Any, wandb_run: Any) -> None:
            named = {f"{prefix}/{k}": v for k, v in (values(wandb) if callable(values) else values).items()}
            if step is not None:
                named[f"{prefix}/step"] = int(step)
            wandb_run.log(named)

        self._wandb(send)

    def _wandb(self, send: Callable[[Any, Any], None]) -> None:
        """`send(wandb, run)`; from its first failure on this stage goes on without W&B."""
        if not self.wandb_run:
            return
        import wandb

        try:
            send(wandb, self.wandb_run)
        except Exception as error:  # its own process may be gone, its disk full: our work does not depend on it
            _warn_without(error)
            self.wandb_run = None

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
    tracker = Tracker(run, job_type, wandb_run, logging.images)
    failed = True
    try:
        yield tracker
        failed = False
    finally:
        if wandb_run:
            _close_wandb(wandb_run, failed, tracker.wandb_run is None)


def _close_wandb(wandb_run: Any, failed: bool, gone: bool) -> None:
    """End the W&B run and say where it is; `gone`: it failed before, and has been spoken of."""
    try:
        folder = Path(wandb_run.dir).parent
        offline = wandb_run.settings.mode == "offline" or wandb_run.offline
        wandb_run.finish(exit_code=int(failed))
    except Exception as error:
        if not gone:
            _warn_without(error)
        return
    if gone:
        return
    if offline:
        LOG.info("W&B (offline): %s   to upload: wandb sync %s", runs.short(folder), runs.short(folder))
    else:
        LOG.info("W&B: %s", wandb_run.url)


def _warn_without(error: Exception) -> None:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    LOG.warning("W&B fails (%s); continuing without it", reason)


def _is_path(picture: Any) -> bool:
    return isinstance(picture, str | Path)


def _id(run: Run) -> str:
    """The run's name, of a renamed run too, in the letters that W&B allows."""
    return re.sub(r"[^A-Za-z0-9_-]", "-", run.id)[:64]


def _open_wandb(logging: LoggingConfig, run: Run, job_type: str, config: dict) -> Any:
    configs.check(logging)
    if logging.mode == "disabled":
        return None
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    mode: Any = logging.mode
    if mode == "online":
        if not wandb.login(prompt=False):
            raise UserError("logging=online: no W&B account on this machine; run `wandb login`, or use logging=offline")
        if not _reaches_wandb():
            LOG.warning("W&B cannot be reached; logging offline instead")
            mode = "offline"
    settings = wandb.Settings(
        init_timeout=30, x_disable_stats=True, x_disable_meta=True, console="off", disable_git=True, disable_code=True
    )
    try:
        wandb_run = wandb.init(
            id=_id(run),
            name=run.id,
            project=logging.project,
            entity=logging.entity,
            dir=str(run.path),
            config=config,
            job_type=job_type,
            mode=mode,
            resume="allow" if mode == "online" else None,
            settings=settings,
            group=_sweep(),
            tags=_tags(job_type, config),
        )
        wandb_run.define_metric(f"{job_type}/step")
        wandb_run.define_metric(f"{job_type}/*", step_metric=f"{job_type}/step")
    except Exception as error:
        _warn_without(error)
        return None
    return wandb_run


def _sweep() -> str | None:
    """Name of the sweep that this process does a job of, by which W&B groups its runs; None: it does none."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return None
    return f"sweep {Path(HydraConfig.get().sweep.dir).name}"


def _tags(job_type: str, config: Mapping[str, Any]) -> list[str]:
    """What runs are looked for by: stage, sweep, and the names of material, network, simulation and labels."""
    tags = [job_type, *(["sweep"] if _sweep() else [])]
    for group in ("material", "model", "simulation", "labels"):
        part = config.get(group)
        name = part.get("name") if isinstance(part, Mapping) else None
        tags += [f"{group}:{name}"[:64]] if name else []  # W&B takes no longer ones
    return tags


def _reaches_wandb() -> bool:
    from urllib.parse import urlparse

    url = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai"))
    try:
        with socket.create_connection((url.hostname, url.port or 443), timeout=3):
            return True
    except OSError:
        return False
