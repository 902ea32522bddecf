"""What training sees: shapes for one frame and several, at the doses asked for."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemdefects.errors import UserError
from stemdefects.training import task
from stemdefects.training.outcome import validation


@pytest.mark.parametrize("frames", [1, 3])
def test_frames_become_channels(tiny_config, frames):
    the_task = task.from_config(tiny_config(model__frames=frames))
    images, targets, truth = jax.eval_shape(the_task.example, jax.random.key(0))
    assert images.shape == (32, 32, frames) and images.dtype == jnp.float32
    assert targets.presence.shape == (16, 16, the_task.material.n_sites)
    assert targets.cell.shape == (*truth.state.shape, 4)
    params = jax.eval_shape(the_task.init, jax.random.key(0))
    out = jax.eval_shape(the_task.exact_apply, params, images.update(shape=(1, *images.shape)))
    assert out.presence.shape == (1, 16, 16, the_task.material.n_sites)


def test_an_ensemble_stacks_its_members(tiny_config):
    one, three = (task.from_config(tiny_config(training__ensemble=k)) for k in (1, 3))
    a, b = (jax.eval_shape(t.init, jax.random.key(0)) for t in (one, three))
    assert [(3, *x.shape) for x in jax.tree.leaves(a)] == [x.shape for x in jax.tree.leaves(b)]
    with pytest.raises(UserError, match=r"training.ensemble=2.*training.init=latest"):
        task.from_config(tiny_config(training__ensemble=2, training__init="latest"))


def test_rare_kinds_weigh_more_and_the_prior_is_the_samples(tiny_config):
    cfg = tiny_config()
    the_task = task.from_config(cfg)
    material = the_task.material
    frequency = task.expected_frequency(material, cfg.simulation)
    mo, w = material.state_index("Mo"), material.state_index("W")
    low, high = cfg.material.kinds["Mo_W"].density
    assert frequency[mo] == pytest.approx((high - low) / np.log(high / low))  # mean of a log-uniform number
    assert the_task.class_weight[mo] > 2 * the_task.class_weight[w]
    assert the_task.prior[mo] == cfg.material.kinds["Mo_W"].prevalence


def test_a_null_dose_is_left_out(tiny_config):
    cfg = tiny_config(training__validation__doses_e_per_px__low_dose="null")
    task.check(cfg)
    assert list(cfg.training.validation.doses_e_per_px) == ["typical", "high_dose"]
    cfg.training.validation.doses_e_per_px = {"typical": None}
    with pytest.raises(UserError, match="name at least one dose"):
        task.check(cfg)


def test_one_score_from_many():
    figures = {
        "typical": {"kinds": {"V_S": {"f1": 0.2}, "Mo_W": {"f1": 0.8}, "defect": {"f1": 0.0}}},
        "high_dose": {"kinds": {"V_S": {"f1": 0.6}, "Mo_W": {"f1": np.nan}, "defect": {"f1": 0.0}}},
    }
    assert validation.score(figures, ["V_S", "Mo_W", "not there"]) == pytest.approx((0.2 + 0.8 + 0.6) / 3)
    assert validation.score({}, ["V_S"]) == 0.0
