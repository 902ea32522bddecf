"""Where the dose comes from, and that its source and its error are carried on."""

import dataclasses

import jax
import numpy as np
import pytest

from stemdefects import config
from stemdefects.analysis.data import detections, scales
from stemdefects.crystal import material as crystals
from stemdefects.errors import UserError
from stemdefects.inference import electrons, source
from stemdefects.io.movie import Movie
from stemdefects.live.estimates import Interval, rate
from stemdefects.simulation import images

KV = {"Acquisition_instrument": {"TEM": {"beam_energy": 80.0}}}
DM = {"Acquisition_instrument": {"TEM": {"beam_current": 0.02, "dwell_time": 8e-6}}}  # nA and s, as RosettaSciIO has it


def asked(stated=None, metadata=None, **settings):
    inference = dataclasses.replace(config.load_group("inference", "default"), **settings)
    movie = Movie(np.ones((2, 8, 8)), 0.03, dose_e_per_px=stated, metadata=metadata)
    found = source.overruled(movie, inference)
    said = electrons.stated(found, inference)
    assert said.e_per_px == found.dose_e_per_px
    return said.e_per_px, said.origin


def test_a_picoampere_for_a_microsecond():
    """1 pA is 6.24 million electrons a second."""
    dose, origin = asked(current_pA=20.0, dwell_us=8.0)
    assert dose == pytest.approx(6.241509e6 * 20 * 8e-6, rel=1e-6) and origin == "current"


def test_who_is_believed():
    of_file = pytest.approx(20 * 8 * 6.241509, rel=1e-6)
    assert asked(metadata={"general": DM}) == (of_file, "current")
    assert asked(metadata={"vendor": {"Scan": {"DwellTime": "8e-06"}}}, current_pA=20.0) == (of_file, "current")
    assert asked(100.0, {"general": DM}) == (100.0, "file")  # what states the dose itself is believed first
    assert asked(100.0, {"general": DM}, current_pA=40.0) == (pytest.approx(2 * 20 * 8 * 6.241509, rel=1e-6), "current")
    assert asked(100.0, {"general": DM}, dose_e_per_px=7.0, current_pA=40.0) == (7.0, "user")
    assert asked() == (None, "unknown")
    nothing = {"general": {"Acquisition_instrument": {"TEM": {"beam_current": 0.0, "dwell_time": 8e-6}}}}
    assert asked(metadata=nothing) == (None, "unknown")
    with pytest.raises(UserError, match=r"inference\.dwell_us"):
        asked(current_pA=20.0)


def test_its_error_is_carried_on():
    rows = detections.Detections(np.zeros(0), 3, np.arange(3.0), 0.03, 0.01, 1.0, "x")
    rows.attrs.update(dose_e_per_px=90.0, dose_origin="current", dose_relative_sigma=0.1)
    found = scales.dose(rows, config.load_group("analysis", "default"))
    assert found.e_per_nm2_per_frame == pytest.approx(90 / 0.0009)
    assert found.relative_sigma == pytest.approx(np.hypot(0.02, 0.1)) and "current" in found.source
    plain = rate(100, 1.0)
    wide, rng = plain.widened(0.1), np.random.default_rng(0)
    draws = rng.gamma(100.5, size=200_000) * np.exp(0.1 * rng.standard_normal(200_000))
    np.testing.assert_allclose((wide.low, wide.high), np.quantile(draws, [0.025, 0.975]), rtol=0.02)
    assert plain.widened(0.0) == pytest.approx(plain)
    assert Interval(0.0, 0.0, 3.0).widened(0.1).high > 3


@pytest.fixture(scope="module")
def ws2():
    return crystals.from_config(config.load_group("material", "ws2_mo"))


