"""Microscope vendors' files through RosettaSciIO, an optional package (GPL-3.0), imported only here."""

import contextlib
import importlib
import io
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.movie import LazyFrames, Movie
from stemdefects.io.readers import pick, units

_PREFERRED = ("haadf", "adf", "bf", "stem")
_FRAME_NAMES = ("time", "z", "frame", "frames", "t", "scan", "stack", "image series", "depth")
_Y_NAMES, _X_NAMES = ("y", "height"), ("x", "width")


def open_file(path: Path, signal: str | None) -> Movie:
    """The image or image stack `signal` (by title), else HAADF, else the first; axes are told by their metadata.

    Raises UserError when RosettaSciIO is missing, or the file holds no image.
    """
    signals = [s for s in _read(path) if _is_image(s)]
    if not signals:
        raise UserError(f"{path}: holds no image or movie of images (a spectrum, a map or a diffraction data set?)")
    titles = [_title(s, i) for i, s in enumerate(signals)]
    chosen = signals[pick(titles, signal, path, _PREFERRED)]
    data, (frame_axis, y_axis, x_axis) = _ordered(chosen["data"], chosen["axes"])
    sizes = [units.to_nm(_scale(axis), axis.get("units")) for axis in (y_axis, x_axis)]
    frame_time = units.to_s(_scale(frame_axis), frame_axis.get("units")) if frame_axis else None
    metadata = {
        "title": titles[signals.index(chosen)],
        "signals": titles,
        "vendor": chosen.get("original_metadata", {}),
        "general": chosen.get("metadata", {}),
    }
    if None not in sizes and abs(sizes[0] / sizes[1] - 1) > 1e-3:
        metadata["pixel_size_yx_nm"] = tuple(sizes)

    def get(index: int) -> np.ndarray:
        frame = data[index]
        return np.asarray(frame.compute(scheduler="synchronous") if hasattr(frame, "compute") else frame)

    frames = LazyFrames(get, data.shape, data.dtype)
    pixel_size = sizes[1] if sizes[0] is not None else None
    return Movie(frames, pixel_size, frame_time, None, str(path), metadata)


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
            quiet = io.StringIO()
            logging.disable(logging.CRITICAL)
            try:
                with warnings.catch_warnings(), contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
                    warnings.simplefilter("ignore")
                    return reader(str(path), lazy=lazy)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                reasons.append((str(error) or type(error).__name__).splitlines()[0][:120])
            finally:
                logging.disable(logging.NOTSET)
    raise UserError(f"{path}: cannot be read as .{suffix}: damaged or not of this type ({reasons[-1]})")


def _is_image(signal: dict[str, Any]) -> bool:
    data = signal.get("data")
    if data is None or not hasattr(data, "ndim"):
        return False
    big = [n for n in data.shape if n > 1]
    return (data.ndim in (2, 3) and len(big) >= 2) or (data.ndim > 3 and len(big) in (2, 3))


def _title(signal: dict[str, Any], index: int) -> str:
    general = (signal.get("metadata") or {}).get("General") or {}
    return str(general.get("title") or f"signal {index}")


def _scale(axis: dict[str, Any]) -> float | None:
    if "scale" in axis:
        return axis["scale"]
    values = axis.get("axis")
    return float(values[1] - values[0]) if values is not None and len(values) > 1 else None


def _ordered(data: Any, axes: list[dict[str, Any]]) -> tuple[Any, tuple[dict | None, dict, dict]]:
    """`data` as (frame, y, x), with the three axes' metadata; the frame axis is None for one image.

    Names and units decide (an NCEM EMD may come in any order); where they say nothing, RosettaSciIO's own order does.
    """
    axes = [dict(axis) for axis in axes]
    if len(axes) != data.ndim:
        axes = [{"name": None, "size": n} for n in data.shape]
    elif all("index_in_array" in axis for axis in axes):
        axes.sort(key=lambda axis: axis["index_in_array"])
    order = list(range(data.ndim))
    while len(order) > 3:  # axes of length 1
        order.remove(next(i for i in order if data.shape[i] == 1))

    def matches(i: int, names: tuple[str, ...]) -> bool:
        return str(axes[i].get("name") or "").strip().lower() in names

    frame = None
    if len(order) == 3:
        by_time = [i for i in order if units.is_time(axes[i].get("units"))]
        by_name = [i for i in order if matches(i, _FRAME_NAMES)]
        by_navigation = [i for i in order if axes[i].get("navigate")]
        lengths = [i for i in order if units.is_length(axes[i].get("units"))]
        by_elimination = [i for i in order if i not in lengths] if len(lengths) == 2 else []
        frame = next((g[0] for g in (by_time, by_name, by_navigation, by_elimination) if len(g) == 1), order[0])
        order.remove(frame)
    y, x = order
    if matches(y, _X_NAMES) and matches(x, _Y_NAMES):
        y, x = x, y
    wanted = [y, x] if frame is None else [frame, y, x]
    moved = data.transpose([i for i in range(data.ndim) if i not in wanted] + wanted)
    moved = moved.reshape(moved.shape[-len(wanted) :])
    return (moved[None] if frame is None else moved), (None if frame is None else axes[frame], axes[y], axes[x])
