"""Labels on the columns of a known crystal, against planted columns."""

import dataclasses

import numpy as np
import pytest

from stemdefects.config import load_group
from stemdefects.crystal import material as crystal
from stemdefects.crystal.lattice import disc
from stemdefects.errors import UserError
from stemdefects.labels import fourier, fourier_sites

PIXEL_NM, SIGMA, SHAPE = 0.03, 1.6, (192, 192)


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
    height = 40 * ws2.intensities(80.0)[state]
    rows = np.exp(-0.5 * ((np.arange(SHAPE[0])[:, None] - yx[:, 0]) / SIGMA) ** 2) * height
    columns = np.exp(-0.5 * ((np.arange(SHAPE[1])[:, None] - yx[:, 1]) / SIGMA) ** 2)
    frames = np.stack([20.0 * rng.poisson(rows @ columns.T + 2) + 50 for _ in range(2)]).astype(np.float32)
    return frames, yx, lattice.site, state


def test_columns_get_their_sites_and_states(planted, ws2):
    frames, yx, site, state = planted
    labels = fourier.label(frames, load_group("labels", "fourier").fourier)
    columns, told = fourier_sites.crystal_columns(labels, ws2, PIXEL_NM, load_group("labels", "simulated"))
    distance = np.linalg.norm(columns.yx[0][:, None] - yx[None], axis=2)
    nearest = distance.argmin(1)
    inner = ((columns.yx[0] > 10) & (columns.yx[0] < 181)).all(1)
    assert np.sqrt((distance.min(1)[inner] ** 2).mean()) < 0.35
    assert (site[nearest] == columns.site)[inner].all()  # metal and chalcogen are told apart
    said = inner & columns.sure[0] & (columns.state != fourier_sites.UNSTATED)
    assert said.mean() > 0.3  # the metal columns
    right = state[nearest] == columns.state
    assert right[said].mean() > 0.99
    mo = said & (state[nearest] == ws2.state_index("Mo"))
    assert mo.sum() >= 11 and right[mo].all()
    vacant = inner & (state[nearest] == ws2.state_index("V_metal"))
    # an S2 on the metal site is too rare a rival to leave vacant ones unnamed
    assert (columns.state[vacant] == ws2.state_index("V_metal")).mean() > 0.8
    # V_S cannot be told from noise: its site would be taught that there is none
    assert (columns.state[columns.site == 1] == fourier_sites.UNSTATED).all()
    assert (told.regions[0] == fourier.LATTICE).mean() > 0.8


def test_another_crystal_is_refused(planted, ws2):
    frames, *_ = planted
    labels = fourier.label(frames, load_group("labels", "fourier").fourier)
    square = np.array([[9.0, 0.0], [0.0, 9.0]])
    wrong = dataclasses.replace(labels, lattice=dataclasses.replace(labels.lattice, vectors_px=square))
    with pytest.raises(UserError, match=r"differs by .* from that of ws2_mo"):
        fourier_sites.register(wrong, ws2, PIXEL_NM)
