"""Which file a table was made from: recorded with it, found again later, told from another one of the same name."""

import hashlib
import os
import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io import opening
from stemdefects.io.movie import Movie

# What became of a table's movie; the words are in `Source.note`.
FITS, UNNAMED, MISSING, CHANGED, UNCHECKED = "fits", "unnamed", "missing", "changed", "unchecked"
LEFT_OUT = "pictures, strain, displacements and truth are left out"


class Source(NamedTuple):
    """A table's movie: `state` is one of FITS, UNNAMED (the table names none), MISSING, CHANGED (what is there is not
    what the table was made from), UNCHECKED (the table does not say what its movie held); `movie` and `path` only where
    it fits; `note` says the rest, "" for nothing."""

    state: str
    movie: Movie | None = None
    path: Path | None = None
    note: str = ""


class Hashing:
    """SHA-256 of a movie's files one after another, computed in a thread beside other work."""

    def __init__(self, movie: Movie):
        self._files, self._digest = files(movie), hashlib.sha256()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        for file in self._files:
            with open(file, "rb") as data:
                while chunk := data.read(1 << 22):
                    self._digest.update(chunk)

    def result(self) -> str:
        """The digest in hex; waits for it."""
        self._thread.join()
        return self._digest.hexdigest()


def files(movie: Movie) -> list[Path]:
    """The files a movie was read from, in the order of its frames; none for an array."""
    named = movie.metadata.get("files") or [movie.metadata.get("path", movie.source)]
    return [Path(file) for file in named if Path(file).is_file()]


def record(movie: Movie) -> dict[str, Any]:
    """Attributes by which the files of `movie` are known again: `source_path` (absolute), `source_bytes` in all,
    `source_modified_ns` (the latest). Empty for an array. The digest comes from `Hashing`."""
    path = movie.metadata.get("path")
    if path is None:
        return {}
    return {"source_path": str(path), **_stat(files(movie))}


def _stat(paths: list[Path]) -> dict[str, int]:
    found = [path.stat() for path in paths]
    return {
        "source_bytes": sum(one.st_size for one in found),
        "source_modified_ns": max((one.st_mtime_ns for one in found), default=0),
    }


def reopen(attrs: dict[str, Any], table: Path | None = None) -> Source:
    """The movie that a table with attributes `attrs` was made from, opened with the same signal.

    It is looked for where it was, then beside the `table` and in the folder above (also under another name), and taken
    only when its content is the same: by size and time of change where it was, else by its digest.
    """
    name, digest = attrs.get("source_path") or attrs.get("source"), attrs.get("source_sha256")
    if not name or (attrs.get("source_path") is None and digest is None and not _is_file_of_images(Path(str(name)))):
        return Source(UNNAMED)  # an array, another program's table
    if digest is None:
        return Source(UNCHECKED, note=f"The table does not say what {name} held when it was made; {LEFT_OUT}.")
    refused, reason = [], ""
    for path in _candidates(Path(str(name)), attrs, table):
        try:
            movie = opening.read(path, _signal(attrs))
        except UserError as error:
            reason = reason or str(error)
            continue
        if _same(movie, path, attrs):
            return Source(FITS, movie, path)
        movie.close()
        refused.append(path)
    if refused:
        what = f"{refused[0]} is not what the table was made from (its content differs)"
        return Source(CHANGED, note=f"{what}; {LEFT_OUT}.")
    if reason:
        return Source(MISSING, note=f"The table's movie cannot be read ({reason}); {LEFT_OUT}.")
    return Source(MISSING, note=f"The table's movie {name} is not there; {LEFT_OUT}.")


def _is_file_of_images(path: Path) -> bool:
    from stemdefects.io.readers.conventions.suffixes import SUFFIXES

    return path.is_file() and path.suffix[1:].lower() in SUFFIXES


def _candidates(name: Path, attrs: dict[str, Any], table: Path | None):
    """Existing places of the movie, the likeliest first; those of another name only where the size is the same."""
    folders = [] if table is None else [table.resolve().parent, table.resolve().parent.parent]
    first = [name, *(folder / name.name for folder in folders)]
    if attrs.get("source"):
        first.insert(1, Path(str(attrs["source"])))
    seen = set()
    for path in first:
        if path.exists() or any(c in str(path) for c in "*?["):
            if (real := os.path.realpath(path)) not in seen:
                seen.add(real)
                yield path
    for folder in folders:
        alike = (p for p in sorted(folder.glob("*")) if p.suffix.lower() == name.suffix.lower() and p.is_file())
        for path in alike:
            if os.path.realpath(path) not in seen and path.stat().st_size == attrs.get("source_bytes"):
                yield path


def _same(movie: Movie, path: Path, attrs: dict[str, Any]) -> bool:
    paths = files(movie)
    now = _stat(paths)
    size = attrs.get("source_bytes")
    shape = attrs.get("source_shape")
    if not paths or (size is not None and now["source_bytes"] != int(size)):
        return False
    if shape is not None and not np.array_equal(shape, movie.shape):
        return False
    where_it_was = str(path) == str(attrs.get("source_path"))
    if where_it_was and size is not None and now["source_modified_ns"] == int(attrs.get("source_modified_ns", -1)):
        return True
    return Hashing(movie).result() == attrs["source_sha256"]


def _signal(attrs: dict[str, Any]) -> str | None:
    settings = attrs.get("config")
    chosen = attrs.get("signal") or (settings.get("signal") if isinstance(settings, dict) else None)
    return None if chosen is None else str(chosen)
