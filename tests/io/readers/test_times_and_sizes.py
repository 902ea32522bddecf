"""Times, pixel sizes and doses: as the file states or records them, or unknown."""

import json
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import tifffile

from stemdefects import config
from stemdefects.errors import UserError
from stemdefects.io import movie as movies
from stemdefects.io import opening

STACK = np.random.default_rng(0).integers(0, 4000, (5, 24, 32)).astype(np.uint16)
PAUSE = np.array([0.0, 2.25, 4.5, 904.5, 906.75])


def imagej(path, resolution=(1 / 0.03, 1 / 0.03), **metadata):
    tifffile.imwrite(path, STACK, imagej=True, resolution=resolution, metadata={"axes": "TYX"} | metadata)
    return opening.read(path)


@pytest.mark.parametrize(
    "fields,seconds",
    [
        ({"fps": 7}, None),
        ({"fps": 7, "finterval": 2.25}, 2.25),
        ({"finterval": 2250, "tunit": "ms"}, 2.25),
        ({"finterval": 0.5, "tunit": "min"}, 30.0),
        ({"finterval": 5, "tunit": "\\u00B5s"}, 5e-6),
        ({"finterval": 0.0}, None),
        ({"finterval": 3, "tunit": "frames"}, None),
        ({"finterval": float("nan")}, None),
        ({}, None),
    ],
)
def test_imagej_states_an_interval_or_none(tmp_path, fields, seconds):
    """Its playback speed is none."""
    movie = imagej(tmp_path / "a.tif", unit="nm", **fields)
    assert movie.frame_time_s == (None if seconds is None else pytest.approx(seconds)) and movie.times_s is None


@pytest.mark.parametrize(
    "unit,nm",
    [
        ("nm", 1),
        ("micron", 1000),
        ("\\u00B5m", 1000),
        ("um", 1000),
        ("pm", 1e-3),
        ("\\u00C5", 0.1),
        ("inch", 2.54e7),
        ("pixel", None),
        ("", None),
        ("furlong", None),
    ],
)
def test_imagej_units_of_length(tmp_path, unit, nm):
    movie = imagej(tmp_path / "a.tif", (3, 2), unit=unit)
    assert movie.aspect == pytest.approx(1.5), "higher than wide, whatever the unit"
    assert movie.pixel_size_yx_nm == (None if nm is None else pytest.approx((nm / 2, nm / 3)))
    movie.pixel_size_nm = 0.03  # the user's word
    assert movie.pixel_size_yx_nm == pytest.approx((0.045, 0.03))


def ome(path, axes="TYX", data=STACK, **metadata):
    tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata={"axes": axes} | metadata)
    return opening.read(path)


@pytest.mark.parametrize(
    "unit,factor", [("ms", 1e-3), ("s", 1), ("µs", 1e-6), ("min", 60), (None, 1), ("frames", None)]
)
def test_ome_units_of_time_count(tmp_path, unit, factor):
    fields = {} if unit is None else {"TimeIncrementUnit": unit}
    movie = ome(tmp_path / "a.ome.tif", TimeIncrement=2250.0, **fields)
    assert movie.frame_time_s == (None if factor is None else pytest.approx(2250 * factor))


def test_ome_sizes_of_pixels_that_are_not_square(tmp_path):
    size = {"PhysicalSizeX": 0.00003, "PhysicalSizeY": 0.6, "PhysicalSizeYUnit": "Å"}  # micrometres where not said
    movie = ome(tmp_path / "a.ome.tif", **size)
    assert movie.pixel_size_yx_nm == pytest.approx((0.06, 0.03)) and movie.aspect == pytest.approx(2)
    assert "0.06 x 0.03 nm/px" in repr(movie)
    size = {"PhysicalSizeX": 1, "PhysicalSizeXUnit": "pixel", "PhysicalSizeY": 1, "PhysicalSizeYUnit": "pixel"}
    assert ome(tmp_path / "b.ome.tif", **size).pixel_size_nm is None


@pytest.mark.parametrize("unit,factor", [("s", 1), ("ms", 1e3)])
def test_ome_times_of_planes_are_kept_as_recorded(tmp_path, unit, factor):
    planes = {"DeltaT": list(PAUSE * factor), "DeltaTUnit": [unit] * 5}
    movie = ome(tmp_path / "a.ome.tif", Plane=planes, TimeIncrement=2.25)
    np.testing.assert_allclose(movie.times_s, PAUSE)
    assert movie.frame_time_s is None and "2.25 to 900 s apart" in repr(movie), "the stated interval is not kept"
    even = {"DeltaT": [4.0 * factor * k for k in range(5)], "DeltaTUnit": [unit] * 5}
    movie = ome(tmp_path / "b.ome.tif", Plane=even, TimeIncrement=2.25)
    assert movie.frame_time_s == pytest.approx(4.0), "what was recorded counts before what is stated"


