"""TIFF through tifffile: images and stacks, their axes and signals by what ImageJ, OME or the file's shape say."""

import itertools
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from stemdefects.errors import UserError
from stemdefects.io.movie import MAX_FRAME_PIXELS, UNREADABLE, FrameError, LazyFrames, Movie
from stemdefects.io.readers.conventions import axes
from stemdefects.io.readers.conventions.signals import Wanted, distinct, pick, wanted
from stemdefects.io.readers.tiff_calibration import Calibration, calibration

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters comes out as our own message

PLAIN_STACK = "ImageJ calls the planes of any plain stack slices; they are taken as frames."


def open_file(path: Path, signal: str | None) -> Movie:
    """The images of one signal; pages are read one by one when they are used.

    Signals are the channels of a stack, the images of an OME-TIFF, or the stacks of a file that has several.
    """
    file = tifffile.TiffFile(path)
    try:
        asked = wanted(signal)
        candidates = [s for s in file.series if "Y" in s.axes and "X" in s.axes and s.size > 1]
        if not candidates:
            said = ", ".join(s.axes for s in file.series)
            raise UserError(f"{path}: no image in this TIFF" + (f" (data with axes {said})" if said else ""))
        names = _names(candidates)
        pages = _appended(file, candidates)
        number = 0
        if pages is None and len(candidates) > 1:
            number, asked = _series(names, candidates, asked, path)
        series = candidates[number]
        stated = calibration(file, list(file.series).index(series))
        letters, remarks = series.axes, []
        if file.is_imagej and letters.replace("Z", "").strip("YX") == "" and "Z" in letters:
            if not (file.imagej_metadata or {}).get("hyperstack"):
                letters, remarks = letters.replace("Z", "T"), [PLAIN_STACK]
        letters = _samples(letters, series)
        if pages is not None:
            frames = _pages(pages, series.shape[-2:], series.dtype, file, path)
            return _movie(frames, stated, path, (0, 0), remarks=remarks)
        plan = axes.plan(letters, series.shape, _channels(file, series, stated), asked, str(path))
        frames = _lazily(file, series, plan, path)
        plane = _taken(plan, letters, "C"), _taken(plan, letters, "Z")
        several = len(candidates) > 1
        name = " ".join(filter(None, (names[number] if several else None, plan.signal))) or None
        listed = names if several else plan.signals
        return _movie(frames, stated, path, plane, name, listed, remarks)
    except BaseException:
        file.close()
        raise


def _movie(
    frames: LazyFrames,
    stated: Calibration,
    path: Path,
    plane: tuple[int, int],
    signal: str | None = None,
    signals: Any = (),
    remarks: Any = (),
) -> Movie:
    """plane: (channel, z) that is shown."""
    times = stated.times_s(len(frames), *plane)
    return Movie(
        frames,
        stated.pixel_size_yx_nm,
        stated.frame_time_s,
        stated.dose_e_per_px,
        str(path),
        stated.metadata,
        times_s=times,
        signal=signal,
        signals=signals,
        aspect=stated.aspect,
        remarks=remarks,
    )


def _names(candidates: list) -> list[str]:
    return distinct([s.name or f"series {i + 1}" for i, s in enumerate(candidates)])


def _appended(file: tifffile.TiffFile, candidates: list) -> list | None:
    """Pages of a file in which each image was written by itself, a movie then, its frames perhaps of unequal sizes."""
    if len(candidates) < 2 or file.is_imagej or file.is_ome or any(len(s.pages) > 1 for s in candidates):
        return _unequal(file, candidates)
    if any(p.ndim != 2 for p in file.pages):
        return None
    names = {s.name for s in candidates}
    # images that each have a name of their own are signals, unless it only counts
    own = len(names) == len(candidates) and not all(re.fullmatch(r"(series|image|page)?\s*\d*", n, re.I) for n in names)
    return None if own else list(file.pages)


def _unequal(file: tifffile.TiffFile, candidates: list) -> list | None:
    """Pages of a plain stack in which some frames have another size, which makes them series of their own."""
    if len(candidates) < 2 or file.is_imagej or file.is_ome or not all(s.kind == "generic" for s in candidates):
        return None
    pages = list(file.pages)
    return pages if all(p is not None and p.ndim == 2 and not p.is_reduced for p in pages) else None


def _series(names: list[str], candidates: list, asked: Wanted, path: Path) -> tuple[int, Wanted]:
    """Which series, and what is left to be asked of its channels."""
    if asked.name is not None:
        for i, name in sorted(enumerate(names), key=lambda pair: -len(pair[1])):
            if asked.name.lower().startswith(name.lower() + " "):
                return i, asked._replace(name=asked.name[len(name) + 1 :])
    number = pick(names, asked.name, path, [s.size for s in candidates])
    return number, asked._replace(name=None)


