"""Many files, each a run of its own, shared out over processes or machines with Dask.

`cluster=local` starts worker processes here, `cluster=dask scheduler=tcp://...` uses the workers of a scheduler that
runs (they need this package and the same paths). A worker that is lost costs nothing but time: another one goes on
from the blocks it had finished. The same command given again goes on too: files that are done are left as they are.
"""

import contextlib
import csv
import hashlib
import io
import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from stemdefects import config, messages
from stemdefects.command_line import parts_of_list
from stemdefects.errors import UserError
from stemdefects.io import runs
from stemdefects.io.readers import folder
from stemdefects.io.readers.conventions.suffixes import is_image_file
from stemdefects.io.runs import write_atomically
from stemdefects.messages import LOG
from stemdefects.schema import InferRoot

COLUMNS = ("file", "run", "status", "frames", "skipped", "in doubt", "detections", "over time", "seconds", "message")
LOST_WORKERS = 5  # that a file may cost before it counts as failed
_one_at_a_time = threading.Lock()  # the device and the output of a process belong to one file


def infer_many(cfg: InferRoot) -> Path:
    """Find the defects in each file of `cfg.input` (file, folder, glob or list of them); returns the summary's CSV.

    A file that fails is reported and does not cost the others. Raises UserError when nothing can be started, and at the
    end when files failed.
    """
    from stemdefects.commands.infer import chosen_model

    files = expand(cfg.input)
    _, model_dir = chosen_model(cfg)
    client, close = connect(cfg)
    try:
        batch = _Batch(cfg, files, model_dir)
        workers = len(client.scheduler_info()["workers"])
        LOG.info("%s files, %s workers at %s", len(files), workers, client.scheduler.address)
        rows = _work_off(client, cfg, batch, model_dir)
    finally:
        close()
    path = batch.finish(rows)
    _show(rows)
    print(f"summary:  {runs.short(path)}")
    failed = [row for row in rows if row["status"] == "failed"]
    if failed:
        raise UserError(f"{len(failed)} of {len(rows)} files failed; the first: {failed[0]['message']}")
    return path


def expand(source: Any) -> list[Path]:
    """Files that `source` means, in natural order, each image once; UserError when there is none."""
    if source is None:
        raise UserError("input: no file given; say input='<folder>/*.h5'")
    found: list[Path] = []
    if not isinstance(source, list | tuple):
        source = parts_of_list(source) or [source]
    for text in source:
        there = folder.existing(str(text))
        if there is not None and (there.is_file() or is_image_file(there)):
            found.append(there)
        else:
            found += folder.members(str(text))
    if not found:
        raise UserError(f"{source}: no such files; check input=")
    return [path.resolve() for path in dict.fromkeys(found)]


