"""Many files over a real Dask scheduler and two worker processes, one of which is killed in the middle."""

import contextlib
import csv
import dataclasses
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from stemdefects.commands import infer, infer_many
from stemdefects.errors import UserError
from stemdefects.io import runs
from stemdefects.io.tables import table
from tests.inference.small_network import hexagonal_frames, settings

distributed = pytest.importorskip("distributed")


def start(*arguments):
    command = [sys.executable, "-m", "distributed.cli." + arguments[0], *arguments[1:]]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def cluster(folder, n_workers=2):
    """Address file of a scheduler of its own, and its worker processes."""
    where = folder / "scheduler.json"
    common = ["--scheduler-file", str(where)]
    processes = [start("dask_scheduler", "--port", "0", "--host", "127.0.0.1", "--no-dashboard", *common)]
    try:
        deadline = time.time() + 200
        while not where.exists() and time.time() < deadline:
            time.sleep(0.1)
        worker = ["dask_worker", "--nthreads", "1", "--no-nanny", "--no-dashboard", *common]
        processes += [start(*worker, "--name", f"w{i}", "--local-directory", str(folder)) for i in range(n_workers)]
        with distributed.Client(scheduler_file=str(where)) as client:
            client.wait_for_workers(n_workers, timeout=300)
            yield client.scheduler.address, processes[1:]
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_killed_worker_costs_nothing_but_time(model_dir, tmp_path):
    files = []
    for i in range(3):
        files.append(tmp_path / f"movie_{i}.npy")
        np.save(files[-1], hexagonal_frames(12, (64, 64))[i:])
    (tmp_path / "movie_9.npy").write_bytes(b"not a numpy file")
    cfg = settings(model_dir, tmp_path / "movie_*.npy", tmp_path, pixel_size_nm=0.03)
    cfg.inference.block_frames = 1
    cfg.inference.pictures = dataclasses.replace(cfg.inference.pictures, animation=False, contact_sheet=False)
    with cluster(tmp_path) as (address, workers):
        cfg.cluster, cfg.scheduler = "dask", address
        killed = []

        def kill():  # as soon as any block is there
            runs_dir = tmp_path / "runs"
            while not list(runs_dir.glob("*/defects.partial/block_*.npz")):
                time.sleep(0.01)
            workers[0].send_signal(signal.SIGKILL)
            killed.append(time.time())

        import threading

        watcher = threading.Thread(target=kill, daemon=True)
        watcher.start()
        with pytest.raises(UserError, match=r"1 of 4 files failed.*movie_9"):
            infer_many.infer_many(cfg)
        assert killed and workers[0].wait(timeout=60) == -signal.SIGKILL
        summary = next((tmp_path / "runs" / "batches").glob("*.csv"))
        rows = list(csv.DictReader(summary.open()))
        assert [r["status"] for r in rows] == ["done", "done", "done", "failed"]
        again = next((tmp_path / "runs" / "batches").glob("*.csv"))
        with pytest.raises(UserError, match="1 of 4 files failed"):
            infer_many.infer_many(cfg)
        assert [r["status"] for r in csv.DictReader(again.open())] == ["done before"] * 3 + ["failed"]
    alone = settings(model_dir, files[1], tmp_path / "alone", pixel_size_nm=0.03)
    alone.inference.pictures = cfg.inference.pictures
    theirs = table.DefectTable.read(infer.infer(alone).defects_path)
    ours = table.DefectTable.read(runs.resolve(cfg.runs_dir, rows[1]["run"]).defects_path)
    assert len(ours) == len(theirs) > 10
    for name in ("frame", "y_px", "x_px", "score"):
        np.testing.assert_allclose(ours.rows[name], theirs.rows[name], atol=1e-3)


def test_what_cannot_be_started_is_said(model_dir, tmp_path):
    np.save(tmp_path / "a.npy", hexagonal_frames(1, (64, 64)))
    cfg = settings(model_dir, tmp_path / "*.npy", tmp_path)
    changes = {
        "there are: local, dask": {"cluster": "moon"},
        "belong together": {"cluster": "dask"},
        "no such files": {"cluster": "local", "input": str(tmp_path / "*.dm3")},
        "cannot be reached": {"cluster": "dask", "scheduler": "nonsense://x"},
    }
    for message, change in changes.items():
        with pytest.raises(UserError, match=message):
            infer_many.infer_many(dataclasses.replace(cfg, **change))
    assert infer_many.expand([str(tmp_path), str(tmp_path / "a.npy")]) == [tmp_path / "a.npy"]
