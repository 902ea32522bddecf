"""Chains in continuous time against brute force, known rates and the chain in steps."""

import itertools

import numpy as np
import pytest
from scipy.linalg import expm

from stemdefects.analysis import synthetic
from stemdefects.analysis.data import looked
from stemdefects.analysis.switching import continuous, markov, sampling
from stemdefects.analysis.switching import estimators as switching
from stemdefects.analysis.switching.states import Chain
from stemdefects.schema import TransitionsConfig

Q = np.array([[-0.05, 0.03, 0.02], [0.025, -0.05, 0.025], [0.04, 0.02, -0.06]])


def chain_of(labels, times, names="abc"):
    track, frame = np.nonzero(labels >= 0)
    return Chain(list(names), track, frame, labels[track, frame], "test", 2.25, times[frame])


def test_propagators_are_exponentials():
    spans = np.array([0.1, 2.25, 900.0])
    np.testing.assert_allclose(continuous.uniform(Q, spans).propagators(), [expm(Q * s) for s in spans], atol=1e-9)


def test_looks_have_the_times_between_them():
    labels = np.array([[-1, 0, -1, 1, 2], [1, 1, -1, -1, -1], [0, -1, -1, -1, -1]])
    seen = continuous.looks(chain_of(labels, np.array([0.0, 2, 3, 10, 11])), 1000)
    assert seen.label.tolist() == [[0, 1, 2], [1, 1, -1]]
    assert seen.spans[seen.which[0]].tolist() == [8, 1] and seen.spans[seen.which[1, 0]] == 2


def test_likelihood_and_paths_are_those_of_the_sum_over_all_histories():
    rng = np.random.default_rng(0)
    times = np.array([0.0, 3, 4, 20])
    labels, C, start = np.array([[0, 1, -1, 2], [2, 2, 0, 0]]), rng.dirichlet(np.ones(3), 3), np.array([0.5, 0.3, 0.2])
    seen = continuous.looks(chain_of(labels, times), 1000)
    kernels, table = continuous.uniform(Q, seen.spans).propagators(), markov.label_table(C[None])[0]
    total, share = 0.0, {}
    for number, trace in enumerate(labels):
        at = np.flatnonzero(trace >= 0)
        weights = {}
        for path in itertools.product(range(3), repeat=len(at)):
            weight = start[path[0]] * np.prod([C[s, trace[t]] for s, t in zip(path, at, strict=True)])
            for (a, b), gap in zip(itertools.pairwise(path), np.diff(times[at]), strict=True):
                weight *= expm(Q * gap)[a, b]
            weights[path] = weight
        total += np.log(sum(weights.values()))
        share[number] = {path: w / sum(weights.values()) for path, w in weights.items()}
    assert continuous.forward(seen, kernels, table, start)[1] == pytest.approx(total)
    draws = [continuous.sample_paths(seen, kernels, table, start, rng)[0] for _ in range(3000)]
    best = max(share[1], key=share[1].get)  # four looks: the longer trace comes first
    drawn = np.mean([tuple(path[0][path[0] >= 0]) == best for path in draws])
    assert drawn == pytest.approx(share[1][best], abs=0.03)


def test_jumps_between_looks_are_those_of_the_rates():
    """Ends drawn from exp(Q t), what happened between drawn given them: together a plain run of the chain."""
    rng = np.random.default_rng(1)
    span = np.array([30.0])
    ends = sampling.draw(np.repeat(expm(Q * 30)[None, 0], 20000, 0), rng)
    path = np.stack([np.zeros_like(ends), ends], 1)
    seen = continuous.Looks(path, np.zeros((len(ends), 1), int), span)
    jumps, spent = continuous.sample_jumps(path, seen, continuous.uniform(Q, span), rng)
    integral = sum(expm(Q * t)[0] for t in np.linspace(0.05, 29.95, 300)) * 0.1  # expected time in each state
    np.testing.assert_allclose(spent / len(ends), integral, rtol=0.02)
    off = ~np.eye(3, dtype=bool)
    np.testing.assert_allclose(jumps[off] / len(ends), (integral[:, None] * Q)[off], rtol=0.06)
    assert spent.sum() == pytest.approx(30 * len(ends))


