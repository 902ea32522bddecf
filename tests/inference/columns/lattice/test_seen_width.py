"""How wide columns are seen, against images whose width is known, and what that hides of a vacancy."""

import numpy as np
import pytest

from stemdefects.crystal import bragg
from stemdefects.crystal import material as crystal
from stemdefects.inference.columns import column_intensity
from stemdefects.inference.columns.lattice import seen_width

PIXEL_NM, SIZE = 0.03, 240


def drawn(material, width_nm, noise=0.0, moved_nm=0.0):
    """Image of the material's lattice, its columns Gaussians of this width; places (n, 2), sublattices (n,), lattice
    vectors in px. moved_nm: how far the neighbours of one column of the second sublattice, which has no light, moved
    towards it; None: that column is whole."""
    vectors = material.lattice_nm / PIXEL_NM @ bragg.rotation(0.3)
    cells = np.stack(np.meshgrid(*[np.arange(-40, 40)] * 2, indexing="ij"), -1).reshape(-1, 2)
    place = ((cells[:, None] + material.basis) @ vectors).reshape(-1, 2) + SIZE / 2
    site = np.tile([0, 1], len(cells))
    inside = ((place > -5) & (place < SIZE + 5)).all(1)
    place, site = place[inside], site[inside]
    light = material.intensities()[material.ideal_states][site].copy()
    stands = place.copy()
    if moved_nm is not None:
        gone = np.flatnonzero(site == 1)[np.hypot(*(place[site == 1] - SIZE / 2).T).argmin()]
        light[gone] = 0.0
        away = np.hypot(*(place - place[gone]).T) * PIXEL_NM
        beside = (away > 0.01) & (away < 1.1 * away[site == 0].min())
        step = place[gone] - place[beside]
        stands[beside] += step / np.linalg.norm(step, axis=1, keepdims=True) * moved_nm / PIXEL_NM
    image, y = np.zeros((SIZE, SIZE)), np.arange(SIZE)
    for (a, b), one in zip(stands, light, strict=True):
        wy, wx = (np.exp(-0.5 * ((y - c) * PIXEL_NM / width_nm) ** 2) for c in (a, b))
        image += one / width_nm**2 * 1e-3 * np.outer(wy, wx)
    rng = np.random.default_rng(1)
    image = image + 0.2 + noise * image.std() * rng.standard_normal(image.shape)
    within = ((place > 3) & (place < SIZE - 4)).all(1)
    return image.astype(np.float32), place[within], site[within], vectors


@pytest.mark.parametrize("name", ["ws2_mo", "mose2"])
@pytest.mark.parametrize("width_nm", [0.035, 0.05, 0.06])
def test_the_width_is_found_whatever_the_noise(name, width_nm):
    material = crystal.load(name)
    image, place, site, vectors = drawn(material, width_nm, noise=1.0)
    found = seen_width.nm(image, place, site, material, vectors)
    assert found == pytest.approx(width_nm, abs=0.005)
    assert np.isnan(seen_width.nm(image, place[:20], site[:20], material, vectors)), "too few"
    graphene = crystal.load("graphene_si")
    assert np.isnan(seen_width.nm(image, place, site, graphene, vectors)), "no columns brighter than others"


def test_neighbours_that_moved_hide_part_of_a_vacancy_the_wider_they_are_seen():
    ws2 = crystal.load("ws2_mo")
    empty = ws2.state_index("V_chalcogen")
    hidden = []
    for width_nm in (0.04, 0.06):
        seen = []
        for moved in (None, 0.0, -ws2.states[empty].relax_nm):
            image, place, site, _ = drawn(ws2, width_nm, moved_nm=moved)
            middle = np.flatnonzero(site == 1)[np.hypot(*(place[site == 1] - SIZE / 2).T).argmin()]
            width_px = column_intensity.WIDTH_NM / PIXEL_NM
            seen.append(column_intensity.smoothed(image, place[middle : middle + 1], width_px)[0])
        true = (seen[2] - seen[1]) / (seen[0] - seen[1])
        missing = seen_width.missing(width_nm, ws2)
        assert 1 - missing[empty] == pytest.approx(seen_width.UNSEEN * true, rel=0.25)  # moves of 10 pm, to first order
        hidden.append(true)
        other = np.delete(missing, [empty, ws2.state_index("S"), ws2.state_index("V_metal")])
        assert (other == 1).all()
    assert hidden[1] > 1.5 * hidden[0]
    assert (seen_width.missing(np.nan, ws2) == 1).all()
    weight = seen_width.counting(np.array([1.0, 0.85, 0.5]), 2 / 3)
    assert weight[0] == 1 and 0 < weight[1] < 1 and weight[2] == 0
