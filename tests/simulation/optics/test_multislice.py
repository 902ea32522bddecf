"""The renderer against another simulator's multislice images (skipped where the shared data are not)."""

from pathlib import Path

import numpy as np
import pytest

from stemdefects.simulation.optics import multislice

REFERENCE = Path(__file__).parents[4] / "shared" / "data" / "multislice" / "ws2_multislice.h5"
pytestmark = pytest.mark.skipif(not REFERENCE.exists(), reason=f"no reference images at {REFERENCE}")


@pytest.fixture(scope="module")
def cases():
    return multislice.read(REFERENCE)


def test_stated_columns_reproduce_multislice_as_well_as_any_probe_could(cases):
    """Three intensities and one width for all six, against two free kernels fitted to each image alone.

    The free kernels stay below correlations of .996 and .998: the reference averages only three phonon configurations.
    """
    rows = multislice.compare(REFERENCE)
    assert len(rows) == 6
    assert 0.40 < rows[0]["Mo/W"] < 0.46 and 0.15 < rows[0]["S2/W"] < 0.19
    for number in (0, 3):
        (best,) = multislice.limit(REFERENCE, only=[number])
        assert best["correlation"] < 0.996 and best["blurred_correlation"] < 0.998
        assert rows[number]["correlation"] > best["correlation"] - 0.0025
        assert rows[number]["blurred_correlation"] > best["blurred_correlation"] - 0.0015


def test_with_each_columns_thermal_displacement_the_bars_hold():
    """What is left without the displacements that the reference froze in: correlation .996 and .998, RMSE/std .08."""
    rows = multislice.compare(REFERENCE, thermal=True, only=[0, 2, 4])
    assert min(r["correlation"] for r in rows) > 0.998
    assert min(r["blurred_correlation"] for r in rows) > 0.998
    assert max(r["rmse_over_std"] for r in rows) < 0.06
    assert max(r["blurred_rmse_over_std"] for r in rows) < 0.06


def test_thermal_noise_of_that_size_alone_costs_our_own_images_as_much(cases):
    """Our image of three phonon configurations (6.4 pm per axis) against our image of the mean positions."""
    case, rng = cases[0], np.random.default_rng(0)
    ratios = np.array([1.0, 0.44, 0.17, 0.08])
    plain = np.tensordot(ratios, multislice.layers(case, 0.009), 1)
    sigma_px = 0.0064 / case.pixel_size_nm
    places = [case.yx_px + rng.normal(0, sigma_px, case.yx_px.shape) for _ in range(3)]
    shaken = np.mean([np.tensordot(ratios, multislice.layers(case, 0.0064, place), 1) for place in places], 0)
    score = multislice.scores(shaken, plain, case.pixel_size_nm)
    assert 0.985 < score["correlation"] < 0.996
    assert 0.990 < score["blurred_correlation"] < 0.998


def test_a_mirrored_probe_or_wrong_aberrations_fit_worse(cases):
    case = cases[2]  # coma 23 nm
    ratios, _ = multislice.fit([case], [multislice.layers(case, 0.009)])
    right = multislice.scores(case.image, np.tensordot(ratios, multislice.layers(case, 0.009), 1), case.pixel_size_nm)
    flipped = case.probe._replace(phi21_rad=case.probe.phi21_rad + np.pi, phi23_rad=case.probe.phi23_rad + np.pi)
    wrong_case = multislice.Case(case.image, case.pixel_size_nm, case.yx_px, case.species, flipped)
    wrong = np.tensordot(ratios, multislice.layers(wrong_case, 0.009), 1)
    assert multislice.scores(case.image, wrong, case.pixel_size_nm)["correlation"] < right["correlation"] - 0.01
