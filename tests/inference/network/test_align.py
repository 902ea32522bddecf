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
