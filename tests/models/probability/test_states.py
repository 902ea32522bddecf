"""Posteriors against Bayes' rule done by counting."""

import jax.numpy as jnp
import numpy as np
import pytest

from stemdefects.models.probability import states

SITE = np.array([0, 0, 1, 1, 1])


def test_prior_shift_is_bayes_rule():
    # a detector with one of three readings; P(reading | state) known; training saw other frequencies and weights
    rng = np.random.default_rng(0)
    likelihood = rng.dirichlet(np.ones(3), 5)
    counts = np.array([900.0, 100.0, 500.0, 300.0, 200.0])
    weights = np.array([0.5, 4.0, 0.8, 1.0, 2.0])
    prior = np.array([0.99, 0.01, 0.95, 0.04, 0.01])
    shift = states.prior_shift(counts, weights, prior, SITE)
    mask = states.site_mask(SITE, 2)
    for reading in range(3):
        for site in range(2):
            own = SITE == site
            # the minimiser of the weighted cross entropy is the weighted posterior
            trained = np.where(own, counts * weights * likelihood[:, reading], 1.0)
            wanted = np.where(own, prior * likelihood[:, reading], 0.0)
            for log in (np.log(trained), jnp.log(trained)):  # on this machine, and on a device
                got = np.exp(states.log_posterior(log, np.array(site), mask, shift))
                np.testing.assert_allclose(got, wanted / wanted.sum(), rtol=1e-5)


def test_unseen_states_are_left_alone():
    shift = states.prior_shift(np.array([10.0, 0, 5, 5, 0]), np.ones(5), np.full(5, 0.3), SITE)
    assert shift[1] == 0 and shift[4] == 0


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_balance_weights(power):
    frequency = np.array([0.98, 0.02, 0.9, 0.06, 0.04])
    weights = states.balance_weights(frequency, SITE, power)
    for site in range(2):
        own = SITE == site
        assert (weights * frequency)[own].sum() == pytest.approx(1)
    assert weights[1] / weights[0] == pytest.approx((0.98 / 0.02) ** power)
