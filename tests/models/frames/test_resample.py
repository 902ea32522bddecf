import numpy as np
import pytest

from stemdefects.models.frames import resample


def wave(y, x, period):
    return np.sin(2 * np.pi * y / period) + np.cos(2 * np.pi * x / (1.3 * period))


def resampled(frames, scale):
    shape = resample.resampled_shape(frames.shape[1:], scale)
    pairs = zip(frames.shape[1:], shape, strict=True)
    return resample.resample(frames, *(resample.weights(n, scale, n_out) for n, n_out in pairs))


@pytest.mark.parametrize("scale", [0.43, 0.8, 1.0, 1.25, 1.9])
def test_pixels_lie_where_they_should(scale):
    height, width = 90, 110
    y, x = np.mgrid[:height, :width].astype(np.float32)
    shape = resample.resampled_shape((height, width), scale)
    found = np.asarray(resampled(wave(y, x, 40)[None], scale))[0]
    assert found.shape == shape
    y, x = np.mgrid[: shape[0], : shape[1]] / scale
    expected = wave(y, x, 40)
    edge = int(np.ceil(4 * max(1, scale)))
    assert np.abs(found - expected)[edge:-edge, edge:-edge].max() < 0.02
    assert (shape[0] - 1) / scale <= height - 1 + 1e-6


def test_averaging_lowers_noise():
    noise = np.random.default_rng(0).normal(size=(1, 400, 400)).astype(np.float32)
    small = np.asarray(resampled(noise, 0.25))
    assert small.std() < 0.35, "a quarter of the size averages about sixteen pixels"


@pytest.mark.parametrize("shape", [(40, 500), (128, 128), (700, 1300), (513, 512), (1, 1)])
def test_tiles_own_every_pixel_once(shape):
    grid = resample.plan(shape, 256, 48, 16)
    owned = np.zeros(shape, int)
    assert all(n % 16 == 0 for n in grid.tile)
    for (y, x), (top, bottom, left, right) in zip(grid.starts, grid.owned, strict=True):
        owned[top:bottom, left:right] += 1
        assert y <= top and bottom <= y + grid.tile[0] and x <= left and right <= x + grid.tile[1]
        for first, low, high, n, size in (
            (y, top, bottom, shape[0], grid.tile[0]),
            (x, left, right, shape[1], grid.tile[1]),
        ):
            if n > size:  # what a tile answers for has context on each side, but at the frame's border
                assert low == 0 or low - first >= 24
                assert high == n or first + size - high >= 24
    assert (owned == 1).all()


def test_tiles_hold_the_frame_and_mirror_it_outside():
    frame = np.random.default_rng(0).normal(size=(1, 100, 300)).astype(np.float32)
    grid = resample.plan(frame.shape[1:], 128, 32, 16)
    tiles = np.asarray(resample.cut(frame, grid))[0]
    assert tiles.shape == (len(grid.starts), *grid.tile)
    for tile, (y, x) in zip(tiles, grid.starts, strict=True):
        rows, columns = np.arange(grid.tile[0]) + y, np.arange(grid.tile[1]) + x
        inside = (rows >= 0) & (rows < 100)
        np.testing.assert_array_equal(tile[inside], frame[0][rows[inside]][:, columns])
        above = np.flatnonzero(rows == -3)
        if len(above):
            np.testing.assert_array_equal(tile[above[0]], frame[0, 3, columns])


@pytest.mark.parametrize("tile_px, overlap_px, divisor", [(512, 64, 8), (256, 48, 16), (128, 64, 32)])
def test_a_frame_costs_no_more_than_a_slightly_larger_one(tile_px, overlap_px, divisor):
    """Cost is the pixels the network is shown; it never falls with the frame's size, and never is far above it."""
    before = 0
    for n in range(1, 5 * tile_px):
        grid = resample.plan((n, n), tile_px, overlap_px, divisor)
        cost = len(grid.starts) * grid.tile[0] * grid.tile[1]
        assert before <= cost, f"{n} px cost less than {n - 1}"
        longest = 1.25 * tile_px - divisor
        assert cost <= ((n + divisor) / (1 - overlap_px / longest) + overlap_px) ** 2
        if n <= longest:
            assert len(grid.starts) == 1 and grid.tile[0] < n + divisor, "a frame barely above a tile is one tile"
        before = cost
