"""Growth laws and vacancy lines against series and patterns that were made."""

import numpy as np
import pytest

from stemdefects.analysis import synthetic
from stemdefects.analysis.population import growth, growth_stage, lines
from stemdefects.analysis.population.counts import Counts


@pytest.mark.parametrize("law", ["straight line", "exponential", "Avrami"])
def test_the_law_that_made_a_clear_series_is_chosen(law):
    t = np.arange(120) * 2.0
    u = t / t[-1]
    curve = {
        "straight line": 5 + 40 * u,
        "exponential": 4 * np.exp(2.5 * u),
        "Avrami": 40 * (1 - np.exp(-((3 * u) ** 2.5))),
    }[law]
    rng = np.random.default_rng(0)
    found = growth.fit(t, curve + 0.3 * rng.standard_normal(120), "hole area", "nm^2")
    assert found.chosen == law and law in found.verdict()
    truth = {
        "straight line": ("rate", 40 / t[-1]),
        "exponential": ("growth rate", 2.5 / t[-1]),
        "Avrami": ("Avrami exponent", 2.5),
    }[law]
    value, low, high = found.laws[law].parameters[truth[0]]
    assert value == pytest.approx(truth[1], rel=0.1) and low < truth[1] < high


def test_intervals_of_growth_cover_with_noise_that_remembers():
    t = np.arange(80.0)
    inside, chosen = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        noise = np.zeros(80)
        for k in range(1, 80):
            noise[k] = 0.6 * noise[k - 1] + rng.standard_normal()
        found = growth.fit(t, 20 * np.exp(0.015 * t) + noise)
        _, low, high = found.laws["exponential"].parameters["growth rate"]
        inside.append(low <= 0.015 <= high)
        chosen.append(found.chosen)
    assert np.mean(inside) > 0.8
    assert "Avrami" not in chosen and "constant" not in chosen


def test_what_cannot_be_told_is_not():
    rng = np.random.default_rng(1)
    t = np.arange(30.0)
    found = growth.fit(t, rng.poisson(10 + 0.5 * t), "V_S", counts=True)
    assert not found.chosen and {"straight line", "exponential"} <= set(found.rivals)
    assert "cannot tell" in found.verdict()
    assert growth.fit(t, np.ones(30)) is None and growth.fit(t[:5], t[:5]) is None


def test_lines_are_counted_and_chance_is_known():
    rng = np.random.default_rng(2)
    vectors = synthetic.hexagonal(angle=0.3)
    cells = np.stack(np.meshgrid(*[np.arange(30)] * 2, indexing="ij"), -1).reshape(-1, 2)
    sites = cells @ vectors
    single = sites[rng.choice(len(sites), 30, replace=False)]
    found = lines.find(np.zeros(30, int), single, vectors, sites, rng=rng)
    assert found.p > 0.02
    row = np.array([3, 5]) @ vectors + np.arange(6)[:, None] * vectors[1]
    other = np.array([20, 9]) @ vectors + np.arange(4)[:, None] * (vectors[0] - vectors[1])
    points = np.concatenate([single[:20], row, other]) + 0.02 * rng.standard_normal((30, 2))
    found = lines.find(np.zeros(30, int), points, vectors, sites, rng=rng)
    assert found.longest >= 6 and found.number >= 2 and found.p <= 0.05 and found.share >= 10 / 30 - 0.01
    assert [len(line) for line in lines.rows(row, vectors)] == [6]
    assert lines.find(np.arange(5), np.zeros((5, 2)), vectors, sites) is None


def test_one_event_makes_no_law():
    """Four vacancies that become five are counted without scatter, and no law of growth follows from it."""

    def series(values):
        n = len(values)
        return growth_stage.counted(Counts(["V_W"], np.array(values)[:, None], np.arange(n), None, np.zeros(n, bool)))

    assert series([4] * 20 + [5] * 20) == []
    [(name, _, values, _)] = series(np.arange(40) // 2)
    assert name == "number of V_W" and growth.fit(2.0 * np.arange(40), values, name, "defects", True) is not None
