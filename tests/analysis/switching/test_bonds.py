"""Switching centres whose vacancies are often missed, against simulated truth."""

import numpy as np
import pytest

from stemdefects.analysis import synthetic
from stemdefects.analysis.switching import bonds, markov, sampling
from stemdefects.analysis.switching import estimators as switching
from stemdefects.analysis.switching.states import Chain
from stemdefects.schema import TransitionsConfig

NAMES = ["Mo_W", "Mo_W+V_S@0", "Mo_W+V_S@1", "Mo_W+V_S@2"]
P = np.array([[0.88, 0.04, 0.04, 0.04], *([0.08, 0.08, 0.08, 0.08] for _ in range(3))])
P[1:, 1:] += 0.68 * np.eye(3)


def test_bits_of_states_and_confusion():
    bits = bonds.of_states([*NAMES, "Mo_W+2V_S@0"], "Mo_W")
    assert bits.astype(int).tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]]
    assert bonds.of_states(["V_S", "V_S2"], "Mo_W") is None
    assert bonds.of_states(["Mo_W", "Mo_W+V_S"], "Mo_W") is None  # no orientation, so no bond
    C = bonds.confusion(bits, np.array([0.5, 0.7, 0.9]), np.array(0.1))
    assert C[1, 1] == pytest.approx(0.5 * 0.9 * 0.9) and C[1, 0] == pytest.approx(0.5 * 0.81)
    assert C[4, 2] == pytest.approx(0.9 * 0.7 * 0.1) and C[2, 1] == pytest.approx(0.1 * 0.3 * 0.9)


def test_hyperparameters_have_the_beta_binomial_likelihood():
    from scipy.stats import betabinom

    hyper = bonds._Hyper(40, (1.0, 1.0))
    seen, missed = np.array([3, 0, 7]), np.array([5, 2, 1])
    value = hyper.seen[:, seen].sum(1) + hyper.missed[:, missed].sum(1) - hyper.both[:, seen + missed].sum(1)
    a, b = hyper.mean * hyper.size, (1 - hyper.mean) * hyper.size
    expected = sum(
        betabinom.logpmf(s, s + m, a, b) - betabinom.logpmf(s, s + m, 1e6, 1e6)
        for s, m in zip(seen, missed, strict=True)
    )
    assert np.ptp(value - expected) < 1e-6


@pytest.mark.parametrize(("recall", "spread"), [(0.47, 0.0), (0.62, 0.2)])
def test_rates_survive_vacancies_that_are_often_missed(recall, spread):
    """One confusion for all places takes hard places for releases."""
    rng = np.random.default_rng(1)
    labels = synthetic.centres(rng, P, 200, 40, recall, spread)
    found, recalls = bonds.gibbs(labels[None], bonds.of_states(NAMES, "Mo_W"), sampling.Sampling(120, 60), rng)
    assert recalls.recall.mean() == pytest.approx(recall, abs=0.06)
    assert (recalls.spread.mean() > 0.12) == (spread > 0)
    value = np.median(found.P[0], 0)
    assert value[1:, 0].mean() == pytest.approx(0.08, rel=0.2)
    assert value[1:, 1:][~np.eye(3, dtype=bool)].mean() == pytest.approx(0.08, rel=0.2)
    if spread:
        plain = markov.em(labels[None], n_iter=60)[0][0]
        assert plain[1:, 0].mean() > 1.15 * 0.08


def test_hidden_uses_it_for_centres_and_tests_hold():
    labels = synthetic.centres(np.random.default_rng(2), P, 120, 40, 0.6, 0.2)
    track, frame = np.nonzero(labels >= 0)
    chain = Chain(NAMES, track, frame, labels[track, frame], "test")
    t = switching.hidden(chain, TransitionsConfig(centre="Mo_W", n_gibbs=80, n_burn=40), rng=np.random.default_rng(0))
    assert "is seen in" in t.warning and t.extra["recalls"].recall.mean() == pytest.approx(0.6, abs=0.1)
    assert max(abs(row["z"]) for row in t.extra["chapman"]) < 3.5
    assert ((t.low <= P) & (P <= t.high)).mean() > 0.8
