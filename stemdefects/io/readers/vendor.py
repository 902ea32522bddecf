"""Microscope vendors' files through RosettaSciIO, an optional package (GPL-3.0), imported only here."""

import importlib
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io import damage
from stemdefects.io.movie import LazyFrames, Movie
from stemdefects.io.readers.conventions import axes, units
from stemdefects.io.readers.conventions.signals import distinct, pick, wanted

_FRAME_NAMES = ("time", "z", "frame", "frames", "t", "scan", "stack", "image series", "depth")
_CHANNEL_NAMES = ("channel", "channels", "detector", "detectors", "c", "signal")
_Y_NAMES, _X_NAMES = ("y", "height"), ("x", "width")
_SPECTRAL = ("energy", "energy loss", "x-ray energy", "wavelength", "mass", "scattering angle")
# what matters comes out as our own message; set once: silence for a while would be silence for other threads too
logging.getLogger("rsciio").setLevel(logging.CRITICAL)


def open_file(path: Path, signal: str | None) -> Movie:
    """The image or image stack `signal` (by title), else HAADF, ADF, DF, BF, else the largest; axes by their metadata.

    Spectra, transforms and diffraction patterns are passed over. Raises UserError when RosettaSciIO is missing, or the
    file holds no image.
    """
    asked = wanted(signal)
    found = [(s, *_described(s)) for s in _read(path)]
    found = [(s, letters, described) for s, letters, described in found if letters]
    # complex numbers and colours are what to tell of where there is nothing else
    found = [f for f in found if f[0]["data"].dtype.kind in "buif"] or found
    if not found:
        raise UserError(f"{path}: holds no image or movie of images (a spectrum, a map or a diffraction data set?)")
    titles = distinct([_title(s, i) for i, (s, _, _) in enumerate(found)])
    sizes = [int(np.prod(s["data"].shape, dtype=float)) for s, _, _ in found]
    number = _number(titles, asked.name, path, sizes, any("C" in letters for _, letters, _ in found))
    chosen, letters, described = found[number]
    name = asked.name if len(found) == 1 and "C" in letters else None
    data = chosen["data"]
    plan = axes.plan(letters, data.shape, [], asked._replace(name=name), str(path))
    y_axis, x_axis = described[plan.y], described[plan.x]
    height, width = (units.to_nm(_scale(axis), axis.get("units")) for axis in (y_axis, x_axis))
    frame_axis = None if plan.time is None else described[plan.time]
    frame_time = units.to_s(_scale(frame_axis), frame_axis.get("units")) if frame_axis else None
    general = (chosen.get("metadata") or {}).get("General") or {}
    metadata = {
        "title": titles[number],
        "signals": titles,
        "vendor": chosen.get("original_metadata", {}),
        "general": chosen.get("metadata", {}),
        "acquired": f"{general['date']}T{general['time']}" if general.get("date") and general.get("time") else None,
    }
    frames = LazyFrames(lambda i: plan.cut(data, i), plan.movie_shape, data.dtype)
    return Movie(
        frames,
        None if height is None or width is None else (height, width),
        frame_time,
        None,
        str(path),
        metadata,
        times_s=_times(path, titles[number], frame_axis, len(frames)),
        signal=" ".join(filter(None, (titles[number], plan.signal))),
        signals=titles if len(titles) > 1 else plan.signals or titles,
    )


def _number(titles: list[str], name: str | None, path: Path, sizes: list[int], channels: bool) -> int:
    """Which signal; where there is one alone, the name may be that of a channel of it."""
    return 0 if len(titles) == 1 and channels else pick(titles, name, path, sizes)


def _read(path: Path) -> list[dict[str, Any]]:
    """All signals of the file, lazily where the format allows it."""
    try:
        from rsciio import IO_PLUGINS
    except ImportError:
        raise UserError(f"{path}: vendor files need RosettaSciIO: pip install rosettasciio") from None
    suffix = path.suffix[1:].lower()
    plugins = [p for p in IO_PLUGINS if suffix in [e.lower() for e in p["file_extensions"]] and p["name"] != "MRCZ"]
    if not plugins:
        raise UserError(f"{path}: RosettaSciIO has no reader for .{suffix}")
    reasons = []
    for plugin in plugins:
        reader = importlib.import_module(plugin["api"]).file_reader
        for lazy in (True, False):  # colour images and some old formats cannot be read lazily
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    return reader(str(path), lazy=lazy)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # of the library alone: nothing of ours runs in there
                reasons.append(damage.reason(error))
    raise UserError(f"{path}: cannot be read as .{suffix}: damaged or not of this type ({reasons[-1]})")


