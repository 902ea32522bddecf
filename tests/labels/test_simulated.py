"""Targets against a brute-force oracle."""

import dataclasses
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.labels import simulated
from stemdefects.models.probability.prevalence import common_kinds, state_prior

STRIDE, SIGMA, H, W = 2, 1.7, 24, 32


@pytest.fixture(scope="module")
def truth():
    rng = np.random.default_rng(0)
    n = 40
    return SimpleNamespace(
        y_px=rng.uniform(-3, H + 2, n).astype(np.float32),
        x_px=rng.uniform(-3, W + 2, n).astype(np.float32),
        site=rng.integers(0, 2, n).astype(np.int32),
        state=rng.integers(0, 5, n).astype(np.int32),
        valid=rng.random(n) < 0.7,
        regions=jnp.asarray(rng.integers(0, 4, (H, W)), jnp.int32),
    )


@pytest.fixture(scope="module")
def targets(truth):
    made = simulated.targets(truth, n_sites=2, n_regions=4, stride=STRIDE, heat_sigma_px=SIGMA)
    return simulated.Targets(*(np.asarray(a) for a in made))


def test_heat_map_is_the_sum_of_gaussians(truth, targets):
    for i in range(H // STRIDE):
        for j in range(W // STRIDE):
            cy, cx = STRIDE * i + 0.5, STRIDE * j + 0.5
            for g in range(2):
                use = truth.valid & (truth.site == g)
                squared = (truth.y_px[use] - cy) ** 2 + (truth.x_px[use] - cx) ** 2
                expected = min(np.exp(-squared / (2 * SIGMA**2)).sum(), 1.0)
                assert targets.presence[i, j, g] == pytest.approx(expected, abs=2e-5)


def test_regions_are_area_fractions(truth, targets):
    regions = np.asarray(truth.regions)
    for i in range(H // STRIDE):
        for j in range(W // STRIDE):
            block = regions[STRIDE * i : STRIDE * (i + 1), STRIDE * j : STRIDE * (j + 1)]
            for r in range(4):
                assert targets.region[i, j, r] == pytest.approx((block == r).mean())


def test_cells_surround_their_column_and_offsets_lead_to_it(truth, targets):
    h, w = H // STRIDE, W // STRIDE
    for n in range(len(truth.y_px)):
        if not truth.valid[n]:
            assert (targets.weight[n] == 0).all()
            continue
        column = np.array([truth.y_px[n], truth.x_px[n]])
        inside_cells = 0
        for k in range(4):
            if targets.weight[n, k] == 0:
                continue
            inside_cells += 1
            i, j = divmod(int(targets.cell[n, k]), w)
            centre = STRIDE * np.array([i, j]) + (STRIDE - 1) / 2
            np.testing.assert_allclose(centre + targets.offset[n, k], column, atol=2e-5)
            distance = np.abs(column - centre) / STRIDE
            assert (distance <= 1 + 1e-5).all()
            assert targets.weight[n, k] == pytest.approx(np.prod(1 - distance), abs=1e-4)
            assert 0 <= i < h and 0 <= j < w
        deep_inside = (column > STRIDE).all() and (column < np.array([H, W]) - 1 - STRIDE).all()
        if deep_inside:
            assert targets.weight[n].sum() == pytest.approx(1.0, abs=1e-5)


def test_no_column_no_targets():
    none = SimpleNamespace(
        y_px=np.full(3, 1e9, np.float32),
        x_px=np.full(3, 1e9, np.float32),
        site=np.zeros(3, np.int32),
        state=np.zeros(3, np.int32),
        valid=np.zeros(3, bool),
        regions=jnp.ones((8, 8), jnp.int32),
    )
    made = simulated.targets(none, n_sites=2, n_regions=4, stride=2, heat_sigma_px=2.0)
    assert float(made.presence.max()) == 0 and float(made.weight.sum()) == 0
    assert np.isfinite(np.asarray(made.offset)).all()
    assert (np.asarray(made.region)[..., 1] == 1).all()


def test_prior_adds_up_within_each_site():
    material = crystal.load("ws2_mo")
    labels = config.load_group("labels", "simulated")
    prior = state_prior(labels, material)
    for g in range(material.n_sites):
        assert prior[material.site_of_state == g].sum() == pytest.approx(1)
    assert prior[material.state_index("Mo")] == material.kinds[material.kind_index("Mo_W")].prevalence
    labels.prior["V_W"] = 0.995
    with pytest.raises(UserError, match="site metal"):
        state_prior(labels, material)


def test_prevalence_is_the_materials_unless_overruled_and_never_a_guess():
    material, labels = crystal.load("wse2"), config.load_group("labels", "simulated")
    prior = state_prior(labels, material)
    for kind in material.kinds:
        assert prior[kind.state] == kind.prevalence
    labels.prior["V_Se"] = 0.07
    assert state_prior(labels, material)[material.state_index("Se")] == 0.07
    assert common_kinds(labels, material) == ["V_Se", "V_Se2", "V_W", "Mo_W"]
    unsaid = dataclasses.replace(material, kinds=tuple(dataclasses.replace(k, prevalence=None) for k in material.kinds))
    with pytest.raises(UserError, match=r"how common is V_Se2\?"):
        state_prior(labels, unsaid)
