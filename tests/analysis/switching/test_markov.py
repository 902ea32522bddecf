"""Hidden Markov sums against brute force, samplers against simulated truth."""

import itertools

import numpy as np
import pytest

from stemdefects.analysis import synthetic
from stemdefects.analysis.switching import chain_tests, markov, sampling, transitions
from stemdefects.analysis.switching import estimators as switching
from stemdefects.analysis.switching.states import Chain

P = np.array([[0.90, 0.06, 0.04], [0.05, 0.90, 0.05], [0.08, 0.04, 0.88]])


def brute_force(observed, P, C, start):
    transitions_, labels, total = np.zeros_like(P), np.zeros_like(C), 0.0
    for trace in observed:
        n = int(np.max(np.flatnonzero(trace >= 0))) + 1
        weight_sum, t_sum, l_sum = 0.0, np.zeros_like(P), np.zeros_like(C)
        for path in itertools.product(range(len(P)), repeat=n):
            weight = start[path[0]]
            for a, b in itertools.pairwise(path):
                weight *= P[a, b]
            for s, o in zip(path, trace, strict=False):
                weight *= C[s, o] if o >= 0 else 1
            weight_sum += weight
            for a, b in itertools.pairwise(path):
                t_sum[a, b] += weight
            for s, o in zip(path, trace, strict=False):
                if o >= 0:
                    l_sum[s, o] += weight
        transitions_ += t_sum / weight_sum
        labels += l_sum / weight_sum
        total += np.log(weight_sum)
    return transitions_, labels, total


def test_expectation_equals_the_sum_over_all_paths():
    rng = np.random.default_rng(0)
    for _ in range(3):
        P2, C2 = rng.dirichlet(np.ones(3), 3), rng.dirichlet(np.ones(3), 3)
        start = rng.dirichlet(np.ones(3))
        observed = np.array([[0, -1, 1, 2, -1], [2, 0, 0, -1, 1], [1, 1, -1, -1, -1]])
        expected = brute_force(observed, P2, C2, start)
        found = markov.expectation(observed[None], P2[None], C2[None], start[None])
        assert found[0][0] == pytest.approx(expected[0])
        assert found[1][0] == pytest.approx(expected[1])
        assert found[3][0] == pytest.approx(expected[2])
        assert markov.log_likelihood(observed[None], P2[None], C2[None], start[None]).sum() == pytest.approx(
            expected[2]
        )


def test_sampled_paths_have_the_posterior_shares():
    rng = np.random.default_rng(1)
    C, start = markov.guess_confusion(3, 0.8), np.array([0.5, 0.3, 0.2])
    trace = np.array([0, -1, 1, -1, 2])
    many = np.repeat(trace[None], 4000, 0)[None]
    path = sampling.sample_paths(many, P[None], C[None], start[None], rng)
    counts = sampling.path_counts(path, 3)[0] / 4000
    expected = brute_force(trace[None], P, C, start)[0]
    assert counts == pytest.approx(expected, abs=0.03)


@pytest.mark.parametrize(("missed", "joint"), [(0.0, False), (0.2, True)])
def test_gibbs_intervals_cover(missed, joint):
    rng = np.random.default_rng(2)
    sets = np.stack([synthetic.chains(rng, P, missed=missed) for _ in range(25)])
    C = None if joint else markov.guess_confusion(3, 0.9)
    samples = sampling.gibbs(sets, C, sampling.Sampling(120, 40), rng).P
    low, high = sampling.interval(samples, axis=1)
    assert ((low <= P) & (high >= P)).mean() > 0.86
    assert np.abs(np.median(samples, 1).mean(0) / P - 1).max() < 0.15


def test_labels_at_face_value_are_biased_and_hmm_is_not():
    rng = np.random.default_rng(3)
    labels = synthetic.chains(rng, P, n_traces=120)
    chain = as_chain(labels)
    off = ~np.eye(3, dtype=bool)
    assert (transitions.pooled(chain).P[off] / P[off]).mean() > 1.8
    assert (transitions.paper(chain).P[off] / P[off]).mean() > 1.8
    found = markov.em(labels[None], markov.guess_confusion(3, 0.9))[0][0]
    assert (found[off] / P[off]).mean() == pytest.approx(1, abs=0.15)


def as_chain(labels):
    track, frame = np.nonzero(labels >= 0)
    names = [f"s{k}" for k in range(labels.max() + 1)]
    return Chain(names, track, frame, labels[track, frame], "test")


def test_pooled_counts_of_a_clean_chain_cover():
    rng = np.random.default_rng(4)
    inside = []
    for _ in range(100):
        t = transitions.pooled(as_chain(synthetic.chains(rng, P, error=0.0)))
        inside.append((t.low <= P) & (t.high >= P))
    assert np.mean(inside) == pytest.approx(0.95, abs=0.03)


def test_steps_are_not_counted_across_gaps():
    chain = as_chain(np.array([[0, -1, 1, 1, 0]]))
    assert transitions.counts(chain).tolist() == [[0, 0], [1, 1]]


