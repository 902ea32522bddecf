"""The ensemble's answer is the mean of its members' probabilities."""

import jax
import jax.numpy as jnp
import numpy as np

from stemdefects.crystal import material as crystal
from stemdefects.models.ensemble import apply_members, carried, combine, init_members
from stemdefects.models.peaks import MapsOf, find_peaks
from stemdefects.models.probability.states import site_mask
from stemdefects.models.unet import Outputs, UNet

SITES = [0, 0, 1, 1, 1]


def outputs(rng, k=3, h=4, w=5):
    return Outputs(
        *(
            jnp.asarray(rng.normal(size=s), jnp.float32)
            for s in [(k, 1, h, w, 2), (k, 1, h, w, 5), (k, 1, h, w, 2, 2), (k, 1, h, w, 2), (k, 1, h, w, 4)]
        )
    )


def test_mean_of_probabilities_and_mixture_of_positions():
    members = outputs(np.random.default_rng(0))
    mask = site_mask(SITES, 2)
    got = combine(members, mask)
    presence = 1 / (1 + np.exp(-np.asarray(members.presence)))
    np.testing.assert_allclose(1 / (1 + np.exp(-np.asarray(got.presence))), presence.mean(0), rtol=1e-5)
    for own in mask:
        p = np.exp(np.asarray(members.state)[..., own])
        p /= p.sum(-1, keepdims=True)
        q = np.exp(np.asarray(got.state)[..., own])
        np.testing.assert_allclose(q / q.sum(-1, keepdims=True), p.mean(0), rtol=1e-4)
        np.testing.assert_allclose(np.asarray(got.spread)[..., own], p.std(0), atol=1e-6)
    # variance of the mixture of Gaussians, per axis and averaged over both
    offset, sigma = np.asarray(members.offset), np.exp(np.asarray(members.log_sigma))
    second = (sigma[..., None] ** 2 + offset**2).mean(0) - offset.mean(0) ** 2
    np.testing.assert_allclose(np.exp(2 * np.asarray(got.log_sigma)), second.mean(-1), rtol=1e-4)


def test_members_that_agree_are_one_network():
    one = outputs(np.random.default_rng(1), k=1)
    got = combine(jax.tree.map(lambda a: jnp.repeat(a, 4, 0), one), site_mask(SITES, 2))
    np.testing.assert_allclose(got.presence, one.presence[0], atol=1e-4)
    np.testing.assert_allclose(got.log_sigma, one.log_sigma[0], atol=1e-4)
    assert float(jnp.abs(got.spread).max()) < 1e-6


def test_spread_follows_the_probability_through_prior_and_temperature():
    """Against members that are each taken through the change."""
    rng = np.random.default_rng(3)
    odds = rng.normal(-2, 2, 200) + 0.1 * rng.normal(size=(50, 200))
    shift, share = rng.normal(0, 2, 200), 0.7

    def prob(x):
        return 1 / (1 + np.exp(-x))

    before, after = prob(odds).mean(0), prob(share * np.log(1 / (1 / prob(odds).mean(0) - 1)) + shift)
    expected = prob(share * odds + shift).std(0)
    np.testing.assert_allclose(carried(prob(odds).std(0), before, after, share), expected, rtol=0.1)
    certain = carried(np.array([0.5]), np.array([1e-9]), np.array([0.5]))
    assert certain == np.array([0.5])  # members of 0 and 1, no more


def test_members_start_apart_and_peaks_carry_their_spread():
    material = crystal.load("ws2_mo")
    mask = site_mask(material.site_of_state, material.n_sites)
    model = UNet(material.n_sites, material.n_states, filters=(8,), depths=(1,), stem=2)
    image = np.random.default_rng(2).normal(size=(1, 16, 16, 1)).astype(np.float32)
    params = jax.jit(init_members(lambda k: model.init(k, image), 3))(jax.random.key(0, impl="rbg"))
    kernel = np.asarray(jax.tree.leaves(params)[-1])
    assert kernel.shape[0] == 3 and not np.allclose(kernel[0], kernel[1])

    @jax.jit
    def peaks(params):
        maps = apply_members(model.apply, mask)(params, image)
        maps = jax.tree.map(lambda a: a[0], maps)
        return find_peaks(maps, MapsOf(2, mask), max_peaks=9, threshold=0.0)

    found = peaks(params)
    assert found.state_spread.shape == (9, material.n_states)
    assert float(found.state_spread.max()) > 0
