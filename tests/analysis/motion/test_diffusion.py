"""Diffusion estimators against simulated truth and analytic cases."""

import numpy as np
import pytest

from stemdefects.analysis import bootstrap, synthetic
from stemdefects.analysis.motion import diffusion, estimators, hop_counts, hopping, msd, propagator, site_likelihood
from stemdefects.analysis.notes import Code, codes
from stemdefects.analysis.tracking import lattice_sites, tracks

D = 5e-4


def many(estimator, n_sets, seed=0, **settings):
    found = []
    for s in range(n_sets):
        rng = np.random.default_rng([seed, s])
        d = estimator(synthetic.hopping_tracks(rng, synthetic.Hoppers(D=D, **settings)), rng)
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
    bias, coverage, _ = many(lambda t, rng: msd.msd(t, 20, 200, rng), 100, sigma=0.06)
    assert abs(bias) < 0.1 and coverage > 0.88


def test_site_model_covers_where_hop_counting_fails():
    vectors = synthetic.hexagonal(angle=0.3)
    bias, coverage, sigma = many(
        lambda t, rng: hopping.site_model(t, vectors, rng=rng, n_bootstrap=50), 12, sigma=0.06, missed=0.15
    )
    assert abs(bias) < 0.2 and coverage >= 0.75 and sigma == pytest.approx(0.06, rel=0.1)
    bias, _, _ = many(lambda t, rng: hop_counts.count_hops(t, vectors), 12, sigma=0.06)
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


@pytest.mark.parametrize("how", ["jitter", "pause", "rate"])
def test_recorded_times_bias_nothing(how):
    """Clocks that jitter, a pause of 900 s, a rate that changes: the same D, and intervals that hold."""
    found = {"cve": [], "msd": [], "hops": []}
    for s in range(40):
        rng = np.random.default_rng([11, s])
        times = synthetic.recorded_times(rng, 60, how=how)
        t = synthetic.hopping_tracks(rng, synthetic.Hoppers(D=D, missed=0.1), times=times)
        some = diffusion.cve(t, 100, rng, synthetic.A_NM), msd.msd(t, 5, 100, rng)
        for name, d in zip(found, (*some, hop_counts.count_hops(t, synthetic.hexagonal(angle=0.3))), strict=True):
            found[name].append((d.D, d.low, d.high))
    for name, values in found.items():
        value, low, high = np.array(values).T
        assert abs(value.mean() / D - 1) < 0.14, name  # 3 standard errors
        assert np.mean((low <= D) & (high >= D)) > 0.78, name  # 91 to 97% measured over 100 to 300 sets; 3 sigma of 40


def test_site_model_takes_the_real_intervals():
    vectors = synthetic.hexagonal(angle=0.3)
    found = []
    for s in range(6):
        rng = np.random.default_rng([12, s])
        times = synthetic.recorded_times(rng, 60, how="pause" if s % 2 else "rate")
        t = synthetic.hopping_tracks(rng, synthetic.Hoppers(D=D, missed=0.1), times=times)
        found.append(hopping.site_model(t, vectors, rng=rng, n_bootstrap=30).D)
    assert np.mean(found) == pytest.approx(D, rel=0.2)


def test_a_long_pause_decides_nothing():
    """A displacement over a pause in which all has moved counts hardly more than any other step."""
    rng = np.random.default_rng(8)
    walk = np.cumsum(np.sqrt(2 * D) * rng.standard_normal((100, 40, 2)), 1)
    times = np.arange(40.0)
    times[20:] += 900  # but nothing moved meanwhile: the clock is wrong, or the beam was off
    t = tracks.from_lists(list(walk), [np.arange(40)] * 100, 1.0, times)
    assert diffusion.cve(t).D == pytest.approx(D, rel=0.12)


def test_equal_intervals_are_weighted_alike():
    t = synthetic.hopping_tracks(np.random.default_rng(9))
    steps = diffusion.cve_steps(t)
    square, product = (steps.move**2).sum(1), (steps.move[steps.second] * steps.move[steps.second - 1]).sum(1)
    expected = square.mean() / (4 * 2.25) + product.mean() / (2 * 2.25)
    assert pytest.approx(expected, rel=1e-9) == diffusion.cve(t, 20).D


def test_lags_are_true_times():
    """Straight motion at constant speed: the displacement over a lag is the lag's, whatever the intervals."""
    times = np.array([0.0, 1, 2, 3, 5, 6, 9, 10])
    t = tracks.from_lists([np.column_stack([times, 0 * times])], [np.arange(8)], 1.0, times)
    lag, curve, counts, _ = msd.msd_curve(t, 10)
    np.testing.assert_allclose(curve[counts > 0], lag[counts > 0] ** 2)
    assert counts[:3].tolist() == [5, 3, 4] and lag[9] == 10


