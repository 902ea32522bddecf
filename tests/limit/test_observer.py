"""The ideal observer against brute force, against the renderer, and against what really was there."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.limit import bounds, noise, observer, study
from stemdefects.scoring import detection
from stemdefects.simulation import images
from stemdefects.simulation.optics import detector

SIZE = (64, 64)
PREVALENCE = {"V_S": 0.15, "V_S2": 0.08, "Mo_W": 0.12, "V_W": 0.05}
DOSE = 400.0


@pytest.fixture(scope="module")
def world():
    """A study of small images: every distortion and kind of noise that the simulator has, defects in plenty."""
    cfg = config.load_group("simulation", "limit")
    cfg.scan.row_jitter_px, cfg.scan.row_jitter_y_px, cfg.scan.drift_px = [0.4, 0.4], [0.1, 0.1], [1.0, 1.0]
    cfg.detector.pulse_spread, cfg.detector.read_noise_e, cfg.detector.afterglow_px = [0.4, 0.4], [0.2, 0.2], [0.3, 0.3]
    cfg.detector.line_gain, cfg.detector.gain, cfg.detector.offset = [0.02, 0.02], [20.0, 20.0], [50.0, 50.0]
    cfg.probe.C12_nm = [2.0, 2.0]
    return study.Study(crystal.load("ws2_mo"), cfg, PREVALENCE, frames=(1,), size_px=SIZE)


@pytest.fixture(scope="module")
def clip(world):
    return world.make(jax.random.key(1), DOSE)


@pytest.fixture(scope="module")
def electrons(world):
    """(known, crystal) -> (H, W) electrons that the renderer expects."""

    @jax.jit
    def fraction(known, crystal_):
        key = jax.random.split(known.keys[0])[0]
        return images.project(key, world.stage, known.conditions, crystal_, known.drift_px[0])[0]

    return lambda known, crystal_: DOSE * np.asarray(fraction(known, crystal_), float)


def true_choice(scene, state):
    """(N,) which of a column's choices is its true state."""
    return np.argmax(np.asarray(scene.choice) == np.asarray(state)[:, None], 1)


def column_near_centre(truth, state):
    distance = np.hypot(np.asarray(truth.y_px) - 31.5, np.asarray(truth.x_px) - 31.5)
    return int(np.argmin(np.where(truth.valid & (truth.state == state), distance, np.inf)))


def test_the_scene_is_what_the_renderer_draws(world, clip, electrons):
    frames, truth, known, scene = clip
    choice = true_choice(scene, truth.state)
    amplitude = np.take_along_axis(np.asarray(scene.amplitude), choice[:, None], 1)[:, 0]
    margin = observer.RADIUS_PX + 2
    model = np.asarray(jax.jit(observer.expected)(scene, jnp.asarray(amplitude)))[0, margin:-margin, margin:-margin]
    true = electrons(known, known.crystal)
    defective = truth.valid & (truth.state != world.material.ideal_states[truth.site])
    assert int(defective.sum()) > 10
    assert np.abs(model - true).max() < 0.01 * true.max()
    assert np.sqrt(((model - true) ** 2).mean()) < 0.006 * true.mean()
    # and its noise model is that of the pixels
    given = known.conditions.detector
    rows = detector.line_gain(jax.random.split(known.keys[0])[1], given, SIZE[0])
    residual = (np.asarray(jax.jit(noise.electrons)(frames[0], given, rows)) - model) / np.sqrt(
        noise.variance(model, given)
    )
    assert abs(residual.mean()) < 4 / 64
    assert residual.std() == pytest.approx(1.0, abs=0.05)


