import itertools

import numpy as np
import pytest

from stemdefects.inference.evidence import over_time, state_levels
from stemdefects.inference.evidence.field.registration import FrameSites, Registrar
from stemdefects.models.probability.emissions import Emissions

PREVALENCE = np.array([0.96, 0.03, 0.01])


def brute_force(seen, prevalence, change, around):
    """Posteriors, chance of another state and log-evidence, by summing over all state sequences."""
    n_frames, n_sites, n_states = seen.shape
    out, moved = np.zeros(seen.shape), np.zeros((n_frames - 1, n_sites))
    for path in itertools.product(range(n_states), repeat=n_frames):
        for i in range(n_sites):
            weight = prevalence[around[0, i]][path[0]] * seen[0, i, path[0]]
            for t in range(1, n_frames):
                c, a, b = around[t, i], path[t - 1], path[t]
                weight *= ((1 - change[c]) * (a == b) + change[c] * prevalence[c][b]) * seen[t, i, b]
            for t, s in enumerate(path):
                out[t, i, s] += weight
                if t > 0 and s != path[t - 1]:
                    moved[t - 1, i] += weight
    total = out[0].sum(-1)
    return out / total[:, None], moved / total, np.log(total).sum()


def test_forward_backward_is_the_sum_over_all_histories():
    rng = np.random.default_rng(0)
    seen = rng.uniform(0.01, 1, (5, 4, 3))
    seen[2, 1] = 1  # a frame in which the column was missed
    prevalence, change = np.array([PREVALENCE, [0.5, 0.4, 0.1]]), np.array([0.1, 0.3])
    around = rng.integers(0, 2, (5, 4))
    found = over_time.forward_backward(seen, prevalence, change, around)
    expected, moved, log_evidence = brute_force(seen, prevalence, change, around)
    np.testing.assert_allclose(found.posterior, expected, atol=1e-6)
    assert found.log_evidence == pytest.approx(log_evidence, abs=1e-6)
    np.testing.assert_allclose(found.moved, moved, atol=1e-6)
    alike = over_time.forward_backward(seen, PREVALENCE, 0.1)
    np.testing.assert_allclose(alike.posterior, brute_force(seen, [PREVALENCE], [0.1], 0 * around)[0], atol=1e-6)


def simulated(n_frames=80, n_sites=600, change=0.02, separation=1.2, seed=0):
    """States that are redrawn with probability `change`, seen through a Gaussian of the given d' per frame."""
    rng = np.random.default_rng(seed)
    state = np.empty((n_frames, n_sites), int)
    for t in range(n_frames):
        fresh = rng.choice(3, n_sites, p=PREVALENCE)
        state[t] = fresh if t == 0 else np.where(rng.random(n_sites) < change, fresh, state[t - 1])
    value = rng.normal(separation * state, 1)
    log_likelihood = -0.5 * (value[..., None] - separation * np.arange(3)) ** 2
    return state, log_likelihood


def f1(called, true):
    return 2 * (called & true).sum() / max(called.sum() + true.sum(), 1)


def test_what_one_frame_cannot_see_many_can():
    state, log_likelihood = simulated(n_sites=2500)
    seen = over_time.likelihood(log_likelihood)
    single = seen * PREVALENCE
    single /= single.sum(-1, keepdims=True)
    found = over_time.fit(over_time.Given(log_likelihood), PREVALENCE)
    defect = state > 0
    alone, together = f1(single[..., 0] < 0.5, defect), f1(found.posterior[..., 0] < 0.5, defect)
    assert alone < 0.5 and together > 0.8, (alone, together)
    # calibrated: of columns called with probability p, the fraction p is right
    p = 1 - found.posterior[..., 0]
    doubtful = (p > 0.2) & (p < 0.8)
    assert defect[doubtful].mean() == pytest.approx(p[doubtful].mean(), abs=0.08)


def test_change_and_prevalence_are_fitted():
    _, log_likelihood = simulated(120, 1500, 0.01, 2.0)
    found = over_time.fit(over_time.Given(log_likelihood), PREVALENCE)
    assert found.mean_change == pytest.approx(0.01, rel=0.4)
    np.testing.assert_allclose(found.mean_prevalence, PREVALENCE, atol=0.012)
    wrong = over_time.fit(over_time.Given(log_likelihood), np.array([0.8, 0.1, 0.1]), prior_weight=20)
    np.testing.assert_allclose(wrong.mean_prevalence, PREVALENCE, atol=0.03)


def line_of(state, scale, rng, counts=None, shift=0.0, level=(0.0, 2.0, 4.0), scatter=2.0):
    """Levels, not yet fitted, of columns in `state` (T, N); their true levels are `scale` times what was measured."""
    line = scale * np.array(level)[state] + rng.normal(0, scatter, state.shape) + 0.3
    counts = np.zeros((*state.shape, 1)) if counts is None else counts
    nothing = np.zeros((*state.shape, 0))
    return state_levels.Levels(
        line + shift * counts[..., 0],
        nothing,
        counts,
        np.array(level),
        scatter**2,
        np.zeros(0, int),
        np.zeros(0),
        np.zeros(0),
    )