def test_hops_are_counted_against_the_time_they_were_seen_in():
    a = synthetic.A_NM
    times = np.array([0.0, 1, 2, 3, 103, 104, 105])
    cells = np.array([0, 0, 1, 1, 6, 6, 7])
    path = cells[:, None] * synthetic.hexagonal()[0]
    d = hop_counts.count_hops(tracks.from_lists([path], [np.arange(7)], 1.0, times), synthetic.hexagonal())
    assert d.extra["hops"] == 2 and d.extra["duration"] == 5 and pytest.approx(a**2 * 2 / 5 / 4) == d.D


def test_clocks_that_jitter_do_not_cost_a_kernel_each():
    durations = 2.25 * (1 + 1e-5 * np.random.default_rng(0).standard_normal(1000))
    times, which = propagator.alike(np.append(durations, 4.5))
    assert len(times) <= 3 and times[which[-1]] == 4.5


def test_brownian_motion_fools_hop_counting_only():
    t = synthetic.brownian_tracks(np.random.default_rng(1), 60)
    assert pytest.approx(D, rel=0.2) == diffusion.cve(t).D
    assert hop_counts.count_hops(t, synthetic.hexagonal()).D > 1.4 * D


def test_resting_defects_show_no_motion():
    t = synthetic.hopping_tracks(np.random.default_rng(2), synthetic.Hoppers(D=0.0, sigma=0.03))
    d = diffusion.cve(t)
    assert d.low <= 0 <= d.high and "reaches zero" in d.warning
    sites = hopping.site_model(t, synthetic.hexagonal(angle=0.3))
    assert sites.low == 0 and sites.high < 1e-4


def test_propagator_is_a_distribution_with_the_right_spread():
    vectors = synthetic.hexagonal()
    steps = lattice_sites.hop_vectors(vectors)
    assert len(steps) == 6
    kernel = propagator.propagator(np.array([0.0, 0.7]), steps)
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
    found = site_likelihood.track_log_likelihood(t, sites, 0.4, 0.05)[0]
    steps = lattice_sites.hop_vectors(sites.vectors)
    kernel = {n: propagator.propagator(np.array([0.4 * n]), steps)[0] for n in (1, 2)}
    density = (1 - site_likelihood.OUTLIER) * np.exp(-(sites.offset**2).sum(-1) / (2 * 0.05**2)) / (2 * np.pi * 0.05**2)
    density += site_likelihood.OUTLIER / abs(np.linalg.det(vectors))
    total = 0.0
    for i in range(7):
        for j in range(7):
            for k in range(7):
                first, second = sites.cell[1, j] - sites.cell[0, i], sites.cell[2, k] - sites.cell[1, j]
                p = kernel[1][tuple(first % 32)] * kernel[2][tuple(second % 32)] / 7
                total += p * density[0, i] * density[1, j] * density[2, k]
    assert found == pytest.approx(np.log(total))


def test_orientation_of_the_lattice_from_hops():
    t = synthetic.hopping_tracks(np.random.default_rng(4), synthetic.Hoppers(n_tracks=60, angle=0.4))
    vectors, score = lattice_sites.lattice_from_steps(t, synthetic.A_NM)
    angle = np.arctan2(*vectors[0])
    assert abs((angle - 0.4 + np.pi / 6) % (np.pi / 3) - np.pi / 6) < 0.05
    assert score > 0.3


def test_interval_is_nan_for_too_few_tracks():
    assert np.isnan(bootstrap.positive_interval(1.0, np.ones(100), np.ones((100, 2)))).all()


def test_optimal_number_of_lags_grows_with_noise():
    assert msd.optimal_lags(0.0, 100) == 2
    assert msd.optimal_lags(10.0, 100) > 8


def test_places_of_a_cell_lie_on_one_lattice_or_none():
    from stemdefects.analysis.tracking.lattice_sites import of_places

    hexagonal = 0.25 * np.array([[0.0, 1.0], [np.sqrt(3) / 2, 0.5]])
    finer = of_places(hexagonal, np.array([[0.17, 0.16], [0.83, 0.84]]))  # a honeycomb's two
    assert np.hypot(*finer.T) == pytest.approx(0.25 / np.sqrt(3), rel=1e-6)
    assert abs(np.linalg.det(of_places(hexagonal, np.array([[0.4, 0.1]])))) == pytest.approx(np.sqrt(3) / 32)
    halves = of_places(np.eye(2), np.array([[0.0, 0.02], [0.5, 0.0]]))
    assert abs(np.linalg.det(halves)) == pytest.approx(0.5)
    assert of_places(hexagonal, np.array([[0.0, 0.0], [0.41, 0.13]])) is None


