"""A network that says too little of good images, against readings whose worth is known."""

import numpy as np
import pytest

from stemdefects.crystal import material as crystal
from stemdefects.inference.specimen import prevalence
from stemdefects.models.probability import claimed
from stemdefects.models.probability.prevalence import state_prior
from stemdefects.schema import LabelsConfig

WS2 = crystal.load("ws2_mo")
STATED = state_prior(LabelsConfig(name="test"), WS2)
IDEAL, HALF, NONE = (WS2.state_index(name) for name in ("S2", "S", "V_chalcogen"))
APART = 2.7  # scatters between the ideal column and half of it; twice as many to none


def said(rng, n, share, worth, apart=APART):
    """Posterior (n, S) of readings that are worth their own ratio, and said at `worth` of it at the middle between two
    states; the true states (n,)."""
    state = rng.choice([IDEAL, HALF, NONE], n, p=[1 - share - 0.004, share, 0.004])
    reading = np.select([state == HALF, state == NONE], [apart, 2 * apart], 0.0) + rng.standard_normal(n)
    ratio = np.full((n, WS2.n_states), -60.0)
    ratio[:, IDEAL] = 0
    for k, step in ((HALF, apart), (NONE, 2 * apart)):
        ratio[:, k] = worth * step * (reading - step / 2)
    prob = np.exp(ratio) * STATED * (WS2.site_of_state == 1)
    return prob / prob.sum(1, keepdims=True), state


@pytest.mark.parametrize("worth", [0.6, 1.0])
def test_ratios_that_say_too_little_are_worth_what_their_scatter_shows(worth):
    n = 20000
    rng, site, use, shares = np.random.default_rng(3), np.ones(n, int), np.ones(n, bool), []
    prob, state = said(rng, n, 0.025, worth)
    found = claimed.claims(prob, site, use, STATED, WS2)
    assert np.isnan(found[0]).all(), "no columns of it"
    assert found[1] == pytest.approx([-worth * APART**2 / 2, worth * APART], rel=0.08)
    new = claimed.calibrated(prob, site, use, found, STATED, WS2)
    assert new.sum(1) == pytest.approx(1) and (new >= 0).all()
    # half and none beside each other are worth more too
    both = (state == HALF) | (state == NONE)
    prior = np.log(STATED[NONE] / STATED[HALF])
    odds = [np.log(p[both][:, NONE] / p[both][:, HALF]) - prior for p in (prob, new)]
    np.testing.assert_allclose(odds[1], odds[0] / worth, rtol=0.12, atol=0.05)
    for one in (prob, new):
        ratio = np.log(np.maximum(one[:, [IDEAL, HALF, NONE]], 1e-30)) - np.log(STATED[[IDEAL, HALF, NONE]])
        shares.append(prevalence.learn(ratio, STATED[[IDEAL, HALF, NONE]] / STATED[WS2.site_of_state == 1].sum())[0][1])
    true = (state == HALF).mean()
    assert shares[1] == pytest.approx(true, rel=0.15)
    assert shares[0] == pytest.approx(true, rel=0.15) if worth == 1 else shares[0] < 0.6 * true


def test_a_network_that_tells_columns_badly_or_well_is_left_alone():
    rng, site, use = np.random.default_rng(4), np.ones(3000, int), np.ones(3000, bool)
    for apart in (1.2, 6.0):
        prob, _ = said(rng, 3000, 0.02, 1.0, apart)
        found = claimed.claims(prob, site, use, STATED, WS2)
        assert np.isnan(found).all()
        assert claimed.calibrated(prob, site, use, found, STATED, WS2) is prob
    few = claimed.claims(prob[:20], site[:20], use[:20], STATED, WS2)
    assert np.isnan(few).all()
    assert claimed.calibrated(prob, site, use, None, STATED, WS2) is prob
