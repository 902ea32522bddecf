"""Weights to start from: what fits, and what is refused, for a network that a run left."""

import dataclasses

import jax
import numpy as np
import pytest

from stemdefects import config
from stemdefects.errors import UserError
from stemdefects.models import artifact
from stemdefects.training import start, task


def test_a_run_starts_a_network_of_several_frames_for_another_crystal(undisturbed, tiny_config, capsys):
    cfg = tiny_config(training__init=undisturbed, model__frames=3)
    cfg.material = config.load_group("material", "mos2")
    same, params, material = start.weights(cfg, resumed=False)
    assert same is cfg and material.name == "ws2_mo"  # simulation keeps the config it was given
    said = capsys.readouterr().out
    assert "spread over 3 frames" in said and "W -> Mo" in said
    the_task = task.from_config(cfg, None, params)
    wanted = jax.eval_shape(dataclasses.replace(the_task, params=None).init, jax.random.key(0))
    assert jax.tree.map(np.shape, the_task.init(None)) == jax.tree.map(lambda a: a.shape, wanted)
    kernel = artifact.load(undisturbed / "model").params["params"]["Conv_0"]["kernel"]
    np.testing.assert_allclose(params["params"]["Conv_0"]["kernel"][:, :, ::3] * 3, kernel, rtol=1e-6)


def test_what_does_not_fit_is_refused(undisturbed, tiny_config):
    with pytest.raises(UserError, match=r"model.filters is \[8, 8\] in that network and \[8, 12\] here"):
        start.weights(tiny_config(training__init=undisturbed, model__filters=[8, 12]), resumed=False)
    with pytest.raises(UserError, match=r"training.init=ws3: no network of this name ships"):
        start.weights(tiny_config(training__init="ws3"), resumed=False)
    cfg = tiny_config(training__init="ws3")
    assert start.weights(cfg, resumed=True) == (cfg, None, None)  # the checkpoints hold its weights