def test_an_atom_that_hops_once_a_frame_is_no_random_hopper():
    """Nine of ten frames show it one hop on, none two: the count of hops is right, and the model of random hops says
    that it is none."""
    rng = np.random.default_rng(5)
    vectors = 0.14 * np.array([[0.0, 1.0], [np.sqrt(3) / 2, 0.5]])
    around = np.array([(1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1)])
    moved = rng.random(80) < 0.9
    cells = np.cumsum(np.r_[[(0, 0)], around[rng.integers(6, size=80)] * moved[:, None]], 0)
    yx = cells @ vectors + rng.normal(0, 0.01, (81, 2))
    some = tracks.Tracks(np.zeros(81, int), np.arange(81), np.arange(81.0), yx, np.arange(81), np.full(81, 0.01))
    model = hopping.site_model(some, vectors)
    assert Code.STEPS_NOT_RANDOM in codes(model.warning)
    counted = hop_counts.count_hops(some, vectors)
    per_rate = counted.extra["length"] ** 2 / 4
    assert counted.D / per_rate == pytest.approx(moved.mean())
    assert counted.low / per_rate < 0.9 < counted.high / per_rate


@pytest.mark.parametrize("group", [True, False])
def test_atoms_that_hop_together_count_once_and_the_interval_holds(group):
    rng = np.random.default_rng(6)
    vectors = 0.14 * np.array([[0.0, 1.0], [np.sqrt(3) / 2, 0.5]])
    around = np.array([(1, 0), (0, 1), (-1, 1), (-1, 0), (0, -1), (1, -1)])
    held, told = [], []
    for _ in range(60):
        moved = np.repeat(rng.random((50, 1)) < 0.2, 3, 1) if group else rng.random((50, 3)) < 0.2
        steps = around[rng.integers(6, size=(50, 3))] * moved[..., None]
        yx = [np.cumsum(np.r_[[(20 * k, 0)], steps[:, k]], 0) @ vectors for k in range(3)]
        yx = np.concatenate(yx) + rng.normal(0, 0.01, (153, 2))
        frame = np.tile(np.arange(51), 3)
        some = tracks.Tracks(np.repeat(np.arange(3), 51), frame, frame * 1.0, yx, np.arange(153), np.full(153, 0.01))
        counted = hop_counts.count_hops(some, vectors)
        per_rate = counted.extra["length"] ** 2 / 4
        held.append(counted.low / per_rate < 0.2 < counted.high / per_rate)
        told.append("same frames" in counted.warning)
    assert np.mean(held) > 0.88
    assert np.mean(told) > 0.9 if group else np.mean(told) < 0.05


def test_where_one_atom_goes_from_place_to_place_the_count_of_its_hops_is_the_headline():
    """One track has no interval by covariance; its hops have one, also of another estimator that was asked for."""
    none, told = diffusion.failed("cve", "one track"), diffusion.Diffusion(1.0, 0.5, 2.0, 0.01, 1, 20, "hops")
    assert estimators._hops_are_known({"cve": none, "hops": told}, "cve")
    assert not estimators._hops_are_known({"cve": told, "hops": told}, "cve")
    assert not estimators._hops_are_known({"cve": none, "hops": none}, "cve")
    assert estimators._hops_are_known({"hops": told}, "cve")


@pytest.mark.parametrize("n_atoms", [1, 2, 5])
@pytest.mark.parametrize("share_hopping", [0.05, 0.9])
def test_localisation_error_of_few_tracks_has_an_interval_that_holds(n_atoms, share_hopping):
    sigma, n_frames, a = 0.0042, 40, 0.142
    rng = np.random.default_rng(n_atoms)
    inside = []
    for _ in range(150):
        hops = rng.random((n_atoms, n_frames)) < share_hopping
        turn = (rng.integers(0, 3, hops.shape) + np.cumsum(hops, 1) % 2 / 2) * 2 * np.pi / 3  # those of a honeycomb
        yx = np.cumsum(a * hops[..., None] * np.stack([np.sin(turn), np.cos(turn)], -1), 1)
        yx += rng.normal(0, sigma, yx.shape)
        n = n_atoms * n_frames
        frame = np.tile(np.arange(n_frames), n_atoms)
        of = np.repeat(np.arange(n_atoms), n_frames)
        moved = tracks.Tracks(of, frame, frame.astype(float), yx.reshape(-1, 2), np.arange(n), np.full(n, np.nan))
        found = diffusion.cve(moved, 200, rng)
        centre, half = found.extra["sigma2"], 1.96 * found.extra["sigma2_se"]
        inside.append(half > 0 and max(centre - half, 0) <= sigma**2 <= centre + half)
    assert np.mean(inside) > 0.85, np.mean(inside)
