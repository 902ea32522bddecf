"""The summary of a sweep is made from what its jobs leave behind."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest

from stemdefects import sweep_grid
from stemdefects.commands import sweep
from stemdefects.errors import UserError
from stemdefects.schema import TrainRoot


def leave(folder, number, score, error=None, **overrides):
    job = folder / str(number)
    job.mkdir(parents=True)
    given = [f"{k.replace('__', '.')}={v}" for k, v in overrides.items()]
    (job / "job.json").write_text(json.dumps({"overrides": given}))
    if score is not None:
        (job / "result.json").write_text(json.dumps({"run": f"run{number}", "test_score": score}))
    if error:
        (job / "error.txt").write_text(f"{error}\n")


def test_table_and_picture_of_all_jobs(tmp_path, capsys):
    leave(tmp_path, 0, 0.5, model="unet_small", training__learning_rate="1e-3", seed="0")
    leave(tmp_path, 1, 0.7, model="unet", training__learning_rate="1e-3", seed="0")
    leave(tmp_path, 2, 0.6, model="unet", training__learning_rate="3e-4", seed="0")
    leave(
        tmp_path, 3, None, "training.learning_rate=30.0: refused", model="unet", training__learning_rate="30", seed="0"
    )
    leave(tmp_path, 10, None, model="unet", training__learning_rate="1e-4", seed="0")  # killed
    config = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path))))
    sweep.Summary().on_multirun_end(config)
    table = pd.read_csv(tmp_path / "sweep.csv")
    assert table["run"].fillna("").tolist() == ["run1", "run2", "run0", "", ""]  # best first, no job is lost
    assert table["status"].tolist() == ["done"] * 3 + ["failed", "unfinished"]
    assert list(table.columns) == ["run", "status", "test_score", "model", "training.learning_rate", "error"]
    assert table["training.learning_rate"].tolist()[3:] == [30, 1e-4] and "refused" in table["error"][3]
    assert (tmp_path / "sweep.png").stat().st_size > 5000
    assert "run1" in capsys.readouterr().out


def test_a_sweep_of_failures_has_its_table_and_no_picture(tmp_path, capsys):
    leave(tmp_path, 0, None, "no", seed="0")
    leave(tmp_path, 1, None, "neither", seed="1")
    config = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path))))
    sweep.Summary().on_multirun_end(config)
    assert pd.read_csv(tmp_path / "sweep.csv")["error"].tolist() == ["no", "neither"]
    assert not (tmp_path / "sweep.png").exists() and "failed" in capsys.readouterr().out


def test_a_sweep_without_jobs_says_nothing(tmp_path, capsys):
    config = SimpleNamespace(hydra=SimpleNamespace(sweep=SimpleNamespace(dir=str(tmp_path))))
    sweep.Summary().on_multirun_end(config)
    assert capsys.readouterr().out == "" and not list(tmp_path.iterdir())


def test_outside_a_sweep_nothing_is_left():
    sweep.record("run", 0.5)


@pytest.mark.parametrize(
    "grid, said",
    [
        (["training.learning_rate=1e-3,x"], "training.learning_rate=x"),
        (
            ["model=unet,unet_small", "++training.steps=5,-3"],
            r"training.steps=-3: must be at least 1 .*none was started",
        ),
        (["++training.learning_rate=tag(log, interval(-1, 1))"], r"learning_rate=-1.0: must be (positive|greater)"),
        (["++training.loss.balance=choice(0.3,-2)"], r"balance=-2.*0"),
        (["++seed=range(0,3)", "++training.validation.size_px=64,0"], "size_px=0"),
        ([f"++seed={','.join(map(str, range(70)))}", "++training.steps=1,-1"], "steps=-1"),  # more than all are tried
    ],
)
def test_the_whole_grid_is_looked_at_before_the_first_job(grid, said):
    with pytest.raises(UserError, match=said):
        sweep_grid.check(["-m", "material=mos2", *grid], "train", TrainRoot)


def test_a_sound_grid_passes():
    sweep_grid.check(["-m", "model=unet,unet_small", "++seed=1,2", "hydra/launcher=joblib"], "train", TrainRoot)
