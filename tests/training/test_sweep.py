"""The summary of a sweep is made from what its jobs leave behind."""

import json
from types import SimpleNamespace

import pandas as pd

from stemdefects.commands import sweep


def leave(folder, number, score, **overrides):
    job = folder / str(number)
    job.mkdir(parents=True)
    given = [f"{k.replace('__', '.')}={v}" for k, v in overrides.items()]
    (job / "result.json").write_text(json.dumps({"run": f"run{number}", "test_score": score, "overrides": given}))


def test_table_and_picture_of_all_jobs(tmp_path, capsys):
    leave(tmp_path, 0, 0.5, model="unet_small", training__learning_rate="1e-3", seed="0")
    leave(tmp_path, 1, 0.7, model="unet", training__learning_rate="1e-3", seed="0")
    leave(tmp_path, 2, 0.6, model="unet", training__learning_rate="3e-4", seed="0")
    (tmp_path / "3").mkdir()  # a job that failed left nothing
    config = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path))))
    sweep.Summary().on_multirun_end(config)
    table = pd.read_csv(tmp_path / "sweep.csv")
    assert table["run"].tolist() == ["run1", "run2", "run0"]  # best first
    assert list(table.columns) == ["run", "test_score", "model", "training.learning_rate"]  # seed was not varied
    assert (tmp_path / "sweep.png").stat().st_size > 5000
    assert "run1" in capsys.readouterr().out


def test_a_sweep_of_failures_says_nothing(tmp_path, capsys):
    config = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path))))
    sweep.Summary().on_multirun_end(config)
    assert capsys.readouterr().out == "" and not list(tmp_path.iterdir())


def test_outside_a_sweep_nothing_is_left():
    sweep.record("run", 0.5)
