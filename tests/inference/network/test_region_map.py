"""Maps of regions: tiles put together against the map of the whole frame, outlines against a known disc."""

import jax
import numpy as np
import pytest

from stemdefects.inference.network import region_map
from stemdefects.models.frames import resample
from stemdefects.report import frames as pictures


def scene(y, x):
    """Region at points: a hole of 60 px radius around (150, 200), 1T right of x = 330."""
    return np.where(np.hypot(y - 150, x - 200) < 60, 1, np.where(x > 330, 3, 0))


@pytest.mark.parametrize("tile, stride", [(512, 2), (160, 2), (160, 4)])
def test_tiles_make_the_map_of_the_frame(tile, stride):
    shape = (290, 395)
    grid = resample.plan(shape, tile, 32, 16)
    hot = []
    for y0, x0 in grid.starts:
        y, x = (np.arange(n // stride) * stride + (stride - 1) / 2 for n in grid.tile)
        hot.append(np.eye(4)[scene(y[:, None] + y0, x[None] + x0)])
    cell = region_map.cell_px(grid.tile, stride)
    assert cell == region_map.CELL_PX
    found = region_map.stitched(np.asarray(region_map.coarse(jax.numpy.asarray(np.stack(hot)), cell // stride)), grid)
    assert found.shape == tuple(-(-n // cell) for n in shape)
    y, x = (np.arange(n) * cell + (cell - 1) / 2 for n in found.shape)
    true = scene(y[:, None], x[None])
    assert (found == true).mean() > 0.97, "cells cut by an outline may fall either way"
    inner = np.abs(np.hypot(y[:, None] - 150, x[None] - 200) - 60) > 12
    inner &= np.abs(x[None] - 330) > 12
    assert (found == true)[inner].all()


def test_an_outline_lies_where_the_region_ends():
    y, x = np.mgrid[:40, :50] * 8 + 3.5
    (lines, pieces, share) = pictures.outlines(scene(y, x).astype(np.uint8), (8.0, 8.0))["hole"]
    assert pieces == 1 and len(lines) == 1 and share == pytest.approx(np.pi * 60**2 / (320 * 400), rel=0.1)
    distance = np.hypot(lines[0][:, 0] - 150, lines[0][:, 1] - 200)
    assert np.abs(distance - 60).max() < 8 and abs(distance.mean() - 60) < 3
    assert pictures.outlines(np.zeros((5, 5), np.uint8), (8.0, 8.0)) == {}
    image = np.random.default_rng(0).normal(size=(320, 400))
    from stemdefects.io.tables import table

    plain = pictures.annotate(image, table.empty(0), 0.03, ["V_S"])
    drawn = pictures.annotate(image, table.empty(0), 0.03, ["V_S"], regions=pictures.Regions(scene(y, x), (8.0, 8.0)))
    colour = np.array([0xFF, 0x55, 0x55])
    assert (drawn == colour).all(-1).any() and not (plain == colour).all(-1).any()
