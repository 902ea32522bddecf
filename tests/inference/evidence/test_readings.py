"""Readings of columns: what is expected of them before a defect is seen, where light and log-ratios are known."""

from types import SimpleNamespace

import numpy as np
import pytest

from stemdefects.crystal import material as crystal
from stemdefects.inference.evidence import over_time, readings, state_levels
from stemdefects.models.probability import emissions
from stemdefects.numerics import robust

MATERIAL = crystal.load("ws2_mo")
SITE = MATERIAL.site_names.index("chalcogen")
ONE, TWO = (MATERIAL.state_index(name) for name in ("S", "V_chalcogen"))
PRIOR = np.full(MATERIAL.n_states, 1e-4)
PRIOR[[MATERIAL.state_index("S2"), ONE, TWO]] = 0.96, 0.02, 0.01
PLAN = readings.plan(SITE, MATERIAL, PRIOR)


def columns(state, separation, rng, temperature=1.0):
    """Light (n,), log-ratios (n, F) and packed scores (n, S) of columns in state 0, 1, 2 vacancies: a network that says
    the log-likelihood ratio of two vacancies, `separation` scatters away, divided by `temperature`."""
    light = -state / 2 + rng.normal(size=state.shape) / separation
    noise = 0.6 * (-light - state / 2) * separation + 0.8 * rng.normal(size=state.shape)
    x = state / 2 * separation + noise
    score = np.full((*state.shape, MATERIAL.n_states), -emissions.CLIP)
    score[..., MATERIAL.sites[SITE].ideal] = 0
    given = np.log(PRIOR / PRIOR[MATERIAL.sites[SITE].ideal])
    for number, part in ((ONE, 0.5), (TWO, 1.0)):
        ratio = part * separation * (x - part * separation / 2) / temperature
        score[..., number] = np.clip(ratio + given[number], -emissions.CLIP, emissions.CLIP)
    ordered = emissions.ordered_states(SITE, MATERIAL.site_of_state, MATERIAL.sites[SITE].ideal)
    features = score[..., ordered[1:]]
    return light, features - np.median(features.reshape(-1, features.shape[-1]), 0), score


def network():
    """Scores are log-posteriors at PRIOR: no shift, temperature 1."""
    calibration = SimpleNamespace(temperature=1.0, log_prior_shift=np.zeros(MATERIAL.n_states))
    return SimpleNamespace(calibration=calibration)


def reading(light, features, score, plan=PLAN):
    found = readings.coordinates(plan, light, features)
    return readings.calibrated(plan, [readings.seen(plan, found, score, network(), PRIOR, 20)]), found


def test_a_plan_orders_states_by_the_light_that_is_missing():
    assert [MATERIAL.state_names[s] for s in PLAN.states] == ["S2", "S", "V_chalcogen"]
    assert PLAN.deficit == pytest.approx([0, 0.5, 1]) and PLAN.sign == 1
    graphene = crystal.load("graphene_si")
    prior = np.zeros(graphene.n_states)
    prior[[graphene.state_index(s) for s in ("C_A", "Si_on_A", "N_on_A")]] = 0.9, 0.05, 0.05
    bright = readings.plan(0, graphene, prior)
    assert bright.sign == -1 and [graphene.state_names[s] for s in bright.states] == ["C_A", "N_on_A", "Si_on_A"]
    assert readings.plan(SITE, MATERIAL, np.zeros(MATERIAL.n_states)) is None


@pytest.mark.parametrize("separation, temperature", [(3.0, 1.0), (3.0, 2.0), (6.0, 1.0)])
def test_levels_are_expected_right_whatever_the_network_s_temperature(separation, temperature):
    rng = np.random.default_rng(1)
    state = np.repeat([0, 1, 2], [8000, 160, 80])
    light, features, score = columns(state, separation, rng, temperature)
    read, found = reading(light, features, score)
    line = read.line(found)
    true = [line[state == k].mean() - np.median(line[state == 0]) for k in (1, 2)]
    assert read.level[2] == pytest.approx(true[1], rel=0.08)
    assert read.level[1] == pytest.approx(true[0], rel=0.15)  # `near` is expected from real networks, which bend
    ideal = line[state == 0].astype(float)
    scatter = robust.scatter(ideal)
    ratio = np.exp(true[0] * (ideal - np.median(ideal) - true[0] / 2) / scatter**2)
    error = ratio.std() / np.sqrt(len(ratio))
    assert ratio.mean() == pytest.approx(1, abs=max(4 * error, 0.15))


