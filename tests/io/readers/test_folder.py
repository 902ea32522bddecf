"""A folder or a pattern as a movie: natural order, each image once, names whatever signs they hold."""

import datetime

import numpy as np
import pytest
import tifffile
from PIL import Image

from stemdefects.commands.infer_many import expand
from stemdefects.errors import UserError
from stemdefects.io import opening
from stemdefects.io.readers import folder

STACK = np.random.default_rng(0).integers(0, 4000, (12, 24, 32)).astype(np.uint16)


def write(place, name, k=0):
    place.mkdir(exist_ok=True, parents=True)
    tifffile.imwrite(place / name, STACK[k])
    return place / name


@pytest.mark.parametrize("pattern", ["{}.tif", "scan {} (nm).tif", "v2_{}_60kV.tif", "{:03d}.tif", "Frame{}.TIF"])
def test_numbers_count_by_their_value(tmp_path, pattern):
    for k in range(12):
        write(tmp_path / "m", pattern.format(k + 1), k)
    movie = opening.read(tmp_path / "m")
    for k in range(12):
        np.testing.assert_array_equal(movie.frame(k), STACK[k])
    assert f"12 files from {pattern.format(1)} to {pattern.format(12)}" in repr(movie)
    suffix = pattern[-3:]
    assert opening.read(tmp_path / "m" / f"*.{suffix}").metadata["files"] == movie.metadata["files"]
    assert [str(p) for p in expand(tmp_path / "m")] == movie.metadata["files"]


def test_no_frames_are_what_systems_leave_and_images_that_are_there_twice(tmp_path):
    for k in range(3):
        write(tmp_path, f"a_{k}.tif", k)
        Image.fromarray((STACK[k] // 16).astype(np.uint8)).save(tmp_path / f"a_{k}.png")
    for name in ("._a_0.tif", ".hidden.tif", "Thumbs.db", "desktop.ini", ".DS_Store", "notes.txt", "a_0.csv"):
        (tmp_path / name).write_bytes(b"\0\1\2")
    (tmp_path / "processed.tif").mkdir()
    for source in (tmp_path, tmp_path / "*"):
        movie = opening.read(source)
        assert movie.shape == (3, 24, 32) and movie.frames.dtype == np.uint16, "the TIFF says more than the PNG"
        assert [p.name for p in expand(source)] == ["a_0.tif", "a_1.tif", "a_2.tif"]
    assert opening.read(tmp_path / "*.png").shape == (3, 24, 32)


def test_an_experiment_and_its_series_are_one(tmp_path):
    for name in ("scan.emi", "scan_1.ser", "scan_2.ser", "other_1.ser", "b.dm4", "b.tif", "b.png"):
        (tmp_path / name).write_bytes(b"\0")
    assert [p.name for p in folder.members(str(tmp_path))] == ["b.dm4", "other_1.ser", "scan.emi"]


@pytest.mark.parametrize(
    "name",
    [
        "[0001]_zone.tif",
        "~t.tif",
        "a b  c.tif",
        "x=1,y=2.tif",
        "5 µm.tif",
        "日本.tif",
        "what?.tif",
        "all*.tif",
    ],
)
def test_names_with_signs_of_patterns_are_names(tmp_path, monkeypatch, name):
    place = tmp_path / "run [2] ~"
    write(place, name)
    np.testing.assert_array_equal(opening.read(place / name).frame(0), STACK[0])
    assert expand(str(place / name)) == [place / name]
    assert opening.read(place / "*.tif").shape == (1, 24, 32), "the folder's own brackets are no pattern"
    monkeypatch.chdir(place)
    assert opening.read(name).shape == (1, 24, 32) and expand(name) == [place / name]


def test_nothing_there_is_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    no_file = ("*.tif", "~none/a.tif", "x" * 5000, "a\0b", "[")
    for name, words in (("empty", "no image files in this folder"), *((name, "no such file") for name in no_file)):
        with pytest.raises(UserError, match=words):
            opening.read(str(tmp_path / name) if not name.startswith("~") else name)


def with_date(path, image, moment):
    """An OME-TIFF that says when it was taken."""
    text = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f"<AcquisitionDate>{moment.isoformat()}</AcquisitionDate>"
        '<Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint16" SizeX="32" SizeY="24" SizeC="1" '
        'SizeZ="1" SizeT="1"><TiffData IFD="0" PlaneCount="1"/></Pixels></Image></OME>'
    )
    tifffile.imwrite(path, image, description=text, metadata=None, photometric="minisblack")


def test_times_of_acquisition_are_times_and_those_of_files_are_none(tmp_path):
    start = datetime.datetime(2026, 3, 1, 12, 0, 0)

    def read(name, seconds):
        (tmp_path / name).mkdir()
        for k, second in enumerate(seconds):
            with_date(tmp_path / name / f"{k}.ome.tif", STACK[k], start + datetime.timedelta(seconds=second))
        return opening.read(tmp_path / name)

    movie = read("pause", [0.0, 2.5, 5.0, 905.0])
    np.testing.assert_allclose(movie.times_s, [0, 2.5, 5, 905])
    assert movie.frame_time_s is None and "acquisition" in movie.remarks[0]
    movie = read("rounded", [round(2.25 * k) for k in range(9)])
    assert movie.frame_time_s == pytest.approx(2.25, abs=0.01) and movie.times_s is None, "clocks of whole seconds"
    assert read("copied", [0.0, 0.0, 0.0]).frame_time_s is None
    write(tmp_path / "plain", "1.tif"), write(tmp_path / "plain", "2.tif")
    movie = opening.read(tmp_path / "plain")
    assert movie.frame_time_s is None and movie.times_s is None


def test_another_pixel_size_in_the_folder_is_said(tmp_path):
    for k, size in enumerate((0.03, 0.03, 0.04)):
        tifffile.imwrite(
            tmp_path / f"{k}.tif", STACK[k], imagej=True, resolution=(1 / size, 1 / size), metadata={"unit": "nm"}
        )
    movie = opening.read(tmp_path)
    assert movie.pixel_size_nm == pytest.approx(0.03) and "1 of 3 files state another pixel size" in movie.remarks[0]
