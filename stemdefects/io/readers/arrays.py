"""NumPy files. NPY is memory-mapped; a member of an NPZ is streamed, so neither is held in memory as a whole."""

import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.movie import UNREADABLE, FrameError, LazyFrames, Movie
from stemdefects.io.readers.conventions import axes, units
from stemdefects.io.readers.conventions.signals import pick, wanted
from stemdefects.numerics.figures import positive

ZIPS = (b"PK\x03\x04", b"PK\x05\x06")
_SCALARS = ("pixel_size_nm", "pixel_size_yx_nm", "frame_time_s", "dose_e_per_px")
_TIMES = ("time_s", "times_s")


def open_file(path: Path, signal: str | None) -> Movie:
    """An NPY, or the member `signal` (else the one that its name or size tells) of an NPZ.

    Members `pixel_size_nm` or `pixel_size_yx_nm`, `frame_time_s`, `dose_e_per_px`, and `time_s` with a time for each
    frame are taken as calibration.
    """
    asked = wanted(signal)
    with open(path, "rb") as file:
        packed = file.read(4) in ZIPS  # by content: either may have the other's name
    if not packed:
        data = np.load(path, mmap_mode="r", allow_pickle=False)
        if data.dtype.kind not in "buif":
            raise UserError(f"{path}: an array of {data.dtype} is neither an image nor a movie of images")
        plan = axes.plan("Q" * data.ndim, data.shape, [], asked, str(path))
        return Movie(_frames(data, plan, str(path)), source=str(path), signal=plan.signal, signals=plan.signals)
    archive = zipfile.ZipFile(path)
    try:
        return _of_archive(archive, path, asked)
    except BaseException:
        archive.close()
        raise


def _of_archive(archive: zipfile.ZipFile, path: Path, asked: Any) -> Movie:
    headers = {}
    for name in archive.namelist():
        if name.endswith(".npy"):
            with archive.open(name) as member:
                headers[name[:-4]] = _header(member)
    images = [n for n, (shape, _, dtype) in headers.items() if axes.could_be(shape) and dtype.kind in "buif"]
    sides = {n: sorted(headers[n][0])[-2:][0] for n in images}
    images = [n for n in images if sides[n] >= axes.MIN_SIDE_PX and n not in (*_SCALARS, *_TIMES)]
    if not images:
        raise UserError(f"{path}: no image or movie among its arrays ({', '.join(headers) or 'none'})")
    name = images[pick(images, asked.name, path, [int(np.prod(headers[n][0], dtype=float)) for n in images])]

    def value(key: str) -> np.ndarray | None:
        if key not in headers or headers[key][2].kind not in "uif" or np.prod(headers[key][0], dtype=float) > 1e7:
            return None
        with archive.open(f"{key}.npy") as member:
            return np.lib.format.read_array(member, allow_pickle=False)

    shape, fortran, dtype = headers[name]
    plan = axes.plan("Q" * len(shape), shape, [], asked._replace(name=None), f"{path}, {name}")
    frames = _member(archive, name, shape, fortran, dtype, path, plan)
    n = len(frames)
    times = next((t for t in (units.start_times(value(k), n) for k in _TIMES) if t is not None), None)
    return Movie(
        frames,
        units.stated_yx(value("pixel_size_yx_nm")) or units.stated_yx(value("pixel_size_nm")),
        positive(value("frame_time_s")),
        positive(value("dose_e_per_px")),
        str(path),
        {"array": name, "arrays": list(headers)},
        times_s=times,
        signal=name,
        signals=images,
    )


def _frames(data: np.ndarray, plan: axes.Plan, where: str, close: Any = None) -> LazyFrames:
    if plan.samples is not None:
        axes.grey(plan.cut(data, 0), plan.samples, where)
    return LazyFrames(lambda i: plan.cut(data, i), plan.movie_shape, data.dtype, close)


def _header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(member)


def _member(
    archive: zipfile.ZipFile, name: str, shape: tuple, fortran: bool, dtype: np.dtype, path: Path, plan: axes.Plan
) -> LazyFrames:
    """Frames of one NPZ member, read in passing; going back starts the member again."""
    inner = [i for i, n in enumerate(shape) if i != plan.time and n > 1]
    in_passing = not fortran and plan.samples is None and all(isinstance(plan.index[i], slice) for i in inner)
    if not in_passing or (plan.time is not None and inner and plan.time > min(inner)) or plan.y > plan.x:
        whole = np.load(path, allow_pickle=False)[name]
        return _frames(whole, plan, f"{path}, {name}", archive.close)
    count = plan.movie_shape[1] * plan.movie_shape[2]
    stream = archive.open(f"{name}.npy")
    _header(stream)
    start = stream.tell()

    def get(index: int) -> np.ndarray:
        stream.seek(start + index * count * dtype.itemsize)
        raw = stream.read(count * dtype.itemsize)
        if len(raw) < count * dtype.itemsize:
            raise FrameError(UNREADABLE, f"{path}, frame {index}: the file ends before it")
        return np.frombuffer(raw, dtype, count).reshape(plan.movie_shape[1:])

    def close() -> None:
        stream.close()
        archive.close()

    return LazyFrames(get, plan.movie_shape, dtype, close)