def test_without_light_the_network_is_read_and_where_that_ends_the_light():
    rng = np.random.default_rng(2)
    state = np.repeat([0, 1, 2], [9000, 180, 120])
    light, features, score = columns(state, 4.0, rng)
    dark, found = reading(np.full_like(light, np.nan), features, score)
    assert not dark.lit and np.isfinite(dark.line(found)).all()
    assert dark.line(found)[state == 2].mean() == pytest.approx(dark.level[2], rel=0.1)
    light, features, score = columns(state, 12.0, rng)  # all ideal columns at the end of the network's log-ratios
    sure, found = reading(light, features, score)
    assert sure.weight[0] > 0 and (sure.weight[1:] == 0).all()
    line = sure.line(found)
    assert line[state == 2].mean() == pytest.approx(2 * line[state == 1].mean(), rel=0.05), "two are twice one"
    assert readings.calibrated(PLAN, []) is None


def test_a_column_without_light_is_read_by_the_network_on_the_same_scale():
    rng = np.random.default_rng(3)
    state = np.repeat([0, 2], [3000, 400])
    light, features, score = columns(state, 4.0, rng)
    read, found = reading(light, features, score)
    both, alone = read.line(found), read.network_line(found)
    assert alone[state == 2].mean() == pytest.approx(both[state == 2].mean(), rel=0.08)
    found[:, 0] = np.nan
    assert np.isnan(read.line(found)).all()


def test_levels_and_offsets_are_learned_and_unseen_site_frames_say_nothing():
    rng = np.random.default_rng(4)
    n_frames, n_sites, scale = 60, 300, 0.85
    state = np.zeros((n_frames, n_sites), int)
    state[10:50, :12], state[:, 12:16] = 1, 2
    offset = rng.normal(scale=0.25, size=n_sites)
    expected = np.array([0, 2.5, 5.0])
    line = (scale * expected[state] + offset + rng.normal(size=state.shape)).astype(np.float32)
    unseen = rng.random(state.shape) < 0.2
    line[unseen] = np.nan
    nothing = np.zeros((n_frames, n_sites, 0), np.float32)
    base = state_levels.Levels(line, nothing, nothing, expected, 1.0, np.zeros(0, int), np.zeros(0), np.zeros(0))
    emission = state_levels.read(base, line, expected)
    assert (emission.log_likelihood()[unseen] == 0).all()
    found = over_time.fit(emission, np.array([0.96, 0.03, 0.01]))
    assert found.emission.level[1:] == pytest.approx(scale * expected[1:], rel=0.06)
    quiet = slice(16, None)
    assert np.corrcoef(found.emission.offset[quiet], offset[quiet])[0, 1] > 0.8
    called = found.posterior.argmax(-1)
    assert (called[10:50, :12] == 1).mean() > 0.85 and (called[:, 12:16] == 2).all()
    assert (called[:, quiet] > 0).mean() < 0.002


def test_what_a_dopant_adds_to_the_sites_beside_it_is_no_vacancy():
    rng = np.random.default_rng(5)
    n_frames, n_sites, added = 60, 300, 0.5
    state = np.zeros((n_frames, n_sites), int)
    state[20:50, :8] = 1  # vacancies that stay beside dopants for half the movie
    counts = np.zeros((n_frames, n_sites, 1), np.int8)
    counts[:, :24] = 1
    expected = np.array([0, 2.5, 5.0])
    line = (expected[state] + added * counts[..., 0] + rng.normal(size=state.shape)).astype(np.float32)
    nothing = np.zeros((n_frames, n_sites, 0), np.float32)
    base = state_levels.Levels(line, nothing, counts, expected, 1.0, np.zeros(0, int), np.zeros(0), np.zeros(0))
    found = over_time.fit(state_levels.read(base, line, expected), np.array([0.96, 0.03, 0.01]))
    assert found.emission.shift[1] == pytest.approx(added, abs=0.15)
    assert found.emission.level[1] == pytest.approx(2.5, rel=0.08)


def test_a_state_that_the_movie_does_not_hold_takes_no_part_of_another():
    """Single vacancies 21% stronger than expected, no double ones: the upper half of them was called double."""
    rng = np.random.default_rng(6)
    state = np.zeros((60, 300), int)
    state[:, :27] = 1
    expected = np.array([0, 4.1, 7.6])
    line = (1.21 * expected[state] * (1 + 0.1 * rng.normal(size=state.shape)) + rng.normal(size=state.shape)).astype(
        "f4"
    )
    nothing = np.zeros((60, 300, 0), np.float32)
    base = state_levels.Levels(line, nothing, nothing, expected, 1.0, np.zeros(0, int), np.zeros(0), np.zeros(0))
    found = over_time.fit(state_levels.read(base, line, expected), np.array([0.96, 0.03, 0.01]))
    assert found.emission.level[1] == pytest.approx(1.21 * 4.1, rel=0.03)
    assert found.emission.level[2] == pytest.approx(1.21 * 7.6, rel=0.12)
    called = found.posterior.argmax(-1)
    assert (called[:, :27] == 1).mean() > 0.98 and (called == 2).sum() == 0