def test_states_that_alternate_from_frame_to_frame_have_no_rates():
    """Of two states a chain in continuous time leaves both less often than not: exp(Q t) has a positive determinant."""
    from stemdefects.schema import TransitionsConfig

    rng, cfg = np.random.default_rng(2), TransitionsConfig(n_gibbs=60, n_burn=30)
    back_and_forth = np.array([[0.05, 0.95], [0.95, 0.05]])
    found = switching.hidden(as_chain(synthetic.chains(rng, back_and_forth, n_traces=8, error=0.0)), cfg, None, rng)
    assert found.P[0, 1] > 0.8
    assert np.isnan(found.extra["rates"]).all() and np.isnan(found.extra["dwell"]).all()
    assert np.isfinite(found.extra["stationary"]).all() and "alternate" in found.warning
    slow = np.array([[0.8, 0.2], [0.3, 0.7]])
    found = switching.hidden(as_chain(synthetic.chains(rng, slow, n_traces=20, error=0.0)), cfg, None, rng)
    right = np.log(1 / 0.5) * 0.4  # of a matrix with eigenvalue .5, long-run shares .6 and .4
    assert found.extra["rates"][0, 1, 1] < right < found.extra["rates"][0, 1, 2] and "alternate" not in found.warning


def test_states_too_rare_for_rates_are_undecided():
    from stemdefects.analysis.switching import states
    from stemdefects.analysis.tracking import tracks

    labels = np.array((["a"] * 9 + ["b"] * 6 + ["a"] * 9 + ["b"] * 6) * 100)
    labels[[5, 700, 2000]] = "c"
    some = tracks.build(
        np.arange(len(labels)) // 30, np.tile(np.arange(30), 100), np.zeros(len(labels)), np.zeros((len(labels), 2))
    )
    chain = states.from_labels(some, labels, 8, "test")
    assert chain.names == ["a", "b"] and (chain.state == states.MISSING).sum() == 3
    few = states.from_labels(some.select(np.arange(100) == 0), labels, 8, "test")
    assert few.names == ["a", "b", "c"]  # one of 30 is 3%


def test_symmetry_ties_share_probabilities():
    names = ["Mo_W", "Mo_W+V_S@0", "Mo_W+V_S@1", "Mo_W+V_S@2"]
    orbits = sampling.orientation_orbits(names)
    assert len({orbits[0, 1], orbits[0, 2], orbits[0, 3]}) == 1
    assert len({orbits[1, 2], orbits[2, 3], orbits[3, 1]}) == 1
    assert orbits[1, 0] != orbits[0, 1] != orbits[1, 2]
    Q = np.array([[-0.06, 0.02, 0.02, 0.02], *[[0.04] * 4] * 3])
    Q[1:, 1:] -= np.eye(3) * 0.16
    truth = np.eye(4) + Q
    labels = synthetic.chains(np.random.default_rng(5), truth, n_traces=60)
    post = sampling.gibbs(labels[None], markov.guess_confusion(4, 0.9), sampling.Sampling(80, 30, orbits=orbits))
    assert np.ptp(post.P[0][:, 0, 1:], axis=1).max() < 1e-12
    assert post.P[0].sum(-1) == pytest.approx(1)
    assert np.median(post.P[0][:, 0, 1]) == pytest.approx(0.02, abs=0.008)
    assert sampling.orientation_orbits(["a", "b"]) is None


def test_rates_invert_the_exponential():
    from scipy.linalg import expm

    Q = np.array([[-0.3, 0.2, 0.1], [0.05, -0.1, 0.05], [0.0, 0.2, -0.2]])
    found, clean = transitions.generator(expm(Q * 2.25), 2.25)
    assert found == pytest.approx(Q, abs=1e-9) and clean


def test_stationarity_is_refused_only_when_rates_change():
    rng = np.random.default_rng(6)
    steady = as_chain(synthetic.chains(rng, P, n_traces=60, n_frames=80))
    assert chain_tests.stationarity(steady, 80, 4, rng, 99)["p"] > 0.02
    fast = np.full((3, 3), 0.15) + np.eye(3) * 0.55
    halves = np.concatenate([synthetic.chains(rng, P, 60, 40), synthetic.chains(rng, fast, 60, 40)], 1)
    assert chain_tests.stationarity(as_chain(halves), 80, 4, rng, 99)["p"] < 0.02


def test_hidden_reports_a_mixture_of_two_populations():
    from stemdefects.schema import TransitionsConfig

    rng = np.random.default_rng(7)
    cfg = TransitionsConfig(n_gibbs=60, n_burn=30)
    frozen = np.eye(3) * 0.998 + 0.002 / 3
    mixed = np.concatenate([synthetic.chains(rng, P * 0.6 + 0.4 / 3, 60, 60), synthetic.chains(rng, frozen, 60, 60)])
    z = max(abs(r["z"]) for r in switching.hidden(as_chain(mixed), cfg, rng=rng).extra["chapman"])
    pure = synthetic.chains(rng, P, 100, 60)
    z_pure = max(abs(r["z"]) for r in switching.hidden(as_chain(pure), cfg, rng=rng).extra["chapman"])
    assert z > 3.5 > z_pure