def test_ome_times_are_those_of_the_signal_that_is_read(tmp_path):
    data = np.stack([STACK, STACK // 2])  # channels one after the other
    times = [*PAUSE, *(PAUSE + 1000)]
    movie = ome(
        tmp_path / "a.ome.tif",
        "CTYX",
        data,
        Plane={"DeltaT": times, "DeltaTUnit": ["s"] * 10},
        Channel={"Name": ["BF", "HAADF"]},
    )
    np.testing.assert_allclose(movie.times_s, PAUSE + 1000)
    np.testing.assert_allclose(opening.read(tmp_path / "a.ome.tif", "BF").times_s, PAUSE)


@pytest.mark.parametrize("times", [[0, 0, 0, 0, 0], [0, 1, 2, 3, np.nan], [5, 4, 3, 2, 1]])
def test_times_that_say_nothing_are_unknown(tmp_path, times):
    movie = ome(tmp_path / "a.ome.tif", Plane={"DeltaT": list(map(float, times)), "DeltaTUnit": ["s"] * 5})
    assert movie.times_s is None and movie.frame_time_s is None
    with pytest.raises(UserError, match="5 increasing numbers"):
        movies.Movie(STACK, times_s=times)


def test_a_plain_tiff_states_a_resolution_or_none(tmp_path):
    def read(per_unit, unit, **more):
        tifffile.imwrite(tmp_path / "a.tif", STACK[0], resolution=(per_unit, per_unit), resolutionunit=unit, **more)
        return opening.read(tmp_path / "a.tif")

    assert read(72, "INCH").pixel_size_nm is None and read(300, "CENTIMETER").pixel_size_nm is None
    assert read(1 / 0.03, "NONE").pixel_size_nm is None
    assert read(1e7 / 0.03, "CENTIMETER").pixel_size_nm == pytest.approx(0.03)
    said = {"pixel_size_nm": 0.03, "frame_time_s": 2.25, "dose_e_per_px": 800}
    movie = read(72, "INCH", description=json.dumps(said), metadata=None)
    assert (movie.pixel_size_nm, movie.frame_time_s, movie.dose_e_per_px) == (0.03, 2.25, 800)


@pytest.mark.parametrize("suffix", ["h5", "npz"])
def test_arrays_state_sizes_and_times(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    if suffix == "h5":
        with h5py.File(path, "w") as file:
            file["frames"], file["time_s"] = STACK, PAUSE
            file["frames"].attrs["pixel_size_nm"] = [0.06, 0.03]
    else:
        np.savez(path, frames=STACK, time_s=PAUSE, pixel_size_yx_nm=[0.06, 0.03])
    with opening.read(path) as movie:
        assert movie.shape == STACK.shape and movie.pixel_size_yx_nm == (0.06, 0.03)
        np.testing.assert_array_equal(movie.times_s, PAUSE)
        assert movie.frame_time_s is None


@pytest.mark.parametrize("value", [0.0, np.nan, -1.0, "", "unknown", b"0", np.inf, [0.0, 0.03]])
def test_what_a_file_leaves_out_is_unknown_and_no_error(tmp_path, value):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = STACK
        for key in ("pixel_size_nm", "frame_time_s", "dose_e_per_px"):
            file["data"].attrs[key] = value
    with opening.read(tmp_path / "a.h5") as movie:
        assert (movie.pixel_size_nm, movie.frame_time_s, movie.dose_e_per_px, movie.aspect) == (None, None, None, 1)
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file.attrs.update(pixel_size_nm="0.03", frame_time_s=2, dose_e_per_px=np.float32(800))
    with opening.read(tmp_path / "a.h5") as movie:
        assert (movie.pixel_size_nm, movie.frame_time_s, movie.dose_e_per_px) == (0.03, 2, 800), (
            "the file's own are left"
        )
    with pytest.raises(UserError, match="positive number"):
        movies.Movie(STACK, pixel_size_nm=0.0)


def test_the_users_word_overrules_the_file(tmp_path):
    from stemdefects.inference import source

    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["frames"], file["time_s"] = STACK, PAUSE
        file.attrs["dose_e_per_px"] = 400.0
    ask = config.load_group("inference", "default")
    own = source.open_input(tmp_path / "a.h5", ask)
    ask.frame_time_s, ask.dose_e_per_px = 3.0, 1200.0
    told = source.open_input(tmp_path / "a.h5", ask)
    assert (own.frame_time_s, own.dose_e_per_px) == (None, 400)
    assert (told.frame_time_s, told.times_s, told.dose_e_per_px) == (3, None, 1200)
    mine = movies.Movie(STACK, frame_time_s=1.0)
    assert source.overruled(mine, ask).frame_time_s == 3 and mine.frame_time_s == 1, "the caller's movie stays"


def test_an_unknown_dose_is_said_and_a_known_one_looked_up():
    from stemdefects.inference.columns.confusion import nearest, unsaid

    doses = {"low": 130.0, "typical": 400.0, "high": 2500.0}
    training = SimpleNamespace(validation=SimpleNamespace(doses_e_per_px=doses))
    tables = {name: {"counts": [[1]]} for name in doses}
    confusion = {"true": [], "said": [], "doses": tables}
    model = SimpleNamespace(confusion=confusion, config=SimpleNamespace(training=training))
    told = unsaid(model, None)
    assert len(told) == 1 and "400 e/px" in told[0] and "inference.dose_e_per_px=" in told[0]
    assert unsaid(model, 3000.0) == [] and nearest(model, 3000.0)["set"] == "high"
    assert unsaid(SimpleNamespace(confusion={}, config=None), None) == [], "a model without a confusion assumes none"
