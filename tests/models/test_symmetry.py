"""Averages over the symmetries of the square."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemdefects.errors import UserError
from stemdefects.models import symmetry
from stemdefects.models.unet import Outputs, UNet

STRIDE = 2


def _image(yx, shape=(24, 32)):
    y, x = np.mgrid[: shape[0], : shape[1]]
    spots = sum(np.exp(-0.5 * ((y - a) ** 2 + (x - b) ** 2)) for a, b in yx)
    return jnp.asarray(spots, jnp.float32)[None, ..., None]


def _cells(frames):
    """A detector that turns with the image exactly: offset to the brightest pixel's place by centre of mass."""
    total = frames.reshape(1, frames.shape[1] // STRIDE, STRIDE, frames.shape[2] // STRIDE, STRIDE).sum((2, 4))
    y, x = (jnp.arange(n) for n in frames.shape[1:3])
    mass = frames[..., 0].sum((1, 2))
    place = jnp.stack([(frames[..., 0].sum(2) * y).sum(1), (frames[..., 0].sum(1) * x).sum(1)], -1) / mass[:, None]
    h, w = total.shape[1:]
    centre = jnp.stack(jnp.meshgrid(jnp.arange(h) * STRIDE + 0.5, jnp.arange(w) * STRIDE + 0.5, indexing="ij"), -1)
    offset = (place - centre)[None, :, :, None, :]
    logits = total[..., None]
    return Outputs(logits, logits, offset, logits, logits)


@pytest.mark.parametrize("symmetries", symmetry.COUNTS)
def test_what_turns_with_the_image_stays_as_it_is(symmetries):
    frames = _image([(7.3, 11.8)])
    alone, mean = _cells(frames), symmetry.averaged(_cells, symmetries)(frames)
    for one, other in zip(jax.tree.leaves(alone), jax.tree.leaves(mean), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-4)


def test_the_mean_of_any_network_turns_with_the_image():
    """Answers for a mirrored and transposed image are the mirrored and transposed answers."""
    model = UNet(n_sites=2, n_states=5, filters=(8, 8), depths=(1, 1), stem=4, stride=2)
    frames = jax.random.normal(jax.random.key(0), (1, 32, 48, 1))
    params = model.init(jax.random.key(1), frames)
    mean = jax.jit(symmetry.averaged(lambda f: model.apply(params, f), 8))
    plain = mean(frames)
    turned = mean(jnp.swapaxes(frames, 1, 2)[:, ::-1])
    np.testing.assert_allclose(turned.state, jnp.swapaxes(plain.state, 1, 2)[:, ::-1], atol=2e-5)
    expected = jnp.swapaxes(plain.offset, 1, 2)[:, ::-1][..., ::-1] * jnp.array([-1.0, 1.0])
    np.testing.assert_allclose(turned.offset, expected, atol=2e-5)
    alone = model.apply(params, jnp.swapaxes(frames, 1, 2)[:, ::-1]).state
    assert np.abs(alone - jnp.swapaxes(model.apply(params, frames).state, 1, 2)[:, ::-1]).max() > 1e-3


def test_other_numbers_are_refused():
    with pytest.raises(UserError, match="symmetries=3"):
        symmetry.averaged(_cells, 3)
