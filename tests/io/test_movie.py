import json
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from PIL import Image

from stemdefects.errors import UserError
from stemdefects.io import movie as movies
from stemdefects.io import opening

SHARED = Path(__file__).parents[3] / "shared" / "data"
RNG = np.random.default_rng(0)
STACK = RNG.integers(0, 4000, (5, 24, 32)).astype(np.uint16)


def write_h5(path):
    with h5py.File(path, "w") as file:
        file.create_dataset("frames", data=STACK, chunks=(1, 24, 32))
        file.attrs.update(pixel_size_nm=0.03, frame_time_s=2.0, dose_e_per_px=400.0)
        file["truth/states"] = np.zeros((5, 900), np.uint8)


def write_tif(path):
    tifffile.imwrite(
        path, STACK, imagej=True, resolution=(40, 40), metadata={"axes": "TYX", "unit": "nm", "finterval": 2}
    )


def write_npz(path):
    np.savez_compressed(path, small=np.zeros((9, 9)), movie=STACK, pixel_size_nm=0.03, frame_time_s=2.0)


WRITERS = {
    "a.h5": write_h5,
    "a.tif": write_tif,
    "a.npz": write_npz,
    "a.npy": lambda path: np.save(path, STACK),
    "plain.tiff": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack"),
    "deflated.tif": lambda path: tifffile.imwrite(path, STACK, photometric="minisblack", compression="zlib"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_stacks_read_frame_by_frame_in_any_order(tmp_path, name):
    WRITERS[name](tmp_path / name)
    with opening.read(tmp_path / name) as movie:
        assert movie.shape == STACK.shape and len(movie) == 5
        for i in (3, 0, 4, 1, 1):
            frame = movie.frame(i)
            assert frame.dtype == np.float32 and frame.flags.c_contiguous
            np.testing.assert_array_equal(frame, STACK[i])
        with pytest.raises(IndexError):
            movie.frame(5)


@pytest.mark.parametrize("name,pixel,time", [("a.h5", 0.03, 2.0), ("a.tif", 0.025, 2.0), ("a.npz", 0.03, 2.0)])
def test_calibration_is_read(tmp_path, name, pixel, time):
    WRITERS[name](tmp_path / name)
    with opening.read(tmp_path / name) as movie:
        assert movie.pixel_size_nm == pytest.approx(pixel) and movie.frame_time_s == pytest.approx(time)


def test_an_uncalibrated_file_says_so(tmp_path):
    WRITERS["a.npy"](tmp_path / "a.npy")
    tifffile.imwrite(tmp_path / "screen.tif", STACK[0], resolution=(72, 72), resolutionunit="INCH")
    assert opening.read(tmp_path / "a.npy").pixel_size_nm is None
    assert opening.read(tmp_path / "screen.tif").pixel_size_nm is None, "72 dpi is a screen, not a microscope"


def test_pictures_grey_and_colour(tmp_path):
    grey = RNG.integers(0, 255, (20, 30)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(np.stack([grey] * 3, -1)).save(tmp_path / "rgb_grey.png")
    Image.fromarray(RNG.integers(0, 255, (20, 30, 3)).astype(np.uint8)).save(tmp_path / "colour.png")
    for name in ("grey.png", "rgb_grey.png"):
        np.testing.assert_array_equal(opening.read(tmp_path / name).frame(0), grey)
    with pytest.raises(movies.FrameError, match="colour") as caught:
        opening.read(tmp_path / "colour.png").frame(0)
    assert caught.value.quality == movies.NOT_INTENSITY


def test_folder_and_glob_are_one_movie_in_name_order(tmp_path):
    for i in range(3):
        tifffile.imwrite(tmp_path / f"frame_{i:02d}.tif", STACK[i])
    tifffile.imwrite(tmp_path / "frame_03.tif", STACK[3:5], photometric="minisblack")
    (tmp_path / "frame_04.tif").write_bytes(b"II*\x00 not a tiff")
    tifffile.imwrite(tmp_path / "frame_05.tif", STACK[0, :10])
    (tmp_path / "notes.txt").write_text("not read")
    for source in (tmp_path, tmp_path / "frame_*.tif"):
        movie = opening.read(source)
        assert movie.shape == (7, 24, 32)
        for i in (4, 0, 2):
            np.testing.assert_array_equal(movie.frame(i), STACK[i])
        for i, quality in ((5, movies.UNREADABLE), (6, movies.OTHER_SIZE)):
            with pytest.raises(movies.FrameError) as caught:
                movie.frame(i)
            assert caught.value.quality == quality


def test_hdf5_signal_by_name(tmp_path):
    with h5py.File(tmp_path / "two.h5", "w") as file:
        file["BF"], file["detectors/HAADF"] = STACK, STACK[:2] + 1
        file["detectors/HAADF"].attrs["pixel_size_nm"] = 0.02
    assert opening.read(tmp_path / "two.h5").shape[0] == 2, "HAADF is preferred"
    assert opening.read(tmp_path / "two.h5", "bf").shape[0] == 5
    assert opening.read(tmp_path / "two.h5", "HAADF").pixel_size_nm == 0.02
    with pytest.raises(UserError, match=r"no such signal.*HAADF"):
        opening.read(tmp_path / "two.h5", "EELS")


def bad(name):
    frame = RNG.normal(100, 10, (32, 32)).astype(np.float32)
    if name == "nan":
        frame[:, :20] = np.nan
    elif name == "constant":
        frame[:] = 7
    elif name == "saturated":
        frame = np.minimum(frame, 102)
    return frame


@pytest.mark.parametrize(
    "name,quality", [("nan", movies.NOT_FINITE), ("constant", movies.CONSTANT), ("saturated", movies.SATURATED)]
)
def test_unusable_frames_say_why(name, quality):
    movie = movies.Movie(np.stack([bad("good"), bad(name)]))
    movie.frame(0)
    with pytest.raises(movies.FrameError, match="frame 1") as caught:
        movie.frame(1)
    assert caught.value.quality == quality


def test_a_few_dead_pixels_are_filled_and_negative_values_kept():
    frame = bad("good") - 200
    frame[5, 5] = np.nan
    fixed = movies.Movie(frame).frame(0)
    assert np.isfinite(fixed).all() and fixed[5, 5] == pytest.approx(np.nanmedian(frame), abs=30) and (fixed < 0).all()


def test_a_frame_known_to_be_whole_is_the_same_without_another_look(monkeypatch):
    counts = np.random.default_rng(0).poisson(50, (2, 40, 50)).astype(np.uint16)
    film = movies.Movie(counts)
    checked = film.frame(1)
    monkeypatch.setattr(movies, "check_frame", None)
    whole = film.frame(1, whole=True)
    assert whole.dtype == checked.dtype and (whole == checked).all()


def test_bad_files_end_in_one_clear_line(tmp_path):
    np.save(tmp_path / "spectrum.npy", np.arange(100.0))
    np.save(tmp_path / "four.npy", np.zeros((2, 2, 8, 8)))
    np.save(tmp_path / "objects.npy", np.array([{}, 1], object), allow_pickle=True)
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.dm3").write_text("not a dm3")
    (tmp_path / "text.tif").write_text("not a tiff")
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "folder").mkdir()
    write_h5(tmp_path / "whole.h5")
    (tmp_path / "cut.h5").write_bytes((tmp_path / "whole.h5").read_bytes()[:5000])
    with h5py.File(tmp_path / "none.h5", "w") as file:
        file["table"] = np.zeros(5)
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    for name in ("missing.tif", *(p.name for p in sorted(tmp_path.iterdir()) if p.name != "whole.h5")):
        with pytest.raises(UserError) as caught:
            opening.read(tmp_path / name)
        message = str(caught.value)
        assert name in message and "\n" not in message and len(message) < 600, message
    with pytest.raises(UserError, match="positive number"):
        movies.Movie(STACK, pixel_size_nm=-1)


def test_a_truncated_stack_loses_only_its_last_frames(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        offset, count = file.pages[4].dataoffsets[0], file.pages[4].databytecounts[0]
    data = bytearray((tmp_path / "a.tif").read_bytes())
    data[offset : offset + count] = bytes(count)
    (tmp_path / "b.tif").write_bytes(data)
    movie = opening.read(tmp_path / "b.tif")
    np.testing.assert_array_equal(movie.frame(3), STACK[3])
    with pytest.raises(movies.FrameError):
        movie.frame(4)


# shape, nm per px and seconds per frame as the files' own vendors state them
READERS = {
    "Fei HAADF-DE_location.dm3": ((1, 4, 16), 5.506073, None),
    "HAADFscan.mrc": ((1, 16, 16), 5.679131, None),
    "20241021_00405_movie.mrc": ((32, 4, 8), None, None),
    "128x128_TEM_acquire-sum1_1.ser": ((1, 128, 128), 21.479318, None),
    "64x64x5_TEM_preview_1.ser": ((5, 64, 64), 6.281834, None),
    "fei_emd_image.emd": ((1, 512, 512), 5.302415, None),
    "fei_example_tem_stack.emd": ((2, 3, 3), 0.008172883, 0.8),
    "example_signal.emd": ((3, 3, 3), None, None),
    "test_STEM_image.dm3": ((1, 68, 68), 0.248538, None),
    "test_stackbuilder_imagestack.dm3": ((3, 2, 16), 59.98290, None),
    "test_loading_image_saved_with_DM_stack.tif": ((2, 68, 68), 168.674, 2.5),
    "test_loading_image_saved_with_imageJ.tif": ((1, 68, 68), 168.6747, None),
    "test_loading_image_saved_with_imageJ_stack.tif": ((2, 68, 68), 168.6747, None),
}


@pytest.mark.skipif(not SHARED.exists(), reason="no ../shared/data")
@pytest.mark.parametrize("name", READERS)
def test_vendor_files(name):
    pytest.importorskip("rsciio")
    shape, pixel, time = READERS[name]
    with opening.read(SHARED / "readers" / name) as movie:
        assert movie.shape == shape
        assert movie.pixel_size_nm == (None if pixel is None else pytest.approx(pixel, rel=1e-5))
        assert movie.frame_time_s == (None if time is None else pytest.approx(time))


@pytest.mark.skipif(not SHARED.exists(), reason="no ../shared/data")
def test_every_shared_file_opens_or_says_why():
    pytest.importorskip("rsciio")
    files = sorted(p for p in (SHARED / "readers").iterdir())
    assert len(files) > 50
    for file in files:
        with opening.read(file) as movie:  # DM test files: 2 x 2 px of every data type
            for i in range(len(movie)):
                try:
                    assert movie.frame(i).shape == movie.shape[1:]
                except movies.FrameError as error:
                    assert error.quality in (movies.NOT_INTENSITY, movies.CONSTANT), error


@pytest.mark.skipif(not SHARED.exists(), reason="no ../shared/data")
def test_velox_pixels_are_those_of_the_reference_array():
    pytest.importorskip("rsciio")
    folder = SHARED / "readers"
    with opening.read(folder / "fei_emd_image.emd", "haadf") as movie:
        np.testing.assert_array_equal(movie.frame(0), np.load(folder / "fei_emd_image.npy").astype(np.float32))
        json.dumps(movie.metadata["signals"])


def test_hyperspy_files_by_what_their_axes_say(tmp_path):
    """A stack, and an image whose two axes were swapped when it was stored."""
    hspy = pytest.importorskip("rsciio.hspy")
    named = {
        "t": {"name": "time", "size": 5, "scale": 2.0, "offset": 0.0, "units": "s", "navigate": True},
        "y": {"name": "y", "size": 24, "scale": 0.03, "offset": 0.0, "units": "nm", "navigate": False},
        "x": {"name": "x", "size": 32, "scale": 30.0, "offset": 0.0, "units": "pm", "navigate": False},
    }

    def write(path, data, axes):
        common = {"metadata": {"General": {"title": "HAADF"}, "Signal": {"signal_type": ""}}, "original_metadata": {}}
        common |= {"attributes": {"_lazy": False, "ragged": False}, "package_info": {}, "tmp_parameters": {}}
        common |= {"learning_results": {}, "models": {}}
        hspy.file_writer(str(path), {"data": data, "axes": [named[a] for a in axes]} | common)

    write(tmp_path / "stack.hspy", STACK, "tyx")
    write(tmp_path / "turned.hspy", STACK[2].T.copy(), "xy")
    with opening.read(tmp_path / "stack.hspy") as movie:
        assert movie.shape == STACK.shape and movie.pixel_size_nm == pytest.approx(0.03)
        assert movie.frame_time_s == pytest.approx(2.0)
        np.testing.assert_array_equal(movie.frame(3), STACK[3])
    with opening.read(tmp_path / "turned.hspy") as movie:
        np.testing.assert_array_equal(movie.frame(0), STACK[2])
