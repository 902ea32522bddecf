"""Readers: one module per family of file formats, each with `open_file(path, signal) -> Movie`."""

import glob
from pathlib import Path

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.movie import FrameError, LazyFrames, Movie
from stemdefects.io.runs import expanded

PICTURES = ("png", "jpg", "jpeg", "bmp", "gif", "webp")
HDF5 = ("h5", "hdf5", "he5")
TIFF = ("tif", "tiff", "btf")
VENDOR = (
    "dm3", "dm4", "emd", "ser", "emi", "mrc", "hspy", "zspy", "mib", "blo", "dens", "prz", "unf", "tvips", "nxs", "rpl",
)  # fmt: skip
SUFFIXES = (*HDF5, *TIFF, "npy", "npz", *PICTURES, *VENDOR)


def open_movie(path: str | Path, signal: str | None = None) -> Movie:
    """See `stemdefects.io.movie.read`."""
    text = str(path)
    if not text or text == "None":
        raise UserError("input: no file given; say input=<movie or image file>")
    path = expanded(text)
    if not path.exists():
        files = sorted(glob.glob(str(path))) if glob.has_magic(text) else []
        if not files:
            raise UserError(f"{text}: no such file; check input=")
        return _open_many([Path(file) for file in files], text, signal)
    if path.is_dir():
        files = sorted(p for p in path.iterdir() if p.suffix[1:].lower() in SUFFIXES)
        if not files:
            raise UserError(f"{text}: no image files in this folder")
        return _open_many(files, text, signal)
    return _open_one(path, signal)


def _open_one(path: Path, signal: str | None) -> Movie:
    suffix = path.suffix[1:].lower()
    try:
        if path.stat().st_size == 0:
            raise UserError(f"{path}: the file is empty")
        with open(path, "rb"):
            pass
        if suffix in HDF5:
            from stemdefects.io.readers import hdf5 as reader
        elif suffix in TIFF:
            from stemdefects.io.readers import tiff as reader
        elif suffix in ("npy", "npz"):
            from stemdefects.io.readers import arrays as reader
        elif suffix in PICTURES:
            from stemdefects.io.readers import pictures as reader
        elif suffix in VENDOR:
            from stemdefects.io.readers import vendor as reader
        else:
            raise UserError(f"{path}: unknown file type '.{suffix}'; readable are: {', '.join(SUFFIXES)}")
        return reader.open_file(path, signal)
    except UserError:
        raise
    except PermissionError:
        raise UserError(f"{path}: no permission to read it") from None
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a damaged file makes the libraries raise anything, SystemExit included
        reason = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise UserError(f"{path}: cannot be read as .{suffix}: damaged or not of this type ({reason})") from None


def _open_many(files: list[Path], source: str, signal: str | None) -> Movie:
    """All frames of `files` one after another; a file that cannot be opened is one bad frame."""
    if len(files) == 1:
        return _open_one(files[0], signal)
    first = None
    starts, counts = [], []
    for file in files:  # headers only
        try:
            movie = _open_one(file, signal)
        except UserError as error:
            reason = error
            counts.append(1)
        else:
            counts.append(len(movie))
            if first is None:
                first = movie
            else:
                movie.close()
        starts.append(sum(counts) - counts[-1])
    if first is None:
        raise UserError(f"{source}: none of {len(files)} files can be read; the last: {reason}")
    opened: dict[int, Movie] = {}

    def get(index: int) -> np.ndarray:
        which = int(np.searchsorted(starts, index, side="right")) - 1
        if which not in opened:  # one file open at a time
            while opened:
                opened.popitem()[1].close()
            try:
                opened[which] = _open_one(files[which], signal)
            except UserError as error:
                raise FrameError(1, str(error)) from None
        return opened[which].frames[index - starts[which]]

    def close() -> None:
        for movie in (first, *opened.values()):
            movie.close()

    shape = (sum(counts), *first.shape[1:])
    metadata = {"files": [str(file) for file in files], "first": first.metadata}
    return Movie(
        LazyFrames(get, shape, first.frames.dtype, close), first.pixel_size_nm, first.frame_time_s,
        first.dose_e_per_px, source, metadata,
    )  # fmt: skip


def pick(names: list[str], signal: str | None, path: Path, prefer: tuple[str, ...] = ()) -> int:
    """Index of the wanted one among `names`: by `signal` (exact, else a unique part), else by preference, else 0.

    Raises UserError listing the names when `signal` matches none or several.
    """
    lowered = [name.lower() for name in names]
    if signal is not None:
        wanted = str(signal).lower()
        hits = [i for i, n in enumerate(lowered) if n == wanted] or [i for i, n in enumerate(lowered) if wanted in n]
        if not hits and wanted.isdigit() and int(wanted) < len(names):
            hits = [int(wanted)]
        if len(hits) != 1:
            what = "no such signal" if not hits else "fits several signals"
            raise UserError(f"{path}: inference.signal={signal}: {what}; the file holds: {', '.join(names)}")
        return hits[0]
    for word in prefer:
        hits = [i for i, n in enumerate(lowered) if word in n]
        if hits:
            return hits[0]
    return 0
