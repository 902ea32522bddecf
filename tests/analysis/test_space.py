"""Spatial statistics against constructed patterns."""

import numpy as np

from stemdefects.analysis import space, synthetic, tracks


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
