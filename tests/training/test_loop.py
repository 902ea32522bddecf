"""The whole training in small: what it writes, and what it refuses."""

import pytest

from stemdefects.errors import UserError
from stemdefects.training import loop


def test_a_loss_that_is_not_finite_stops_with_step_rate_and_checkpoint(tiny_config):
    cfg = tiny_config(training__learning_rate=1e30, training__log_every=1, training__steps=40, training__warmup_steps=1)
    with pytest.raises(UserError, match=r"stopped at step \d+: loss .*learning rate \d.*last good: "):
        loop.train_and_evaluate(cfg)


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
