"""Sweeps by every launcher and sweeper: each job is seen in the summary, each failure is told."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from stemdefects import plugins
from stemdefects.errors import UserError

JOB = Path(__file__).with_name("sweep_job.py")


def sweep(folder, *arguments):
    """Start the sweep as a user does; returns (process, the sweep's folder)."""
    done = subprocess.run(
        [sys.executable, str(JOB), "-m", f"runs_dir={folder}", *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=400,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )
    return done, next((folder / "sweeps").iterdir(), None)


def needs(*names):
    absent = [plugins.PACKAGES[name] for name in names if not plugins.available(name)]
    return pytest.mark.skipif(bool(absent), reason=f"{', '.join(absent)} not installed")


@needs("submitit_local")
def test_jobs_of_other_processes_are_summed_up_and_their_failures_told(tmp_path):
    done, folder = sweep(tmp_path, "hydra/launcher=submitit_local", "training.learning_rate=1e-2,13,1e-3", "seed=7")
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    assert re.search(r"error: 1 job\(s\) failed; the first: .*13.* \(\S+/1/error\.txt\)", done.stderr), done.stderr
    table = pd.read_csv(folder / "sweep.csv")
    assert table["run"].tolist()[:2] == ["run-of-0.001", "run-of-0.01"] and table["test_score"].tolist()[:2] == [0, -1]
    assert table["status"].tolist() == ["done", "done", "failed"] and "refused" in table["error"][2]
    assert table["training.learning_rate"].tolist() == [1e-3, 1e-2, 13]
    assert (folder / "sweep.png").stat().st_size > 5000 and "run-of-0.01" in done.stdout
    assert [p.parent.name for p in folder.glob("*/error.txt")] == ["1"]
    told = "".join(p.read_text() for p in folder.glob(".submitit/**/*_log.out"))
    assert re.search(r"job: python train.py runs_dir=\S+ training.learning_rate=0.01 seed=7", told)


@needs("optuna", "joblib")
def test_optuna_seeks_the_greatest_score_with_joblib(tmp_path):
    done, folder = sweep(
        tmp_path,
        "hydra/sweeper=optuna",
        "hydra/launcher=joblib",
        "hydra.sweeper.n_trials=4",
        "hydra.sweeper.n_jobs=2",
        "training.learning_rate=tag(log, interval(1e-5, 1))",
        "seed=3",
    )
    assert done.returncode == 0, done.stderr
    best = yaml.safe_load((folder / "optimization_results.yaml").read_text())
    table = pd.read_csv(folder / "sweep.csv")
    assert len(table) == 4 and best["best_value"] == pytest.approx(table["test_score"].max())
    assert table["training.learning_rate"].nunique() == 4


def test_a_plug_in_that_is_not_there_is_named(monkeypatch):
    monkeypatch.setattr(plugins, "available", lambda name: False)
    with pytest.raises(UserError, match=r"hydra/launcher=joblib: needs the package hydra-joblib-launcher.*\[sweeps\]"):
        plugins.check("hydra/launcher", "joblib")
    plugins.check("hydra/launcher", "basic")
