"""Columns that no state of the material explains, against populations of known elements."""

import json

import numpy as np
import pytest

from stemdefects.crystal import formula
from stemdefects.crystal import material as crystal
from stemdefects.inference.specimen import learned, light_levels, species
from stemdefects.models.probability.prevalence import state_prior
from stemdefects.schema import LabelsConfig

MOS2 = crystal.load("mos2")
STATED = state_prior(LabelsConfig(name="test"), MOS2)


def light_of(element_light, share, exponent, n=4000, scatter=0.05, seed=0):
    """Light of n metal columns, a `share` of them of an element with that light, and n of sulphur pairs."""
    rng = np.random.default_rng(seed)
    foreign = rng.random(n) < share
    metal = np.where(foreign, element_light, 1.0) + scatter * rng.standard_normal(n)
    sulphur = 2 * (16 / 42) ** exponent + scatter * rng.standard_normal(n)
    return np.concatenate([metal, sulphur]), np.repeat([0, 1], n), foreign.sum()


def found(light, site, allowed=()):
    taught = light_levels.learn(light, site, MOS2, STATED)
    return species.unnamed(light, site, taught, MOS2, STATED, np.zeros(MOS2.n_states, bool), allowed)


@pytest.mark.parametrize("exponent", [1.3, 1.6])
def test_a_dopant_that_nobody_named_is_found_with_the_detectors_own_exponent(exponent):
    light, site, n = light_of((28 / 42) ** exponent, 0.02, exponent)  # nickel
    (group,) = found(light, site, ["Ni", "Li", "Pt"])
    assert group.n == pytest.approx(n, abs=0.1 * n) and group.site == "metal"
    assert group.level == pytest.approx((28 / 42) ** exponent, abs=0.01)
    assert group.told == "Ni"
    taught = light_levels.learn(light, site, MOS2, STATED)
    value, error = species.law(taught, MOS2, np.zeros(MOS2.n_states, bool)).exponent
    assert abs(value - exponent) < error < species.EXPONENT_SPREAD


def test_what_the_light_cannot_tell_is_said_to_be_unknown():
    light, site, _ = light_of((28 / 42) ** 1.5, 0.02, 1.5)
    (group,) = found(light, site)
    assert group.told is None and "cannot tell" in group.sentence()
    assert "Ni" in [name for name, _ in group.elements]
    assert sum(p for _, p in group.elements) == pytest.approx(1, abs=0.05)
    again = species.Unnamed.from_plain(json.loads(json.dumps(group.to_plain())))
    assert again.sentence() == group.sentence()


def test_vanadium_is_no_antisite_unsaid():
    """(23/42)^1.55 = .39 of Mo is the light of two S on its place too."""
    light, site, n = light_of((23 / 42) ** 1.55, 0.015, 1.55)
    (group,) = found(light, site, ["V", "W"])
    assert group.kind == "S2_Mo" and group.told == "V" and "too many" in group.sentence()
    assert group.n == pytest.approx(n, abs=0.15 * n)


@pytest.mark.parametrize("seed", range(6))
def test_a_crystal_with_what_its_file_names_has_no_unnamed_columns(seed):
    rng = np.random.default_rng(seed)
    state = np.concatenate(
        [rng.choice(MOS2.n_states, 3000, p=np.where(MOS2.site_of_state == g, STATED, 0)) for g in (0, 1)]
    )
    signal = MOS2.intensities()
    wide = np.where(rng.random(6000) < 0.1, 2.5, 1.0)
    light = signal[state] / signal[MOS2.ideal_states].max() + 0.07 * wide * rng.standard_normal(6000)
    assert found(light, np.repeat([0, 1], 3000)) == ()


def test_the_law_covers_the_elements_of_a_real_image():
    """WSe2 with Ti on an inner and an outer detector: Se2 .69 and 1.14 of W, Ti .34 and .51."""
    wse2 = crystal.load("wse2")
    for pair, titanium in ((0.69, 0.34), (1.14, 0.51)):
        level = wse2.intensities() / wse2.intensities()[wse2.ideal_states].max()
        level[wse2.state_index("Se2")] = pair
        taught = learned.untaught(wse2, state_prior(LabelsConfig(name="test"), wse2), False).levels
        taught = taught._replace(level=level, scatter=np.full(2, 0.1))
        fitted = species.law(taught, wse2, np.zeros(wse2.n_states, bool))
        middle, spread = fitted.predicted(np.array([22]))
        assert abs(np.log(titanium) - middle[0]) < 2 * spread[0]


def test_elements_whose_light_is_alike_are_said():
    light, site, _ = light_of(1.0, 0.0, 1.5)
    taught = light_levels.learn(light, site, MOS2, STATED)
    nobody = np.zeros(MOS2.n_states, bool)
    (sentence,) = [s for s in species.alike(taught, MOS2, nobody, ["V", "Cr", "W"]) if s.startswith("metal")]
    assert "V and Cr" in sentence and "W" not in sentence.split("tell")[1]


def test_elements_that_look_alike_are_called_together():
    """A third of a posterior each is no call of its own, but that it is one of the three is one."""
    material = crystal.from_config(formula.of_species(["W", "Se", "Ti", "V", "Cr", "Mo"]))
    level = material.intensities() / material.intensities()[material.ideal_states].max()
    of = {name: material.state_index(name) for name in ("W", "Ti_on_metal", "Mo", "Se2")}
    levels = light_levels.Levels(
        level, np.array([0.05, 0.05]), np.zeros(2), np.zeros(len(level)), np.full((2, 3, 2), np.nan), np.ones(2)
    )
    found = species.mates(levels, material)
    assert (found == found.T).all() and found.diagonal().all()
    assert found[of["Ti_on_metal"]].sum() == 3, "Ti, V and Cr"
    assert found[of["Mo"]].sum() == 1 and found[of["W"]].sum() == 1 and found[of["Se2"]].sum() == 1
    sharp = species.mates(levels._replace(scatter=np.array([1e-4, 1e-4])), material)
    assert (sharp == np.eye(len(level), dtype=bool)).all()
