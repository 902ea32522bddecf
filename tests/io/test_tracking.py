"""Tracking: metrics.csv always, W&B offline readable without an account or a network."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stemdefects import config
from stemdefects.errors import UserError
from stemdefects.io import runs, tracking
from stemdefects.schema import LoggingConfig


@pytest.fixture(autouse=True)
def no_account(monkeypatch, tmp_path):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


def logging_config(mode):
    return LoggingConfig(name=mode, mode=mode)


def test_metrics_csv_grows_columns_and_rewinds(tmp_path):
    run = runs.create(tmp_path)
    with tracking.start(logging_config("disabled"), run, "train", {}) as tracker:
        tracker.log({"loss": 2.0}, step=1)
        tracker.log({"loss": 1.0, "f1": 0.5}, step=2)
        tracker.log({"loss": 0.5}, step=3)
    with tracking.start(logging_config("disabled"), run, "train", {}) as tracker:  # resumed from step 2
        tracker.rewind(2)
        tracker.log({"loss": 0.25}, step=3)
    table = pd.read_csv(run.path / "metrics.csv")
    assert list(table.columns) == ["stage", "step", "loss", "f1"]
    assert list(table.step) == [1, 2, 3]
    assert list(table.loss) == [2.0, 1.0, 0.25]
    assert not (run.path / "wandb").exists()
    for _ in range(2):  # ended after its last row, before its end: the same process again
        with tracking.start(logging_config("disabled"), run, "train", {}) as tracker:
            tracker.forget("test/")
            tracker.log({"test/f1": 0.75}, step=3)
    again = pd.read_csv(run.path / "metrics.csv")
    assert list(again.step) == [1, 2, 3, 3] and list(again["test/f1"].dropna()) == [0.75]


@pytest.fixture
def in_a_sweep():
    """This process does a job of a sweep."""
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig

    overrides = ["hydra.mode=MULTIRUN", "hydra.sweep.dir=runs/sweeps/2026-01-02_03-04-05", "hydra.job.num=0"]
    with initialize_config_dir(str(config.config_dir().resolve()), version_base="1.3"):
        HydraConfig.instance().set_config(compose("train", overrides, return_hydra_config=True))
    yield
    HydraConfig.instance().cfg = None


def test_offline_run_reads_back(tmp_path, capsys, in_a_sweep):
    run = runs.create(tmp_path)
    start = time.perf_counter()
    about = {"seed": 7, "material": {"name": "mos2"}, "model": {"name": "unet_small"}}
    with tracking.start(logging_config("offline"), run, "train", about) as tracker:
        tracker.log({"loss": 2.0}, step=1)
        tracker.image("frame", np.zeros((8, 8)), step=1)
        tracker.table("found", pd.DataFrame({"kind": ["V_S"], "count": [3]}))
        tracker.artifact("metrics", "table", run.path / "metrics.csv")
        tracker.summary({"f1": 0.9})
    assert time.perf_counter() - start < 120, "offline never waits for a network"
    out = capsys.readouterr().out
    assert "wandb sync" in out
    [file] = (run.path / "wandb").glob("offline-run-*/*.wandb")
    assert run.id in file.name
    records = subprocess.run(
        [Path(sys.executable).parent / "wandb", "leet", "inspect", "--json", str(file)],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    ).stdout.splitlines()
    text = "\n".join(records)
    kinds = {json.loads(line)["type"] for line in records}
    assert {"run", "history", "artifact", "summary"} <= kinds
    assert run.id in text and '"train/loss":2' in text and '"seed":7' in text and '"train/f1":0.9' in text
    # runs of one sweep stand together, and are found by what they are
    assert "sweep 2026-01-02_03-04-05" in text
    assert all(f'"{tag}"' in text for tag in ("train", "sweep", "material:mos2", "model:unet_small"))
    assert json.loads((run.path / "summary.json").read_text()) == {"f1": 0.9}


def test_columns_of_any_types_are_logged(tmp_path):
    run = runs.create(tmp_path)
    frame = pd.DataFrame(
        {
            "subject": ["V_S", np.str_("Mo_W"), None],
            "value": [1.0, np.nan, np.float32(2)],
            "odd": [1, "a", np.bool_(True)],
        }
    )
    with tracking.start(logging_config("offline"), run, "analyze", {}) as tracker:
        tracker.table("estimates", frame)
    assert list((run.path / "wandb").rglob("*estimates*.json"))


def test_online_without_an_account_is_refused(tmp_path):
    with pytest.raises(UserError, match="wandb login"):
        with tracking.start(logging_config("online"), runs.create(tmp_path), "train", {}):
            pass


def test_unknown_mode(tmp_path):
    with pytest.raises(UserError, match="offline, online, disabled"):
        with tracking.start(logging_config("onlin"), runs.create(tmp_path), "train", {}):
            pass


def test_a_full_disk_costs_no_row(tmp_path, capsys):
    import resource

    with tracking.start(LoggingConfig(name="x", mode="disabled"), runs.create(tmp_path), "train", {}) as tracker:
        tracker.log({"loss": 0.5}, step=0)
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        size = tracker.run.path.joinpath("metrics.csv").stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 5, before[1]))  # files end here, as on a disk that is full
        try:
            for step in (1, 2):
                tracker.log({"loss": 0.25}, step=step)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert capsys.readouterr().err.count("warning: metrics.csv cannot be written") == 1
        tracker.log({"loss": 0.125}, step=3)
    lines = (tracker.run.path / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines] == ["step", "0", "1", "2", "3"]


def test_the_summary_keeps_what_one_process_said_and_drops_what_its_stage_said_before(tmp_path):
    run = runs.create(tmp_path)
    with tracking.start(logging_config("disabled"), run, "train", {}) as tracker:
        tracker.summary({"labels": 3})
        tracker.summary({"score": 0.5})
    assert run.read_summary() == {"labels": 3, "score": 0.5}
    with tracking.start(logging_config("disabled"), run, "train", {}) as tracker:
        tracker.summary({"score": 0.6})
    assert run.read_summary() == {"score": 0.6}
