"""Axes by their meaning, and which signal is read, in every format that we can write ourselves."""

import h5py
import numpy as np
import pytest
import tifffile

from stemdefects.errors import UserError
from stemdefects.io import movie as movies
from stemdefects.io import opening

RNG = np.random.default_rng(0)
HAADF = RNG.integers(0, 4000, (5, 24, 32)).astype(np.uint16)
OTHER = (HAADF[:, ::-1] // 2).astype(np.uint16)
DEPTH = np.stack([HAADF, OTHER, OTHER // 3])


def same(movie, frames=HAADF):
    assert movie.shape == frames.shape
    for i in (len(frames) - 1, 0):
        np.testing.assert_array_equal(movie.frame(i), frames[i])


def stacked(order, axis):
    return np.stack([HAADF if name == "HAADF" else OTHER for name in order], axis)


TIFFS = {
    "OME TCYX": dict(ome=True, data=stacked(("BF", "HAADF"), 1), axes="TCYX", names=["BF", "HAADF"]),
    "OME CTYX": dict(ome=True, data=stacked(("BF", "HAADF"), 0), axes="CTYX", names=["BF", "HAADF"]),
    "OME CTYX, big-endian BigTIFF": dict(
        ome=True, data=stacked(("DF2", "HAADF"), 0), axes="CTYX", names=["DF2", "HAADF"], bigtiff=True, byteorder=">"
    ),
    "OME ZCTYX of one slice": dict(
        ome=True, data=stacked(("HAADF", "BF"), 0)[None], axes="ZCTYX", names=["HAADF", "BF"]
    ),
    "ImageJ labels": dict(imagej=True, data=stacked(("DF4", "HAADF"), 1), axes="TCYX", labels=["DF4", "HAADF"] * 5),
    "ImageJ labels that count": dict(
        imagej=True,
        data=stacked(("BF", "HAADF"), 1),
        axes="TCYX",
        labels=[f"c:{c + 1}/2 t:{t + 1}/5 - {n} {t:03d}" for t in range(5) for c, n in enumerate(("BF", "HAADF"))],
    ),
    "plain, with axes": dict(data=stacked(("BF", "HAADF"), 0), axes="CTYX", names=["BF", "HAADF"]),
    "plain, channels last": dict(data=stacked(("BF", "HAADF"), 3), axes="TYXC", names=["BF", "HAADF"]),
}


def write_tiff(path, data, axes, ome=False, imagej=False, names=None, labels=None, **more):
    metadata = {"axes": axes}
    if names:
        metadata["Channel"] = {"Name": names}
    if labels:
        metadata["Labels"] = labels
    tifffile.imwrite(path, data, ome=ome, imagej=imagej, metadata=metadata, photometric="minisblack", **more)


@pytest.mark.parametrize("name", TIFFS)
def test_channels_of_a_tiff_are_signals_by_name(tmp_path, name):
    path = tmp_path / ("a.ome.tif" if TIFFS[name].get("ome") else "a.tif")
    write_tiff(path, **TIFFS[name])
    with opening.read(path) as movie:
        same(movie)
        assert movie.signal == "HAADF" and len(movie.signals) == 2
        other = next(s for s in movie.signals if s != "HAADF")
        assert f"signal HAADF (also there: {other})" in repr(movie)
    with opening.read(path, other.lower()) as movie:
        same(movie, OTHER)
    with pytest.raises(UserError, match=rf"EELS.*no such signal.*{other}"):
        opening.read(path, "EELS")


def test_channels_without_names_have_numbers(tmp_path):
    write_tiff(tmp_path / "a.tif", stacked(("HAADF", "x", "y"), 1), "TCYX", imagej=True)
    movie = opening.read(tmp_path / "a.tif")
    same(movie)
    assert movie.signals == ("channel 1", "channel 2", "channel 3") and "also there: channel 2, channel 3" in repr(
        movie
    )
    same(opening.read(tmp_path / "a.tif", "2"), OTHER)
    same(opening.read(tmp_path / "a.tif", "channel 3"), OTHER)


@pytest.mark.parametrize("name,order", [("DF", 1), ("adf", 2), ("BF", 3), ("HAADF", 0), ("MAADF", 4)])
def test_a_detector_is_not_taken_for_another_whose_name_holds_its_own(tmp_path, name, order):
    data = np.stack([HAADF + k for k in range(5)])
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for detector, images in zip(("HAADF", "DF", "ADF", "BF", "MAADF"), data, strict=True):
            file[f"scan/{detector}"] = images
    same(opening.read(tmp_path / "a.h5", name), data[order])
    assert opening.read(tmp_path / "a.h5").signal == "scan/HAADF"


def test_preference_is_haadf_adf_df_bf(tmp_path):
    left = ["preview of HAADF", "overview", "BF", "ABF 2", "DF4", "Detector ADF", "HAADF"]
    said = []
    while left:
        with h5py.File(tmp_path / "a.h5", "w") as file:
            for k, name in enumerate(left):
                file[name] = HAADF[: len(left) - k]
        said.append(opening.read(tmp_path / "a.h5").signal)
        left.remove(said[-1])
    assert said == ["HAADF", "Detector ADF", "DF4", "BF", "ABF 2", "overview", "preview of HAADF"]


def test_slices_ask_what_they_are(tmp_path):
    write_tiff(tmp_path / "z.ome.tif", DEPTH[:, 0], "ZYX", ome=True)
    write_tiff(tmp_path / "z.tif", HAADF, "ZYX", imagej=True)
    write_tiff(tmp_path / "tz.ome.tif", np.stack([DEPTH, DEPTH[:, ::-1]], 2), "ZTCYX", ome=True, names=["BF", "HAADF"])
    for name in ("z.ome.tif", "z.tif", "tz.ome.tif"):
        with pytest.raises(UserError, match=r"slices along Z.*inference.signal=z:time.*z:0"):
            opening.read(tmp_path / name)
    same(opening.read(tmp_path / "z.ome.tif", "z:1"), DEPTH[1:2, 0])
    same(opening.read(tmp_path / "z.tif", "z:time"), HAADF)
    with opening.read(tmp_path / "tz.ome.tif", "BF z:2") as movie:
        same(movie, DEPTH[2])
        assert movie.signal == "BF z:2" and "(also there: HAADF)" in repr(movie)
        same(opening.read(tmp_path / "tz.ome.tif", movie.signal), DEPTH[2])  # as analysis reads it again
    same(opening.read(tmp_path / "tz.ome.tif", "z:0"), HAADF[::-1])
    with pytest.raises(UserError, match="z:7"):
        opening.read(tmp_path / "z.tif", "z:7")


def test_a_plain_imagej_stack_is_a_movie_and_says_so(tmp_path):
    """ImageJ calls the planes of every stack slices; only a hyperstack means it."""
    tifffile.imwrite(
        tmp_path / "a.tif",
        HAADF,
        photometric="minisblack",
        metadata=None,
        description="ImageJ=1.53t\nimages=5\nslices=5\nunit=nm\nloop=false\n",
        resolution=(40, 40),
    )
    movie = opening.read(tmp_path / "a.tif")
    same(movie)
    assert movie.pixel_size_nm == pytest.approx(0.025) and "slices" in movie.remarks[0]


SHAPES = {
    "(1, n, h, w)": (lambda a: a[None], HAADF),
    "(n, 1, h, w)": (lambda a: a[:, None], HAADF),
    "(n, h, w, 1)": (lambda a: a[..., None], HAADF),
    "(1, h, w, 1)": (lambda a: a[:1, ..., None], HAADF[:1]),
    "(h, w, 1)": (lambda a: a[0][..., None], HAADF[:1]),
    "(1, h, w)": (lambda a: a[:1], HAADF[:1]),
    "(1, 1, h, w)": (lambda a: a[:1, None], HAADF[:1]),
    "grey as (h, w, 3)": (lambda a: np.stack([a[0]] * 3, -1), HAADF[:1]),
    "three frames": (lambda a: a[:3], HAADF[:3]),
    "bool": (lambda a: a > 3500, HAADF > 3500),
    "float, big-endian": (lambda a: a.astype(">f4"), HAADF),
    "Fortran order": (np.asfortranarray, HAADF),
}


def put(path, data, photometric="minisblack"):
    """Write an array as its suffix says."""
    if path.suffix == ".npy":
        np.save(path, data)
    elif path.suffix == ".npz":
        np.savez(path, movie=data)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["movie"] = data
    else:
        tifffile.imwrite(path, data, photometric=photometric)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("suffix", ["npy", "npz", "h5", "tif"])
def test_axes_of_length_1_mean_nothing(tmp_path, name, suffix):
    make, frames = SHAPES[name]
    path = tmp_path / f"a.{suffix}"
    put(path, make(HAADF), "rgb" if "grey" in name else "minisblack")
    with opening.read(path) as movie:
        assert movie.shape == frames.shape
        for i in (len(frames) - 1, 0):
            np.testing.assert_array_equal(np.asarray(movie.frames[i]).reshape(24, 32, -1)[..., 0], frames[i])
            movie.frame(i)


def test_arrays_of_the_library_lose_axes_of_length_1():
    same(movies.Movie(HAADF[:1, ..., None]), HAADF[:1])
    same(movies.Movie(HAADF[:, None]))
    with pytest.raises(UserError, match="neither an image nor a movie"):
        movies.Movie(DEPTH)


@pytest.mark.parametrize("suffix", ["npy", "npz", "h5", "tif"])
def test_axes_that_cannot_be_told_are_asked_for(tmp_path, suffix):
    def write(data):
        path = tmp_path / f"a.{suffix}"
        put(path, data)
        return path

    path = write(stacked(("HAADF", "BF"), 1))  # (5, 2, 24, 32)
    with pytest.raises(UserError, match=r"5 x 2 x 24 x 32.*inference.signal=axis1:0.*axis0:time") as caught:
        opening.read(path)
    assert "\n" not in str(caught.value) and "damaged" not in str(caught.value)
    same(opening.read(path, "axis1:0"))
    same(opening.read(path, "axis1:1"), OTHER)
    with opening.read(path, "axis0:2 axis1:time") as movie:
        same(movie, stacked(("HAADF", "BF"), 1)[2])
        same(opening.read(path, movie.signal), stacked(("HAADF", "BF"), 1)[2])
    path = write(np.moveaxis(stacked(("HAADF", "BF"), 1), 1, -1))  # (5, 24, 32, 2)
    if suffix != "tif":  # where y and x are said to be the last two
        with pytest.raises(UserError, match="5 x 24 x 32 x 2"):
            opening.read(path)
        same(opening.read(path, "axis3:0"))
        path = write(np.moveaxis(HAADF, 0, -1))  # (24, 32, 5)
        with pytest.raises(UserError, match="24 x 32 x 5"):
            opening.read(path)
        same(opening.read(path, "axis2:time"))
    with pytest.raises(UserError, match="axis9:0"):
        opening.read(path, "axis9:0")


def test_colours_are_told_from_three_frames(tmp_path):
    colour = RNG.integers(0, 255, (24, 32, 3)).astype(np.uint8)
    np.save(tmp_path / "a.npy", colour)
    tifffile.imwrite(tmp_path / "a.tif", colour, photometric="rgb")
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(colour, -1, 0), photometric="rgb")
    for name, axis in (("a.npy", 2), ("a.tif", 2), ("planes.tif", 0)):
        with pytest.raises(UserError, match=rf"3 samples per pixel that differ.*axis{axis}:0"):
            opening.read(tmp_path / name)
        same(opening.read(tmp_path / name, f"axis{axis}:1"), colour[None, ..., 1])
        same(opening.read(tmp_path / name, f"axis{axis}:time"), np.moveaxis(colour, -1, 0))
    tifffile.imwrite(tmp_path / "samples.tif", colour, photometric="minisblack", planarconfig="contig")
    with opening.read(tmp_path / "samples.tif") as movie:  # samples that are no colours are detectors
        same(movie, colour[None, ..., 0])
        assert len(movie.signals) == 3


def test_labels_of_hdf5_dimensions_tell_the_axes(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["scan"] = np.moveaxis(stacked(("BF", "HAADF"), 0), 1, -1)  # (c, y, x, t)
        for dimension, label in zip(file["scan"].dims, "cyxt", strict=True):
            dimension.label = label
        file["scan"].attrs["channels"] = ["BF", "HAADF"]
        file["scan"].attrs["pixel_size_nm"] = 0.02
    with opening.read(tmp_path / "a.h5") as movie:
        same(movie)
        assert movie.signal == "HAADF" and movie.pixel_size_nm == 0.02
    same(opening.read(tmp_path / "a.h5", "BF"), OTHER)


def test_images_of_a_tiff_are_signals_and_single_ones_a_movie(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for name, data in (("BF", OTHER), ("HAADF", HAADF)):
            writer.write(data, metadata={"axes": "TYX", "Name": name}, photometric="minisblack")
    with opening.read(tmp_path / "a.ome.tif") as movie:
        same(movie)
        assert movie.signal == "HAADF" and movie.signals == ("BF", "HAADF")
    same(opening.read(tmp_path / "a.ome.tif", "BF"), OTHER)
    with tifffile.TiffWriter(tmp_path / "b.tif") as writer:
        for image in HAADF:
            writer.write(image, photometric="minisblack")
    same(opening.read(tmp_path / "b.tif"))
    with tifffile.TiffWriter(tmp_path / "c.tif") as writer:
        writer.write(HAADF, photometric="minisblack")
        writer.write(OTHER[:3], photometric="minisblack")
    with opening.read(tmp_path / "c.tif") as movie:
        same(movie)
        assert len(movie.signals) == 2 and "also there" in repr(movie)


def test_a_name_that_chooses_nothing_is_said(tmp_path):
    np.save(tmp_path / "a.npy", HAADF)
    assert "inference.signal=BF chooses nothing" in opening.read(tmp_path / "a.npy", "BF").remarks[0]


def test_npz_with_several_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", BF=OTHER, HAADF=HAADF[:2], spectrum=np.arange(2000.0), fft=HAADF.astype(complex))
    same(opening.read(tmp_path / "a.npz"), HAADF[:2])
    same(opening.read(tmp_path / "a.npz", "BF"), OTHER)


def hyperspy(path, signals):
    file_writer = pytest.importorskip("rsciio.hspy").file_writer
    common = {"attributes": {"_lazy": False, "ragged": False}, "package_info": {}, "tmp_parameters": {}}
    common |= {"original_metadata": {}, "learning_results": {}, "models": {}}
    for title, data, axes in signals:
        axes = [
            {"name": n, "units": u, "scale": s, "offset": 0.0, "navigate": n in ("time", "detector", "z"), "size": k}
            for (n, u, s), k in zip(axes, data.shape, strict=True)
        ]
        metadata = {"General": {"title": title}, "Signal": {"signal_type": ""}}
        file_writer(str(path), {"data": data, "axes": axes, "metadata": metadata} | common)


YX = (("y", "nm", 0.06), ("x", "nm", 0.03))


def test_vendor_files_axes_and_what_is_no_image(tmp_path):
    t = ("time", "s", 2.0)
    hyperspy(tmp_path / "a.hspy", [("two", stacked(("HAADF", "BF"), 1), (t, ("detector", "", 1.0), *YX))])
    with opening.read(tmp_path / "a.hspy") as movie:
        same(movie)
        assert movie.pixel_size_yx_nm == pytest.approx((0.06, 0.03)) and movie.frame_time_s == pytest.approx(2)
    same(opening.read(tmp_path / "a.hspy", "channel 2"), OTHER)
    hyperspy(tmp_path / "z.hspy", [("focal series", HAADF, (("z", "nm", 5.0), *YX))])
    with pytest.raises(UserError, match="slices along Z"):
        opening.read(tmp_path / "z.hspy")
    same(opening.read(tmp_path / "z.hspy", "z:3"), HAADF[3:4])
    hyperspy(tmp_path / "e.hspy", [("map", np.moveaxis(HAADF, 0, -1).copy(), (*YX, ("Energy", "eV", 0.1)))])
    hyperspy(tmp_path / "f.hspy", [("fft", HAADF[0].astype(float), (("y", "1/nm", 0.1), ("x", "1/nm", 0.1)))])
    for name in ("e.hspy", "f.hspy"):
        with pytest.raises(UserError, match="holds no image"):
            opening.read(tmp_path / name)


def ncem(path, signals, **times):
    """An NCEM EMD as `ncempy` writes it: (time, y, x) with an axis of values each."""
    with h5py.File(path, "w") as file:
        file.attrs["version_major"], file.attrs["version_minor"] = 0, 2
        for name, data in signals.items():
            group = file.create_group(f"data/{name}")
            group.attrs["emd_group_type"] = 1
            group["data"] = data
            values = (times.get("time", 2.25 * np.arange(len(data))), 0.03 * np.arange(24), 0.03 * np.arange(32))
            for k, (value, label, unit) in enumerate(
                zip(values, ("time", "y", "x"), ("[s]", "[nm]", "[nm]"), strict=True)
            ):
                group[f"dim{k + 1}"] = value
                group[f"dim{k + 1}"].attrs.update(name=label, units=unit)


def test_ncem_emd_with_several_signals(tmp_path):
    pytest.importorskip("rsciio")
    ncem(tmp_path / "a.emd", {"A_BF": OTHER, "B_HAADF": HAADF}, time=[0, 2, 4, 904, 906.0])
    with opening.read(tmp_path / "a.emd") as movie:
        same(movie)
        assert movie.signal == "B_HAADF" and movie.frame_time_s is None
        np.testing.assert_array_equal(movie.times_s, [0, 2, 4, 904, 906])
    same(opening.read(tmp_path / "a.emd", "BF"), OTHER)