def test_posterior_equals_brute_force(world):
    """Four columns that overlap, all 625 combinations of their states, the likelihood of two whole frames."""
    _, truth, _, scene = world.make(jax.random.key(1), 30.0)
    scene = observer.some_frames(scene, [0, 0])
    middle = np.array([truth.y_px, truth.x_px]).T - 31.5
    chosen = np.argsort(np.where(truth.valid, np.hypot(*middle.T), np.inf))[:4]
    few = np.zeros(len(truth.valid), bool)
    few[chosen] = True
    scene = scene._replace(unknown=jnp.asarray(few))
    combinations = np.array(list(itertools.product(range(5), repeat=4)))
    values = np.asarray(scene.amplitude)[chosen[None], combinations]

    @jax.jit
    def total(step):
        mean = observer.expected(scene, scene.ideal.at[chosen].set(step))
        mean = jnp.maximum(mean, jnp.exp(scene.middle - scene.half))
        return noise.evaluate(scene.coefficients, scene.middle, scene.half, mean).sum((1, 2)).sum()

    log_prior = np.asarray(scene.log_prior)[chosen[None], combinations].sum(1)
    logs = np.asarray(jax.lax.map(total, jnp.asarray(values)), float)
    joint = np.exp(logs + log_prior - (logs + log_prior).max())
    exact = np.stack([[joint[combinations[:, i] == c].sum() for c in range(5)] for i in range(4)]) / joint.sum()
    assert exact.max(1).min() < 0.95  # there is something to be unsure of
    order = world.order(truth._replace(valid=few))
    np.testing.assert_allclose(np.asarray(world.posterior(scene, order))[chosen], exact, atol=0.05)
    apart = observer.update_order(truth.y_px, truth.x_px, few, 2 * 2**0.5 * observer.RADIUS_PX + 1, 1)
    gibbs = observer.sample(jax.random.key(0), scene, apart, sweeps=400, burn=20)
    np.testing.assert_allclose(np.asarray(gibbs)[chosen], exact, atol=0.03)


def test_posterior_is_calibrated_and_its_scores_are_those_of_the_truth(world):
    """30 images at a dose where single vacancies are uncertain: as many defects as the posterior says."""
    material = world.material
    seen = [one for _, one in world.run([250.0], n_images=30, seed=7)]
    prob, state = np.concatenate([s.prob[1] for s in seen]), np.concatenate([s.state for s in seen])
    np.testing.assert_allclose(prob.sum(1), 1.0, atol=1e-4)
    figures = study.summary(material, seen, 1)
    for kind in PREVALENCE:
        index = material.kinds[material.kind_index(kind)].state
        score, truth = prob[:, index], state == index
        spread = np.sqrt((score * (1 - score)).sum())
        assert abs(truth.sum() - score.sum()) < 4 * spread + 0.1, kind
        f = figures[kind]
        assert (f["n"], f["expected_n"]) == (truth.sum(), pytest.approx(score.sum(), rel=1e-3))
        assert detection.calibration_error(score, truth, n_bins=5) < 0.04, kind
        assert f["counted_f1"] == pytest.approx(f["f1"], abs=0.1), kind
    assert 0.2 < figures["V_S"]["f1"] < 0.9
    assert figures["V_W"]["f1"] > figures["V_S2"]["f1"] > figures["V_S"]["f1"]


def test_detectability_is_that_of_the_rendered_change(world, clip, electrons):
    """d' of a missing W and a missing S, from two rendered images and the variance of their pixels."""
    material = world.material
    _, truth, known, scene = clip
    d_prime = np.asarray(world.detectability(scene, known.conditions.detector))
    ideal_state = np.asarray(material.ideal_states)[truth.site]
    listed = np.asarray(known.column)
    state = known.crystal.state.at[listed[np.asarray(truth.valid)]].set(ideal_state[np.asarray(truth.valid)])
    perfect = known.crystal._replace(state=state)
    base = electrons(known, perfect)
    variance = np.asarray(noise.variance(base, known.conditions.detector))
    for name in ("V_metal", "S"):
        index = material.state_index(name)
        column = column_near_centre(truth._replace(state=ideal_state), ideal_state_of(material, index))
        changed = perfect._replace(state=state.at[listed[column]].set(index))
        other = electrons(known, changed)
        expected = np.sqrt(((other - base) ** 2 / variance).sum())
        choice = list(np.asarray(scene.choice)[column]).index(index)
        assert d_prime[column, choice] == pytest.approx(expected, rel=0.02), name


def ideal_state_of(material, state):
    return material.sites[material.states[state].site].ideal


