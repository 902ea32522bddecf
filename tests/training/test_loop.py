"""The whole training in small: what it writes, and what it refuses."""

import re
import resource

import numpy as np
import pytest

from stemdefects.errors import UserError
from stemdefects.training import loop
from stemdefects.training.checkpoints import Checkpoints


def test_a_loss_that_is_not_finite_stops_with_step_rate_and_checkpoint(tiny_config):
    cfg = tiny_config(training__learning_rate=1e30, training__log_every=1, training__steps=40, training__warmup_steps=1)
    with pytest.raises(UserError, match=r"training stopped at step \d+: loss .*learning rate \d.*last good: "):
        loop.train_and_evaluate(cfg)


def test_of_equal_scores_the_later_weights_count_but_patience_runs_out():
    progress = loop.Progress()
    for step, score in enumerate([0.1, 0.3, 0.3, 0.2, 0.3], start=1):
        progress.see(score, step)
    assert (progress.best_score, progress.best_step, progress.stale) == (0.3, 5, 3)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"training__size_px": 30}, "training.size_px=30: model=unet_small needs a multiple of 8"),
        ({"training__steps": 0}, "training.steps=0: must be at least 1"),
        ({"training__learning_rate": -1}, "training.learning_rate=-1.0: must be positive"),
        ({"training__precision": "half"}, "training.precision=half: there are: auto, float32, bfloat16"),
    ],
)
def test_values_that_make_no_sense_are_refused_before_any_work(tiny_config, changes, message, tmp_path):
    with pytest.raises(UserError, match=message):
        loop.train_and_evaluate(tiny_config(**changes))
    assert not list((tmp_path / "runs").glob("*"))


def test_without_progress_training_stops_early_and_finishes(tiny_config, capsys):
    run = loop.train_and_evaluate(tiny_config(training__patience=1, training__validation__every=2))
    stopped = re.search(r"no better for 1 validations: stopping at step (\d+)", capsys.readouterr().err)
    assert stopped and int(stopped.group(1)) < 12
    assert run.read_summary()["steps"] <= int(stopped.group(1)) and (run.model_dir / "weights.npz").is_file()


def test_a_disk_that_is_full_costs_the_checkpoint_and_nothing_else(tmp_path, capsys):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    state = {"params": np.arange(40_000, dtype=np.float32)}
    progress = loop.Progress(best_score=0.5, best_step=1)
    loop._save(checkpoints, 1, state, progress)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # files end here, as on a disk that is full
    try:
        loop._save(checkpoints, 2, state, progress, 0.7)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "warning: checkpoint 2 could not be written" in capsys.readouterr().err
    assert checkpoints.steps() == [1]
    step, restored, values = checkpoints.restore(state)
    assert step == 1 and values["best_score"] == 0.5
    np.testing.assert_array_equal(restored["params"], state["params"])
    loop._save(checkpoints, 3, state, progress, 0.7)  # there is room again
    assert checkpoints.restore(state)[0] == 3 and capsys.readouterr().err == ""
    checkpoints.close()
    again = Checkpoints(tmp_path / "checkpoints")  # and what was left half-written is in nobody's way
    assert again.steps() == [1, 3]
    again.close()