def _title(signal: dict[str, Any], index: int) -> str:
    general = (signal.get("metadata") or {}).get("General") or {}
    return str(general.get("title") or f"signal {index}")


def _scale(axis: dict[str, Any]) -> float | None:
    if "scale" in axis:
        return axis["scale"]
    values = axis.get("axis")
    return float(values[1] - values[0]) if values is not None and len(values) > 1 else None


def _described(signal: dict[str, Any]) -> tuple[str | None, list[dict[str, Any]]]:
    """Letters of the axes, and their metadata, in the order of the array; no letters: it is no image.

    Names and units decide (an NCEM EMD may come in any order); where they say nothing, RosettaSciIO's own order does.
    """
    data: Any = signal.get("data")
    if getattr(data, "dtype", None) is None or not axes.could_be(data.shape):
        return None, []
    described = [dict(axis) for axis in signal.get("axes") or ()]
    if len(described) != data.ndim:
        described = [{"name": None, "size": n} for n in data.shape]
    elif all(isinstance(axis.get("index_in_array"), int | np.integer) for axis in described):
        described.sort(key=lambda axis: axis["index_in_array"])
    kind = str(((signal.get("metadata") or {}).get("Signal") or {}).get("signal_type") or "").lower()
    spectral = [i for i, axis in enumerate(described) if _is(axis, _SPECTRAL) or units.is_other(axis.get("units"))]
    if kind.startswith(("eels", "eds", "xrf", "cl")) or any(data.shape[i] > 1 for i in spectral):
        return None, []
    letters = ["." if n == 1 else "Q" for n in data.shape]
    for i, axis in enumerate(described):
        if letters[i] == "Q" and _is(axis, _CHANNEL_NAMES):
            letters[i] = "C"
    order = [i for i, letter in enumerate(letters) if letter == "Q"]
    if len(order) > 2:
        frame = _frame_axis(order, described)
        named_time = units.is_time(described[frame].get("units")) or not units.is_length(described[frame].get("units"))
        letters[frame] = "T" if named_time else "Z"
        order.remove(frame)
    if len(order) == 3:  # of slices over time, for instance
        depth = [i for i in order if _is(described[i], _FRAME_NAMES) or described[i].get("navigate")]
        if len(depth) == 1:
            letters[depth[0]] = "Z"
            order.remove(depth[0])
    if len(order) != 2:
        return None, []
    y, x = order
    if _is(described[y], _X_NAMES) and _is(described[x], _Y_NAMES):
        y, x = x, y
    letters[y], letters[x] = "Y", "X"
    return "".join("Q" if letter == "." else letter for letter in letters), described


def _is(axis: dict[str, Any], names: tuple[str, ...]) -> bool:
    return str(axis.get("name") or "").strip().lower() in names


def _frame_axis(order: list[int], described: list[dict[str, Any]]) -> int:
    by_time = [i for i in order if units.is_time(described[i].get("units"))]
    by_name = [i for i in order if _is(described[i], _FRAME_NAMES)]
    by_navigation = [i for i in order if described[i].get("navigate")]
    lengths = [i for i in order if units.is_length(described[i].get("units"))]
    by_elimination = [i for i in order if i not in lengths] if len(lengths) == 2 else []
    return next((g[0] for g in (by_time, by_name, by_navigation, by_elimination) if len(g) == 1), order[0])


def _times(path: Path, title: str, axis: dict[str, Any] | None, n_frames: int) -> np.ndarray | None:
    """Recorded starts of the frames: of an axis that is a list of values, in an NCEM EMD its `dim` data set."""
    if axis is None or n_frames < 2:
        return None
    factor = units.seconds_of(axis.get("units"))
    if factor is None:
        return None
    values = axis.get("axis")
    if values is None and path.suffix.lower() == ".emd":
        import h5py

        with h5py.File(path) as file:
            group = file.get(f"data/{title}")
            dims = [group.get(f"dim{k}") for k in range(1, 6)] if isinstance(group, h5py.Group) else []
            for dim in dims:
                if isinstance(dim, h5py.Dataset) and dim.shape == (n_frames,) and dim.dtype.kind in "uif":
                    unit = dim.attrs.get("units", "")
                    if units.is_time(unit.decode(errors="replace") if isinstance(unit, bytes) else unit):
                        values = dim[()]
    return None if values is None else units.start_times(values, n_frames, factor)
