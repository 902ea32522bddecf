"""What stands around a column by cell numbers, against distances."""

import numpy as np

from stemdefects.crystal import lattice as geometry
from stemdefects.crystal import material as materials
from stemdefects.inference.columns.lattice import surroundings
from stemdefects.inference.columns.lattice.sites import NOWHERE


def test_medians_and_means_are_those_of_the_nearest_places():
    material = materials.load("ws2_mo")
    crystal, rng = geometry.disc(material, 4.0), np.random.default_rng(1)
    place, site, cell = crystal.position_nm, crystal.site, crystal.cell.astype(np.int32)
    values, source = rng.normal(size=len(site)), (site == 0) & (rng.random(len(site)) < 0.9)
    cell[rng.choice(len(cell), 9, replace=False)] = NOWHERE
    source &= cell[:, 0] != NOWHERE
    around = surroundings.steps(material.basis, material.basis[:1], material.lattice_nm, 36)
    middle, count = surroundings.medians(values, source, cell, site, around)
    where = np.column_stack([cell, np.zeros(len(cell), int)])[source].astype(np.int64)
    weight = 1 / (0.1 + around.away)
    mean, counted = surroundings.weighted_means(values[source], where, cell, site, around.cells, weight)
    assert (count == counted).all() and (count.min(), count.max()) == (0, 36) and (count[site == 1] < 36).any()
    off = cell[:, 0] == NOWHERE
    assert np.isnan(middle[off]).all() and np.isnan(mean[off]).all() and off.sum() == 9
    for k in np.flatnonzero(~off)[::7]:
        away = np.linalg.norm(place - place[k], axis=1)
        near = source & (away < around.away[site[k], -1] + 1e-6)
        if site[k] == 1:  # a full shell of 36
            assert count[k] == near.sum()
            np.testing.assert_allclose(middle[k], np.median(values[near]), atol=1e-6)
            np.testing.assert_allclose(mean[k], np.average(values[near], weights=1 / (0.1 + away[near])))
