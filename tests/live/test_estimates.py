"""Numbers of a watch against simulated truth and brute force."""

import numpy as np
import pytest

from stemdefects.crystal import material
from stemdefects.inference.evidence import readings
from stemdefects.live import causal, estimates
from stemdefects.live.causal import Sites
from stemdefects.live.events import STARTS, STAYS, TOGETHER, Events, Tally

WS2 = material.load("ws2_mo")
SITE = WS2.states[WS2.kinds[WS2.headline].state].site
PRIOR = np.array([0.97, 0.02, 0.01])


def plan():
    prior = np.full(WS2.n_states, 0.01)
    found = readings.plan(SITE, WS2, prior)
    names = [WS2.state_names[s] for s in found.states]
    keep = [i for i, s in enumerate(found.states) if sum(n for _, n in WS2.states[s].atoms) <= 2]
    assert len(keep) >= 3, names
    return found


class Field:
    """A patch of sites that is told what is on them."""

    def __init__(self, n=11):
        self.cell = np.array([(i, j) for i in range(n) for j in range(n)])
        self.plan = plan()
        self.state = np.zeros(n * n, int)
        self.n, self.events = n, Events(WS2, self.plan.states, WS2.lattice_nm)
        self.frame = 0

    def at(self, i, j):
        return i * self.n + j

    def go_on(self, frames=1):
        for _ in range(frames):
            chances = np.full((len(self.state), len(self.plan.states)), 0.001)
            chances[np.arange(len(self.state)), self.state] = 1
            seen = np.ones(len(self.state), bool)
            age = np.full(len(self.state), self.frame + 1)
            sites = Sites(self.plan, self.cell, chances / chances.sum(1, keepdims=True), seen, age)
            self.events.add(self.frame, sites)
            self.frame += 1


def test_losses_hops_and_fillings_are_told_apart():
    field = Field()
    state_of = {int(m): k for k, m in reversed([*enumerate(field.events.missing)])}
    field.state[field.at(7, 7)] = state_of[1]  # there from the beginning: no event
    field.go_on(STARTS + 1)
    field.state[field.at(4, 4)] = state_of[1]  # made
    field.go_on(20)
    field.state[field.at(7, 7)], field.state[field.at(7, 6)] = 0, state_of[1]  # hops
    field.go_on(20)
    field.state[field.at(4, 4)] = state_of[2]  # loses another
    field.go_on(20)
    field.state[field.at(7, 6)] = 0  # filled
    field.state[field.at(0, 3)] = state_of[1]  # at the border, from outside perhaps
    field.go_on(STAYS + TOGETHER + 2)
    found = field.events.tally
    assert (found.first, found.second, found.filled, found.hops) == (1, 1, 1, 1)
    assert found.area_nm2 == pytest.approx(WS2.a_nm**2)
    inner = 9 * 9
    frames = found.frames - STARTS + 1
    assert found.whole + found.lacking <= inner * frames
    assert found.vacancies == pytest.approx(2 * frames, abs=40)


def test_an_interval_holds_the_truth_and_a_limit_without_events():
    rng = np.random.default_rng(0)
    true, exposure, held = 0.03, 500.0, 0
    for n in rng.poisson(true * exposure, 1000):
        found = estimates.rate(n, exposure)
        held += found.low <= true <= found.high
    assert 0.93 <= held / 1000 <= 0.97
    assert estimates.rate(0, 100.0) == (0, 0, pytest.approx(0.03))
    assert estimates.rate(0, 0.0) is None


def test_the_forecast_comes_true():
    """After 300 frames it says when 20% are reached: it is, on average, then."""
    rng = np.random.default_rng(1)
    each, off = 0.2, []
    for _ in range(200):
        events = rng.poisson(each, 3000).cumsum()
        told = estimates.forecast(int(events[299]), 300, 0.2)
        known = next(n for n in range(3000) if estimates.precision(int(events[n])) <= 0.2) - 299
        off.append((known - told.frames.value) / known)
        assert told.frames.low <= told.frames.value <= told.frames.high
    assert abs(np.median(off)) < 0.1
    least = estimates.events_for(0.2)
    assert estimates.precision(least) <= 0.2 < estimates.precision(least - 1)
    assert estimates.forecast(least, 50, 0.2).frames.value == 0
    assert estimates.forecast(0, 50, 0.2).frames is None


def test_cross_section_and_diffusion_have_their_units():
    tally = Tally(first=100, whole=1e5, second=5, lacking=1e3, hops=40, area_nm2=40 * 0.1, vacancies=2e3, frames=100)
    found = estimates.cross_section_barn(tally, 2, dose_e_per_nm2=1e6)
    assert found.value == pytest.approx(100 / (2e5 * 1e6) / 1e-10, rel=0.01)  # a barn is 1e-10 nm2
    assert estimates.cross_section_barn(tally, 2, None) is None
    assert estimates.diffusion(tally, 0.5).high == np.inf  # quick hops are missed
    assert estimates.diffusion(tally, 0.5).value == pytest.approx(40 * 0.1 / (4 * 2e3 * 0.5), rel=0.02)
    assert estimates.diffusion(Tally(vacancies=100, step_nm2=0.1), 1.0).high == pytest.approx(3 / 100 * 0.1 / 4)


def test_the_filter_is_bayes_rule_and_looks_back():
    """One sublattice, Gaussian readings: against sums over all paths of a site by brute force."""
    part = causal._Sublattice(plan(), np.where(WS2.site_of_state == SITE, 0.02, 0.5))
    k, rng = len(part.plan.states), np.random.default_rng(2)
    part.stated = part.prior = np.full(k, 1 / k)
    part._could_move = 1e12  # the chance of a change stays
    part._moved = part._could_move * 0.05
    part.change = 0.05
    logs = rng.normal(0, 1, (causal.LAG + 1, 1, k))
    rows, forward = part.rows(np.array([[0, 0]])), []
    prior = []
    for log in logs:
        prior.append(part.prior)
        part.prior = np.full(k, 1 / k)
        part.step(rows, log)
        forward.append(part.chances[0])
    part.prior, part.change = np.full(k, 1 / k), 0.05
    stay = 0.95 * np.eye(k) + 0.05 / k
    likely = np.exp(logs[:, 0] - logs[:, 0].max(-1, keepdims=True))
    chance, ahead = np.full(k, 1 / k), []
    for one in likely:
        chance = (chance @ stay) * one
        chance /= chance.sum()
        ahead.append(chance)
    np.testing.assert_allclose(forward, ahead, rtol=2e-2)
    later = np.ones(k)
    for one in likely[:0:-1]:
        later = stay @ (one * later)
    smooth = ahead[0] * later
    np.testing.assert_allclose(part.before().chances[0], smooth / smooth.sum(), rtol=2e-2)
