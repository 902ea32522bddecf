"""Scores against scikit-learn and cases done by hand."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_recall_curve, precision_recall_fscore_support

from stemdefects.crystal import material as crystal
from stemdefects.crystal.material.measured import card as measured_material
from stemdefects.scoring import columns, detection


@pytest.fixture(scope="module")
def material():
    return crystal.load("ws2_mo")


@pytest.fixture(scope="module")
def random_scores():
    rng = np.random.default_rng(0)
    truth = rng.random(500) < 0.2
    score = np.round(np.clip(0.3 * truth + rng.random(500) * 0.7, 0, 1), 2)  # with ties
    return score, truth, rng.uniform(0.2, 3, 500)


def test_f1_and_average_precision_agree_with_sklearn(random_scores):
    score, truth, weight = random_scores
    got = detection.at_threshold(score, truth, 0.45, weight)
    expected = precision_recall_fscore_support(truth, score >= 0.45, average="binary", sample_weight=weight)
    assert [got["precision"], got["recall"], got["f1"]] == pytest.approx(expected[:3])
    # a score of 0 means: not found, at no threshold; true ones among them count as missed at the end of the curve
    lost = np.where(np.arange(len(score)) % 3, score, 0.0)
    precision, recall, _ = precision_recall_curve(truth, lost, sample_weight=weight)
    expected = -(np.diff(recall) * precision[:-1])[1:].sum()
    assert detection.average_precision(columns.claimable(lost), truth, weight) == pytest.approx(expected)
    assert expected < average_precision_score(truth, lost, sample_weight=weight) - 0.01


def test_best_threshold_is_best(random_scores):
    score, truth, weight = random_scores
    best = columns.best_threshold(score, truth, weight)
    tried = [detection.f1_at(score, truth, t, weight) for t in np.linspace(0.01, 0.99, 197)]
    assert detection.f1_at(score, truth, best, weight) >= max(tried) - 1e-12


def test_calibrated_probabilities_have_no_calibration_error():
    rng = np.random.default_rng(1)
    score = rng.random(200_000)
    truth = rng.random(200_000) < score
    assert detection.calibration_error(score, truth) < 0.01
    over = rng.random(200_000) < 0.5 * score
    assert detection.calibration_error(score, over) == pytest.approx(0.25, abs=0.01)
    assert np.isnan(detection.calibration_error([], []))


def scene(material):
    """Four columns and four peaks in a 64 px image: a hit, a wrong state, a miss, a false column."""
    v_s, s2 = material.state_index("S"), material.state_index("S2")
    g = material.states[s2].site
    truth = SimpleNamespace(
        y_px=np.array([20.0, 20, 40, -9]),
        x_px=np.array([20.0, 40, 20, -9]),
        site=np.full(4, g),
        state=np.array([v_s, s2, s2, s2]),
        valid=np.array([True, True, True, False]),
        regions=np.zeros((64, 64)),
        pixel_size_nm=np.float32(0.03),
    )
    prob = np.zeros((4, material.n_states))
    prob[0, [v_s, s2]] = 0.9, 0.1
    prob[1, [v_s, s2]] = 0.7, 0.3
    prob[2, [v_s, s2]] = 0.2, 0.8
    prob[3, s2] = 1
    peaks = SimpleNamespace(
        y_px=np.array([20.5, 20, 50, 1.0]),
        x_px=np.array([20.0, 39, 50, 30.0]),
        site=np.full(4, g),
        state_prob=prob,
        sigma_px=np.full(4, 0.5),
        valid=np.ones(4, bool),
    )
    return truth, peaks, v_s, s2


def test_pairing_one_image(material):
    truth, peaks, v_s, s2 = scene(material)
    matched = columns.pair_image(truth, peaks, radius_nm=0.09)
    assert matched.state.tolist() == [v_s, s2, s2, -1]  # the false column at the border is left out
    assert matched.found.tolist() == [True, True, False, True]
    np.testing.assert_allclose(matched.error_nm[:2], [[0.015, 0], [0, -0.03]], atol=1e-7)
    assert np.isnan(matched.error_nm[2:]).all()
    prob = columns.posterior(matched, material, np.zeros(material.n_states))
    np.testing.assert_allclose(prob[0, [v_s, s2]], [0.9, 0.1], rtol=1e-6)
    said = columns.called(prob, material, {"V_S": 0.5})
    table = columns.confusion(matched, said, material.n_states)
    assert table[v_s, v_s] == 1 and table[s2, v_s] == 1 and table[s2, -1] == 1 and table[-1, s2] == 1
    assert table.sum() == 4
    score, is_one = columns.kind_columns(material, prob, matched.state)["V_S"]
    assert detection.at_threshold(score, is_one, 0.5) == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3)}
    generic, is_defect = columns.kind_columns(material, prob, matched.state)["defect"]
    np.testing.assert_allclose(generic, [0.9, 0.7, 0, 0.2], atol=1e-7)
    assert is_defect.tolist() == [True, False, False, False]


def test_what_is_called_is_what_the_table_says(material):
    """Kinds by their thresholds, as inference calls them, and not by the most probable state."""
    rng = np.random.default_rng(4)
    prob = rng.dirichlet(np.full(material.n_states, 0.3), 200)
    thresholds = {"V_S": 0.2, "Mo_W": 0.8, "defect": 0.4}
    said = columns.called(prob, material, thresholds)
    kinds = np.array([k.state for k in material.kinds])
    best = prob[:, kinds].argmax(1)
    limit = np.array([thresholds.get(k.name, 0.4) for k in material.kinds])[best]
    is_called = prob[:, kinds].max(1) >= limit
    assert (said[is_called] == kinds[best][is_called]).all() and not np.isin(said[~is_called], kinds).any()
    assert (said != prob.argmax(1)).any()


def test_weights_bring_a_rich_set_to_realistic_prevalence(material):
    """F1 of a set with 20% V_S, weighted to 1%, is that of a set with 1%."""
    rng = np.random.default_rng(2)
    v_s, s2 = material.state_index("S"), material.state_index("S2")
    site = material.states[s2].site
    prior = np.zeros(material.n_states)
    prior[v_s], prior[s2] = 0.01, 0.99
    prior[material.state_index("W")] = 1

    def make(n, fraction):
        state = np.where(rng.random(n) < fraction, v_s, s2)
        said = np.where(rng.random(n) < np.where(state == v_s, 0.8, 0.005), 0.9, 0.1)
        log_prob = np.full((n, material.n_states), -np.inf)
        log_prob[:, v_s], log_prob[:, s2] = np.log(said), np.log(1 - said)
        nothing = np.zeros((n, 2))
        return columns.Matched(state, np.full(n, site), log_prob, nothing, np.ones(n), np.zeros(n, int), nothing)

    def f1(matched, weight):
        return detection.f1_at(np.exp(matched.log_prob[:, v_s]), matched.state == v_s, 0.5, weight)

    rich, real = make(100_000, 0.2), make(400_000, 0.01)
    weight = columns.weights(rich, prior, material.site_of_state)
    assert f1(rich, weight) == pytest.approx(f1(real, np.ones(len(real.state))), abs=0.02)
    assert f1(rich, np.ones(len(rich.state))) > f1(rich, weight) + 0.1


def test_temperature_is_recovered(material):
    rng = np.random.default_rng(3)
    n = 40_000
    site = material.site_of_state
    own = np.flatnonzero(site == 0)
    logits = rng.normal(0, 2, (n, len(own)))
    prob = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    state = own[(rng.random((n, 1)) > prob.cumsum(1)).sum(1)]
    log_prob = np.full((n, material.n_states), -np.inf)
    sharper = 2.5 * logits
    log_prob[:, own] = sharper - np.log(np.exp(sharper).sum(1, keepdims=True))
    nothing = np.zeros((n, 2))
    matched = columns.Matched(state, np.zeros(n, int), log_prob, nothing, np.ones(n), np.zeros(n, int), nothing)
    found = columns.fit_temperature(matched, material, np.zeros(material.n_states), np.ones(n))
    assert found == pytest.approx(2.5, rel=0.05)


def test_what_floating_sites_find_where_nothing_is_keeps_posteriors_honest():
    """What is found with 0.9 is right nine times in ten, and a handful that is right is no reason for certainty."""
    material = crystal.from_config(measured_material(np.eye(2), ["bright"]))

    def temperature(right, wrong, said=0.9):
        n = right + wrong
        log_prob = np.log(np.tile([1 - said, said], (n, 1)))
        state = np.repeat([1, -1], [right, wrong])
        nothing = np.zeros((n, 2))
        matched = columns.Matched(state, np.zeros(n, int), log_prob, nothing, np.ones(n), np.zeros(n, int), nothing)
        return columns.fit_temperature(matched, material, np.zeros(2), np.ones(n))

    assert temperature(900, 100) == pytest.approx(1.0, abs=0.02)
    assert temperature(600, 400) > 1.5
    assert temperature(20, 0) > 0.4


def test_empty_images_are_no_trouble(material):
    empty = columns.concatenate([], material.n_states)
    prob = columns.posterior(empty, material, np.zeros(material.n_states))
    assert prob.shape == (0, material.n_states)
    assert np.isnan(detection.f1_at(np.zeros(0), np.zeros(0, bool), 0.5, np.zeros(0)))
    assert columns.best_threshold(np.zeros(0), np.zeros(0, bool), np.zeros(0)) == 0.5
