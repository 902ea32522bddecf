"""A swap of results that is cut off anywhere leaves the old ones or ends in the new ones; one works on a run."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from stemdefects.errors import UserError
from stemdefects.io import locks, runs, staging


class Killed(BaseException):
    """Nothing that any code of ours catches."""


def contents(run):
    """All files of a run by name, but for the lock's; summary.json as what it holds."""
    files = {str(p.relative_to(run.path)): p.read_text() for p in run.path.rglob("*") if p.is_file()}
    files.pop(locks.NAME, None)
    for name in ("summary.json", ".figures_of.json"):
        if name in files:
            files[name] = json.loads(files[name])
    return files


def make_old(folder):
    run = runs.create(folder)
    run.write_summary({"test_score": 1.0, "model_id": "m"}, "train")
    run.write_summary({"n": 1, "only_then": 2, "model_id": "m"}, "infer")
    run.write_summary({"analysis": {"D": 1}}, "analyze")
    (run.path / "metrics.csv").write_text("stage,step,loss\ntrain,1,0.5\ninfer,,1\nanalyze,,2\n")
    for name in ("config.yaml", "defects.h5", "defects.csv", "defects_over_time.csv", "config_analyze.yaml"):
        (run.path / name).write_text(f"old {name}")
    for name in ("pictures/a.png", "pictures/frames/1.png", "analysis/displacements.csv", "figures/test.png"):
        (run.path / name).parent.mkdir(parents=True, exist_ok=True)
        (run.path / name).write_text(f"old {name}")
    return run


def replace_inference(run):
    new = staging.Staging(run, "infer")
    folder = new.begin()
    (folder / "pictures").mkdir()
    for name in ("defects.h5", "defects.csv", "pictures/b.png", "config_infer.yaml"):
        (folder / name).write_text(f"new {name}")
    new.commit({"n": 3, "model_id": "m"})


NEW = {
    "config.yaml": "old config.yaml",
    "figures/test.png": "old figures/test.png",
    "defects.h5": "new defects.h5",
    "defects.csv": "new defects.csv",
    "pictures/b.png": "new pictures/b.png",
    "config_infer.yaml": "new config_infer.yaml",
    "metrics.csv": "stage,step,loss\ntrain,1,0.5\n",
    "summary.json": {"test_score": 1.0, "model_id": "m", "n": 3},
    ".figures_of.json": {"train": ["model_id", "test_score"], "infer": ["model_id", "n"]},
}


def test_nothing_is_left_of_the_former_results_and_of_those_made_from_them(tmp_path):
    run = make_old(tmp_path)
    replace_inference(run)
    assert contents(run) == NEW


def test_cut_off_at_any_step_the_old_or_the_new_is_there(tmp_path, monkeypatch):
    old = contents(make_old(tmp_path / "old"))
    left, real = [0], {}

    def counted(name):
        def act(*args, **kwargs):
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real[name](*args, **kwargs)

        return act

    acts = {"replace": Path, "unlink": Path, "mkdir": Path, "write_text": Path, "rmtree": shutil}
    for name, owner in acts.items():
        real[name] = getattr(owner, name)
    outcomes, steps = [], 0
    while True:
        run = make_old(tmp_path / str(steps))
        with monkeypatch.context() as patch:
            for name, owner in acts.items():
                patch.setattr(owner, name, counted(name))
            left[0] = steps
            try:
                replace_inference(run)
                break
            except Killed:
                pass
        with locks.held(run, "infer"):
            pass
        found = contents(run)
        found = {name: text for name, text in found.items() if not name.endswith(".partial")}
        assert found in (old, NEW), steps
        outcomes.append(found == NEW)
        steps += 1
    assert outcomes == sorted(outcomes) and 8 < sum(outcomes) < len(outcomes), "first the old, from one step on the new"


def test_a_stage_that_was_begun_is_known_until_it_ends(tmp_path):
    new = staging.Staging(runs.create(tmp_path), "analyze")
    assert not new.unfinished({"seed": 1})
    new.begin({"seed": 1})
    assert new.unfinished({"seed": 1}) and not new.unfinished({"seed": 2})
    new.begin({"seed": 1}, replaces=True)  # the first of them has made what is there now
    assert new.unfinished({"seed": 1})
    new.end()
    assert not new.unfinished({"seed": 1})
    new.begin({"seed": 1}, replaces=True)
    assert not new.unfinished({"seed": 1})


def test_the_second_process_is_told_who_holds_the_run_and_a_dead_one_holds_nothing(tmp_path):
    run = runs.create(tmp_path)
    code = (
        "import sys, time; from pathlib import Path; from stemdefects.io import locks, runs\n"
        f"with locks.held(runs.Run(Path({str(run.path)!r})), 'train'): print('held', flush=True); time.sleep(60)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
    assert child.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"train is at work on it .process {child.pid} on .*, since 2"):
        with locks.held(run, "infer"):
            pass
    child.kill()
    child.wait()
    assert (run.path / locks.NAME).exists(), "it was killed"
    with locks.held(run, "infer"):
        with pytest.raises(UserError, match="infer is at work"), locks.held(run, "analyze"):
            pass
    assert not (run.path / locks.NAME).exists()


def test_a_run_that_cannot_be_written_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be written"), locks.held(runs.Run(tmp_path / "gone"), "infer"):
        pass