def test_position_bound_is_that_of_the_rendered_image(world, clip, electrons):
    """Fisher information of (y, x, signal) by moving one column in the renderer."""
    material = world.material
    _, truth, known, _ = clip
    bound = np.asarray(world.bound_px(jax.tree.map(np.asarray, truth), known))
    column = column_near_centre(truth, material.state_index("W"))
    place = int(known.column[column])
    step = 0.02
    crystal_ = known.crystal
    variance = np.asarray(noise.variance(electrons(known, crystal_), known.conditions.detector))

    def moved(**changes):
        fields = {k: getattr(crystal_, k).at[place].add(v) for k, v in changes.items()}
        return electrons(known, crystal_._replace(**fields))

    slopes = [(moved(**{k: step}) - moved(**{k: -step})) / (2 * step) for k in ("y_px", "x_px", "texture")]
    information = np.array([[(a * b / variance).sum() for b in slopes] for a in slopes])
    expected = np.sqrt(np.diag(np.linalg.inv(information)))[:2]
    np.testing.assert_allclose(bound[column], expected, rtol=0.03)
    vacant = np.asarray(truth.valid & (truth.state == material.state_index("V_metal")))
    assert np.isinf(bound[vacant]).all()


def test_gaussian_probe_on_a_flat_background_in_closed_form():
    """d' = signal / sqrt(4 pi sigma^2 background): the integral of a squared Gaussian."""
    y, x = np.mgrid[-20:21, -20:21]
    sigma, signal, background = 1.5, 30.0, 50.0
    change = signal * np.exp(-(y**2 + x**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)
    d_prime = float(bounds.detectability(change, np.full(change.shape, background)))
    assert d_prime == pytest.approx(signal / np.sqrt(4 * np.pi * sigma**2 * background), rel=1e-3)


@pytest.mark.parametrize(
    ("fwhm_nm", "v_s", "v_s2", "mo_w", "v_w"), [(0.09, 1.6, 3.1, 5.7, 9.8), (0.12, 1.3, 2.6, 5.4, 9.3)]
)
def test_gaussian_lattice_gives_the_published_detectabilities(fwhm_nm, v_s, v_s2, mo_w, v_w):
    """WS2 at 400 e/px of 0.03 nm, 0.5% of it detected, 30% of that background: an independent table."""
    material = crystal.load("ws2_mo")
    pixel, sigma = 0.03, fwhm_nm / 2.3548
    detected = 400 * 0.005
    w = 0.7 * detected * material.cell_area_nm2 / pixel**2 / 1.16
    s2 = 0.16 * w
    grid = np.mgrid[-14:15, -14:15] * pixel
    other = np.array([s.position for s in material.sites]) @ material.lattice_nm
    cells = np.array(list(itertools.product(range(-5, 6), repeat=2))) @ material.lattice_nm

    def column(place):
        squared = ((grid - np.asarray(place)[:, None, None]) ** 2).sum(0)
        return np.exp(-squared / (2 * sigma**2)) / (2 * np.pi * sigma**2) * pixel**2

    def mean(origin):
        around = sum(w * column(c - origin) + s2 * column(c + other[1] - other[0] - origin) for c in cells)
        return around + 0.3 * detected

    at_w, at_s = mean(np.zeros(2)), mean(other[1] - other[0])
    unit = column(np.zeros(2))
    got = [
        float(bounds.detectability(signal * unit, around))
        for signal, around in ((s2 / 2, at_s), (s2, at_s), (0.58 * w, at_w), (w, at_w))
    ]
    np.testing.assert_allclose(got, [v_s, v_s2, mo_w, v_w], rtol=0.05)


def test_update_order_keeps_neighbours_apart_and_shape_fixed():
    rng = np.random.default_rng(0)
    y, x = rng.uniform(0, 60, (2, 150))
    unknown = rng.random(150) < 0.8
    order = observer.update_order(y, x, unknown, 8.0, 40, 30)
    assert order.shape == (30, 40)
    assert sorted(order[order >= 0]) == list(np.flatnonzero(unknown))
    for row in order:
        members = row[row >= 0]
        distance = np.hypot(y[members, None] - y[members], x[members, None] - x[members])
        assert (distance[~np.eye(len(members), dtype=bool)] > 8.0).all()


def test_bad_settings_are_refused(world):
    material, cfg = world.material, world.stage.cfg
    with pytest.raises(UserError, match="odd"):
        study.Study(material, cfg, PREVALENCE, frames=(1, 4))
    with pytest.raises(UserError, match="metal"):
        study.state_prior(material, {"Mo_W": 0.7, "V_W": 0.4})
    with pytest.raises(UserError, match="poisson"):
        study.Study(material, config.load_group("simulation", "clean"), PREVALENCE, size_px=SIZE)
    with pytest.raises(UserError, match="images=0"):
        next(world.run([400.0], n_images=0))
