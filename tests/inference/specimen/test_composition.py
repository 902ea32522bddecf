"""Composition of an alloy: its map and its order, against columns whose kinds are known."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from stemdefects.analysis.population import specimen_stage
from stemdefects.crystal import material as crystal
from stemdefects.inference.specimen import composition

WS2 = crystal.load("ws2_mo")
VECTORS = np.asarray(WS2.lattice_nm, float)
SPREAD_OF_LIGHT = 0.2  # of the distance between the two levels


def cells(n):
    at = np.stack(np.meshgrid(np.arange(n), np.arange(n), indexing="ij"), -1).reshape(-1, 2)
    return at, at @ VECTORS


def annealed(at, place, strength, rng, sweeps=30):
    """(n,) bool, half and half: kinds that like (strength > 0) or avoid (< 0) their own; two columns change places."""
    near = cKDTree(place).query_ball_point(place, 1.1 * WS2.a_nm)
    kind = rng.permutation(np.arange(len(at)) % 2 == 0)
    spin = np.where(kind, 1.0, -1.0)
    for _ in range(sweeps * len(at)):
        i, j = rng.integers(len(at), size=2)
        if spin[i] == spin[j] or j in near[i]:
            continue
        fields = [spin[[m for m in near[k] if m != k]].sum() for k in (i, j)]
        if np.log(rng.random()) < -2 * strength * (spin[i] * fields[0] + spin[j] * fields[1]):
            spin[i], spin[j] = spin[j], spin[i]
    return spin > 0


def read(kind, rng):
    """What the light says of the columns: the mean of their kind, 0 or 1, given it."""
    light = kind + SPREAD_OF_LIGHT * rng.standard_normal(len(kind))
    odds = (light - 0.5) / SPREAD_OF_LIGHT**2 + np.log(kind.mean() / (1 - kind.mean()))
    return 1 / (1 + np.exp(-odds))


def by_counting(kind, place, distance):
    """Warren-Cowley parameter from pairs of columns whose kinds are known."""
    pairs = cKDTree(place).query_pairs(distance + 0.01, output_type="ndarray")
    pairs = pairs[np.linalg.norm(np.diff(place[pairs], axis=1)[:, 0], axis=1) > distance - 0.01]
    unlike = (kind[pairs[:, 0]] != kind[pairs[:, 1]]).mean()
    return 1 - unlike / (2 * kind.mean() * (1 - kind.mean()))


@pytest.mark.parametrize("strength", [0.15, -0.15])
def test_kinds_that_gather_and_that_avoid_each_other_have_the_order_that_counting_gives(strength):
    rng = np.random.default_rng(1)
    at, place = cells(24)
    kind = annealed(at, place, strength, rng)
    distance, value, low, high, n = composition.order([(at, place, read(kind, rng))], VECTORS, 0.25)
    np.testing.assert_allclose(distance / WS2.a_nm, [1, 3**0.5, 2, 7**0.5, 3, 12**0.5], rtol=1e-5)
    true = np.array([by_counting(kind, place, d) for d in distance])
    np.testing.assert_allclose(value, true, atol=0.06)
    assert np.sign(value[0]) == np.sign(strength) and (low[0] > 0 or high[0] < 0)
    assert ((low <= true) & (true <= high)).sum() >= 5
    assert n[0] == pytest.approx(3 * len(at), rel=0.1)


def test_intervals_hold_no_order_where_chance_mixes():
    at, place = cells(22)
    held = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        kind = rng.random(len(at)) < 0.4
        _, _, low, high, _ = composition.order([(at, place, read(kind, rng))], VECTORS, 0.24)
        held.append((low <= 0) & (0 <= high))
    assert 0.88 <= np.mean(held) <= 0.99


def test_the_map_shows_where_each_kind_is():
    _, place = cells(40)
    place = place - place.min(0)
    kind = place[:, 1] > 8
    field, side = composition.mapped(place, kind.astype(float))
    columns = (np.arange(field.shape[1]) + 0.5) * side
    assert side >= composition.MAP_NM and max(field.shape) <= composition.MAP_CELLS + 1
    left, right = field[:, columns < 8 - side], field[:, columns > 8 + side]
    assert np.nanmax(left) == 0 and np.nanmin(right) == 1 and np.isnan(field).any()


def test_it_is_kept_and_stands_on_the_page():
    rng = np.random.default_rng(0)
    at, place = cells(20)
    place = place - place.min(0)
    value = read(rng.random(len(at)) < 0.5, rng)
    found = composition.order([(at, place, value)], VECTORS, 0.25)
    one = composition.Composition("chalcogen", *found, *composition.mapped(place, value))
    again = composition.Composition.from_plain(one.to_plain())
    np.testing.assert_allclose(again.order, one.order, atol=1e-4)
    np.testing.assert_allclose(again.field, one.field, atol=1e-4)
    from matplotlib import pyplot

    plain = [one.to_plain()]
    assert len(specimen_stage._mixed(pyplot, plain).axes) == 3
    pyplot.close("all")
    assert specimen_stage._table(plain)["n_pairs"].iloc[0] == one.n_pairs[0]
    assert specimen_stage._order_of(plain[0]).value == pytest.approx(one.order[0], abs=1e-4)
