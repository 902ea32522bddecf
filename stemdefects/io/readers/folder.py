"""A folder or a pattern as one movie of its files."""

import glob
import re
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.movie import UNREADABLE, FrameError, LazyFrames, Movie, interval
from stemdefects.io.readers.conventions import units
from stemdefects.io.readers.conventions.suffixes import HDF5, PICTURES, TIFF, VENDOR, is_image_file
from stemdefects.io.runs import expanded

_LEFT_BY_SYSTEMS = ("thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", "icon\r")
_SAME_IMAGE = (*VENDOR, *HDF5, *TIFF, "npz", "npy", *PICTURES)  # of files with one name: the one that says most first


def existing(text: str) -> Path | None:
    """The file or folder of that name, whatever signs are in it (`[0001].tif`, `~t.tif`); None: there is none."""
    try:
        path = expanded(text)
        return path if path.exists() else None
    except (OSError, ValueError):  # too long a name, a zero byte
        return None


def members(text: str) -> list[Path]:
    """Image files of a folder, or those that a pattern fits, in natural order (2 before 10), each image once.

    Hidden files and what operating systems leave behind are no images; of files that hold the same image
    (`a.tif` and `a.png`, TIA's `a.emi` and its `a_1.ser`) the one that says most is taken.
    """
    place = existing(text)
    if place is not None and place.is_dir():
        found = list(place.iterdir())
    elif glob.has_magic(text):
        found = [Path(p) for p in glob.glob(_pattern(text), recursive=True)]
    else:
        return []
    shown = [p for p in found if not p.name.startswith(".") and p.name.lower() not in _LEFT_BY_SYSTEMS]
    return once(sorted((p for p in shown if is_image_file(p)), key=natural))


def natural(path: Path) -> list:
    """Sort key in which numbers count by their value."""
    parts = re.split(r"(\d+)", str(path).lower())
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts if part] + [(-1, str(path))]


def once(files: list[Path]) -> list[Path]:
    """`files` without those that hold the image of another one."""
    best: dict[Path, Path] = {}
    for file in files:
        other = best.setdefault(file.with_suffix(""), file)
        if _says_less(file) < _says_less(other):
            best[file.with_suffix("")] = file
    whole = {p.with_suffix("") for p in best.values() if _suffix(p) == "emi"}
    kept = set(best.values())
    return [f for f in files if f in kept and not (_suffix(f) == "ser" and _experiment(f) in whole)]


def _says_less(file: Path) -> int:
    """Place of its type in `_SAME_IMAGE`; what a package of the user's reads comes first."""
    suffix = _suffix(file)
    return _SAME_IMAGE.index(suffix) if suffix in _SAME_IMAGE else -1


def _experiment(file: Path) -> Path:
    """The name of the .emi that a .ser belongs to."""
    return file.with_name(re.sub(r"_\d+$", "", file.stem))


def _suffix(file: Path) -> str:
    return file.suffix[1:].lower()


def _pattern(text: str) -> str:
    """`text` with signs of patterns in the part that exists taken as they are."""
    whole = expanded(text)
    for parent in whole.parents:
        if parent.exists():
            rest = whole.relative_to(parent)
            return str(Path(glob.escape(str(parent))) / rest)
    return str(whole)


def open_files(
    files: list[Path], source: str, signal: str | None, open_one: Callable[[Path, str | None], Movie]
) -> Movie:
    """All frames of `files` one after another; a file that cannot be opened is one bad frame."""
    if len(files) == 1:
        return open_one(files[0], signal)
    first, reason = None, None
    starts, counts, acquired, sizes, intervals = [], [], [], [], []
    for file in files:  # headers only
        try:
            movie = open_one(file, signal)
        except UserError as error:
            reason = error
            counts.append(1)
            acquired.append(None)
        else:
            counts.append(len(movie))
            acquired.append(movie.metadata.get("acquired"))
            sizes.append(movie.pixel_size_yx_nm)
            intervals.append(movie.frame_time_s)
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
                opened[which] = open_one(files[which], signal)
            except UserError as error:
                raise FrameError(UNREADABLE, str(error)) from None
        return opened[which].frames[index - starts[which]]

    def close() -> None:
        for movie in (first, *opened.values()):
            movie.close()

    remarks = list(first.remarks)
    others = sum(size != sizes[0] and not _close(size, sizes[0]) for size in sizes)
    if others:
        remarks.append(f"{others} of {len(files)} files state another pixel size than the first, whose size is used.")
    times, frame_time = None, intervals[0] if len({*intervals}) == 1 else None
    if set(counts) == {1} and (recorded := _times(acquired)) is not None:
        times, whole_seconds = recorded
        frame_time = None
        if whole_seconds and interval_of_whole_seconds(times):
            times, frame_time = None, interval_of_whole_seconds(times)
        remarks.append("The times of the frames are those of acquisition that the files state.")
    shape = (sum(counts), *first.shape[1:])
    metadata = {"files": [str(file) for file in files], "first": first.metadata}
    return Movie(
        LazyFrames(get, shape, first.frames.dtype, close),
        first.pixel_size_yx_nm,
        frame_time,
        first.dose_e_per_px,
        source,
        metadata,
        times_s=times,
        signal=first.signal,
        signals=first.signals,
        aspect=first.aspect,
        remarks=remarks,
    )


def interval_of_whole_seconds(times_s: np.ndarray) -> float | None:
    """The constant interval that `times_s`, rounded to whole seconds, can come from; None: there is none."""
    steps = np.arange(len(times_s))
    mean = float(times_s[-1] - times_s[0]) / max(len(times_s) - 1, 1)
    off = times_s - times_s[0] - steps * mean
    return mean if mean > 0 and interval(times_s, 1.0) and np.ptp(off) <= 1.0 else None


def _close(a: tuple | None, b: tuple | None) -> bool:
    return a is not None and b is not None and np.allclose(a, b, rtol=1e-3)


def _times(acquired: list[str | None]) -> tuple[np.ndarray, bool] | None:
    """Starts in s after the first from times of acquisition (ISO), and whether they are whole seconds.

    None: not all files state one, or they do not increase (copies of one header, a coarse clock).
    """
    try:
        moments = [datetime.fromisoformat(text or "") for text in acquired]
        seconds = np.array([(moment - moments[0]).total_seconds() for moment in moments])
    except (TypeError, ValueError):
        return None
    times = units.start_times(seconds, len(acquired))
    return None if times is None else (times, all(moment.microsecond == 0 for moment in moments))
