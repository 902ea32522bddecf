"""The ways in which others write a movie: each writes a file or folder and says how it is asked for."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Frames(NamedTuple):
    """images: (n, height, width) uint16."""

    images: np.ndarray
    pixel_size_nm: float
    frame_time_s: float


class Way(NamedTuple):
    """write(folder, movie file) -> (source for `input=`, settings of inference, number of the movie's first frame)."""

    name: str
    write: Callable[[Path, Path], tuple[Path, dict, int]]


def frames_of(movie: Path) -> Frames:
    import h5py

    with h5py.File(movie) as file:
        data = file["frames"]
        return Frames(data[()].astype(np.uint16), float(data.attrs["pixel_size_nm"]), float(data.attrs["frame_time_s"]))


def _stated(f: Frames) -> dict:
    return {"pixel_size_nm": f.pixel_size_nm, "frame_time_s": f.frame_time_s}


def imagej(unit: str, nm: float, **changes) -> Callable:
    """An ImageJ stack with its lengths in `unit` of `nm` nanometres and its frame interval in seconds."""

    def write(folder: Path, movie: Path):
        import tifffile

        f = frames_of(movie)
        per_unit = nm / f.pixel_size_nm
        metadata = {"axes": "TYX", "unit": unit, "finterval": f.frame_time_s, "tunit": "s"}
        path = folder / "stack.tif"
        tifffile.imwrite(path, f.images, imagej=True, resolution=(per_unit, per_unit), metadata=metadata, **changes)
        return path, {}, 0

    return write


def ome(axes: str, order: tuple[str, ...] | None = None, time: str = "interval") -> Callable:
    """An OME-TIFF: of one signal, or with channels `order`; its times as an interval in ms or per plane in s."""

    def write(folder: Path, movie: Path):
        import tifffile

        f = frames_of(movie)
        metadata = {
            "PhysicalSizeX": f.pixel_size_nm / 1000,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": f.pixel_size_nm * 10,
            "PhysicalSizeYUnit": "Å",
            "axes": axes,
        }
        if time == "interval":
            metadata |= {"TimeIncrement": f.frame_time_s * 1000, "TimeIncrementUnit": "ms"}
        images, n = f.images, len(f.images)
        if order:
            images = _channels(f.images, [name == "HAADF" for name in order], axes.index("C"))
            metadata["Channel"] = {"Name": list(order)}
        if time == "planes":
            metadata["Plane"] = {"DeltaT": [k * f.frame_time_s for k in range(n)], "DeltaTUnit": ["s"] * n}
        tifffile.imwrite(folder / "movie.ome.tif", images, ome=True, metadata=metadata)
        return folder / "movie.ome.tif", {}, 0

    return write


def _channels(images: np.ndarray, wanted: list[bool], axis: int) -> np.ndarray:
    """The movie as the wanted channel; others show it turned over, darker."""
    other = (images[:, ::-1] // 2).astype(images.dtype)
    return np.stack([images if is_it else other for is_it in wanted], axis)


def hyperstack(folder: Path, movie: Path):
    import tifffile

    f = frames_of(movie)
    images = _channels(f.images, [False, True], 1)
    labels = ["DF4", "HAADF"] * len(f.images)
    metadata = {"axes": "TCYX", "unit": "nm", "finterval": f.frame_time_s, "Labels": labels}
    resolution = (1 / f.pixel_size_nm, 1 / f.pixel_size_nm)
    tifffile.imwrite(folder / "two.tif", images, imagej=True, resolution=resolution, metadata=metadata)
    return folder / "two.tif", {}, 0


def plain_tiff(folder: Path, movie: Path):
    """Big-endian, BigTIFF, float, with the fields of our own description."""
    import tifffile

    f = frames_of(movie)
    tifffile.imwrite(
        folder / "big.tif",
        f.images.astype(np.float32),
        bigtiff=True,
        byteorder=">",
        description=json.dumps(_stated(f)),
        metadata=None,
    )
    return folder / "big.tif", {}, 0


def time_last(folder: Path, movie: Path):
    """Frames along the last axis, as axes YXT say."""
    import tifffile

    f = frames_of(movie)
    tifffile.imwrite(folder / "yxt.tif", np.moveaxis(f.images, 0, -1), metadata={"axes": "YXT"})
    return folder / "yxt.tif", _stated(f), 0


def labelled(folder: Path, movie: Path):
    """HDF5 whose time runs with the columns, its labels saying so, and its starts recorded."""
    import h5py

    f = frames_of(movie)
    with h5py.File(folder / "labels.h5", "w") as file:
        data = file.create_dataset("frames", data=np.moveaxis(f.images, 0, 1))
        for dimension, label in zip(data.dims, "ytx", strict=True):
            dimension.label = label
        data.attrs["pixel_size_nm"] = f.pixel_size_nm
        file["times_s"] = f.frame_time_s * np.arange(len(f.images))
    return folder / "labels.h5", {}, 0


def hdf5(name: str, shape: Callable[[np.ndarray], np.ndarray], others: dict[str, Callable] | None = None) -> Callable:
    """A data set `name` in a shape of its own, beside `others` of the same file."""

    def write(folder: Path, movie: Path):
        import h5py

        f = frames_of(movie)
        with h5py.File(folder / "any.h5", "w") as file:
            for other, make in (others or {}).items():
                file[other] = make(f.images)
            file[name] = shape(f.images)
            file[name].attrs.update(_stated(f))
        return folder / "any.h5", {}, 0

    return write


def numpy_file(folder: Path, movie: Path):
    f = frames_of(movie)
    np.save(folder / "[0001]_zone = 5 µm, b.npy", f.images[:, None])
    return folder / "[0001]_zone = 5 µm, b.npy", _stated(f), 0


def numpy_archive(folder: Path, movie: Path):
    f = frames_of(movie)
    np.savez_compressed(folder / "movie.npz", images=f.images[..., None], **_stated(f))
    return folder / "movie.npz", {}, 0


def folder_of(suffix: str) -> Callable:
    """Single pictures with numbers that are not padded, beside what file managers leave there."""

    def write(folder: Path, movie: Path):
        import tifffile
        from PIL import Image

        f = frames_of(movie)
        place = folder / "frames"
        place.mkdir()
        for k, image in enumerate(f.images, 1):
            path = place / f"frame {k}.{suffix}"
            Image.fromarray(image).save(path) if suffix == "png" else tifffile.imwrite(path, image)
        (place / "Thumbs.db").write_bytes(b"\0" * 64)
        (place / f"._frame 1.{suffix}").write_bytes(b"\0" * 64)
        return place, _stated(f), 0

    return write


def part_of_longer(folder: Path, movie: Path):
    import h5py

    f = frames_of(movie)
    with h5py.File(folder / "long.h5", "w") as file:
        file["frames"] = np.concatenate([f.images[3::-1], f.images, f.images[-1:-4:-1]])
        file["frames"].attrs.update(_stated(f))
    return folder / "long.h5", {"frames": f"4:{4 + len(f.images)}"}, 4


def not_square(high: float):
    """Pixels `high` times as high as wide: every row twice (0.5), pairs of rows added (2)."""

    def write(folder: Path, movie: Path):
        import tifffile

        f = frames_of(movie)
        metadata = {"axes": "TYX", "unit": "nm", "finterval": f.frame_time_s}
        resolution = (1 / f.pixel_size_nm, 1 / (high * f.pixel_size_nm))  # x, y
        images = np.repeat(f.images, 2, axis=1)
        if high > 1:
            images = f.images[:, 0::2].astype(np.float32) + f.images[:, 1::2]
        tifffile.imwrite(folder / "rows.tif", images, imagej=True, resolution=resolution, metadata=metadata)
        return folder / "rows.tif", {}, 0

    return write


def overruled(folder: Path, movie: Path):
    """A file whose pixel size is 0 and whose frame time is wrong; the user's word counts."""
    import h5py

    f = frames_of(movie)
    with h5py.File(folder / "zero.h5", "w") as file:
        file["frames"] = f.images
        file["frames"].attrs.update(pixel_size_nm=0.0, frame_time_s=17.0)
    return folder / "zero.h5", _stated(f), 0


def hyperspy(folder: Path, movie: Path):
    from rsciio.hspy import file_writer

    f = frames_of(movie)
    n, height, width = f.images.shape
    axes = [
        {"name": name, "units": units, "scale": scale, "offset": 0.0, "size": size, "navigate": navigate}
        for name, units, scale, size, navigate in (
            ("time", "s", f.frame_time_s, n, True),
            ("y", "nm", f.pixel_size_nm, height, False),
            ("x", "nm", f.pixel_size_nm, width, False),
        )
    ]
    signal = {
        "data": f.images,
        "axes": axes,
        "metadata": {"General": {"title": "HAADF"}, "Signal": {}},
        "original_metadata": {},
        "attributes": {"_lazy": False},
        "learning_results": {},
        "models": {},
        "package_info": {},
        "tmp_parameters": {},
    }
    file_writer(str(folder / "signal.hspy"), signal)
    return folder / "signal.hspy", {}, 0


WAYS = (
    Way("ImageJ TIFF, nm", imagej("nm", 1.0)),
    Way("ImageJ TIFF, micron, big-endian", imagej("micron", 1000.0, byteorder=">")),
    Way("ImageJ hyperstack of two detectors", hyperstack),
    Way("OME-TIFF, interval in ms, µm and Å", ome("TYX")),
    Way("OME-TIFF, time of each plane", ome("TYX", time="planes")),
    Way("OME-TIFF, channels BF and HAADF first", ome("CTYX", ("BF", "HAADF"))),
    Way("BigTIFF, big-endian, float, own description", plain_tiff),
    Way("TIFF of axes YXT", time_last),
    Way("HDF5 of labels y, t, x, the start of each frame", labelled),
    Way("HDF5 (1, n, h, w)", hdf5("data", lambda images: images[None])),
    Way(
        "HDF5 (n, h, w, 1) beside a BF and a spectrum",
        hdf5(
            "HAADF",
            lambda images: images[..., None],
            {"BF": lambda images: images[:, ::-1] // 2, "spectrum": lambda images: np.arange(99.0)},
        ),
    ),
    Way("NPY (n, 1, h, w) with a name full of signs", numpy_file),
    Way("NPZ (n, h, w, 1)", numpy_archive),
    Way("folder of PNG, numbers not padded", folder_of("png")),
    Way("folder of TIFF, numbers not padded", folder_of("tif")),
    Way("HyperSpy signal", hyperspy),
    Way("part of a longer movie", part_of_longer),
    Way("HDF5 with pixel size 0 and a wrong time, overruled", overruled),
    Way("pixels half as high as wide", not_square(0.5)),
    Way("pixels twice as high as wide (rows added)", not_square(2)),
)
