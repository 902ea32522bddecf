"""From a path to a movie: one file, a folder or a pattern, read by the module of its format in `readers/`."""

import os
from pathlib import Path
from typing import Any, Protocol

from stemdefects import extensions
from stemdefects.errors import UserError
from stemdefects.io import damage
from stemdefects.io.exchange import markers
from stemdefects.io.movie import Movie
from stemdefects.io.readers import folder
from stemdefects.io.readers.conventions.signals import wanted
from stemdefects.io.readers.conventions.suffixes import HDF5, PICTURES, SUFFIXES, TIFF, VENDOR, is_image_file
from stemdefects.io.runs import expanded


def read(path: Any, signal: str | None = None) -> Movie:
    """Open a movie or image file, a folder of images, or a glob of files; or take an array or a HyperSpy signal.

    Args:
        path: HDF5 (.h5, .hdf5), TIFF, NPY, NPZ, PNG or other picture, or a vendor file (dm3, dm4, emd, ser, emi,
            mrc, hspy, ...). A folder or glob is one movie of its files, numbers in their names in order of size.
        signal: which data set, channel or detector of the file (its name, or a part of it) when it holds several; by
            default HAADF, else ADF, DF, BF by their names. Behind it, where the axes do not tell: `z:3` (one slice),
            `z:time` (the slices are frames), `axis1:0`, `axis0:time` (axes counted from 0).

    Raises:
        UserError: file missing, damaged, of unknown type, without an image, or with axes that cannot be told.
    """
    if markers.is_signal(path):
        return markers.from_signal(path)
    if hasattr(path, "ndim"):
        return Movie(path)
    movie = _opened(path, signal)
    movie.metadata["path"] = os.path.abspath(expanded(str(path)))
    return movie


def _opened(path: str | Path, signal: str | None) -> Movie:
    text = str(path)
    if not text or text == "None":
        raise UserError("input: no file given; say input=<movie or image file>")
    there = folder.existing(text)
    if there is not None and (there.is_file() or is_image_file(there)):
        return open_one(there, signal)
    files = folder.members(text)
    if not files and there is not None:
        raise UserError(f"{text}: no image files in this folder")
    if not files:
        raise UserError(f"{text}: no such file; check input=")
    return folder.open_files(files, text, signal, open_one)


def open_one(path: Path, signal: str | None) -> Movie:
    """The movie in one file. Raises UserError; an error of our own code shows as what it is."""
    suffix = path.suffix[1:].lower()
    reader: Reader
    try:
        if path.is_file():
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
        elif suffix in extensions.found(extensions.READERS):
            reader = extensions.load(extensions.READERS, suffix, f"input={path}: reader of .{suffix} files")
        else:
            readable = ", ".join(extensions.names(extensions.READERS, SUFFIXES))
            raise UserError(f"{path}: unknown file type '.{suffix}'; readable are: {readable}")
        return _with_choice(reader.open_file(path, signal), signal)
    except (UserError, KeyboardInterrupt):
        raise
    except PermissionError:
        raise UserError(f"{path}: no permission to read it") from None
    except BaseException as error:  # a damaged file makes the libraries raise anything, SystemExit included
        if not damage.of_the_file(error):
            raise
        why = damage.reason(error, 160)
        raise UserError(f"{path}: cannot be read as .{suffix}: damaged or not of this type ({why})") from None


class Reader(Protocol):
    """A module that reads files of one kind, ours or another package's."""

    def open_file(self, path: Path, signal: str | None) -> Movie:
        """The movie in `path`; signal: which of several the user asks for, None: the usual one. Raises UserError."""
        ...


def _with_choice(movie: Movie, signal: str | None) -> Movie:
    """`movie` with all that was chosen in its signal's name, by which the same is read again."""
    asked = wanted(signal)
    if asked.name is not None and movie.signal is None:
        movie.remarks += (f"The file names no signals: inference.signal={asked.name} chooses nothing in it.",)
    taken = [f"{key if isinstance(key, str) else f'axis{key}'}:{value}" for key, value in reversed(asked.axes.items())]
    movie.signal = " ".join(filter(None, (movie.signal, *taken))) or None
    return movie
