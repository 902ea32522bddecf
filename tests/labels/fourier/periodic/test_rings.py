"""Boundaries, and rings of five and seven along them, against the triangulation of the columns that were drawn."""

import numpy as np
import pytest
from scipy.spatial import Delaunay

from stemdefects.labels.fourier.periodic import grains, rings
from tests.labels.fourier.periodic.test_periodic import HEXAGONAL, SQUARE, render, sites, turned

SHAPE = (256, 256)


def bicrystal(vectors, degrees):
    """Columns (n, 2) of two grains that meet along x = 128, none nearer than .6 spacings to another one."""
    parts = [sites(SHAPE, turned(vectors, a), (3.0, 4.0)) for a in (0.0, degrees)]
    left = parts[0][parts[0][:, 1] < 128]
    right = parts[1][parts[1][:, 1] >= 128]
    gap = np.linalg.norm(right[:, None] - left[None], axis=2).min(1)
    return np.concatenate([left, right[gap > 6.0]])


def found_in(vectors, degrees, dose, rng):
    yx = bicrystal(vectors, degrees)
    image = rng.poisson(render(SHAPE, yx, np.full(len(yx), dose), sigma=2.0) + 0.5).astype(float)
    meets = np.zeros(SHAPE, bool)
    meets[:, 128] = True
    return yx, rings.find(image, meets, np.ones(SHAPE, bool), turned(vectors, 0.0))


@pytest.mark.parametrize("degrees", [13.0, 27.8])
def test_rings_are_those_of_the_drawn_columns(degrees):
    yx, found = found_in(HEXAGONAL, degrees, 6.0, np.random.default_rng(1))
    start, _ = Delaunay(yx).vertex_neighbor_vertices
    true = np.diff(start)
    off = np.linalg.norm(found.yx[:, None] - yx[None], axis=2)
    assert off.min(1).max() < 2.0
    same = found.neighbours == true[off.argmin(1)]
    # four columns on a circle are triangulated either way: a drawn boundary has some, a relaxed one has not
    assert same.mean() > 0.85 and found.share_inside <= rings.RESOLVED
    wanted = true[off.argmin(1)]
    for number in (5, 7):
        assert (wanted == number).sum() >= 5
        assert found.count(number) == pytest.approx((wanted == number).sum(), abs=3)


def test_what_is_not_resolved_is_not_counted():
    rng = np.random.default_rng(2)
    assert found_in(HEXAGONAL, 20.0, 0.05, rng)[1] is None
    assert found_in(SQUARE, 20.0, 6.0, rng)[1] is None  # cells of a square lattice have no six neighbours


def test_one_crystal_has_no_rings_of_five():
    _, found = found_in(HEXAGONAL, 0.0, 6.0, np.random.default_rng(3))
    assert (found.neighbours == 6).all() and len(found.neighbours) > 20


@pytest.mark.parametrize(("turned", "width"), [(28.0, 0.8), (8.0, 1.79)])
def test_a_boundary_is_wide_where_both_lattices_part_slowly_and_as_long_as_its_line(turned, width):
    c, s = np.cos(np.radians(turned)), np.sin(np.radians(turned))
    one = 10 * np.array([[0.0, 1.0], [np.sqrt(3) / 2, 0.5]])
    y, x = np.indices((200, 240))
    crystal = y < 150  # a hole below
    member = (x > 120).astype(np.int8)
    band, length = grains.boundary(member, crystal, 10.0, np.stack([one, one @ [[c, s], [-s, c]]]))
    assert np.flatnonzero(band[60]).min() == pytest.approx(121 - 10 * width, abs=1.5)
    assert np.flatnonzero(band[60]).max() == pytest.approx(121 + 10 * width, abs=1.5)
    assert length == pytest.approx(170, rel=0.06)  # and two spacings into the hole
    assert grains.boundary(None, crystal, 10.0, one[None])[1] == 0


def test_a_boundary_goes_on_below_dirt_but_what_nobody_sees_has_no_length():
    c, s = np.cos(0.4), np.sin(0.4)
    one = 10 * np.array([[0.0, 1.0], [np.sqrt(3) / 2, 0.5]])
    y, x = np.indices((240, 240))
    member = (x > 120).astype(np.int8)
    dirt = np.hypot(y - 120, x - 120) < 40
    vectors = np.stack([one, one @ [[c, s], [-s, c]]])
    crystal = np.ones(dirt.shape, bool)
    band, length = grains.boundary(member, crystal, 10.0, vectors, dirt)
    _, whole = grains.boundary(member, crystal, 10.0, vectors)
    assert length == pytest.approx(whole * (240 - 80) / 240, rel=0.02) and band[120, 120]
