"""HDF5: movies of this software (`/frames`) and plain data sets of others."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.movie import LazyFrames, Movie
from stemdefects.io.readers.conventions import axes, units
from stemdefects.io.readers.conventions.signals import pick, rank, wanted
from stemdefects.numerics.figures import positive

_MOVIE_NAMES = ("frames", "movie", "image", "stack", "data")
_TIMES = ("time_s", "times_s")


def open_file(path: Path, signal: str | None) -> Movie:
    """The data set `signal`, else `/frames`, else the one that its name, then its size tells; frames stay in the file.

    Calibration: attributes `pixel_size_nm` (a number, or height and width), `pixel_size_yx_nm`, `frame_time_s`,
    `dose_e_per_px` of the data set, its group or the file; `element_size_um` as ImageJ and ilastik write it; a data
    set or attribute `time_s` with a time for each frame. Labels of dimensions (t, c, z, y, x) tell the axes.
    """
    file = h5py.File(path, "r")
    try:
        names = _images(file)
        if not names:
            raise UserError(f"{path}: no image or movie among its data sets")
        asked = wanted(signal)
        data = file[names[_chosen(names, asked.name, path, file)]]
        name = data.name.strip("/")
        plan = axes.plan(_letters(data), data.shape, _channels(data), _channel_of(asked, data), f"{path}, {name}")
        if plan.samples is not None:
            axes.grey(plan.cut(data, 0), plan.samples, f"{path}, {name}")
        frames = LazyFrames(lambda i: plan.cut(data, i), plan.movie_shape, data.dtype, file.close)
        holders = (data, data.parent, file)
        attributes = {}
        for holder in reversed(holders):
            for key, value in holder.attrs.items():
                attributes[key] = value.decode(errors="replace") if isinstance(value, bytes) else value
        channel = None if plan.signal is None else f"{name} {plan.signal}" if len(names) > 1 else plan.signal
        listed = plan.signals if len(names) == 1 and plan.signals else names
        return Movie(
            frames,
            _pixel_size(holders),
            _first(holders, "frame_time_s", positive),
            _first(holders, "dose_e_per_px", positive),
            str(path),
            {"dataset": data.name, "attributes": attributes},
            times_s=_times(holders, len(frames)),
            signal=channel or name,
            signals=listed,
        )
    except BaseException:
        file.close()
        raise


def _images(file: h5py.File) -> list[str]:
    """Names of the data sets that can hold images, the truth of a simulation aside."""
    found: list[str] = []

    def visit(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.shape and axes.could_be(item.shape) and item.dtype.kind in "buif":
            side = sorted(item.shape)[-2]
            if side >= axes.MIN_SIDE_PX and not name.startswith("truth/") and name.split("/")[-1] not in _TIMES:
                found.append(name)

    file.visititems(visit)
    return found


def _chosen(names: list[str], name: str | None, path: Path, file: h5py.File) -> int:
    sizes = [_size(file[n]) for n in names]
    if name is None:
        if "frames" in names:
            return names.index("frames")
        if all(
            rank(n) == rank(names[0]) for n in names
        ):  # no detector's name: what movies are called, then the largest
            usual = [[w in n.lower() for w in _MOVIE_NAMES] for n in names]
            order = [u.index(True) if True in u else len(_MOVIE_NAMES) for u in usual]
            return min(range(len(names)), key=lambda i: (order[i], -sizes[i]))
    whole = [i for i, n in enumerate(names) if name is not None and name.lower() == n.lower()]
    # "data/stack HAADF": a channel of a data set
    starts = [i for i, n in enumerate(names) if name is not None and name.lower().startswith(n.lower() + " ")]
    if not whole and (starts or (len(names) == 1 and _channels(file[names[0]]))):
        return starts[0] if starts else 0
    return pick(names, name, path, sizes)


def _size(data: h5py.Dataset) -> int:
    """Number of values, 0 for masks and for tables, whose last axis is short: they are taken where nothing else is."""
    long = [n for n in data.shape if n > 1]
    return data.size if data.dtype.kind != "b" and (long[-1] >= axes.MIN_SIDE_PX or len(long) == 2) else 0


def _letters(data: h5py.Dataset) -> str:
    """Letters of the axes by the labels of the dimensions, Q for each where not all are told."""
    # not by `data.dims`, which ends the process where a damaged file's labels lead nowhere
    told = np.ravel(data.attrs.get("DIMENSION_LABELS", ()))
    labels = [(v.decode(errors="replace") if isinstance(v, bytes) else str(v)).strip().lower() for v in told]
    if len(labels) != data.ndim:
        return "Q" * data.ndim
    known = {
        "t": "T",
        "time": "T",
        "frame": "T",
        "frames": "T",
        "c": "C",
        "channel": "C",
        "channels": "C",
        "detector": "C",
        "z": "Z",
        "y": "Y",
        "x": "X",
        "height": "Y",
        "width": "X",
    }
    letters = "".join(known.get(label, "Q") for label in labels)
    return letters if {"Y", "X"} <= set(letters) else "Q" * data.ndim


def _channels(data: h5py.Dataset) -> list[str]:
    """Names along the channel axis, in attribute `channels` or `channel_names`; only where there is such an axis."""
    if "C" not in _letters(data):
        return []
    n = data.shape[_letters(data).index("C")]
    for key in ("channels", "channel_names", "signals", "detectors"):
        names = np.ravel(data.attrs.get(key, ()))
        if len(names) == n:
            return [v.decode(errors="replace") if isinstance(v, bytes) else str(v) for v in names]
    return [f"channel {i + 1}" for i in range(n)]


def _channel_of(asked: Any, data: h5py.Dataset) -> Any:
    """`asked` with the part of its name that says the channel, not the data set."""
    name, own = asked.name, data.name.strip("/")
    if name is None or "C" not in _letters(data):
        return asked._replace(name=None)
    if name.lower().startswith(own.lower() + " "):
        return asked._replace(name=name[len(own) + 1 :])
    return asked._replace(name=None if name.lower() in own.lower() else name)


def _first(holders: tuple, key: str, convert: Any) -> Any:
    """The first of the holders' attributes `key` that says something."""
    return next((v for v in (convert(h.attrs[key]) for h in holders if key in h.attrs) if v is not None), None)


def _pixel_size(holders: tuple) -> tuple[float, float] | None:
    for key in ("pixel_size_yx_nm", "pixel_size_nm"):
        if (sizes := _first(holders, key, units.stated_yx)) is not None:
            return sizes
    elements = np.ravel(holders[0].attrs.get("element_size_um", ()))  # one per axis of space, z first
    if len(elements) >= 2 and elements.dtype.kind in "fiu":
        return units.stated_yx([1e3 * float(e) for e in elements[-2:]])
    return None


def _times(holders: tuple, n_frames: int) -> np.ndarray | None:
    """Recorded starts of the frames, beside the data or as an attribute."""
    for holder in holders:
        for key in _TIMES:
            values = holder.attrs.get(key)
            if values is None and isinstance(holder, h5py.Group) and isinstance(holder.get(key), h5py.Dataset):
                values = holder[key][()] if holder[key].size == n_frames else None
            if values is not None and (times := units.start_times(values, n_frames)) is not None:
                return times
    return None
