"""Interrupted, killed and damaged trainings end with the very weights of an undisturbed one."""

import re
import signal
import time

import numpy as np
import pytest

from stemdefects.errors import UserError
from stemdefects.io import runs
from stemdefects.training import resume


def weights(folder):
    with np.load(folder / "model" / "weights.npz") as file:
        return {name: file[name] for name in file.files}


def test_killed_interrupted_and_damaged_run_ends_bit_identical(trainings, undisturbed):
    often = "training.checkpoint_minutes=0.00001"
    before = set(runs.list_ids(trainings.runs_dir))  # other tests train there too
    child = trainings.new(often)
    while not (new := set(runs.list_ids(trainings.runs_dir)) - before):
        time.sleep(0.05)
        assert child.poll() is None, child.communicate()
    [run_id] = new
    folder = trainings.runs_dir / run_id

    trainings.wait_for_step(child, run_id, 2)
    child.send_signal(signal.SIGINT)
    _, errors = child.communicate(timeout=400)
    assert child.returncode == 130, errors
    stopped = re.search(r"stopped at step (\d+), saved; go on with: python train.py run=(\S+)", errors)
    assert stopped and stopped.group(2) == run_id and "Traceback" not in errors
    assert (folder / "checkpoints" / stopped.group(1)).is_dir()
    assert int(stopped.group(1)) < 10, "the machine was too fast for this test"

    child = trainings.start(f"run={run_id}", often)
    trainings.wait_for_step(child, run_id, int(stopped.group(1)) + 1)
    child.kill()
    child.communicate()

    steps = sorted(int(p.name) for p in (folder / "checkpoints").glob("*") if p.name.isdigit())
    assert len(steps) >= 2
    for path in (folder / "checkpoints" / str(steps[-1])).rglob("*"):
        if path.is_file() and path.stat().st_size > 100:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    out, errors = trainings.finish(trainings.start(f"run={run_id}"))
    assert f"checkpoint {steps[-1]} in" in errors and "trying the one before" in errors
    assert f"from step {steps[-2]}" in out

    expected, got = weights(undisturbed), weights(folder)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        assert value.tobytes() == got[name].tobytes(), name
    card = (folder / "model" / "README.md").read_text()
    assert "training.checkpoint_minutes=0.00001" in card  # the command that began it, not the one that ended it
    assert runs.Run(folder).read_summary()["model_id"] == runs.Run(undisturbed).read_summary()["model_id"]


def test_resuming_with_another_config_is_refused_with_both_values(undisturbed, tiny_config):
    run = runs.Run(undisturbed)
    stored = resume.stored_config(run, tiny_config(training__learning_rate=0.5), [])
    assert stored.training.learning_rate == 3e-3 and stored.model.filters == [8, 8]
    with pytest.raises(UserError, match=r"training.learning_rate was 0.003 when it started and is 0.5 now"):
        resume.stored_config(run, tiny_config(training__learning_rate=0.5), ["training.learning_rate=0.5"])
    with pytest.raises(UserError, match=r"model.filters was \[8, 8\] .* is \[16, 16\] now"):
        resume.stored_config(run, tiny_config(model__filters=[16, 16]), ["model=unet_small"])
    resume.stored_config(run, tiny_config(seed=0), ["seed=0", "model=unet_small", f"run={run.id}"])
    with pytest.raises(UserError, match="seed was 0 when it started and is 7 now"):
        resume.stored_config(run, tiny_config(seed=7), ["seed=7"])


def test_checkpoint_of_another_network_is_refused(undisturbed, tiny_config):
    import jax

    from stemdefects.training import task
    from stemdefects.training.checkpoints import Checkpoints
    from stemdefects.training.update import state

    cfg = tiny_config(model__filters=[8, 12])
    the_task = task.from_config(cfg)
    other = jax.eval_shape(
        lambda key: state.blank(the_task.init(key), state.optimizer(cfg.training), the_task.material.n_states),
        jax.random.key(0),
    )
    checkpoints = Checkpoints(undisturbed / "checkpoints")
    with pytest.raises(UserError, match=r"has shape \(.*\), the config makes \(.*\)"):
        checkpoints.restore(other)
    checkpoints.close()


def test_a_run_without_training_cannot_be_resumed(tmp_path, tiny_config):
    with pytest.raises(UserError, match=r"was not made by train.py"):
        resume.stored_config(runs.create(tmp_path), tiny_config(), [])
