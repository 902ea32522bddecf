"""Diffusion estimators against simulated truth and analytic cases."""

import numpy as np
import pytest

from stemdefects.analysis import bootstrap, diffusion, hopping, lattice_sites, synthetic, tracks

D = 5e-4


def many(estimator, n_sets, seed=0, **settings):
    found = []
    for s in range(n_sets):
        rng = np.random.default_rng([seed, s])
        d = estimator(synthetic.hopping_tracks(rng, D=D, **settings), rng)
        found.append((d.D, d.low, d.high, d.sigma))
    value, low, high, sigma = np.array(found).T
    return value.mean() / D - 1, np.mean((low <= D) & (high >= D)), np.mean(sigma)


@pytest.mark.parametrize(("sigma", "missed"), [(0.02, 0.0), (0.06, 0.15)])
def test_cve_is_unbiased_and_covers(sigma, missed):
    bias, coverage, found = many(lambda t, rng: diffusion.cve(t, 300, rng), 150, sigma=sigma, missed=missed)
    assert abs(bias) < 0.07  # 3 standard errors of 150 sets
    assert coverage > 0.88  # 94% measured over 4,800 sets; 3 sigma of 150
    assert found == pytest.approx(sigma, rel=0.06)


def test_published_formula_is_far_too_low():
    bias, coverage, _ = many(lambda t, rng: diffusion.paper(t), 40)
    assert bias < -0.7 and coverage == 0


def test_msd_covers():
    bias, coverage, _ = many(lambda t, rng: diffusion.msd(t, 20, 200, rng), 100, sigma=0.06)
    assert abs(bias) < 0.1 and coverage > 0.88


def test_site_model_covers_where_hop_counting_fails():
    vectors = synthetic.hexagonal(angle=0.3)
    bias, coverage, sigma = many(lambda t, rng: hopping.site_model(t, vectors, rng=rng, n_bootstrap=50), 12,
                                 sigma=0.06, missed=0.15)  # fmt: skip
    assert abs(bias) < 0.2 and coverage >= 0.75 and sigma == pytest.approx(0.06, rel=0.1)
    bias, _, _ = many(lambda t, rng: hopping.count_hops(t, vectors), 12, sigma=0.06)
    assert bias > 0.5


def test_cve_on_two_known_steps():
    # d1 = (0, 1), d2 = (0, 2): <d^2> = 2.5, <d1 d2> = 2, dt = 1
    t = tracks.from_lists([np.array([[0, 0], [0, 1], [0, 3.0]])], [np.arange(3)], 1.0)
    d = diffusion.cve(t)
    assert pytest.approx(2.5 / 4 + 2 / 2) == d.D
    assert np.isnan(d.low) and "no interval" in d.warning


def test_missed_frames_are_not_steps_of_one_frame():
    rng = np.random.default_rng(0)
    whole = synthetic.brownian_tracks(rng, 200, sigma=0.0, n_frames=60)
    kept = whole.frame % 2 == 0
    half = tracks.build(np.where(kept, whole.track, -1), whole.frame, whole.time, whole.yx)
    assert pytest.approx(D, rel=0.05) == diffusion.cve(half).D


def test_brownian_motion_fools_hop_counting_only():
    t = synthetic.brownian_tracks(np.random.default_rng(1), 60)
    assert pytest.approx(D, rel=0.2) == diffusion.cve(t).D
    assert hopping.count_hops(t, synthetic.hexagonal()).D > 1.4 * D


def test_resting_defects_show_no_motion():
    t = synthetic.hopping_tracks(np.random.default_rng(2), D=0.0, sigma=0.03)
    d = diffusion.cve(t)
    assert d.low <= 0 <= d.high and "reaches zero" in d.warning
    sites = hopping.site_model(t, synthetic.hexagonal(angle=0.3))
    assert sites.low == 0 and sites.high < 1e-4


def test_propagator_is_a_distribution_with_the_right_spread():
    vectors = synthetic.hexagonal()
    steps = lattice_sites.hop_vectors(vectors)
    assert len(steps) == 6
    kernel = hopping.propagator(np.array([0.0, 0.7]), steps)
    assert kernel.sum((1, 2)) == pytest.approx(1)
    assert kernel[0, 0, 0] == pytest.approx(1)
    n = np.fft.fftfreq(32, 1 / 32)
    place = np.stack(np.meshgrid(n, n, indexing="ij"), -1) @ vectors
    assert (kernel[1] * (place**2).sum(-1)).sum() == pytest.approx(0.7 * synthetic.A_NM**2, rel=1e-6)


def test_site_likelihood_equals_the_sum_over_all_paths():
    rng = np.random.default_rng(3)
    vectors = synthetic.hexagonal()
    t = tracks.from_lists([rng.normal(0, 0.1, (3, 2))], [np.array([0, 1, 3])], 1.0)
    sites = lattice_sites.assign(t, vectors, 1.0)
    found = hopping.track_log_likelihood(t, sites, 0.4, 0.05)[0]
    steps = lattice_sites.hop_vectors(sites.vectors)
    kernel = {n: hopping.propagator(np.array([0.4 * n]), steps)[0] for n in (1, 2)}
    density = (1 - hopping.OUTLIER) * np.exp(-(sites.offset**2).sum(-1) / (2 * 0.05**2)) / (2 * np.pi * 0.05**2)
    density += hopping.OUTLIER / abs(np.linalg.det(vectors))
    total = 0.0
    for i in range(7):
        for j in range(7):
            for k in range(7):
                first, second = sites.cell[1, j] - sites.cell[0, i], sites.cell[2, k] - sites.cell[1, j]
                p = kernel[1][tuple(first % 32)] * kernel[2][tuple(second % 32)] / 7
                total += p * density[0, i] * density[1, j] * density[2, k]
    assert found == pytest.approx(np.log(total))


def test_orientation_of_the_lattice_from_hops():
    t = synthetic.hopping_tracks(np.random.default_rng(4), n_tracks=60, angle=0.4)
    vectors, score = lattice_sites.lattice_from_steps(t, synthetic.A_NM)
    angle = np.arctan2(*vectors[0])
    assert abs((angle - 0.4 + np.pi / 6) % (np.pi / 3) - np.pi / 6) < 0.05
    assert score > 0.3


def test_interval_is_nan_for_too_few_tracks():
    assert np.isnan(bootstrap.positive_interval(1.0, np.ones(100), np.ones((100, 2)))).all()


def test_optimal_number_of_lags_grows_with_noise():
    assert diffusion.optimal_lags(0.0, 100) == 2
    assert diffusion.optimal_lags(10.0, 100) > 8
