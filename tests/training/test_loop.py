"""The whole training in small: what it writes, and what it refuses."""

import re

import pytest

from stemdefects.errors import UserError
from stemdefects.training import loop


def test_a_loss_that_is_not_finite_stops_with_step_rate_and_checkpoint(trainings):
    child = trainings.new(
        "training.learning_rate=1e30", "training.log_every=1", "training.steps=40", "training.warmup_steps=1"
    )
    _, errors = child.communicate(timeout=400)
    assert child.returncode == 2 and "Traceback" not in errors
    assert re.search(r"error: training stopped at step \d+: loss .*learning rate \d.*last good: ", errors), errors


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
