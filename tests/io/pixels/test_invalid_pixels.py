"""Pixels that hold no intensity are found in frames made here; what a specimen can show is left alone."""

import numpy as np
import pytest

from stemdefects.io.movie import Movie
from stemdefects.io.pixels import invalid_pixels, loops

SIZE = 160


def columns(sigma=2.5, bright=1.0):
    """Mean counts (SIZE, SIZE), 1 at a column's centre, of a square lattice; one column is `bright` times as bright."""
    y, x = np.mgrid[:SIZE, :SIZE]
    d = [(p + 5) % 10 - 5 for p in (y, x)]
    image = np.exp(-(d[0] ** 2 + d[1] ** 2) / (2 * sigma**2))
    return image + (bright - 1) * np.exp(-((y - 80) ** 2 + (x - 80) ** 2) / (2 * sigma**2)) + 0.05


def counts(dose, seed=0, **kind):
    return np.random.default_rng(seed).poisson(columns(**kind) * dose).astype(np.float32)


@pytest.mark.parametrize("dose", [0.003, 0.03, 0.3, 1, 3, 30, 1000])
def test_counted_electrons_are_no_invalid_pixels(dose):
    assert invalid_pixels.find(counts(dose)) is None


def test_hollows_that_few_electrons_leave_empty_are_no_marks():
    """Rings of a honeycomb, .45 counts per pixel, few in the hollows: chance makes blocks of zeros."""
    y, x = np.indices((256, 256)) / 12.0
    wave = sum(np.cos(2 * np.pi * (x * np.cos(a) + y * np.sin(a))) for a in np.radians([0, 60, 120]))
    frames = np.random.default_rng(2).poisson((0.45 - 0.15 * wave)[None], (20, 256, 256))
    assert (frames == 0).mean() > 0.5
    assert not any(invalid_pixels.find(frame.astype(np.float32)) is not None for frame in frames)


def test_bright_columns_and_clipped_ones_and_holes_stay():
    assert invalid_pixels.find(counts(100, bright=12.0)) is None, "a heavy adatom"
    assert invalid_pixels.find(counts(300, sigma=1.0, bright=8.0)) is None, "the same, coarsely sampled"
    assert invalid_pixels.find(np.minimum(counts(300), 200)) is None, "saturated columns"
    y, x = np.mgrid[:SIZE, :SIZE]
    edge = 1 / (1 + np.exp(-(np.hypot(y - 60, x - 70) - 35) / 1.5))
    hole = np.random.default_rng(1).poisson(300 * columns() * edge).astype(np.float32)
    assert invalid_pixels.find(hole) is None
    assert invalid_pixels.find(np.maximum(hole - 20, 0)) is None, "a hole clipped to zero is a hole"
    enlarged = np.kron(counts(100)[:80, :80], np.ones((4, 4), np.float32))
    assert invalid_pixels.find(enlarged) is None


def dead_rows(image):
    image[70:72] = 0


def half_row(image):
    image[33, :90] = 250


def border(image):
    image[:9], image[:, -5:] = 0, 0


def spikes(image):
    image.ravel()[np.random.default_rng(5).integers(0, image.size, 15)] = 65535


def track(image):
    for k in range(20):
        image[40 + k, 90 + k] = 5000 + 300 * k


def block(image):
    image[20:45, 100:130] = 4095


def corner(image):
    y, x = np.mgrid[:SIZE, :SIZE]
    image[y + x < 30] = 0


def missing(image):
    image[90:130, 20:60] = np.nan


@pytest.mark.parametrize("spoil", [dead_rows, half_row, border, spikes, track, block, corner, missing])
def test_what_holds_no_intensity_is_found_and_filled(spoil):
    clean = counts(400)
    image = clean.copy()
    spoil(image)
    wrong = ~(image == clean)
    found = invalid_pixels.find(image)
    assert found is not None and (found & wrong).sum() >= 0.97 * wrong.sum()
    fringe = found & ~wrong
    assert fringe.sum() <= 0.35 * wrong.sum(), "hardly more than what is wrong"
    filled = invalid_pixels.fill(image, found)
    assert np.isfinite(filled).all() and (filled[~found] == image[~found]).all()
    assert filled[found].max() < 1.3 * clean.max() and abs(filled[found].mean() - clean.mean()) < 0.35 * clean.mean()


def test_a_scale_bar_and_its_letters():
    clean = np.round(counts(400) * 0.4)
    image = clean.copy()
    image[140:145, 20:80] = 255
    letters = np.zeros((9, 20), bool)
    letters[:, [0, 8, 14]], letters[[0, 4, 8], :9] = True, True
    image[126:135, 40:60][letters] = 255
    found = invalid_pixels.find(image)
    assert found[140:145, 20:80].all() and found[126:135, 40:60][letters].all() and found.sum() < 1200


def test_a_border_that_moves_from_frame_to_frame_is_left_out_of_each():
    frames = np.stack([counts(400, seed=s) for s in range(2)])
    frames[0, :12], frames[1, :, :20] = 0, 0
    movie = Movie(frames)
    first, second = movie.checked(0), movie.checked(1)
    assert first.invalid[:12].all() and not first.invalid[12:].any()
    assert second.invalid[:, :20].all() and not second.invalid[:, 20:].any()
    np.testing.assert_array_equal(movie.frame(1), second.image)
    assert first.image[:12].std() < first.image[12:].std() and first.image[:12].min() > 0


def test_loops_over_pixels_are_what_numpy_says():
    rng = np.random.default_rng(5)
    values = np.concatenate([rng.normal(size=900), rng.integers(-3, 3, 900), [0.0, -0.0]]).astype(np.float32)
    assert (loops.in_order(values) == np.argsort(values, kind="stable")).all()
    image = rng.integers(0, 4, (60, 70)).astype(np.float32)
    image[3, 4], image[50, 60], image[7, 7] = np.nan, np.inf, -np.inf
    known = image[np.isfinite(image)]
    assert loops.extent(image) == (60 * 70 - 3, 0, 3, int((known == 3).sum()))
    row, column = loops.flat_squares(image)
    square = image[:-1, :-1]
    alike = (square == image[1:, :-1]) & (square == image[:-1, 1:]) & (square == image[1:, 1:])
    assert len(row) and (np.stack([row, column], 1) == np.argwhere(alike)).all()
    y, x = np.array([0, 0, 30, 59]), np.array([0, 69, 20, 33])
    padded = np.pad(image, 2, mode="reflect")
    for away in (1, 2):
        ring = [(a, b) for a in (-away, 0, away) for b in (-away, 0, away) if (a, b) != (0, 0)]
        near = np.sort([padded[y + 2 + a, x + 2 + b] for a, b in ring], axis=0)
        assert np.array_equal(loops.around(image, y, x, away), near[3:5])
