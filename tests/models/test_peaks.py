"""Peaks of perfect maps are the columns themselves."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemdefects.crystal import material as crystal
from stemdefects.models.peaks import MapsOf, find_peaks, local_maxima
from stemdefects.models.probability.states import site_mask
from stemdefects.models.unet import N_REGIONS, Outputs

SIGMA = 2.0


def perfect_maps(yx, site, state, material, side, stride):
    """Maps of a network that knows the truth, by brute force over cells."""
    cells = side // stride
    centre = np.stack(np.mgrid[:cells, :cells], -1) * stride + (stride - 1) / 2
    presence = np.full((cells, cells, material.n_sites), 1e-6)
    offset = np.zeros((cells, cells, material.n_sites, 2))
    logits = np.zeros((cells, cells, material.n_states))
    for g in range(material.n_sites):
        mine = np.flatnonzero(site == g)
        difference = yx[mine][None, None] - centre[:, :, None]
        squared = (difference**2).sum(-1)
        nearest = squared.argmin(-1)
        presence[..., g] = np.clip(np.exp(-squared.min(-1) / (2 * SIGMA**2)), 1e-6, 1 - 1e-6)
        offset[:, :, g] = np.take_along_axis(difference, nearest[:, :, None, None], 2)[:, :, 0]
        own = np.flatnonzero(material.site_of_state == g)
        logits[..., own] = 20.0 * (state[mine][nearest][..., None] == own)
    region = np.zeros((cells, cells, N_REGIONS))
    region[..., 0] = 9
    region[: cells // 2, :, :] = np.eye(N_REGIONS)[2] * 9
    log_sigma = np.full((cells, cells, material.n_sites), np.log(0.3))
    maps = (np.log(presence / (1 - presence)), logits, offset, log_sigma, region)
    return Outputs(*(jnp.asarray(m, jnp.float32) for m in maps))


@pytest.fixture(scope="module", params=[(1.0, 2), (0.8, 2), (1.0, 4)], ids=["stride2", "dense", "stride4"])
def scene(request):
    scale, stride = request.param
    material, side = crystal.load("ws2_mo"), 96
    rng = np.random.default_rng(3)
    ij = np.stack(np.meshgrid(np.arange(-15, 25), np.arange(-15, 25), indexing="ij"), -1).reshape(-1, 2)
    yx, site = [], []
    for g, s in enumerate(material.sites):
        place = (ij + np.array(s.position)) @ material.lattice_nm / 0.03 * scale
        yx.append(place + rng.normal(0, 0.3, place.shape))
        site.append(np.full(len(ij), g))
    yx, site = np.concatenate(yx), np.concatenate(site)
    inside = ((yx > 4) & (yx < side - 5)).all(1)
    yx, site = yx[inside], site[inside]
    state = np.array([rng.choice(np.flatnonzero(material.site_of_state == g)) for g in site])
    maps = perfect_maps(yx, site, state, material, side, stride)
    finder = jax.jit(
        lambda o: find_peaks(o, MapsOf(stride, site_mask(material.site_of_state, material.n_sites)), max_peaks=700)
    )
    return material, yx, site, state, finder(maps)


def test_perfect_maps_give_every_column_exactly_once(scene):
    _, yx, site, state, peaks = scene
    valid = np.asarray(peaks.valid)
    found = np.stack([peaks.y_px, peaks.x_px], 1)[valid]
    assert valid.sum() == len(yx)
    distance = np.linalg.norm(yx[:, None] - found[None], axis=-1)
    distance[site[:, None] != np.asarray(peaks.site)[valid][None]] = np.inf
    assert distance.min(1).max() < 1e-4  # px
    match = distance.argmin(1)
    assert len(set(match)) == len(yx)
    assert (np.asarray(peaks.state_prob)[valid][match].argmax(1) == state).all()
    np.testing.assert_allclose(np.asarray(peaks.sigma_px)[valid], 0.3, rtol=1e-5)
    # wherever in its cell a column lies, its presence is the same
    np.testing.assert_allclose(np.asarray(peaks.presence)[valid], 1.0, atol=2e-3)
    assert (np.asarray(peaks.region)[valid][match] == np.where(yx[:, 0] < 48, 2, 0)).mean() > 0.97


def test_posterior_stays_within_the_site(scene):
    material, *_, peaks = scene
    valid = np.asarray(peaks.valid)
    own = site_mask(material.site_of_state, material.n_sites)[np.asarray(peaks.site)]
    prob = np.asarray(peaks.state_prob)
    np.testing.assert_allclose(prob[valid].sum(1), 1, atol=1e-5)
    assert (prob[~own] == 0).all()


def test_plateau_counts_once():
    score = np.zeros((6, 6, 1), np.float32)
    score[2:4, 2:4] = 0.9
    found = np.asarray(local_maxima(jnp.asarray(score)))
    assert found[2:4, 2:4].sum() == 1


def test_nothing_there_gives_nothing():
    material = crystal.load("ws2_mo")
    shape = (8, 8)
    empty = Outputs(
        jnp.full((*shape, 2), -9.0),
        jnp.zeros((*shape, material.n_states)),
        jnp.zeros((*shape, 2, 2)),
        jnp.zeros((*shape, 2)),
        jnp.zeros((*shape, N_REGIONS)),
    )
    mask = site_mask(material.site_of_state, material.n_sites)
    peaks = find_peaks(empty, MapsOf(2, mask), max_peaks=1000)
    assert not np.asarray(peaks.valid).any()
    assert len(peaks.y_px) == 8 * 8 * 2  # no more than there are cells
