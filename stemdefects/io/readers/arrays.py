"""NumPy files. NPY is memory-mapped; a member of an NPZ is streamed, so neither is held in memory as a whole."""

import zipfile
from pathlib import Path

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.movie import MAX_FRAME_PIXELS, LazyFrames, Movie
from stemdefects.io.readers import pick

_SCALARS = ("pixel_size_nm", "frame_time_s", "dose_e_per_px")


def open_file(path: Path, signal: str | None) -> Movie:
    """An NPY of 2 or 3 dimensions, or the member `signal` (else the largest image stack) of an NPZ.

    Scalars named `pixel_size_nm`, `frame_time_s` or `dose_e_per_px` in an NPZ are taken as calibration.
    """
    if path.suffix.lower() == ".npy":
        data = np.load(path, mmap_mode="r", allow_pickle=False)
        return Movie(_stack(data, path), source=str(path))
    archive = zipfile.ZipFile(path)
    headers = {}
    for name in archive.namelist():
        if name.endswith(".npy"):
            with archive.open(name) as member:
                headers[name[:-4]] = _header(member)
    images = [n for n, (shape, _, dtype) in headers.items() if len(shape) in (2, 3) and dtype.kind in "buif"]
    images = [n for n in images if min(headers[n][0][-2:]) >= 8 and min(headers[n][0]) > 0]
    if not images:
        archive.close()
        raise UserError(f"{path}: no image or movie among its arrays ({', '.join(headers) or 'none'})")
    images.sort(key=lambda n: -np.prod(headers[n][0], dtype=float))
    name = images[pick(images, signal, path)]
    scalars = {}
    for key in _SCALARS:
        if key in headers and headers[key][0] in ((), (1,)) and headers[key][2].kind in "uif":
            with archive.open(f"{key}.npy") as member:
                scalars[key] = float(np.lib.format.read_array(member, allow_pickle=False).item())
    frames = _member(archive, name, *headers[name], path)
    return Movie(frames, source=str(path), metadata={"array": name, "arrays": list(headers)}, **scalars)


def _header(member: zipfile.ZipExtFile) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(member)


def _member(
    archive: zipfile.ZipFile, name: str, shape: tuple, fortran: bool, dtype: np.dtype, path: Path
) -> LazyFrames:
    """Frames of one NPZ member, read in passing; going back starts the member again."""
    shape = (1, *shape) if len(shape) == 2 else shape
    count = shape[1] * shape[2]
    if count > MAX_FRAME_PIXELS:
        raise UserError(f"{path}: a frame of {shape[1]} x {shape[2]} px is too large, or the header is damaged")
    if fortran:
        whole = np.load(path, allow_pickle=False)[name].reshape(shape)
        return LazyFrames(lambda i: whole[i], shape, dtype, archive.close)
    stream = archive.open(f"{name}.npy")
    _header(stream)
    start = stream.tell()

    def get(index: int) -> np.ndarray:
        stream.seek(start + index * count * dtype.itemsize)
        raw = stream.read(count * dtype.itemsize)
        return np.frombuffer(raw, dtype, count).reshape(shape[1:])

    def close() -> None:
        stream.close()
        archive.close()

    return LazyFrames(get, shape, dtype, close)


def _stack(data: np.ndarray, path: Path) -> np.ndarray:
    if data.dtype.kind not in "buif" or data.ndim not in (2, 3):
        shape = " x ".join(map(str, data.shape)) or "scalar"
        raise UserError(f"{path}: an array of {data.dtype}, {shape}, is neither an image nor a movie of images")
    return data
