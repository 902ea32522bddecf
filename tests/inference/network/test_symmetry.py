"""A lattice of another symmetry is said to be one; whatever a scan makes of the crystal's own is not."""

import numpy as np
import pytest

from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.inference.network.calibration import calibrate

WS2 = crystal.load("ws2_mo")
HEXAGONAL = np.array([[0.0, 10.5], [9.093, 5.25]])


def image(vectors, side=200, counts=20.0, seed=0):
    """(side, side) counts of columns on a lattice of `vectors` (2, 2) px."""
    cells = np.stack(np.meshgrid(*[np.arange(-60, 61)] * 2, indexing="ij"), -1).reshape(-1, 2)
    yx = cells @ vectors + side / 2
    rows = np.arange(side)
    near = yx[((yx > -8) & (yx < side + 8)).all(1)]
    y, x = (np.exp(-((rows[:, None] - near[:, k]) ** 2) / 6) for k in (0, 1))
    return np.random.default_rng(seed).poisson(counts * (y @ x.T) + 4).astype(np.float32)


@pytest.mark.parametrize("stated_nm", [None, 0.03])
@pytest.mark.parametrize(
    ("vectors", "angle"),
    [([[0, 9.3], [9.3, 0]], 90), ([[3, 12.6], [12.6, -3]], 90), ([[0, 9], [13, 0]], 90), ([[1, 9], [16, -2]], 90)],
)
def test_another_symmetry_is_refused_with_the_way_out(vectors, angle, stated_nm):
    with pytest.raises(UserError, match=rf"film.tif: its lattice .* at (8\d|{angle}) degrees.*labels=fourier"):
        calibrate(image(np.array(vectors, float))[None], WS2.lattice_nm, stated_nm, source="film.tif")


@pytest.mark.parametrize("stretch", [1.0, 1.05, 1.12])
@pytest.mark.parametrize("turn", [0.0, 0.4])
def test_a_stretched_crystal_is_the_crystal(stretch, turn):
    c, s = np.cos(turn), np.sin(turn)
    vectors = HEXAGONAL @ np.array([[c, -s], [s, c]]) * (stretch, 1.0)
    found = calibrate(image(vectors)[None], WS2.lattice_nm, 0.03)
    assert found.pixel_size_nm == pytest.approx(0.03 / np.sqrt(stretch), rel=0.02)


def test_two_crystals_on_top_of_each_other_are_no_third_one():
    c, s = np.cos(0.3), np.sin(0.3)
    both = image(HEXAGONAL) + image(HEXAGONAL @ np.array([[c, -s], [s, c]]), counts=12.0, seed=1)
    assert calibrate(both[None], WS2.lattice_nm, 0.03).lattice_nm == pytest.approx(0.03, rel=0.02)