def connect(cfg: InferRoot) -> tuple[Any, Callable[[], Any]]:
    """A Dask client for `cfg.cluster`, and what ends it."""
    config.check(cfg)
    if (cfg.cluster == "dask") != (cfg.scheduler is not None):
        raise UserError("cluster=dask and scheduler=tcp://<host>:<port> belong together; cluster=local needs neither")
    try:
        import distributed
    except ImportError:
        raise UserError(f"cluster={cfg.cluster}: needs dask.distributed: pip install 'stemdefects[cluster]'") from None
    # a worker that is computing may be silent for long, and one that is lost is tried again
    import dask

    dask.config.set({"distributed.scheduler.allowed-failures": LOST_WORKERS})
    if cfg.cluster == "local":
        n = cfg.workers or max(1, (os.cpu_count() or 2) // 2)
        cluster = distributed.LocalCluster(
            n_workers=n, threads_per_worker=1, processes=True, memory_limit=0, dashboard_address=None, silence_logs=50
        )
        client = distributed.Client(cluster)
        return client, lambda: (client.close(), cluster.close())
    try:
        client = distributed.Client(cfg.scheduler, timeout=20)
    except (OSError, ValueError) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UserError(f"scheduler={cfg.scheduler}: cannot be reached ({reason}); start one: dask scheduler") from None
    return client, client.close


class _Batch:
    """Which run each file has. Kept in `runs/batches/`, so that the same command goes on with the same runs."""

    def __init__(self, cfg: InferRoot, files: list[Path], model_dir: Path):
        plain = config.to_plain(cfg)
        what = {"files": [str(f) for f in files], "model": str(model_dir), "inference": plain["inference"]}
        number = hashlib.sha256(json.dumps(what, sort_keys=True, default=str).encode()).hexdigest()[:10]
        self._folder = Path(cfg.runs_dir).resolve() / "batches"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file = self._folder / f"{number}.json"
        known = json.loads(self._file.read_text()) if self._file.exists() else {}
        self.runs: dict[Path, runs.Run] = {}
        for file in files:
            path = Path(known.get(str(file), ""))
            there = str(file) in known and path.is_dir()
            self.runs[file] = runs.Run(path) if there else runs.create(cfg.runs_dir)
        write_atomically(
            self._file, json.dumps({str(f): str(r.path.resolve()) for f, r in self.runs.items()}, indent=1)
        )

    def finish(self, rows: list[dict[str, Any]]) -> Path:
        """Write the summary table; returns its path."""
        text = io.StringIO()
        writer: csv.DictWriter[str] = csv.DictWriter(text, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
        path = self._file.with_suffix(".csv")
        write_atomically(path, text.getvalue())
        return path


def _work_off(client: Any, cfg: InferRoot, batch: _Batch, model_dir: Path) -> list[dict[str, Any]]:
    """One row of `COLUMNS` per file, in the order of the files."""
    import distributed
    from tqdm import tqdm

    from stemdefects.commands.resumption import is_done

    rows: dict[Path, dict[str, Any]] = {}
    waiting = {}
    for file, run in batch.runs.items():
        if is_done(run) and not cfg.overwrite:
            rows[file] = _row(file, run, "done before", run.read_summary())
            continue
        one = replace(cfg, input=str(file), run=None, runs_dir=str(run.path.parent), cluster=None, scheduler=None)
        one = replace(one, inference=replace(cfg.inference, model=str(model_dir)))
        future = client.submit(work, config.to_plain(one), str(run.path.resolve()), pure=False, retries=0)
        waiting[future] = file
    with tqdm(total=len(batch.runs), initial=len(rows), unit="file", desc="inference") as bar:
        for future in distributed.as_completed(waiting):
            file = waiting[future]
            run = batch.runs[file]
            if future.status == "finished":
                summary = future.result()
            else:  # the worker was lost again and again, or this machine's package is another one
                error = future.exception()
                summary = {"error": (str(error) or type(error).__name__).splitlines()[0][:200]}
            status = "failed" if "error" in summary else "done"
            rows[file] = _row(file, run, status, summary)
            if status == "failed":
                with contextlib.suppress(OSError):  # a run that holds nothing
                    run.path.rmdir()
                bar.write(f"warning: {file.name} failed: {summary['error']}")
            bar.update()
            bar.set_postfix(detections=sum(r["detections"] or 0 for r in rows.values()), refresh=False)
    return [rows[file] for file in batch.runs]


def work(plain: dict[str, Any], run_path: str) -> dict[str, Any]:
    """What a worker does: one file into one run; returns its summary, or `error`. What it prints goes to infer.log."""
    from stemdefects.commands.infer import infer

    cfg = config.to_object(plain, InferRoot)
    run = runs.Run(Path(run_path))
    run.path.mkdir(parents=True, exist_ok=True)
    start, text = time.perf_counter(), io.StringIO()
    with _one_at_a_time:
        try:
            with contextlib.redirect_stdout(text), contextlib.redirect_stderr(text):
                messages.show(cfg.verbose)
                infer(cfg, into=run)
        except UserError as error:
            return {"error": str(error)}
        except Exception as error:  # one file must not cost the others
            return {"error": f"{cfg.input}: {type(error).__name__}: {(str(error) or '?').splitlines()[0][:160]}"}
        finally:
            if text.getvalue() and any(run.path.iterdir()):
                write_atomically(run.path / "infer.log", text.getvalue())
    return run.read_summary() | {"seconds": time.perf_counter() - start}


def _row(file: Path, run: runs.Run, status: str, summary: dict[str, Any]) -> dict[str, Any]:
    over_time = summary.get("detections_over_time")
    return {
        "file": str(file),
        "run": run.id if status != "failed" else "",
        "status": status,
        "frames": summary.get("n_frames"),
        "skipped": summary.get("n_frames_skipped"),
        "in doubt": summary.get("n_frames_in_doubt"),
        "detections": summary.get("n_detections"),
        "over time": None if over_time is None else sum(over_time.values()),
        "seconds": round(summary["seconds"], 1) if "seconds" in summary else None,
        "message": summary.get("error", ""),
    }


def _show(rows: list[dict[str, Any]]) -> None:
    shown = [[Path(r["file"]).name, *("-" if r[c] in (None, "") else str(r[c]) for c in COLUMNS[1:-1])] for r in rows]
    table = [list(COLUMNS[:-1]), *shown]
    widths = [max(len(line[i]) for line in table) for i in range(len(table[0]))]
    for line in table:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip())
