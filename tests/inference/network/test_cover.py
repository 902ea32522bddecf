"""Dirt on a crystal does not count in the contrast of a frame, however much of it there is."""

import numpy as np
import pytest

from stemdefects.inference.network import cover
from stemdefects.models.frames.normalization import normalize

VECTORS = np.array([[0.0, 12.0], [10.4, 6.0]])
SIZE = 242  # no whole number of blocks


def crystal(rng, offset=0.0):
    y, x = np.indices((SIZE, SIZE))
    waves = [np.cos(2 * np.pi * (y * g[0] + x * g[1])) for g in np.linalg.inv(VECTORS).T]
    return rng.poisson(2 + 0.8 * sum(waves)) + offset


@pytest.mark.parametrize(("brighter", "share"), [(3.0, 0.2), (8.0, 0.1), (8.0, 0.5)])
def test_the_crystal_keeps_its_contrast_beside_dirt(brighter, share):
    rng = np.random.default_rng(0)
    known = cover.measured(np.stack([crystal(rng) for _ in range(4)]), VECTORS)
    frame, first = crystal(rng), round(SIZE * (1 - share))
    clean = np.asarray(normalize(frame))
    frame[:, first:] += rng.poisson(2 * (brighter - 1), (SIZE, SIZE - first))
    covered = known.of(frame)
    assert covered.shape == frame.shape and covered[:, first + 10 :].all() and not covered[:, : first - 30].any()
    there = np.s_[:, : first - 30]
    off = {}
    for name, counted in (("all", None), ("uncovered", ~covered)):
        off[name] = np.abs(np.asarray(normalize(frame, counted))[there].std() / clean[there].std() - 1)
    assert off["uncovered"] < 0.1 and off["uncovered"] < 0.3 * off["all"]


def test_holes_and_clean_frames_are_not_covered_and_a_frame_of_dirt_is_taken_as_it_is():
    rng = np.random.default_rng(1)
    for offset in (0.0, 100.0, -2.0):
        known = cover.measured(np.stack([crystal(rng, offset) for _ in range(4)]), VECTORS)
        frame = crystal(rng, offset)
        assert known.of(frame) is None
        frame[:, :180] = rng.poisson(0.2, (SIZE, 180)) + offset  # a hole over most of it
        assert known.of(frame) is None
        assert known.of(crystal(rng, offset) + 200.0) is None
