"""Normalisation: independent of gain and offset, robust, the same for a frame alone and in a stack."""

import numpy as np
import pytest

from stemdefects.models.frames.normalization import normalize, normalize_frames


@pytest.fixture(scope="module")
def frame():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:64, :72]
    lattice = 2 + np.cos(2 * np.pi * y / 10) * np.cos(2 * np.pi * x / 9)
    return rng.poisson(3 * lattice).astype(np.float32)


@pytest.mark.parametrize("gain, offset", [(1.0, 0.0), (0.003, 0.0), (250.0, -1e4), (1.0, 3e4), (1e-6, 1e-5)])
def test_gain_and_offset_do_not_matter(frame, gain, offset):
    np.testing.assert_allclose(normalize(gain * frame + offset), normalize(frame), atol=2e-2 if offset > 1e4 else 1e-3)


def test_contrast_of_the_lattice_becomes_one(frame):
    out = np.asarray(normalize(frame))
    blocks = out.reshape(16, 4, 18, 4).mean((1, 3))
    assert blocks.mean() == pytest.approx(0, abs=0.05)
    assert blocks.std() == pytest.approx(1.1, abs=0.1)


def test_dust_and_hot_pixels_change_little(frame):
    dirty = frame.copy()
    dirty[5, 7] = 1e6
    dirty[30:33, 30:33] = 400
    clean, out = np.asarray(normalize(frame)), np.asarray(normalize(dirty))
    far = np.ones(frame.shape, bool)
    far[30:33, 30:33] = far[5, 7] = False
    assert np.abs(out[far] - clean[far]).max() < 0.25 * clean.std()
    assert np.abs(out).max() <= 30


def test_not_finite_pixels_become_the_mean(frame):
    broken = frame.copy()
    broken[10, 10], broken[20, 5] = np.nan, np.inf
    out = np.asarray(normalize(broken))
    assert np.isfinite(out).all() and out[10, 10] == 0 and out[20, 5] == 0


@pytest.mark.parametrize("value", [0.0, 7.0, 1e8, np.nan])
def test_constant_frame_becomes_zero(value):
    assert (np.asarray(normalize(np.full((32, 32), value, np.float32))) == 0).all()


def test_every_frame_on_its_own(frame):
    stack = np.stack([frame, 1000 * frame + 5])
    both = np.asarray(normalize_frames(stack))
    np.testing.assert_allclose(both[0], normalize(frame), atol=1e-5)
    np.testing.assert_allclose(both[1], both[0], atol=1e-3)
