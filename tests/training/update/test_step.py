"""One update is the same however many devices share it, and is compiled once."""

import subprocess
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemdefects import config
from stemdefects.errors import UserError
from stemdefects.training.update import step


@pytest.fixture(scope="module")
def by_devices(tmp_path_factory, tiny_root, child_environment, python):
    """Results of the tiny training's first updates on 1, 2 and 4 fake devices, and of more for clips of 3 frames."""
    from omegaconf import OmegaConf

    folder = tmp_path_factory.mktemp("steps")
    OmegaConf.save(OmegaConf.create(config.to_plain(tiny_root(folder))), folder / "config.yaml")
    script = Path(__file__).parent / "steps_on_devices.py"
    children = [
        subprocess.Popen(
            [python, str(script), devices, str(folder / "config.yaml"), str(folder), *trainings],
            env=child_environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        for devices, trainings in (
            ("1", ("1", "1", "3", "clip", "3", "30")),
            ("2", ("2", "1", "3")),
            ("4", ("4", "1", "3")),
        )
    ]
    for child in children:
        _, errors = child.communicate(timeout=400)
        assert child.returncode == 0, errors
    return {n: dict(np.load(folder / f"{n}.npz")) for n in (1, 2, 4, "clip")}


@pytest.mark.parametrize("n", [2, 4])
def test_devices_share_a_batch_without_changing_the_update(by_devices, n):
    one, many = by_devices[1], by_devices[n]
    np.testing.assert_allclose(many["losses"], one["losses"], rtol=2e-4)
    np.testing.assert_array_equal(many["counts"], one["counts"])  # the very same images
    for name in one:
        if name.startswith("first/"):  # later steps drift apart by Adam's division
            np.testing.assert_allclose(many[name], one[name], atol=2e-5, err_msg=name)


@pytest.mark.parametrize("n", [1, 2, 4])
def test_step_compiles_once_and_donates(by_devices, n):
    at_first, at_last = by_devices[n]["compilations"]
    assert at_first >= 1 and at_last == at_first
    assert by_devices[n]["donated"]


def test_on_clips_the_loss_falls(by_devices):
    losses = by_devices["clip"]["losses"]
    assert len(losses) == 30 and np.isfinite(losses).all()
    assert np.median(losses[-10:]) < 0.9 * np.median(losses[:10])
    kernel = next(v for k, v in by_devices["clip"].items() if k.endswith("params/Conv_0/kernel"))
    assert kernel.shape[2] == 3 * by_devices[1]["params/params/Conv_0/kernel"].shape[2]


def test_batch_must_divide_by_the_devices(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 3)
    monkeypatch.setattr(jax, "local_device_count", lambda: 3)
    with pytest.raises(UserError, match=r"batch_size=8 does not divide by the 3 devices; take 6 or 9"):
        step.sample_indices(8)
    with pytest.raises(UserError, match=r"batch_size=2 does not divide by the 3 devices; take 3$"):
        step.sample_indices(2)
    assert step.sample_indices(9).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_loss_against_a_plain_loop():
    """The batched, gathered loss equals sums written out column by column."""
    from stemdefects.labels.simulated import Targets
    from stemdefects.models.probability.states import site_mask
    from stemdefects.models.unet import Outputs
    from stemdefects.training import losses

    rng = np.random.default_rng(0)
    b, h, w, n, site_of_state = 2, 5, 6, 7, [0, 0, 1, 1, 1]
    outputs = Outputs(
        rng.normal(size=(b, h, w, 2)),
        rng.normal(size=(b, h, w, 5)),
        rng.normal(size=(b, h, w, 2, 2)),
        rng.normal(size=(b, h, w, 2)),
        rng.normal(size=(b, h, w, 4)),
    )
    site = rng.integers(0, 2, (b, n))
    state = np.array([[rng.choice(np.flatnonzero(np.array(site_of_state) == g)) for g in row] for row in site])
    targets = Targets(
        rng.uniform(size=(b, h, w, 2)),
        rng.dirichlet(np.ones(4), (b, h, w)),
        rng.integers(0, h * w, (b, n, 4)),
        rng.uniform(size=(b, n, 4)),
        rng.normal(size=(b, n, 4, 2)),
        site,
        state,
    )
    weight = rng.uniform(0.5, 2, 5)
    mask = site_mask(site_of_state, 2)
    got = losses.sums(
        Outputs(*map(jnp.asarray, outputs[:5])), Targets(*map(jnp.asarray, targets)), mask, jnp.asarray(weight)
    )
    expected = dict.fromkeys(losses.Parts._fields, 0.0)
    p, t = 1 / (1 + np.exp(-outputs.presence)), targets.presence
    expected["presence"] = (t * np.log(t / p) + (1 - t) * np.log((1 - t) / (1 - p))).sum()
    log_region = outputs.region - np.log(np.exp(outputs.region).sum(-1, keepdims=True))
    expected["region"] = -(targets.region * log_region).sum()
    for i in range(b):
        for j in range(n):
            for k in range(4):
                row, column = divmod(int(targets.cell[i, j, k]), w)
                g, share = site[i, j], targets.weight[i, j, k]
                own = np.flatnonzero(mask[g])
                logits = outputs.state[i, row, column]
                log_p = logits[state[i, j]] - np.log(np.exp(logits[own]).sum())
                expected["state"] -= share * weight[state[i, j]] * log_p
                error = outputs.offset[i, row, column, g] - targets.offset[i, j, k]
                a = np.abs(error)
                expected["offset"] += share * np.where(a <= 0.5, 0.5 * a**2, 0.5 * (a - 0.25)).sum()
                s = outputs.log_sigma[i, row, column, g]
                expected["sigma"] += share * (0.5 * np.minimum(error**2, 9).sum() * np.exp(-2 * s) + 2 * s)
    for name, value in expected.items():
        assert float(getattr(got, name)) == pytest.approx(value, rel=1e-4), name


def test_bfloat16_gives_the_same_loss_and_gradient_to_its_precision(tiny_config):
    """What runs by itself on a GPU: weights, gradients and loss stay float32, products are rounded to 8 bits."""
    from stemdefects.training import losses, task

    the_task = task.from_config(tiny_config(training__precision="bfloat16"))
    params = the_task.init(jax.random.key(0))
    frames, targets = jax.jit(jax.vmap(lambda k: the_task.example(k)[:2]))(jax.random.split(jax.random.key(1), 2))
    weight = jnp.asarray(the_task.class_weight, jnp.float32)

    def loss(apply, params):
        parts = losses.sums(apply(params, frames), targets, the_task.mask, weight)
        return sum(part / n for part, n in zip(parts, losses.denominators(targets), strict=True))

    assert the_task.model.dtype == jnp.bfloat16
    half, exact = (
        jax.jit(jax.value_and_grad(lambda p, apply=apply: loss(apply, p)))(params)
        for apply in (the_task.model.apply, the_task.exact_apply)
    )
    assert half[0].dtype == jnp.float32 and {a.dtype for a in jax.tree.leaves((params, half[1]))} == {jnp.dtype("f4")}
    assert float(half[0]) == pytest.approx(float(exact[0]), rel=0.02)
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found[1])]) for found in (half, exact))
    assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.99
