"""How the benchmark of labels counts, against a brute-force oracle."""

import numpy as np
import pytest

from benchmarks import labels_scores as scores


def made(rng, strength, n=400):
    """Rows of a method whose scores are `strength` spreads higher where something is; a tenth is missed."""
    rows = np.zeros(n, scores.ROW)
    rows["late"] = rng.random(n) < 0.4
    rows["part"] = rng.integers(0, 40, n)
    rows["kind"] = rng.choice([-1, 0, 1], n, p=[0.6, 0.3, 0.1])
    rows["score"] = 1 / (1 + np.exp(-rng.normal(size=n) - strength * (rows["kind"] >= 0)))
    rows["score"][(rows["kind"] >= 0) & (rng.random(n) < 0.1)] = -1
    return rows


def by_hand(rows, kind, threshold):
    rows = rows[np.isin(rows["kind"], (-1, kind))]
    claimed = rows["score"] >= threshold
    true = rows["kind"] == kind
    return 2 * (claimed & true).sum() / (claimed.sum() + true.sum())


def test_the_best_threshold_is_the_best_of_all():
    rows = made(np.random.default_rng(0), 2.0)
    early, late = rows[~rows["late"]], rows[rows["late"]]
    for number, kind in ((0, "Mo_W"), (1, "V_W")):
        best, later, threshold = scores.early_and_late(rows, kind)
        levels = np.unique(early["score"][early["score"] >= 0])
        assert best == pytest.approx(max(by_hand(early, number, level) for level in levels))
        assert best == pytest.approx(by_hand(early, number, threshold))
        assert later == pytest.approx(by_hand(late, number, threshold))
    assert scores.early_and_late(rows, "V_S")[0] == 0
    assert scores.summary(rows, "Mo_W")["n_late"] == (late["kind"] == 0).sum()


def test_gains_have_intervals(monkeypatch):
    monkeypatch.setattr(scores, "N_RESAMPLES", 100)
    rng = np.random.default_rng(1)
    good, bad = made(rng, 3.0), made(rng, 1.0)
    gains = scores.gains({"tuned": good, "same": good, "worse": bad})["Mo_W"]
    assert gains["same early"] == [0, 0, 0]
    value, low, high = gains["worse early"]
    assert 0 < low < value < high < 0.6
    assert value == pytest.approx(scores.early_and_late(good, "Mo_W")[0] - scores.early_and_late(bad, "Mo_W")[0])


def test_detections_are_paired_where_they_count():
    """A pair, a false one, a missed one; what is beside a hole does not count, nor a kind that is not asked for."""
    truth = np.zeros(4, [("y_px", float), ("x_px", float), ("kind", "S8")])
    truth["y_px"], truth["x_px"] = (20, 20, 60, 90), (20, 60, 20, 90)
    truth["kind"] = (b"Mo_W", b"V_W", b"Ad_S", b"V_S")
    points = np.array([[21.0, 20.0, 0.9], [60.0, 20.5, 0.8], [40.0, 40.0, 0.3], [90.0, 91.0, 0.7]])
    regions = np.zeros((100, 100), int)
    regions[85:, 85:] = 1
    rows = scores._pair(truth, points, scores._inside(regions, (100, 100), 10.0), 3.0)
    found = {(int(r["kind"]), round(float(r["score"]), 2), int(r["part"])) for r in rows}
    assert found == {(0, 0.9, 0), (1, -1.0, 0), (-1, 0.3, 0)}