def crystal(seed, mean_e, counts=1.0, dark=0.0, kept=0.0, read_e=0.0, pulses=0.0, n=4, side=160):
    """Frames of a lattice by a detector that is known: electrons are counted, their pulses differ, and a share `kept`
    of the signal stays for the next pixel."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side].astype(float)
    waves = [np.cos(2 * np.pi * (y * np.sin(t) + x * np.cos(t)) / 9.0) for t in np.arange(3) * np.pi / 3 + 0.1]
    expected = mean_e * (1 + 0.25 * sum(waves))
    out = []
    for _ in range(n):
        arrived = rng.poisson(expected)
        signal = arrived + rng.normal(size=expected.shape) * np.sqrt(pulses**2 * arrived + read_e**2)
        for k in range(1, side if kept else 0):
            signal[:, k] = kept * signal[:, k - 1] + (1 - kept) * signal[:, k]
        out.append(counts * signal + dark)
    return np.array(out, np.float32)


@pytest.mark.parametrize(
    "detector",
    [
        {"mean_e": 3.0},
        {"mean_e": 30.0, "counts": 7.0},
        {"mean_e": 12.0, "counts": 0.01, "read_e": 1.0},
        {"mean_e": 12.0, "counts": 20.0, "kept": 0.3},
        {"mean_e": 12.0, "counts": 2.0, "pulses": 0.7},
    ],
)
def test_the_gain_is_in_the_noise(detector):
    seen = electrons.transfer(crystal(1, **detector))
    true = detector.get("counts", 1.0) * (1 + detector.get("pulses", 0.0) ** 2)
    assert abs(seen.counts / true - 1) < (0.12 if "kept" in detector else 0.06)  # afterglow left alone: 0.55
    assert seen.error < 0.05 * true and seen.dark == pytest.approx(0, abs=0.15 * seen.level)


def test_a_dark_level_is_found():
    seen = electrons.transfer(crystal(2, 20.0, counts=5.0, dark=300.0))
    assert seen.dark == pytest.approx(300, abs=20) and seen.level - seen.dark == pytest.approx(100, rel=0.2)


def test_noise_that_is_not_of_counting_says_nothing():
    frames = crystal(3, 12.0)
    smooth = (frames[:, 1:] + frames[:, :-1]) / 2  # neighbouring rows share electrons
    assert electrons.transfer(smooth) is None
    assert electrons.transfer(np.random.default_rng(0).poisson(9.0, (4, 160, 160)).astype(np.float32)) is None
    assert electrons.transfer(np.ones((2, 160, 160), np.float32)) is None


def measured(material, frames, metadata=None, **settings):
    inference = dataclasses.replace(config.load_group("inference", "default"), **settings)
    return electrons.of_movie(Movie(frames, 0.03, metadata=metadata), inference, material, frames)


def test_the_detector_says_the_dose(ws2):
    frames = crystal(4, 12.0, counts=5.0)
    whole = measured(ws2, frames, counts_per_electron=5.0, beam_counts=6000.0)
    assert whole == (1200.0, "detector", None, "")
    by_noise = measured(ws2, frames, beam_counts=6000.0)  # the gain alone is not known
    assert by_noise.origin == "noise" and by_noise.e_per_px == pytest.approx(1200 * electrons.PULSES, rel=0.08)
    assert electrons.PULSES_ERROR < by_noise.relative_sigma < 0.21 and "counts" in by_noise.detail
    known = measured(ws2, frames, counts_per_electron=5.0, metadata={"general": KV})
    scattered = ws2.intensities(80.0)[ws2.ideal_states].sum() * ws2.cross_section_nm2(80.0) / ws2.cell_area_nm2
    assert known.origin == "detector"
    assert known.e_per_px == pytest.approx(12 / scattered / (1 + electrons.FILM), rel=0.02)
    assert measured(ws2, frames, dose_e_per_px=7.0).origin == "user"
    assert measured(ws2, frames, dose_relative_sigma=0.1).relative_sigma == 0.1


def test_simulated_movies_have_the_dose_that_their_noise_says(ws2, dose=400.0):
    """Probes, films, scans and detectors of the training simulation, drawn at random: within the error that is
    stated."""
    cfg = config.load_group("simulation", "train")
    cfg.regions = dataclasses.replace(cfg.regions, hole_probability=0.0, amorphous_probability=0.0)
    simulate = jax.jit(images.make_simulator(ws2, cfg, size_px=(192, 192)))
    off = []
    for seed in range(8):
        frame = np.asarray(simulate(jax.random.key(seed), dose)[0], np.float32).reshape(1, 192, 192)
        found = measured(ws2, frame)
        if found.e_per_px is not None:
            off.append(np.log(found.e_per_px / dose) / found.relative_sigma)
    assert len(off) >= 6, off
    assert np.mean(np.abs(off) < 2) >= 0.75 and abs(np.median(off)) < 1, off
