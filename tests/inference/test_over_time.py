import itertools

import numpy as np
import pytest

from stemdefects.inference import over_time
from stemdefects.inference.registration import FrameSites, Registrar

PREVALENCE = np.array([0.96, 0.03, 0.01])


def brute_force(seen, prevalence, change):
    """Posteriors by summing over all state sequences."""
    n_frames, n_sites, n_states = seen.shape
    step = (1 - change) * np.eye(n_states) + change * prevalence[None]
    out = np.zeros(seen.shape)
    for path in itertools.product(range(n_states), repeat=n_frames):
        prior = prevalence[path[0]] * np.prod([step[a, b] for a, b in itertools.pairwise(path)])
        for i in range(n_sites):
            weight = prior * np.prod([seen[t, i, s] for t, s in enumerate(path)])
            for t, s in enumerate(path):
                out[t, i, s] += weight
    return out / out.sum(-1, keepdims=True)


def test_forward_backward_is_the_sum_over_all_histories():
    rng = np.random.default_rng(0)
    seen = rng.uniform(0.01, 1, (5, 4, 3))
    seen[2, 1] = 1  # a frame in which the column was missed
    found, drew = over_time.forward_backward(seen, PREVALENCE, 0.1)
    np.testing.assert_allclose(found, brute_force(seen, PREVALENCE, 0.1), atol=1e-6)
    assert drew.shape == (4, 4) and (drew >= 0).all() and (drew <= 1).all()


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
    found = over_time.fit(seen, PREVALENCE)
    defect = state > 0
    alone, together = f1(single[..., 0] < 0.5, defect), f1(found.posterior[..., 0] < 0.5, defect)
    assert alone < 0.5 and together > 0.8, (alone, together)
    # calibrated: of columns called with probability p, the fraction p is right
    p = 1 - found.posterior[..., 0]
    doubtful = (p > 0.2) & (p < 0.8)
    assert defect[doubtful].mean() == pytest.approx(p[doubtful].mean(), abs=0.08)


def test_change_and_prevalence_are_fitted():
    _, log_likelihood = simulated(120, 1500, 0.01, 2.0)
    found = over_time.fit(over_time.likelihood(log_likelihood), PREVALENCE)
    assert found.change == pytest.approx(0.01, rel=0.4)
    np.testing.assert_allclose(found.prevalence, PREVALENCE, atol=0.012)
    wrong = over_time.fit(over_time.likelihood(log_likelihood), np.array([0.8, 0.1, 0.1]), prior_weight=20)
    np.testing.assert_allclose(wrong.prevalence, PREVALENCE, atol=0.03)


def test_nothing_seen_is_the_prevalence():
    found, _ = over_time.forward_backward(np.ones((6, 3, 3)), PREVALENCE, 0.05)
    np.testing.assert_allclose(found, np.broadcast_to(PREVALENCE, found.shape), atol=1e-9)
    assert over_time.fit(np.ones((1, 2, 3)), PREVALENCE).posterior.shape == (1, 2, 3)


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
