"""What is measured of how frames were made, against images of a few lines that share no code with the simulator."""

import dataclasses

import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.io.movie import Movie
from stemdefects.labels.fourier.periodic.lattice import find_lattice
from stemdefects.labels.fourier.periodic.residual import take_apart
from stemdefects.labels.imaging import around, measured, photon_transfer, unit_cell

SIGMA = 1 / (2 * np.sqrt(2 * np.log(2)))
A_NM = 0.3153


def image(seed=0, side=224, pixel_nm=0.03, ratio=0.18, fwhm_nm=0.1, jitter_px=0.4, counts=20.0, film=0.2):
    """(side, side) counts of a hexagonal lattice of two sublattices, the second `ratio` as bright, seen by a Gaussian
    probe; `counts` of the crystal's mean, rows displaced, a Poisson number in each pixel."""
    rng = np.random.default_rng(seed)
    turn = rng.uniform(0, np.pi / 3)
    vectors = np.array([[0, 1], [np.sqrt(0.75), 0.5]]) @ np.array(
        [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    )
    vectors *= A_NM / pixel_nm
    shift = rng.normal(0, jitter_px, side)
    rows, sigma = np.arange(side), fwhm_nm * SIGMA / pixel_nm
    mean = np.zeros((side, side))
    cells = np.stack(np.meshgrid(*[np.arange(-60, 61)] * 2, indexing="ij"), -1).reshape(-1, 2)
    for place, light in ((0.1, 1.0), (0.1 + 1 / 3, ratio)):
        yx = (cells + place) @ vectors + side / 2
        for y, x in yx[((yx > -8) & (yx < side + 8)).all(1)]:
            near = slice(max(int(y) - 8, 0), max(int(y) + 9, 0))
            along = np.exp(-0.5 * ((rows[None] - x - shift[near, None]) / sigma) ** 2)
            mean[near] += light * np.exp(-0.5 * ((rows[near, None] - y) / sigma) ** 2) * along
    return rng.poisson(counts * (mean / mean.mean() + film)).astype(np.float32)


@pytest.fixture(scope="module")
def ws2():
    return crystal.load("ws2_mo"), config.load_group("simulation", "train")


def transfer(fwhm_nm, frequency_nm):
    return np.exp(-2 * (np.pi * SIGMA * fwhm_nm * frequency_nm) ** 2)


@pytest.mark.parametrize("changed", [{}, {"ratio": 0.3, "fwhm_nm": 0.12, "jitter_px": 0.1}, {"counts": 4.0}])
def test_a_single_image_says_how_it_was_made(ws2, changed):
    wanted = {"ratio": 0.18, "fwhm_nm": 0.1, "jitter_px": 0.4, "counts": 20.0} | changed
    found = measured.of_frame(image(1, **changed), None, *ws2)
    material = ws2[0]
    of_file = np.divide(*material.intensities()[material.ideal_states][::-1])
    assert found.told
    assert found.cell.signals[1] * of_file == pytest.approx(wanted["ratio"], rel=0.08 if wanted["counts"] > 10 else 0.2)
    assert found.pixel_nm == pytest.approx(0.03, rel=0.005)
    assert found.row_jitter_px == pytest.approx(wanted["jitter_px"], rel=0.15, abs=0.03)
    assert found.cell.mean == pytest.approx(wanted["counts"], rel=0.25)  # counts at no harmonic: as the probe falls off
    assert found.film == pytest.approx(0.2, abs=0.25)
    # electrons that make the counts, by what the crystal scatters: the pulses of this detector are all alike
    electrons = wanted["counts"] / measured._scattered(material) * measured.PULSES
    assert found.dose_e_per_px == pytest.approx(electrons, rel=0.35)


def test_the_probe_falls_as_the_true_one(ws2):
    """At the first two rings of the crystal, whatever the fit makes of it: focus and source size do much the same."""
    import jax

    from stemdefects.simulation.optics import probe as optics

    material, simulation = ws2
    for fwhm_nm in (0.09, 0.12):
        cell = measured.of_frame(image(2, fwhm_nm=fwhm_nm), None, material, simulation).cell
        kv, angle = (float(np.mean(r)) for r in (simulation.view.voltage_kv, simulation.probe.semi_angle_mrad))
        drawn = optics.Probe(kv, angle, cell.C10_nm, cell.C12_nm, 0.0, cell.C21_nm, 0.0, cell.C23_nm, 0.0, 0.0, 0.0)
        point = np.asarray(jax.jit(optics.psf, static_argnums=1)(drawn, 128, 0.01))
        at = np.fft.fftfreq(128, 1 / (128 * 0.01))  # nm
        rings = np.array([1.0, np.sqrt(3)]) / (A_NM * np.sqrt(0.75))
        seen = np.array([np.abs((point * np.exp(-2j * np.pi * k * at)).sum()) for k in rings])
        seen *= transfer(np.hypot(cell.source_fwhm_nm, simulation.probe.thermal_nm / SIGMA), rings)
        true = transfer(fwhm_nm, rings)
        assert seen[1] / seen[0] == pytest.approx(true[1] / true[0], rel=0.08)


def test_fine_images_are_measured_as_the_network_is_shown_them(ws2):
    """Twice as many pixels of a quarter of the counts are the same image."""
    coarse = measured.of_frame(image(3, counts=20.0), None, *ws2)
    fine = measured.of_frame(image(3, side=448, pixel_nm=0.015, counts=5.0), None, *ws2)
    assert fine.pixel_nm == pytest.approx(0.027)
    assert fine.dose_e_per_px == pytest.approx(coarse.dose_e_per_px * (0.027 / 0.03) ** 2, rel=0.3)
    assert fine.cell.source_fwhm_nm == pytest.approx(coarse.cell.source_fwhm_nm, abs=0.02)


def test_the_simulation_is_drawn_around_it(ws2):
    material, simulation = ws2
    frames = np.stack([image(k, fwhm_nm=f, ratio=0.25) for k, f in ((4, 0.1), (5, 0.11))])
    found, lost = measured.of_movie(Movie(frames), material, simulation, "day")
    assert len(found) == 2 and not lost
    of_material = config.load_group("material", "ws2_mo")
    made = around.around(found, simulation, of_material, material, material)
    for value, (low, high) in (
        (0.03, made.simulation.view.pixel_size_nm),
        (0.4, made.simulation.scan.row_jitter_px),
        (made.dose_e_per_px, made.simulation.detector.dose_e_per_px),
    ):
        assert low < value < high
    wide, narrow = (s.probe.source_fwhm_nm for s in (simulation, made.simulation))
    assert narrow[1] - narrow[0] < 0.7 * (wide[1] - wide[0])
    config.check(made.simulation)
    adapted = crystal.from_config(made.material)
    signal = adapted.intensities()[adapted.ideal_states]
    assert signal[1] / signal[0] == pytest.approx(0.25, rel=0.08)
    assert of_material.species["S"].intensity[0] == pytest.approx(0.084)  # the file's own stays as it is
    assert any("S2" in line for line in made.notes) and not made.warnings


def test_what_probe_and_signals_cannot_explain_stays_as_it_was(ws2):
    material, simulation = ws2
    one = measured.of_frame(image(6), None, material, simulation)
    one = one._replace(cell=one.cell._replace(misfit=0.5))
    made = around.around([one], simulation, config.load_group("material", "ws2_mo"), material, material)
    assert made.simulation.probe == simulation.probe and made.warnings
    assert made.simulation.detector.background == simulation.detector.background
    assert made.simulation.scan != simulation.scan


def test_a_network_of_many_crystals_gets_the_signals_of_this_one(ws2):
    simulation, shown = ws2[1], crystal.load("wse2")
    of_network = config.load_group("material", "tmd")
    one = measured.of_frame(image(7, ratio=0.75, fwhm_nm=0.09), None, shown, simulation)
    made = around.around([one], simulation, of_network, crystal.from_config(of_network), shown)
    ((low, high),) = made.material.species["X"].ranges
    assert low < 0.75 / 2 < high and high / low < 2


def test_another_crystal_is_said_so(ws2):
    material, simulation = ws2
    y, x = np.mgrid[:224, :224]
    square = 5 + 40 * (np.cos(2 * np.pi * y / 9.3) ** 8 * np.cos(2 * np.pi * x / 9.3) ** 8)
    square = np.random.default_rng(0).poisson(square).astype(np.float32)
    with pytest.raises(UserError, match=r"symmetry.*labels=fourier"):
        measured.of_movie(Movie(square[None]), material, simulation, "square")
    noise = np.random.default_rng(0).poisson(9.0, (224, 224)).astype(np.float32)
    with pytest.raises(UserError, match=r"noise\.tif: none of 1 frame.*no lattice"):
        measured.of_movie(Movie(noise[None]), material, simulation, "noise.tif")
    alike = measured.of_frame(image(8, ratio=0.95), None, material, simulation)  # as graphene is
    of_material = config.load_group("material", "ws2_mo")
    with pytest.raises(UserError, match=r"another crystal.*labels=fourier"):
        around.around([alike], simulation, of_material, material, material)
    # frames that say nothing do not spoil the others
    found, lost = measured.of_movie(Movie(np.stack([image(9), noise])), material, simulation, "both")
    assert len(found) == 1 and len(lost) == 1


def test_filtered_noise_tells_no_dose(ws2):
    from scipy import ndimage

    smooth = ndimage.gaussian_filter(image(10), 1.0)
    one = measured.of_frame(smooth, None, *ws2)
    assert one.dose_e_per_px is None and photon_transfer.transfer(smooth[None]) is None
    made = around.around([one], ws2[1], config.load_group("material", "ws2_mo"), ws2[0], ws2[0])
    assert made.dose_e_per_px is None
    assert made.simulation.detector.dose_e_per_px == ws2[1].detector.dose_e_per_px


def test_harmonics_are_those_of_the_picture():
    """A picture of three cosines: their amplitudes come back, halved, whatever the origin."""
    y, x = np.mgrid[:200, :200]
    b = np.array([[0.1, 0.01], [0.02, 0.09]])
    amplitudes = {(1, 0): 4.0, (0, 1): 6.0, (1, 1): 2.0}
    picture = 50 + sum(
        a * np.cos(2 * np.pi * ((np.array(hk) @ b) @ [y.ravel(), x.ravel()])) for hk, a in amplitudes.items()
    )
    picture = picture.reshape(200, 200) + np.random.default_rng(0).normal(0, 1, (200, 200))
    lattice = find_lattice(picture.astype(np.float32))
    parts = take_apart(picture.astype(np.float32), lattice)
    hk, value, sigma = unit_cell.harmonics(picture, parts, lattice)
    length = np.abs(value)
    found = sorted(length, reverse=True)[:3]
    assert found == pytest.approx([3.0, 2.0, 1.0], rel=0.05)
    assert (np.sort(length)[:-3] < 4 * sigma[0]).all()
    assert len(hk) == len(value)


def test_the_config_is_replaced_not_changed(ws2):
    material, simulation = ws2
    before = dataclasses.asdict(simulation)
    one = measured.of_frame(image(11), None, material, simulation)
    around.around([one], simulation, config.load_group("material", "ws2_mo"), material, material)
    assert dataclasses.asdict(simulation) == before
