"""A single-frame network becomes one of several frames, or of another crystal, without losing what it knows."""

import copy

import jax
import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.models import architecture, transfer


def test_on_equal_frames_the_answer_is_that_of_one_frame():
    material = crystal.load("ws2_mo")
    single = config.load_group("model", "unet_small")
    single.filters, single.depths, single.stem = [8], [1], 2
    several = copy.deepcopy(single)
    several.frames = 5
    one, five = architecture.build(single, material), architecture.build(several, material)
    image = np.random.default_rng(0).normal(size=(2, 16, 24, 1)).astype(np.float32)
    params = jax.jit(one.init)(jax.random.key(0, impl="rbg"), image)
    spread = transfer.fit_model(params, single, several, "x")
    wanted = jax.eval_shape(five.init, jax.random.key(0), image.repeat(5, -1))
    assert jax.tree.map(np.shape, spread) == jax.tree.map(lambda a: a.shape, wanted)
    # frames that differ tell the channels of pixels from those of frames: the answer is that for their mean
    apart = np.random.default_rng(1).normal(size=(2, 16, 24, 5)).astype(np.float32)
    stack, mean = np.stack([image[..., 0]] * 5, -1), apart.mean(-1, keepdims=True)
    answer_one, answer_five = jax.jit(one.apply), jax.jit(five.apply)
    for frames, same in ((stack, image), (apart, mean)):
        for a, b in zip(answer_five(spread, frames), answer_one(params, same), strict=True):
            if a is not None:
                np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"filters": [8, 16]},
            r"model.filters is \[8, 12\] in that network and \[8, 16\] here; say model=unet_small "
            r"model.filters=\[8,12\], or leave",
        ),
        ({"stem": 2}, "model.stem is 4 in that network and 2 here"),
        ({"pixel_size_nm": 0.02}, "model.pixel_size_nm is 0.03 in that network and 0.02 here"),
        ({"frames": 1}, "model.frames is 3 in that network and 1 here"),
        ({"frames": 5}, "model.frames is 3 in that network and 5 here"),
    ],
)
def test_any_other_network_is_refused_with_both_values(changes, message):
    was = config.load_group("model", "unet_small")
    was.filters, was.depths, was.frames = [8, 12], [1, 1], 3
    wanted = copy.deepcopy(was)
    for name, value in changes.items():
        setattr(wanted, name, value)
    with pytest.raises(UserError, match=f"training.init=ws2_mo: {message}"):
        transfer.fit_model({}, was, wanted, "ws2_mo")


def test_crystals_of_the_same_build_correspond():
    ws2, mos2 = crystal.load("ws2_mo"), crystal.load("mos2")
    assert transfer.fit_material(ws2, ws2, "x") == ""
    assert transfer.fit_material(ws2, mos2, "x") == "W -> Mo, Mo -> W, W2 -> Mo2, W_chalcogen -> Mo_chalcogen"
    with pytest.raises(UserError, match=r"training.init=x: the sites are \['metal', 'chalcogen'\] .*\['A', 'B'\] here"):
        transfer.fit_material(ws2, crystal.load("graphene_si"), "x")
    fewer = config.load_group("material", "mos2")
    del fewer.states["S3"], fewer.kinds["Ad_S"]
    with pytest.raises(UserError, match=r"there are 10 column states in that network .ws2_mo. and 9 here"):
        transfer.fit_material(ws2, crystal.from_config(fewer), "x")
    other = config.load_group("material", "mos2")
    other.states["V_metal"].atoms = {"S": 3}
    with pytest.raises(
        UserError, match=r"state 2 is V_metal of 0 atoms in that network .ws2_mo. and V_metal of 3 atoms here"
    ):
        transfer.fit_material(ws2, crystal.from_config(other), "x")
