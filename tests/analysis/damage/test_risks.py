"""Competing risks against histories that are known, and against a Gillespie simulation of the benchmark's own."""

import numpy as np
import pytest

from stemdefects.analysis import kinetics
from stemdefects.analysis.damage import histories, metal, pathways, risks
from stemdefects.analysis.damage.histories import Process, Tally
from stemdefects.analysis.kinetics import Code, lattice
from stemdefects.analysis.kinetics.statements import Names
from tests.analysis.damage.fields import answer_of, field, write_down


def test_events_and_exposures_of_a_history_told_by_hand():
    """One site loses an atom, a neighbour too, then the site its second one; both come back, one by one."""
    place = field(5)
    a = int(np.flatnonzero((place.near >= 0).all(1) & (place.near[place.near] >= 0).all((1, 2)))[0])
    b = int(place.near[a, 0])
    events = [(1.0, -1, a, 1), (2.0, -1, b, 1), (3.0, a, a, 3), (4.5, a, a, 1), (5.0, a, -1, 1)]
    told = histories.of_true(*write_down(place, events), place, (0.0, 6.0))
    n, t = told.events[0], told.exposure_s[0]
    assert n.tolist() == [1, 1, 0, 1, 1, 1, 0, 0, 0, 0]  # b is lost beside a; a's second beside b
    inner = int((place.near >= 0).all(1).sum())
    assert t[Process.SECOND] == pytest.approx(1.0 + 1.0)  # a alone 1-2 s, b alone 5-6 s
    assert t[Process.SECOND_BESIDE] == pytest.approx(1.0 + 0.5 + 3.0)  # a 2-3 and 4.5-5 s, b 2-5 s
    assert t[Process.FILL_TWO] == pytest.approx(1.5)
    assert (
        t[Process.FIRST] + t[Process.FIRST_BESIDE]
        == pytest.approx(t[Process.ARRIVE])
        == pytest.approx(6.0 * inner - 4.0 - 4.0)
    )


def test_hops_are_arrivals_and_no_damage():
    place = field(5)
    a = int(np.flatnonzero((place.near >= 0).all(1))[0])
    b = next(int(g) for g in place.near[a] if (place.near[g] >= 0).all())
    told = histories.of_true(*write_down(place, [(1.0, a, b, 1), (2.0, b, a, 1)], start=[a]), place, (0.0, 3.0))
    assert told.events[0].tolist() == [0, 0, 0, 0, 0, 0, 2, 0, 0, 0]


def test_intervals_cover_and_zero_is_an_upper_limit_by_the_exposure():
    """Poisson numbers of known rates: 95% intervals hold the rate; without an event the limit is the classical one."""
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(300):
        rate, exposure = np.exp(rng.uniform(np.log(2), np.log(40))), 1.0
        n = float(rng.poisson(rate * exposure))
        draws, code = risks.mixture(np.array([n]), np.array([exposure]), float(n == 0), rng)
        _, low, high = risks.summary(draws, code, float(n == 0))
        held += low <= rate <= high
    assert 0.92 <= held / 300 <= 0.985
    draws, code = risks.mixture(np.zeros(40), np.full(40, 50.0), 1.0, rng)
    value, low, high = risks.summary(draws, code, 1.0)
    assert (value, low, code) == (0, 0, Code.NONE)
    assert high == pytest.approx(-np.log(0.05) / 50, rel=0.03)


def test_uncertain_histories_widen_the_interval_and_may_hold_zero():
    rng = np.random.default_rng(2)
    sure, _ = risks.mixture(np.full(50, 10.0), np.full(50, 100.0), 0.0, rng)
    unsure, _ = risks.mixture(np.linspace(2, 18, 50).round(), np.full(50, 100.0), 0.0, rng)
    assert np.ptp(np.quantile(unsure, [0.025, 0.975])) > 1.3 * np.ptp(np.quantile(sure, [0.025, 0.975]))
    assert risks.summary(unsure, Code.OK, 0.1)[1] == 0


def test_dose_turns_rates_into_barn_and_its_error_is_carried():
    draws = np.random.default_rng(0).gamma(400.0, size=20000) / 400
    one = risks.Found("first atom", (1.0, 0.9, 1.1), draws, 400, 400, 0.0, Code.OK)
    flux = 1e6  # e/nm2/s: a rate of 1/s is 1e-6 nm2, 1e4 barn
    exact = one.per_dose(flux, 0.0, np.random.default_rng(1))
    rough = one.per_dose(flux, 0.2, np.random.default_rng(1))
    assert exact[0] == pytest.approx(1e4, rel=0.01)
    assert rough[2] - rough[1] > 3 * (exact[2] - exact[1])


def test_what_had_no_time_to_happen_is_not_told():
    place = field(5)
    answer = answer_of(place, [(np.zeros(len(place.kind), np.int8), np.zeros(0), np.zeros((0, 3), np.int32))])
    evidence_prior = kinetics.Priors(np.full(15, 0.5), np.ones(15), np.ones((3, 2)), np.ones(3), np.ones(4))
    answer = answer._replace(prior=evidence_prior)
    found = {f.name: f for f in risks.find(histories.tally(answer), answer, 2, np.random.default_rng(0))}
    assert found["second atom"].code == Code.CANNOT_TELL and np.isnan(found["second atom"].rate_per_s[0])
    first = found["first atom"]
    assert first.code == Code.NONE and first.rate_per_s[:2] == (0, 0)
    span, inner = np.ptp(answer.times_s), (place.near >= 0).all(1).sum()
    assert first.rate_per_s[2] == pytest.approx(3.0 / (2 * inner * span), rel=0.05)