def _samples(letters: str, series: Any) -> str:
    """Samples of a pixel that are not said to be colours are signals."""
    colours = int(series.keyframe.photometric) in (2, 5, 6, 8)  # RGB, separated, YCbCr, CIELab
    if "S" in letters and not colours and "C" not in letters:
        return letters.replace("S", "C")
    return letters


def _taken(plan: axes.Plan, letters: str, letter: str) -> int:
    """Number of the plane taken along the axis `letter`; 0 where there is none."""
    if letter not in letters:
        return 0
    taken = plan.index[letters.index(letter)]
    return taken if isinstance(taken, int) else 0


def _channels(file: tifffile.TiffFile, series: Any, stated: Calibration) -> list[str]:
    """Names of the channels by OME, by ImageJ's labels of the planes, or by the description; "" where there is none."""
    if "C" not in series.axes:
        return []
    axis = series.axes.index("C")
    n = series.shape[axis]
    if len(stated.channels) == n:
        return distinct([name or f"channel {i + 1}" for i, name in enumerate(stated.channels)])
    labels = (file.imagej_metadata or {}).get("Labels") if file.is_imagej else None
    planes = [size for letter, size in zip(series.axes, series.shape, strict=True) if letter not in "YXS"]
    if labels and len(labels) == int(np.prod(planes)):
        order = [letter for letter in series.axes if letter not in "YXS"].index("C")
        table = np.moveaxis(np.array([_label(text) for text in labels], dtype=object).reshape(planes), order, 0)
        names = [_common(list(map(str, row.ravel()))) for row in table]
        if all(names) and len(set(names)) == n:
            return names
    if labels and len(labels) == n:
        names = [_label(text) for text in labels]
        if all(names) and len(set(names)) == n:
            return names
    return []


def _label(text: Any) -> str:
    """First line of a plane's label without ImageJ's own counting: `c:1/2 t:3/8 - HAADF`."""
    lines = str(text or "").strip().splitlines()
    return re.sub(r"^(?:[cztCZT]:\d+/\d+[\s,]*)+(?:-\s*)?", "", lines[0]).strip() if lines else ""


def _common(labels: list[str]) -> str:
    """What the labels of all planes of a channel share, without numbers that count and what divides them."""
    shared = "".join(
        column[0] for column in itertools.takewhile(lambda c: len(set(c)) == 1, zip(*labels, strict=False))
    )
    return shared if set(labels) == {shared} else re.sub(r"[\W_]+(?:[tz]\W*)?\d*$", "", shared).strip()


def _lazily(file: tifffile.TiffFile, series: Any, plan: axes.Plan, path: Path) -> LazyFrames:
    """Frames page by page where each page is one plane, else from the file's one block, else from memory."""
    planes = [n for axis, n in enumerate(plan.shape) if axis not in (plan.y, plan.x)]
    n_planes = int(np.prod(planes, initial=1))
    last_two = (plan.y, plan.x) == (len(plan.shape) - 2, len(plan.shape) - 1)
    if len(series.pages) == n_planes and last_two and plan.samples is None:
        pages = list(series.pages)

        def number(frame: int) -> int:
            index: tuple[Any, ...] = plan.at(frame)[:-2]
            return int(np.ravel_multi_index([int(i) for i in index], planes)) if planes else 0

        chosen = [pages[number(frame)] for frame in range(plan.movie_shape[0])]
        return _pages(chosen, plan.movie_shape[1:], series.dtype, file, path)
    if series.dataoffset is not None:
        data = np.memmap(path, series.dtype.newbyteorder(file.byteorder), "r", series.dataoffset, plan.shape)
    else:
        data = series.asarray(maxworkers=1)
    if data.shape != tuple(plan.shape):
        raise UserError(f"{path}: damaged: its planes are of {data.shape}, its header promises {tuple(plan.shape)}")
    if plan.samples is not None:
        axes.grey(plan.cut(data, 0), plan.samples, str(path))
    return LazyFrames(lambda i: plan.cut(data, i), plan.movie_shape, data.dtype, file.close)


def _pages(pages: list, size: tuple[int, int], dtype: Any, file: tifffile.TiffFile, path: Path) -> LazyFrames:
    def get(index: int) -> np.ndarray:
        page = pages[index]
        if page is None:
            raise FrameError(UNREADABLE, f"{path}, frame {index}: the page is missing")
        if np.prod(page.shape, dtype=float) > MAX_FRAME_PIXELS:
            raise FrameError(UNREADABLE, f"{path}, frame {index}: page of {page.shape} px")
        return np.squeeze(page.asarray(maxworkers=1))

    return LazyFrames(get, (len(pages), *size), dtype, file.close)
