"""Scores against scikit-learn, brute force and closed forms."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from stemdefects.limit import bounds
from stemdefects.scoring import detection


@pytest.fixture
def marks():
    rng = np.random.default_rng(0)
    truth = rng.random(3000) < 0.05
    score = np.round(1 / (1 + np.exp(-(rng.normal(size=3000) + 2.5 * truth - 3))), 2)  # rounded: ties
    return score, truth


def test_average_precision_is_that_of_scikit_learn(marks):
    score, truth = marks
    assert detection.average_precision(score, truth) == pytest.approx(average_precision_score(truth, score), abs=1e-12)
    weight = np.random.default_rng(1).random(len(score))
    expected = average_precision_score(truth, score, sample_weight=weight)
    assert detection.average_precision(score, truth, weight) == pytest.approx(expected, abs=1e-12)


def test_best_f1_is_the_largest_over_all_thresholds(marks):
    score, truth = marks
    value, threshold = detection.best_f1(score, truth)
    every = [f1_score(truth, score >= t) for t in np.unique(score)]
    assert value == pytest.approx(max(every))
    assert detection.f1_at(score, truth, threshold) == pytest.approx(value)


def test_a_calibrated_posterior_predicts_its_own_scores():
    rng = np.random.default_rng(2)
    prob = rng.beta(0.05, 1.0, 200_000)
    truth = rng.random(len(prob)) < prob
    assert detection.best_f1(prob, prob)[0] == pytest.approx(detection.best_f1(prob, truth)[0], abs=0.01)
    assert detection.average_precision(prob, prob) == pytest.approx(detection.average_precision(prob, truth), abs=0.01)
    assert detection.calibration_error(prob, truth) < 0.003
    assert detection.calibration_error(np.sqrt(prob), truth) > 0.03


def test_nothing_to_find_gives_nan():
    score, none = np.array([0.2, 0.9]), np.zeros(2, bool)
    assert np.isnan(detection.best_f1(score, none)[0])
    assert np.isnan(detection.average_precision(score, none))
    assert np.isnan(detection.f1_at(score, none, 0.5))
    assert np.isnan(detection.best_f1(np.zeros(0), np.zeros(0))[0])


def test_interval_of_the_ratio_covers_it():
    rng = np.random.default_rng(3)
    image = np.repeat(np.arange(40), 200)
    truth = rng.random(len(image)) < 0.05
    good, bad = (rng.normal(size=len(image)) + d * truth for d in (3.5, 2.5))
    low, high = detection.ratio_interval((bad, truth, image), (good, truth, image), rng)
    ratio = detection.best_f1(bad, truth)[0] / detection.best_f1(good, truth)[0]
    assert low < ratio < high < 1
    same = detection.ratio_interval((good, truth, image), (good, truth, image), rng, n_resamples=20)
    assert same == pytest.approx((1.0, 1.0))


def test_best_f1_of_a_gaussian_statistic_matches_sampling():
    rng = np.random.default_rng(4)
    for d_prime, prevalence in ((1.5, 0.05), (3.3, 0.0125), (6.0, 0.01)):
        truth = rng.random(400_000) < prevalence
        counted = detection.best_f1(rng.normal(size=len(truth)) + d_prime * truth, truth)[0]
        assert float(bounds.best_f1(d_prime, prevalence)) == pytest.approx(counted, abs=0.015)


def test_best_f1_of_known_detectabilities():
    """7.5 V_S, 2.3 V_S2, 6 Mo_W and 1.3 V_W among 600 sites; expected values from an independent calculation."""
    v_s = bounds.best_f1([3.3, 4.0, 1.3, 1.6, 0.7], 7.5 / 600)
    np.testing.assert_allclose(v_s, [0.73, 0.86, 0.16, 0.23, 0.07], atol=0.012)
    np.testing.assert_allclose(bounds.best_f1([3.1], 6 / 600), [0.67], atol=0.012)
    np.testing.assert_allclose(bounds.best_f1([5.5], 1.3 / 600), [0.97], atol=0.012)
    assert float(bounds.best_f1(0.0, 0.1)) == pytest.approx(2 * 0.1 / 1.1, abs=1e-3)  # nothing better than claiming all
    assert float(bounds.best_f1(30.0, 1e-3)) == pytest.approx(1.0, abs=1e-6)
