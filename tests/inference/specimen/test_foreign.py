"""Images of another crystal than the one that was said: the network's word on its columns does not count."""

import warnings

import jax
import numpy as np
import pytest
from scipy.spatial import cKDTree

from stemdefects.commands.detection import detect
from stemdefects.config import load_group
from stemdefects.crystal import material as crystal
from stemdefects.inference.specimen import light_levels
from stemdefects.io.movie import Movie
from stemdefects.io.tables import quality_flags
from stemdefects.simulation.images import make_simulator

WS2 = crystal.load("ws2_mo")


@pytest.mark.parametrize(("ratio", "foreign"), [(0.18, False), (0.30, False), (0.42, True), (0.08, True)])
def test_a_sublattice_that_no_network_has_seen_so_bright_is_told(ratio, foreign):
    from stemdefects.models.probability.prevalence import state_prior
    from stemdefects.schema import LabelsConfig

    rng = np.random.default_rng(0)
    light = np.concatenate([1 + 0.05 * rng.standard_normal(500), ratio + 0.02 * rng.standard_normal(500)])
    site = np.repeat([0, 1], 500)
    levels = light_levels.learn(light, site, WS2, state_prior(LabelsConfig(name="test"), WS2))
    assert light_levels.foreign(levels, WS2).tolist() == [False, foreign]


def calls_of(shown, said, e_per_px, seed=0):
    """(vacancies called where there is one, called on ideal columns, there) in an image of `shown` read as `said`."""
    material = crystal.load(shown)
    simulate = make_simulator(material, load_group("simulation", "typical"), (256, 256))
    image, truth = jax.jit(simulate)(jax.random.key(seed), e_per_px)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = detect(
            Movie(np.asarray(image), float(truth.pixel_size_nm)),
            "auto",
            progress=False,
            material=said,
            over_time={"enabled": False},
        )
    valid = np.asarray(truth.valid)
    place, state = np.stack([truth.y_px, truth.x_px], 1)[valid], np.asarray(truth.state)[valid]
    counts, signal = material.species_counts(), material.intensities()
    ideal = material.ideal_states[material.site_of_state]
    fewer = (counts <= counts[ideal]).all(1) & (signal < signal[ideal]) & (material.site_of_state == 1)
    fewer_here = crystal.load(said)
    names = [
        k.name.encode() for k in fewer_here.kinds if k.name.startswith("V_") and fewer_here.site_of_state[k.state] == 1
    ]
    rows = found.rows[np.isin(found.rows["kind"], names)]
    away, nearest = cKDTree(place).query(np.column_stack([rows["y_px"], rows["x_px"]]))
    there, right = away < 3, fewer[state[nearest]]
    perfect = np.isin(state[nearest], material.ideal_states)
    assert found.frames["doubt"][0] & quality_flags.OTHER_CRYSTAL
    return int((there & right).sum()), int((there & perfect).sum()), int(fewer[state].sum())


@pytest.mark.parametrize(("shown", "e_per_px"), [("mos2", 2500.0), ("mose2", 400.0), ("wse2", 400.0)])
def test_the_wrong_crystal_yields_no_false_vacancies(shown, e_per_px):
    _, false, _ = calls_of(shown, "ws2_mo", e_per_px)
    assert false <= 1, f"{false} vacancies on ideal columns"


def test_vacancies_that_their_light_tells_are_found_all_the_same():
    right, false, there = calls_of("wse2", "ws2_mo", 2500.0)
    assert there >= 10 and right >= 0.6 * there and false == 0
