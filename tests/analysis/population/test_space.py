"""Spatial statistics against constructed patterns."""

import numpy as np
import pytest

from stemdefects.analysis import synthetic
from stemdefects.analysis.population import space
from stemdefects.analysis.tracking import tracks


def lattice_sites(size=40):
    n = np.arange(size)
    return np.stack(np.meshgrid(n, n, indexing="ij"), -1).reshape(-1, 2) @ synthetic.hexagonal()


def test_random_points_on_a_lattice_show_no_correlation_and_pairs_do():
    rng = np.random.default_rng(0)
    sites = lattice_sites()
    frame = np.repeat(np.arange(8), 60)
    random = np.concatenate([sites[rng.choice(len(sites), 60, replace=False)] for _ in range(8)])
    g = space.pair_correlation(frame, random, sites, synthetic.A_NM, rng=rng)
    assert g.p > 0.02 and abs(g.ratio_near - 1) < 0.5
    first = np.concatenate([sites[rng.choice(len(sites), 30, replace=False)] for _ in range(8)])
    paired = np.concatenate([first, first + synthetic.hexagonal()[0]])
    g = space.pair_correlation(np.tile(np.repeat(np.arange(8), 30), 2), paired, sites, synthetic.A_NM, rng=rng)
    assert g.p <= 0.02 and g.ratio_near > 3


def test_too_few_defects_give_no_correlation():
    assert space.pair_correlation(np.arange(5), np.zeros((5, 2)), None, 0.3) is None


def test_deformation_is_found_and_common_drift_is_not():
    rng = np.random.default_rng(1)
    places = rng.uniform(0, 15, (30, 2))
    t = np.arange(40)
    rest = [p + 0.02 * rng.standard_normal((40, 2)) + np.outer(t, [0.001, 0.002]) for p in places]
    assert space.deformation(tracks.from_lists(rest, [t] * 30, 1.0)).p > 0.02
    gradient = np.array([[1e-3, 2e-4], [0.0, -5e-4]])
    moving = [r + np.outer(t, gradient @ (p - 7.5)) for p, r in zip(places, rest, strict=True)]
    found = space.deformation(tracks.from_lists(moving, [t] * 30, 1.0))
    assert found.p <= 0.01 and np.abs(found.gradient - gradient).max() < 1e-4
    assert space.deformation(tracks.from_lists(rest[:5], [t] * 5, 1.0)) is None


def test_distance_to_a_hole_is_seen_in_the_lattice():
    from stemdefects.analysis.crystallography import gaps
    from stemdefects.io.movie import Movie

    rng = np.random.default_rng(3)
    vectors = synthetic.hexagonal(angle=0.1) / 0.03
    y, x = np.mgrid[:256, :256].astype(float)
    waves = sum(np.cos(2 * np.pi * (g[0] * y + g[1] * x)) for g in gaps.three_peaks(vectors))
    distance = np.hypot(y - 120, x - 150)
    image = rng.poisson(np.where(distance > 35, 8 + 2.5 * waves, 4.0))
    found = gaps.distance_to_gaps(Movie(np.stack([image, image]), 0.03, 1.0), np.array([0, 1]), vectors, 0.03)
    expected = np.maximum(distance - 35, 0) * 0.03
    inner = (expected > 0.4) & (np.minimum(np.minimum(y, 255 - y), np.minimum(x, 255 - x)) > 20)
    assert np.abs(found[0] - expected)[inner].max() < 0.3
    whole = rng.poisson(8 + 2.5 * waves)[None]
    assert np.isinf(gaps.distance_to_gaps(Movie(whole, 0.03, 1.0), np.array([0]), vectors, 0.03)[0]).all()
    some = tracks.from_lists([np.tile([3.6, 4.5], (4, 1)), np.tile([0.9, 0.9], (4, 1))], [np.arange(4)] * 2, 1.0)
    rows = synthetic.defect_rows(some.frame, some.yx, 0.03)
    order = np.lexsort((some.track, some.frame))
    some.index = np.argsort(order)
    near, far = gaps.track_distance(some, rows, found)
    assert near < 0.1 and far > 2


def test_a_field_full_of_points_ends_and_is_said():
    from stemdefects.analysis.data import detections, scales
    from stemdefects.analysis.tracking import drift
    from stemdefects.io.tables import table

    rng = np.random.default_rng(0)
    place = rng.uniform(0, 7.5, (1500, 2))
    frame = np.repeat(np.arange(2), 1500)
    yx = np.concatenate([place, place + np.array([0.1, -0.05])])
    assert drift.from_points(frame, yx, 2, drift.Rules(0.06, 2.0)).yx[1] == pytest.approx([0.1, -0.05], abs=0.01)
    rows = table.empty(3000)
    rows["frame"], rows["y_px"], rows["x_px"] = frame, *(yx / 0.03).T
    found = detections.Detections(rows, 2, np.arange(2.0), 0.03)
    assert "more than the crystal has cells" in scales.crowding(found, 0.3)
    assert scales.crowding(found.select(np.arange(3000) % 20 == 0), 0.3) == ""
    assert space.pair_correlation(frame, yx, None, 0.3, n_null=9) is not None
