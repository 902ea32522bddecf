"""Where the dose comes from, and that its source and its error are carried on."""

import dataclasses

import numpy as np
import pytest

from stemdefects import config
from stemdefects.analysis.data import detections, scales
from stemdefects.errors import UserError
from stemdefects.inference import source
from stemdefects.io.movie import Movie
from stemdefects.live.estimates import Interval, rate

DM = {"Acquisition_instrument": {"TEM": {"beam_current": 0.02, "dwell_time": 8e-6}}}  # nA and s, as RosettaSciIO has it


def asked(stated=None, metadata=None, **settings):
    inference = dataclasses.replace(config.load_group("inference", "default"), **settings)
    movie = Movie(np.ones((2, 8, 8)), 0.03, dose_e_per_px=stated, metadata=metadata)
    found = source.overruled(movie, inference)
    return found.dose_e_per_px, source.dose_origin(found, inference)


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
