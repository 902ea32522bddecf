"""Labels on the columns of a known crystal, against planted columns."""

import dataclasses

import numpy as np
import pytest

from stemdefects.config import load_group
from stemdefects.crystal import material as crystal
from stemdefects.crystal.lattice import disc
from stemdefects.errors import UserError
from stemdefects.labels.fourier import label as fourier
from stemdefects.labels.fourier import sites
from stemdefects.labels.fourier.images import population

PIXEL_NM, SIGMA, SHAPE = 0.03, 1.6, (192, 192)
COUNTS = 800.0  # at the centre of a column of signal 1


@pytest.fixture(scope="module")
def ws2():
    return crystal.load("ws2_mo")


@pytest.fixture(scope="module")
def planted(ws2):
    """Two frames of WS2 with Mo, V_W and V_S2; also place, site and state of each column."""
    rng = np.random.default_rng(1)
    lattice = disc(ws2, 5.5)
    angle = np.radians(37.0)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    yx = lattice.position_nm @ turn / PIXEL_NM + 95.0
    state = ws2.ideal_states[lattice.site].copy()
    inner = ((yx > 12) & (yx < 180)).all(1)
    for name, site, number in (("Mo", 0, 16), ("V_metal", 0, 6), ("V_chalcogen", 1, 6)):
        free = np.flatnonzero(inner & (lattice.site == site) & (state == ws2.ideal_states[site]))
        state[rng.choice(free, number, replace=False)] = ws2.state_index(name)
    height = COUNTS / 20 * ws2.intensities(80.0)[state]
    rows = np.exp(-0.5 * ((np.arange(SHAPE[0])[:, None] - yx[:, 0]) / SIGMA) ** 2) * height
    columns = np.exp(-0.5 * ((np.arange(SHAPE[1])[:, None] - yx[:, 1]) / SIGMA) ** 2)
    frames = np.stack([20.0 * rng.poisson(rows @ columns.T + 2) + 50 for _ in range(2)]).astype(np.float32)
    return frames, yx, lattice.site, state


@pytest.fixture(scope="module")
def labels(planted):
    return fourier.label(planted[0], load_group("labels", "fourier").fourier)


@pytest.fixture(scope="module")
def registered(labels, ws2):
    """Columns, labels to go with them, and the crystal, as the simulator of training draws it."""
    cfg, simulation = load_group("labels", "simulated"), load_group("simulation", "train")
    return sites.crystal_columns(labels, ws2, PIXEL_NM, cfg, simulation)


def test_columns_get_their_sites_and_states(planted, registered, ws2):
    _, yx, site, state = planted
    columns, told, _ = registered
    distance = np.linalg.norm(columns.yx[0][:, None] - yx[None], axis=2)
    nearest = distance.argmin(1)
    inner = ((columns.yx[0] > 10) & (columns.yx[0] < 181)).all(1)
    assert np.sqrt((distance.min(1)[inner] ** 2).mean()) < 0.35
    assert (site[nearest] == columns.site)[inner].all()  # metal and chalcogen are told apart
    said = inner & columns.sure[0] & (columns.state != sites.UNSTATED)
    assert said.mean() > 0.3  # the metal columns
    right = state[nearest] == columns.state
    assert right[said].mean() > 0.99
    mo = said & (state[nearest] == ws2.state_index("Mo"))
    assert mo.sum() >= 11 and right[mo].all()
    vacant = inner & (state[nearest] == ws2.state_index("V_metal"))
    # an S2 on the metal site is too rare a rival to leave vacant ones unnamed
    assert (columns.state[vacant] == ws2.state_index("V_metal")).mean() > 0.8
    # V_S cannot be told from noise: its site would be taught that there is none
    assert (columns.state[columns.site == 1] == sites.UNSTATED).all()
    assert (told.regions[0] == fourier.LATTICE).mean() > 0.8


def test_scenes_hold_states_of_all_columns_as_bright_as_in_the_movie(registered, ws2):
    columns, told, known = registered
    pictures, state = population.make(told, columns.yx[0], known, 24, seed=3)
    yx = np.rint(columns.yx[0]).astype(int)
    inner = ((yx > 8) & (yx < 183)).all(1)
    change = (pictures - told.clean)[:, yx[:, 0].clip(0, 191), yx[:, 1].clip(0, 191)]
    ideal = state == ws2.ideal_states[columns.site]
    assert 0.7 < ideal.mean() < 0.98
    alone = np.linalg.norm(columns.yx[0][:, None] - columns.yx[0], axis=2) < 1.1 * told.lattice.spacing_px
    for one, undisturbed in zip(change, ideal, strict=True):  # where no neighbour has changed nothing has
        assert np.abs(one[inner & ~(alone & ~undisturbed).any(1)]).max() < 1e-3 * COUNTS
    for name, least, most in (("V_metal", -1.2, -0.8), ("Mo", -0.75, -0.45), ("S", -0.15, -0.03)):
        this = (state == ws2.state_index(name)) & inner
        assert this.sum() >= 10
        assert least < np.median(change[this]) / COUNTS < most  # nominal: -1, -0.57, -0.08; drawn around it
    assert (np.diff(np.sort([(s == ws2.state_index("S")).mean() for s in state])) > 0).any()  # densities differ


def test_another_crystal_is_refused(labels, ws2):
    square = np.array([[9.0, 0.0], [0.0, 9.0]])
    wrong = dataclasses.replace(labels, lattice=dataclasses.replace(labels.lattice, vectors_px=square))
    with pytest.raises(UserError, match=r"differs by .* from that of ws2_mo"):
        sites.register(wrong, ws2, PIXEL_NM)
