"""TIFF through tifffile: images and stacks, calibrated by ImageJ, OME, DigitalMicrograph, FEI or baseline tags."""

import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from stemdefects.errors import UserError
from stemdefects.io.movie import MAX_FRAME_PIXELS, UNREADABLE, FrameError, LazyFrames, Movie
from stemdefects.io.readers import units

logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # what matters comes out as our own message

_DM_UNITS, _DM_SCALES = (65003, 65004, 65005), (65009, 65010, 65011)  # x, y, z, as DigitalMicrograph writes them


def open_file(path: Path, signal: str | None) -> Movie:
    """All grey images of the largest series; pages are read one by one when they are used."""
    file = tifffile.TiffFile(path)
    try:
        if not file.series:
            raise UserError(f"{path}: no image in this TIFF")
        series = max(file.series, key=lambda s: s.size)
        axes, shape = series.axes, series.shape
        if "S" in axes and shape[axes.index("S")] > 1:
            samples = f"{shape[axes.index('S')]} colour channels"
            raise UserError(f"{path}: {samples} are no HAADF intensity; export the grey-scale image")
        if "Y" not in axes or "X" not in axes:
            raise UserError(f"{path}: data with axes {axes} holds no image")
        size = shape[axes.index("Y")], shape[axes.index("X")]
        if size[0] * size[1] > MAX_FRAME_PIXELS:
            raise UserError(f"{path}: a frame of {size[0]} x {size[1]} px is too large, or the header is damaged")
        scale = calibration(file)
        n_frames = int(np.prod([n for axis, n in zip(axes, shape, strict=True) if axis not in "YXS"], initial=1))
        pages = list(series.pages) if len(series.pages) == n_frames else None
        if pages is None:  # ImageJ's large stacks and virtual series: one contiguous block
            if axes[-2:] != "YX":
                raise UserError(f"{path}: axes {axes} are not a stack of images; export it as a plain stack")
            if series.dataoffset is not None:
                data = np.memmap(path, series.dtype.newbyteorder(file.byteorder), "r", series.dataoffset, shape)
                flat = data.reshape(-1, *size)
            else:
                flat = series.asarray(maxworkers=1).reshape(-1, *size)
            frames = LazyFrames(lambda i: flat[i], flat.shape, flat.dtype, file.close)
        else:
            # pages beyond the first series: frames of another size in one stack
            odd = [p for p in file.pages if p.ndim == 2] if len(file.series) > 1 and not file.is_imagej else None
            if odd and len(odd) > len(pages) and all(p is not None for p in odd):
                pages = odd

            def get(index: int) -> np.ndarray:
                page = pages[index]
                if page is None:
                    raise FrameError(UNREADABLE, f"{path}, frame {index}: the page is missing")
                if np.prod(page.shape, dtype=float) > MAX_FRAME_PIXELS:
                    raise FrameError(UNREADABLE, f"{path}, frame {index}: page of {page.shape} px")
                return np.squeeze(page.asarray(maxworkers=1))

            frames = LazyFrames(get, (len(pages), *size), series.dtype, file.close)
        return Movie(frames, scale.pop("pixel_size_nm"), scale.pop("frame_time_s"), None, str(path), scale)
    except BaseException:
        file.close()
        raise


def calibration(file: tifffile.TiffFile) -> dict[str, Any]:
    """pixel_size_nm, frame_time_s and the remaining metadata of an open TIFF; None where it states none."""
    page = file.pages[0]
    found: dict[str, Any] = {"pixel_size_nm": None, "frame_time_s": None, "calibrated_by": None}
    per_px = [_pixels_per_unit(page, tag) for tag in ("YResolution", "XResolution")]
    sizes: list[float | None] = [None, None]

    if _DM_UNITS[0] in page.tags:
        found["calibrated_by"] = "DigitalMicrograph tags"
        values = [(page.tags.valueof(s), page.tags.valueof(u)) for u, s in zip(_DM_UNITS, _DM_SCALES, strict=True)]
        sizes = [units.to_nm(*values[1]), units.to_nm(*values[0])]
        found["frame_time_s"] = units.to_s(*values[2])
    elif file.is_imagej:
        info = file.imagej_metadata or {}
        found["metadata"] = {key: value for key, value in info.items() if key not in ("Labels", "LUTs", "Info")}
        found["calibrated_by"] = "ImageJ"
        unit = str(info.get("unit", "")).replace("\\u00B5", "u")
        sizes = [units.to_nm(1 / n if n else None, unit) for n in per_px]
        interval = info.get("finterval") or (1 / info["fps"] if info.get("fps") else None)
        found["frame_time_s"] = units.to_s(interval, info.get("tunit", "s"))
    elif file.is_ome:
        found["calibrated_by"] = "OME"
        text = file.ome_metadata or ""
        for i, axis in enumerate("YX"):
            value = re.search(rf'PhysicalSize{axis}="([^"]+)"', text)
            unit = re.search(rf'PhysicalSize{axis}Unit="([^"]+)"', text)
            sizes[i] = units.to_nm(value and value[1], unit[1] if unit else "um")
        value = re.search(r'TimeIncrement="([^"]+)"', text)
        found["frame_time_s"] = units.to_s(value and value[1], "s")
    elif file.is_fei:
        found["calibrated_by"] = "FEI"
        scan = (file.fei_metadata or {}).get("Scan", {})
        sizes = [units.to_nm(scan.get(f"Pixel{side}"), "m") for side in ("Height", "Width")]
        found["frame_time_s"] = units.to_s(scan.get("FrameTime"), "s")
    else:
        # baseline resolution counts pixels per inch or cm: screen settings (72 dpi) unless it comes out atomic
        unit = {2: "inch", 3: "cm"}.get(int(page.tags.valueof("ResolutionUnit", 2) or 2))
        plausible = [units.to_nm(1 / n if n else None, unit) for n in per_px]
        if all(size is not None and size < 10 for size in plausible):
            sizes, found["calibrated_by"] = plausible, "TIFF resolution"
    found["pixel_size_nm"] = sizes[1] if sizes[0] is not None else None
    if sizes[0] is not None and sizes[1] is not None and abs(sizes[0] / sizes[1] - 1) > 1e-3:
        found["pixel_size_yx_nm"] = tuple(sizes)
    return found


def _pixels_per_unit(page: Any, tag: str) -> float | None:
    value = page.tags.valueof(tag)
    try:
        return value[0] / value[1]
    except (TypeError, ZeroDivisionError, IndexError):
        return None
