"""Which sublattice is which, by the light of all columns, on images drawn here of equally bright sublattices."""

import numpy as np
import pytest

from stemdefects.crystal import material as crystal
from stemdefects.inference.columns import exchanged, whole_frame
from stemdefects.inference.network.engine import Columns
from stemdefects.inference.specimen import light_levels, local_scatter
from stemdefects.models.probability.prevalence import state_prior
from stemdefects.schema import LabelsConfig

MOSE2 = crystal.load("mose2")
STATED = state_prior(LabelsConfig(name="simulated"), MOSE2)
PIXEL_NM, SIZE = 0.03, 200
VECTORS = np.asarray(MOSE2.lattice_nm) / PIXEL_NM
METAL, CHALCOGEN = 0, 1


def drawn(dopants, vacancies, chalcogen=1.0, seed=0):
    """Image with as many W on the metal's and half-empty columns on the chalcogen's places; columns at the places with
    their true sublattices."""
    random = np.random.default_rng(seed)
    cells = np.stack(np.meshgrid(*[np.arange(-30, 31)] * 2, indexing="ij"), -1).reshape(-1, 2)
    place = ((cells[:, None] + MOSE2.basis) @ VECTORS).reshape(-1, 2) + SIZE / 2
    site = np.tile([METAL, CHALCOGEN], len(cells))
    inside = ((place > 3) & (place < SIZE - 4)).all(1)
    place, site = place[inside], site[inside]
    light = np.where(site == METAL, 1.0, chalcogen)
    inner = ((place > 20) & (place < SIZE - 20)).all(1)
    light[random.choice(np.flatnonzero(inner & (site == METAL)), dopants, replace=False)] *= 2.3
    light[random.choice(np.flatnonzero(inner & (site == CHALCOGEN)), vacancies, replace=False)] *= 0.5
    pixel = np.arange(SIZE)
    rows, columns = (np.exp(-0.5 * ((pixel[:, None] - place[:, k]) / (0.05 / PIXEL_NM)) ** 2) for k in (0, 1))
    image = 0.3 + np.einsum("yk,xk,k->yx", rows, columns, light) + 0.1 * random.standard_normal((SIZE, SIZE))
    n = len(site)
    prob = np.zeros((n, MOSE2.n_states), np.float32)
    prob[np.arange(n), MOSE2.ideal_states[site]] = 1
    y, x = place.astype(np.float32).T
    return image, Columns(y, x, np.full(n, 0.1, np.float32), site, prob, np.ones(n), np.zeros(n, int))


def checked(image, columns, vectors=VECTORS, material=MOSE2, stated=STATED):
    return exchanged.checked(columns, image, 1.0, vectors, material, stated, PIXEL_NM)


@pytest.mark.parametrize("share", [1.0, 0.8, 0.4, 0.0])
@pytest.mark.parametrize("way", [1, -1])
def test_dopants_and_vacancies_say_which_sublattice_is_which(share, way):
    """Whatever part of the columns the network took for the other's, and whichever way its lattice vectors lie."""
    image, right = drawn(dopants=6, vacancies=6)
    random = np.random.default_rng(1)
    wrong = right._replace(site=np.where(random.random(len(right.site)) < share, 1 - right.site, right.site))
    found = checked(image, wrong, way * VECTORS)
    inside = ((right.y_px > 12) & (right.y_px < 187)) & ((right.x_px > 12) & (right.x_px < 187))
    assert (found.columns.site == right.site)[inside].all() and found.told
    assert (found.moved == (wrong.site != found.columns.site)).all()


def test_a_perfect_crystal_of_equally_bright_sublattices_tells_nothing():
    image, columns = drawn(dopants=0, vacancies=0)
    half = columns._replace(site=np.random.default_rng(3).integers(0, 2, len(columns.site)))
    assert not checked(image, half).told
    brighter = drawn(dopants=0, vacancies=0, chalcogen=1.41)
    assert checked(*brighter).told, "as bright as the material's file says"


def test_a_crystal_that_is_no_honeycomb_is_left_alone():
    image, columns = drawn(dopants=6, vacancies=6)
    one = crystal.load("graphene_si")
    found = checked(image, columns, material=one, stated=np.full(one.n_states, 1 / one.n_states))
    assert found.columns is columns and found.told


def levels():
    ratio, site = np.random.default_rng(0).normal(1.0, 0.1, 400), np.zeros(400, int)
    ws2 = crystal.load("ws2_mo")
    stated = state_prior(LabelsConfig(name="simulated"), ws2)
    return ws2, light_levels.learn(ratio, site, ws2, stated)._replace(share=stated)


def test_light_says_less_where_the_columns_around_scatter_more():
    """Two equally dark places, one in even crystal, one at the rim of a film."""
    ws2, known = levels()
    cell = np.stack(np.meshgrid(*[np.arange(20)] * 2, indexing="ij"), -1).reshape(-1, 2)
    random, site = np.random.default_rng(2), np.zeros(len(cell), int)
    film = cell[:, 0] >= 14
    ratio = random.normal(1.0, np.where(film, 0.6, 0.1))
    dark = np.flatnonzero((cell == (5, 10)).all(1) | (cell == (15, 10)).all(1))
    ratio[dark] = 0.0
    asked = np.isin(np.arange(len(cell)), dark)
    wider = local_scatter.of_places(ratio, site, cell, asked, known, ws2)
    assert np.isnan(wider[~asked]).all() and wider[dark[0]] < 1.5 and wider[dark[1]] > 2.5
    vacant = light_levels.posterior(ratio, site, known, ws2, wider)[dark, ws2.state_index("V_metal")]
    assert vacant[0] > 0.8 and vacant[1] < 0.5
    assert light_levels.posterior(ratio, site, known, ws2)[dark[1], ws2.state_index("V_metal")] > 0.9, "without it"


def test_what_is_bright_where_the_network_shows_nothing_is_dirt_unless_it_was_wrong_of_the_whole():
    """Two places, one of them at the edge of a hole, that light takes for a heavy atom; and one for a vacancy."""
    _, columns = drawn(dopants=0, vacancies=0)
    three, metal = columns.take(np.arange(3)), np.zeros(3, int)
    found = whole_frame.Judged(
        columns=three._replace(site=metal),
        sites=None,
        prob=three.state_prob,
        light=np.full(3, np.nan),
        part=np.zeros(3),
        ratio=np.ones(3),
        relative=np.ones(3),
        promised=np.ones(3, bool),
        whole=np.array([True, False, True]),
        brighter=np.nan,
        specimen=None,
        second=np.full(3, np.nan),
    )
    state = np.array([MOSE2.state_index(name) for name in ("W", "W", "V_metal")])
    assert found.refused(state, MOSE2).tolist() == [True, True, False]
    assert found._replace(overruled=True).refused(state, MOSE2).tolist() == [False, True, False]
