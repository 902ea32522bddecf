"""What is kept of many checkpoints, and what happens to damaged ones."""

import numpy as np
import pytest

from stemdefects.errors import UserError
from stemdefects.training.checkpoints import Checkpoints


def state(value):
    return {"weights": {"kernel": np.full((3, 4), value, np.float32)}, "step": np.int32(value)}


@pytest.fixture
def checkpoints(tmp_path):
    made = Checkpoints(tmp_path / "checkpoints")
    yield made
    made.close()


def test_best_and_two_newest_are_kept(checkpoints):
    scores = {1: 0.2, 2: None, 3: 0.9, 4: 0.5, 5: None, 6: None, 7: 0.9, 8: None, 9: 0.1, 10: None}
    for step, score in scores.items():
        checkpoints.save(step, state(step), {"n": step}, score)
    assert checkpoints.steps() == [7, 9, 10]  # of equal best ones the later
    step, restored, values = checkpoints.restore(state(0))
    assert step == 10 and values == {"n": 10}
    np.testing.assert_array_equal(restored["weights"]["kernel"], state(10)["weights"]["kernel"])
    assert checkpoints.restore(state(0), step=7)[0] == 7
    checkpoints.save(10, state(-1), {"n": -1})  # an existing step is left as it is
    assert checkpoints.restore(state(0))[2] == {"n": 10}


def test_damaged_ones_are_passed_over_until_none_is_left(checkpoints, capsys):
    for step in (1, 2):
        checkpoints.save(step, state(step), {})
    for expected, damaged in ((1, 2), (None, 1)):
        for path in (checkpoints.folder / str(damaged)).rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[:-20] if path.stat().st_size > 40 else b"")
        if expected is None:
            with pytest.raises(UserError, match="no readable checkpoint"):
                checkpoints.restore(state(0))
        else:
            assert checkpoints.restore(state(0))[0] == expected
        assert f"checkpoint {damaged} in" in capsys.readouterr().err


@pytest.mark.parametrize(
    "other, message",
    [
        (
            {"weights": {"kernel": np.zeros((3, 5), np.float32)}, "step": np.int32(0)},
            r"\(3, 4\), the config makes \(3, 5\)",
        ),
        ({"weights": {"bias": np.zeros(3, np.float32)}, "step": np.int32(0)}, "has no weights/bias"),
        ({"step": np.int32(0)}, "has weights/kernel, which the config does not make"),
    ],
)
def test_another_network_is_refused(checkpoints, other, message):
    checkpoints.save(1, state(1), {})
    with pytest.raises(UserError, match=message):
        checkpoints.restore(other)
    assert checkpoints.steps() == [1]  # and nothing is thrown away
