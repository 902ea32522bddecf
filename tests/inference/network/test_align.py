import numpy as np
import pytest

from stemdefects.inference.network import align

VECTORS = np.array([[0.0, 10.5], [9.1, 5.25]])


def crystal(shift, shape=(120, 140), dose=2.0, seed=0):
    """Counts of a hexagonal lattice moved by `shift` (y, x)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(float)
    b = np.linalg.inv(VECTORS).T
    waves = [np.cos(2 * np.pi * ((y - shift[0]) * k[0] + (x - shift[1]) * k[1])) for k in (b[0], b[1], b[0] + b[1])]
    return rng.poisson(dose * np.exp(0.7 * np.sum(waves, 0))).astype(np.float32)


@pytest.mark.parametrize("shift", [(0, 0), (1.3, -2.6), (-3.9, 1.2), (2.0, 4.0)])
def test_steps_below_half_a_lattice_vector(shift):
    before, after = crystal((0.4, 0.7), seed=1), crystal(np.add(shift, (0.4, 0.7)), seed=2)
    found = align.step(*(align.lattice_phases(f, VECTORS) for f in (before, after)), VECTORS)
    np.testing.assert_allclose(found, shift, atol=0.15)


def test_frames_come_to_lie_on_the_middle_one():
    drift = np.cumsum([(0, 0), (3, -2), (2, 3), (-1, 4), (3, 3)], axis=0)  # more than a lattice vector in all
    frames = [crystal(d, dose=50, seed=i) for i, d in enumerate(drift)]
    out = align.stack(frames, VECTORS)
    inner = (slice(20, -20), slice(20, -20))
    for image in out:
        assert np.corrcoef(image[inner].ravel(), frames[2][inner].ravel())[0, 1] > 0.9
    assert np.corrcoef(frames[0][inner].ravel(), frames[2][inner].ravel())[0, 1] < 0.5


def test_missing_frames_and_no_lattice():
    frames = [None, crystal((0, 0)), None]
    out = align.stack(frames, VECTORS)
    assert (out == frames[1]).all() and out.shape == (3, 120, 140)
    pair = [crystal((2, 2)), crystal((0, 0)), crystal((1, 1))]
    np.testing.assert_array_equal(align.stack(pair, None), np.stack(pair))
    np.testing.assert_array_equal(align.stack([pair[0]], VECTORS), pair[0][None])


def defective(shift, seed, dose, n=15):
    """The crystal with `n` columns without atoms, the same ones whatever `shift`; n 0: intact."""
    rng = np.random.default_rng(9)
    cells = np.stack(np.meshgrid(*[np.arange(-30, 30)] * 2, indexing="ij"), -1).reshape(-1, 2)
    places = cells @ VECTORS
    inner = places[((places > 25) & (places < 175)).all(1)]
    y, x = np.mgrid[:200, :200].astype(float)
    b = np.linalg.inv(VECTORS).T
    waves = [np.cos(2 * np.pi * ((y - shift[0]) * k[0] + (x - shift[1]) * k[1])) for k in (b[0], b[1], b[0] + b[1])]
    mean = np.exp(0.7 * np.sum(waves, 0))
    for place in rng.permutation(inner)[:n] + shift:
        mean *= 1 - 0.9 * np.exp(-0.5 * ((y - place[0]) ** 2 + (x - place[1]) ** 2) / 2.5**2)
    return np.random.default_rng(seed).poisson(dose * mean).astype(np.float32)


@pytest.mark.parametrize("dose", [1.0, 3.0])
def test_what_is_not_periodic_tells_steps_beyond_half_a_lattice_vector(dose):
    rng = np.random.default_rng(3)
    for k in range(20):
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(0, 14)
        shift = length * np.array([np.sin(angle), np.cos(angle)])
        frames = [defective(s, seed=10 * k + i, dose=dose) for i, s in enumerate(((0, 0), shift))]
        np.testing.assert_allclose(align.moved(*frames, VECTORS), shift, atol=0.5)


def test_an_intact_crystal_is_taken_to_have_moved_as_little_as_it_may():
    for k in range(20):
        shift = np.array([0.3 * k, 0.55 * k])
        frames = [defective(s, seed=50 + 10 * k + i, dose=2.0, n=0) for i, s in enumerate(((0, 0), shift))]
        phases = [align.lattice_phases(f, VECTORS) for f in frames]
        np.testing.assert_array_equal(align.moved(*frames, VECTORS), align.step(*phases, VECTORS))
