"""Places where the network shows no column: what that says of them, and atoms that stand beside their place."""

import numpy as np
import pytest

from stemdefects.crystal import material as crystal
from stemdefects.inference.columns.column_intensity import Places
from stemdefects.inference.specimen import learned, site_light

WS2 = crystal.load("ws2_mo")
PIXEL_NM = 0.03
IDEAL, VACANT = WS2.state_index("W"), WS2.state_index("V_metal")


def drawn(moved_nm):
    """Image of a lattice; the metal in its middle missing (None) or moved by (y, x) nm; places, sublattices, vectors,
    index of that metal."""
    vectors = np.asarray(WS2.lattice_nm) / PIXEL_NM
    cells = np.stack(np.meshgrid(*[np.arange(-30, 31)] * 2, indexing="ij"), -1).reshape(-1, 2)
    place = ((cells[:, None] + WS2.basis) @ vectors).reshape(-1, 2) + 100
    site = np.tile([0, 1], len(cells))
    inside = ((place > 4) & (place < 195)).all(1)
    place, site = place[inside], site[inside]
    middle = int(np.argmin(np.linalg.norm(place - 100, axis=1) + 1e3 * site))
    light = np.where(site == 0, 1.0, 0.18)
    at = place.copy()
    if moved_nm is None:
        light[middle] = 0
    else:
        at[middle] += np.array(moved_nm) / PIXEL_NM
    y, x = np.arange(200)[:, None], np.arange(200)[:, None]
    width = 0.05 / PIXEL_NM
    rows, columns = (np.exp(-0.5 * ((axis - at[:, k]) / width) ** 2) for k, axis in enumerate((y, x)))
    image = 0.3 + np.einsum("yk,xk,k->yx", rows, columns, light)
    return image + 0.05 * np.random.default_rng(0).standard_normal(image.shape), place, site, vectors, middle


def beside(image, asked, place, site, vectors):
    cell = np.rint((place - 100) @ np.linalg.inv(vectors) - WS2.basis[site]).astype(np.int32)
    compared = site_light.measure(image, Places(place, site, cell), WS2, vectors, PIXEL_NM).compared
    return site_light.beside(image, asked, place, compared, WS2, vectors, PIXEL_NM)


@pytest.mark.parametrize("moved_nm", [(0.0, 0.0), (0.11, 0.0), (-0.06, 0.09)])
def test_an_atom_beside_its_place_is_seen_and_none_where_it_is_missing(moved_nm):
    image, place, site, vectors, middle = drawn(moved_nm)
    asked = np.array([middle])
    there = beside(image, asked, place, site, vectors)
    assert there[0] == pytest.approx(1, abs=0.15)
    image, place, site, vectors, middle = drawn(None)
    gone = beside(image, asked, place, site, vectors)
    assert gone[0] < 0.35, "neighbours, of .18 of its light"
    assert beside(image, asked[:0], place, site, vectors).shape == (0,)


def taught(unseen_ideal, unseen_vacant):
    unseen = np.full(WS2.n_states, unseen_ideal)
    unseen[VACANT] = unseen_vacant
    nothing = np.full(WS2.n_states, 1 / WS2.n_states)
    return learned.untaught(WS2, nothing, by_light=False)._replace(unseen=unseen)


def test_a_place_alone_among_columns_that_are_shown_is_rather_vacant_and_one_of_many_is_not():
    prob = np.zeros((2, WS2.n_states), np.float32)
    prob[:, IDEAL], prob[:, VACANT] = 0.6, 0.4
    site = np.zeros(2, int)
    alone, many = learned.not_shown(prob, site, np.array([[6, 0], [6, 6]]), taught(0.02, 0.7), WS2)
    missed = 4 * 0.02 / 10  # by hand: four columns' worth of the usual, none of six neighbours
    assert alone[VACANT] == pytest.approx(0.4 * 0.7 / (0.4 * 0.7 + 0.6 * missed), abs=1e-3)
    missed = (6 + 4 * 0.02) / 10
    assert many[VACANT] == pytest.approx(0.4 * 0.7 / (0.4 * 0.7 + 0.6 * missed), abs=1e-3)
    np.testing.assert_allclose(alone.sum(), 1, rtol=1e-5)
    same = learned.not_shown(prob, site, np.zeros((2, 2)), taught(0.02, 0.7)._replace(unseen=None), WS2)
    assert same is prob


def test_how_often_a_network_shows_nothing_is_counted():
    states = np.array([IDEAL, VACANT])
    said = np.zeros((505, 2))
    said[:500, 0], said[500:, 1] = 1, 1
    promised = np.zeros(505, bool)
    promised[:5] = promised[501:] = True  # of 500 ideal ones five are not shown, of five vacancies four
    unseen = learned._unseen(said, promised, states, IDEAL, WS2)
    np.testing.assert_allclose(unseen, [0.011, 5 / 7], atol=0.002)