@pytest.mark.parametrize("how", ["jitter", "pauses"])
def test_rates_on_recorded_times_cover(how):
    inside, middle = [], []
    for s in range(4):
        rng = np.random.default_rng([2, s])
        times = synthetic.recorded_times(rng, 40, how=how)
        labels = synthetic.chains_in_time(rng, Q, times, 20, 0.1, 0.1)
        seen = continuous.looks(chain_of(labels, times), 10**6)
        found = continuous.gibbs(seen, continuous.Confusion(3), 3, 2.25, sampling.Sampling(60, 30), rng).Q
        low, high = np.quantile(found, [0.025, 0.975], 0)
        inside.append((low <= Q) & (high >= Q))
        middle.append(np.median(found, 0))
    off = ~np.eye(3, dtype=bool)
    assert np.mean(np.array(inside)[:, off]) > 0.7  # 93% measured over 16 sets; six rates a set
    assert (np.mean(middle, 0) / Q)[off].mean() == pytest.approx(1, abs=0.3)


def test_uneven_times_are_a_chain_in_time_and_even_ones_in_steps():
    """At even times both give the same; a clock that is not even is noticed, and centres keep their recalls."""
    rng = np.random.default_rng(3)
    names = ["Mo_W", *(f"Mo_W+V_S@{k}" for k in range(3))]
    rates = np.full((4, 4), 0.01) + np.diag([0.0, -0.02, -0.02, -0.02])
    rates[1:, 0] = 0.03
    np.fill_diagonal(rates, 0)
    np.fill_diagonal(rates, -rates.sum(1))
    labels = synthetic.centres(rng, expm(rates * 2.25), 30, 40, 0.8)
    cfg = TransitionsConfig(centre="Mo_W", n_gibbs=50, n_burn=30)
    times = 2.25 * np.arange(40)
    in_time = chain_of(labels, times, names)
    in_steps = Chain(names, in_time.track, in_time.frame, in_time.state, "test", 2.25)
    one, two = (switching.hidden(c, cfg, rng=np.random.default_rng(0), dt=2.25) for c in (in_steps, in_time))
    assert "recalls" in one.extra and "recalls" in two.extra
    assert np.abs(one.P - two.P).max() < 0.03
    apart = [np.abs(r["z"]) for r in two.extra["chapman"]]
    assert max(apart) < 4 and two.extra["dwell"][0, 0] == pytest.approx(one.extra["dwell"][0, 0], rel=0.2)


def test_frames_that_were_skipped_are_whole_steps():
    place = np.array([0, -1, 1, -1, 2, -1, 3])
    chain = Chain(["a", "b"], np.zeros(4, int), np.array([0, 2, 4, 6]), np.array([0, 1, 1, 0]), "test")
    even = chain.timed(looked.Looked(np.array([0, 2, 4, 6]), place, np.array([0.0, 4.5, 9.0, 13.5])))
    assert even.time is None and even.interval == 4.5 and even.frame.tolist() == [0, 1, 2, 3]
    pause = chain.timed(looked.Looked(np.array([0, 2, 4, 6]), place, np.array([0.0, 4.5, 9.0, 909.0])))
    assert pause.time is None and pause.frame.tolist() == [0, 1, 2, 202] and len(pause.steps()[0]) == 2
    odd = looked.Looked(np.array([0, 2, 4, 6]), place, np.array([0.0, 4.5, 9.0, 911.1]))
    assert chain.timed(odd).time is not None and chain.timed(odd._replace(longest=20.0)).time is None
    uneven = chain.timed(looked.Looked(np.array([0, 2, 4, 6]), place, np.array([0.0, 4.5, 9.0, 15.2])))
    assert uneven.time.tolist() == [0.0, 4.5, 9.0, 15.2] and len(uneven.steps()[0]) == 2