@pytest.mark.parametrize("scale", [0.6, 1.0, 1.7])
def test_how_far_apart_the_states_are_is_learned_from_the_movie(scale):
    rng = np.random.default_rng(1)
    state, _ = simulated(60, 1200, 0.05)
    counts = (rng.random((1, 1200, 1)) < 0.1) * np.ones((60, 1, 1))  # a tenth sits beside a dopant
    found = over_time.fit(line_of(state, scale, rng, counts, 0.5), PREVALENCE, counts[..., 0].astype(int))
    assert found.emission.scale == pytest.approx(scale, rel=0.15)
    np.testing.assert_allclose(found.emission.shift, [0.3, 0.5], atol=0.18)
    known = over_time.Given(
        -0.125
        * (line_of(state, scale, np.random.default_rng(1)).line[..., None] - 0.3 - scale * np.array([0.0, 2.0, 4.0]))
        ** 2
    )
    best = f1(over_time.fit(known, PREVALENCE).posterior[..., 1] > 0.5, state == 1)
    assert f1(found.posterior[..., 1] > 0.5, state == 1) > 0.75 * best


def test_single_vacancies_alone_are_not_taken_for_double_ones():
    """Nothing but the first defective state, three scatters away: how much light is missing tells which it is."""
    rng = np.random.default_rng(2)
    state = np.minimum(simulated(60, 400, 0.02)[0], 1)
    features = np.stack([line_of(state, 3.0, rng).line / 2, line_of(state, 3.0, rng).line], -1)
    found = Emissions(np.arange(3), np.array([[0.0, 0], [1, 2], [2, 4]]), np.tile(np.diag([1.0, 4]), (3, 1, 1)))
    emission, use = state_levels.of_movie(
        features,
        np.array([1.0, 2.0]),
        np.zeros((60, 400, 0)),
        found,
        state_levels.States(np.arange(3) - 1, np.array([0.16, 0.08, 0.0]), np.ones(3, bool)),
        0.5 / 3.0,
    )
    np.testing.assert_array_equal(use, [0, 1, 2])
    fitted = over_time.fit(emission, PREVALENCE)
    assert fitted.emission.scale == pytest.approx(3.0, rel=0.1)
    assert f1(fitted.posterior.argmax(-1) == 1, state == 1) > 0.97


def test_rare_states_need_a_light_of_their_own():
    """A rare state is told by its own log-ratio, or not at all where that does not tell it."""
    mean = np.array([[0.0, 0, 0, 0], [1, 2, 0, 0], [2, 4, 0, 0], [0, -2, 18, 0.5], [0, -2, 2, 1]])
    found = Emissions(np.arange(5), mean, np.tile(np.eye(4) * 4.0, (5, 1, 1)))
    features = np.zeros((3, 30, 4))
    features[:, 7, 2] = 17.0
    emission, use = state_levels.of_movie(
        features,
        np.full(4, 2.0),
        np.zeros((3, 30, 0)),
        found,
        state_levels.States(
            np.arange(5) - 1, np.array([0.15, 0.08, 0.0, 1.1, 0.2]), np.array([True, True, True, False, False])
        ),
        None,
    )
    np.testing.assert_array_equal(use, [0, 1, 2, 3])
    posterior = over_time.fit(emission, np.array([0.98, 0.015, 0.0045, 0.0005])).posterior
    assert (posterior[:, 7].argmax(-1) == 3).all() and (np.delete(posterior, 7, 1).argmax(-1) == 0).all()


def test_nothing_seen_is_the_prevalence():
    found = over_time.forward_backward(np.ones((6, 3, 3)), PREVALENCE, 0.05).posterior
    np.testing.assert_allclose(found, np.broadcast_to(PREVALENCE, found.shape), atol=1e-9)
    assert over_time.fit(over_time.Given(np.zeros((1, 2, 3))), PREVALENCE).posterior.shape == (1, 2, 3)


def drifting_crystal(n_frames, step_px, n_defects, seed=0):
    """Frames of a square field over a crystal that moves by whole and broken lattice vectors; states are kept."""
    rng = np.random.default_rng(seed)
    vectors = np.array([[0.0, 10.0], [8.66, 5.0]])
    cells = np.stack(np.meshgrid(np.arange(-60, 60), np.arange(-60, 60)), -1).reshape(-1, 2)
    state = np.zeros(len(cells), int)
    state[rng.choice(len(cells), n_defects, replace=False)] = 1
    drift = np.concatenate([[[0, 0]], np.cumsum(rng.normal(0, step_px, (n_frames - 1, 2)), 0)])
    for moved in drift:
        place = cells @ vectors + 128 + moved
        inside = ((place > 0) & (place < 256)).all(1)
        seen = np.where(rng.random(inside.sum()) < 0.02, 1 - state[inside], state[inside])  # some are misread
        prob = np.array([[0.995, 0.005], [0.3, 0.7]])[seen]
        own = rng.integers(-5, 6, 2)  # each frame counts its cells from somewhere else
        yield (
            FrameSites(cells[inside] + own, np.zeros(inside.sum(), int), prob, vectors, 128 + moved - own @ vectors),
            moved,
            own,
        )


@pytest.mark.parametrize("step_px", [1.0, 6.0, 15.0])
def test_drift_beyond_a_lattice_vector_is_followed(step_px):
    registrar = Registrar(np.array([0.97, 0.03]), np.array([0, 0]), 0.03)
    start = None
    for frame, moved, own in drifting_crystal(25, step_px, 500):
        shift, drift = registrar.add(frame)
        start = own if start is None else start
        np.testing.assert_array_equal(shift, start - own)
        np.testing.assert_allclose(drift, moved, atol=1e-6)


def test_without_defects_the_smaller_step_is_taken():
    registrar = Registrar(np.array([0.97, 0.03]), np.array([0, 0]), 0.03)
    for frame, moved, _ in drifting_crystal(10, 1.0, 0):
        clean = frame._replace(prob=np.tile([0.95, 0.05], (len(frame.cell), 1)))
        _, drift = registrar.add(clean)
        np.testing.assert_allclose(drift, moved, atol=1e-6)