@pytest.mark.parametrize("detect", [4.8])
def test_sampled_histories_give_the_rates_of_a_simulation(detect):
    """One small field of the benchmark's simulation, sampled: events within what chance allows, arrivals apart."""
    from benchmarks.damage_sets import gillespie

    truth = gillespie.draw(np.random.default_rng(4), "damage", detect, 30, 2.25, 4.8)
    # shorter chains have not met: 71 arrivals for 45
    settings = kinetics.Settings(chains=2, warmup=150, sweeps=100, max_sweeps=100)
    answer = kinetics.infer(truth.evidence, settings, key=1)
    told = histories.tally(answer)
    first = told.events[:, [Process.FIRST, Process.FIRST_BESIDE]].sum(1).mean()
    arrived = told.events[:, Process.ARRIVE].mean()
    assert truth.events["first atom"] >= 3 and truth.events["arrival by hopping"] >= 5
    assert abs(first - truth.events["first atom"]) <= 3  # of 41: those of the last frame may be none
    assert abs(arrived - truth.events["arrival by hopping"]) <= 0.25 * truth.events["arrival by hopping"] + 1
    exposure = told.exposure_s[:, [Process.SECOND, Process.SECOND_BESIDE]].sum(1).mean()
    assert exposure == pytest.approx(truth.exposure_s["second atom"], rel=0.15)


def test_lost_columns_are_timed_by_their_light():
    """Rates of loss from noisy light: intervals hold the truth, and noise alone is an upper limit."""
    held, rng = 0, np.random.default_rng(4)
    times = 2.0 * np.arange(40)
    for _ in range(30):
        lost = rng.exponential(1 / 2e-4, 300)
        gone = lost < times[:, None]
        gone[:, rng.random(300) < 0.02] = True
        line = -3.0 * gone + rng.normal(size=gone.shape)
        ratio = np.clip(-3.0 * line - 4.5, -metal.MOST_PER_FRAME, metal.MOST_PER_FRAME)
        one = metal.loss(metal.Columns(ratio, times), "metal column", rng)
        held += one.rate_per_s[1] <= 2e-4 <= one.rate_per_s[2]
    assert held >= 25
    ratio = np.clip(-3 * rng.normal(size=(40, 300)) - 4.5, -6, 6)
    one = metal.loss(metal.Columns(ratio, times), "metal column", rng)
    assert one.code == Code.NONE and one.rate_per_s[2] == pytest.approx(3 / (300 * 78), rel=0.1)


def test_pathways_follow_a_history_told_by_hand():
    """Two vacancies meet and part; one loses its second atom and is filled: counts, times and names."""
    place = field(7)
    deep = (place.near >= 0).all(1)
    for _ in range(2):
        deep &= np.append(deep, False)[place.near].all(1)
    a = int(np.flatnonzero(deep)[0])
    b = int(place.near[a, 0])
    c = int(place.near[b, 0])  # in line: not next to a
    events = [(1.0, c, b, 1), (3.0, b, c, 1), (4.0, a, a, 3), (5.0, a, a, 1), (6.0, a, -1, 1)]
    answer = answer_of(place, [write_down(place, events, start=[a, c])], span=8.0)
    found = pathways.find(answer, Names("V", "W", ""), np.random.default_rng(0))
    edges = {(e.source, e.target, e.process): e.count for e in found.edges}
    assert edges == {
        ("V", "2V", "hop"): 1,
        ("2V", "V", "hop"): 1,
        ("V", "W", "second atom"): 1,
        ("W", "V", "filling"): 1,
        ("V", pathways.WHOLE, "filling"): 1,
    }
    assert found.nodes["2V"] == pytest.approx(2.0) and found.nodes["W"] == pytest.approx(1.0)
    assert found.nodes["V"] == pytest.approx(2 * 1.0 + 2 * 1.0 + 1.0 + 2 * 1.0 + 2.0)
    assert found.sizes["2V"] == 2 and found.sizes["W"] == 2
    assert set(pathways.tables(found)) == {"pathways", "configurations"}


def test_shapes_of_three_and_graphml_that_others_read():
    from xml.etree import ElementTree

    place = field(9)
    near = place.near
    deep = np.flatnonzero((near >= 0).all(1))
    a = next(int(s) for s in deep if (near[near[s]] >= 0).all())
    n = near[a]
    shapes = {"triangle": (a, n[0], n[1]), "line": (a, n[0], n[3]), "bent": (a, n[0], n[2])}
    for shape, sites in shapes.items():
        history = write_down(place, [(2.0, int(sites[0]), -1, 1)], start=[int(s) for s in sites])
        found = pathways.find(answer_of(place, [history], span=4.0), Names("V", "W", ""), np.random.default_rng(0))
        assert f"3V ({shape})" in found.nodes
    root = ElementTree.fromstring(pathways.graphml(found))
    space = "{http://graphml.graphdrawing.org/xmlns}"
    nodes = {node.get("id") for node in root.iter(f"{space}node")}
    assert nodes == set(found.nodes)
    assert all({e.get("source"), e.get("target")} <= nodes for e in root.iter(f"{space}edge"))


def test_tally_has_a_row_for_each_history():
    place = field(5)
    one = write_down(place, [])
    told = histories.tally(answer_of(place, [one, one, one]))
    assert isinstance(told, Tally) and told.events.shape == told.exposure_s.shape == (3, 10)
    assert lattice.N_RATES == 15
