"""The network's shapes and what moves with the image."""

import jax
import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.models import architecture
from stemdefects.models.unet import UNet, depth_to_space, space_to_depth


@pytest.mark.parametrize("stem, stride, frames", [(4, 2, 1), (2, 2, 1), (2, 1, 3)])
def test_outputs_have_the_stated_shapes(stem, stride, frames):
    model = UNet(2, 7, filters=(8, 12), depths=(1, 1), stem=stem, stride=stride)
    images = np.zeros((2, 32, 48, frames), np.float32)
    params = jax.jit(model.init)(jax.random.key(0, impl="rbg"), images)
    out = jax.jit(model.apply)(params, images)
    cells = (2, 32 // stride, 48 // stride)
    assert out.presence.shape == (*cells, 2) and out.state.shape == (*cells, 7)
    assert out.offset.shape == (*cells, 2, 2) and out.log_sigma.shape == (*cells, 2) and out.region.shape == (*cells, 4)


def test_answers_move_with_the_image():
    model = UNet(2, 7, filters=(8, 12), depths=(1, 1), stem=4, stride=2)
    image = np.random.default_rng(0).normal(size=(1, 128, 128, 1)).astype(np.float32)
    params = jax.jit(model.init)(jax.random.key(1, impl="rbg"), image)
    shift = model.divisor
    apply = jax.jit(model.apply)
    a, b = apply(params, image), apply(params, np.roll(image, shift, 1))
    inner = slice(28, 36)
    for x, y in zip(a[:5], b[:5], strict=True):  # the sixth, spread, is of ensembles only
        moved = slice(28 + shift // 2, 36 + shift // 2)
        np.testing.assert_allclose(np.asarray(x)[:, inner, inner], np.asarray(y)[:, moved, inner], atol=1e-4)


def test_space_to_depth_is_undone():
    x = np.arange(2 * 8 * 12 * 3.0).reshape(2, 8, 12, 3)
    np.testing.assert_array_equal(depth_to_space(space_to_depth(x, 4), 4), x)


def test_wrong_sizes_and_configs_are_refused():
    model = UNet(2, 7, filters=(8, 12), depths=(1, 1))
    with pytest.raises(ValueError, match="multiples of 4"):
        model.init(jax.random.key(0), np.zeros((1, 30, 32, 1)))
    material = crystal.load("ws2_mo")
    for key, value in (("depths", [1]), ("filters", [7, 8, 9]), ("norm", "batch"), ("frames", 2), ("stem", 3)):
        cfg = config.load_group("model", "unet_small")
        setattr(cfg, key, value)
        with pytest.raises(UserError, match=f"model.{key}"):
            architecture.build(cfg, material)


@pytest.mark.parametrize("name", ["unet_small", "unet", "unet_large"])
def test_shipped_configs_build(name):
    cfg = config.load_group("model", name)
    model = architecture.build(cfg, crystal.load("ws2_mo"))
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 64, 64, cfg.frames), np.float32))
    n = sum(a.size for a in jax.tree.leaves(shapes))
    assert model.divisor == architecture.divisor(cfg)
    assert 4e5 < n < 4e7
