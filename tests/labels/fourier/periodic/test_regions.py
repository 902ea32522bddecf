"""Regions of single frames: holes and dirt that move, and shadows that do not."""

import numpy as np
from scipy import ndimage

from stemdefects.labels.fourier.periodic import regions
from stemdefects.labels.fourier.periodic.dirt import Dirt
from stemdefects.labels.fourier.points import certainty
from stemdefects.labels.fourier.points.certainty import AMORPHOUS, HOLE, LATTICE, UNKNOWN

SPACING = 8.0


def test_holes_and_dirt_of_a_frame_are_its_own_and_a_shadow_is_none():
    rng = np.random.default_rng(1)
    y, x = np.mgrid[:120, :130]
    mean = 10.0 * (1 - 0.5 * (x > 95))  # half as bright there, in every frame
    centres = [(30, 25), (70, 30), (95, 60), (30, 60)]
    drift = np.array([[0, 0], [3, -2], [5, 1], [-4, 2]], float)
    holes = [np.hypot(y - cy, x - cx) < 24 for cy, cx in centres]
    frames = np.stack([rng.poisson(np.where(hole, 2.0, mean)) for hole in holes]).astype(np.float32)
    dirty = (y > 95) & (x < 40)
    frames[0][dirty] += 15
    region = np.zeros(mean.shape, np.int8)
    region[:, 125:] = UNKNOWN
    rim = ndimage.binary_dilation(dirty, iterations=4) & ~dirty
    own = regions.in_frames(frames, region, drift, SPACING, [Dirt(dirty, rim, dirty | rim), None, None, None])
    for t in range(len(holes)):
        found = own[t] == HOLE
        away = np.hypot(y - centres[t][0], x - centres[t][1])
        assert found[away < 14].mean() > 0.95 and not found[away > 24 + SPACING].any()
    assert (own[0][(y > 105) & (x < 30)] == AMORPHOUS).all() and not (own[1:] == AMORPHOUS).any()
    assert (own[3][60:110, 10:80] == LATTICE).all()
    beside = certainty.beside_hole(own[0], np.array([[30.0, 52.0], [100.0, 80.0]]), SPACING)
    assert beside.tolist() == [True, False]


def test_one_frame_has_the_regions_of_the_mean():
    region = np.zeros((60, 60), np.int8)
    region[:20] = HOLE
    frame = np.ones((1, 60, 60), np.float32)
    assert (regions.in_frames(frame, region, np.zeros((1, 2)), SPACING, [None])[0] == region).all()
