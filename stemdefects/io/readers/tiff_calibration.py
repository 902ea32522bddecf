"""What a TIFF says of lengths and times: ImageJ, OME, DigitalMicrograph, FEI, Micro-Manager, our own description."""

import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tifffile

from stemdefects.io.readers.conventions import units
from stemdefects.numerics.figures import positive

_DM_UNITS, _DM_SCALES = (65003, 65004, 65005), (65009, 65010, 65011)  # x, y, z, as DigitalMicrograph writes them
ATOMIC_NM = 10.0  # baseline resolution counts pixels per inch or cm: a screen's or printer's unless it is below


@dataclass
class OmeImage:
    """One image of the file. pixel_size_yx_nm: None where not stated; channels: their names, empty where they have
    none; time_increment_s; planes: (t, c, z) -> start in s; acquired: ISO time."""

    name: str = ""
    pixel_size_yx_nm: tuple[float, float] | None = None
    channels: list[str] = field(default_factory=list)
    time_increment_s: float | None = None
    planes: dict[tuple[int, int, int], float] = field(default_factory=dict)
    acquired: str | None = None

    def times_s(self, n_frames: int, channel: int, z: int) -> np.ndarray | None:
        """Starts of the frames of one channel; None where not all planes have one, or they do not increase."""
        found = [self.planes.get((t, channel, z)) for t in range(n_frames)]
        return None if None in found or n_frames < 2 else units.start_times(found, n_frames)


@dataclass
class Calibration:
    """None where the file says nothing. aspect: height over width of a pixel, where its size is not known."""

    pixel_size_yx_nm: tuple[float, float] | None = None
    aspect: float | None = None
    frame_time_s: float | None = None
    dose_e_per_px: float | None = None
    channels: list[str] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    image: OmeImage | None = None
    starts_s: Any = None

    def times_s(self, n_frames: int, channel: int = 0, z: int = 0) -> np.ndarray | None:
        """Recorded starts of the frames of one channel and slice."""
        if self.image is not None:
            return self.image.times_s(n_frames, channel, z)
        return None if self.starts_s is None else units.start_times(self.starts_s, n_frames)


def calibration(file: tifffile.TiffFile, series: int = 0) -> Calibration:
    """What the open `file` says of its image number `series`."""
    page = file.pages[0]
    per_px = [_pixels_per_unit(page, tag) for tag in ("YResolution", "XResolution")]
    found = Calibration()
    by = None
    if _DM_UNITS[0] in page.tags:
        by = "DigitalMicrograph tags"
        values = [(page.tags.valueof(s), page.tags.valueof(u)) for u, s in zip(_DM_UNITS, _DM_SCALES, strict=True)]
        found.pixel_size_yx_nm = _both(units.to_nm(*values[1]), units.to_nm(*values[0]))
        found.frame_time_s = units.to_s(*values[2])
    elif file.is_imagej:
        by = "ImageJ"
        _imagej(found, file.imagej_metadata or {}, per_px)
    elif file.is_ome:
        by = "OME"
        images = ome_images(file.ome_metadata or "")
        if images:
            image = found.image = images[min(series, len(images) - 1)]
            found.pixel_size_yx_nm, found.frame_time_s = image.pixel_size_yx_nm, image.time_increment_s
            found.channels = image.channels
            found.metadata["acquired"] = image.acquired
    elif file.is_fei:
        by = "FEI"
        scan = (file.fei_metadata or {}).get("Scan", {})
        found.pixel_size_yx_nm = _both(*(units.to_nm(scan.get(f"Pixel{side}"), "m") for side in ("Height", "Width")))
        found.frame_time_s = units.to_s(scan.get("FrameTime"), "s")
    elif file.is_micromanager:
        by = "Micro-Manager"
        _micromanager(found, file)
    else:
        by = _description(found, page)
        unit = {2: "inch", 3: "cm"}.get(int(page.tags.valueof("ResolutionUnit", 2) or 2))
        plausible = _both(*(units.to_nm(1 / n if n else None, unit) for n in per_px))
        if found.pixel_size_yx_nm is None and plausible is not None and max(plausible) < ATOMIC_NM:
            found.pixel_size_yx_nm, by = plausible, by or "TIFF resolution"
    found.metadata["calibrated_by"] = by
    return found


def ome_images(text: str) -> list[OmeImage]:
    """The images that OME-XML describes, in order; empty when it is no XML."""
    try:
        root = ElementTree.fromstring(text.encode())
    except (ElementTree.ParseError, ValueError):
        return []
    found = []
    for element in _named(root, "Image"):
        image = OmeImage(element.get("Name") or "")
        found.append(image)
        for date in _named(element, "AcquisitionDate"):
            image.acquired = (date.text or "").strip() or None
        for pixels in _named(element, "Pixels")[:1]:
            sizes = [
                units.to_nm(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "um"))
                for axis in "YX"
            ]
            image.pixel_size_yx_nm = _both(*sizes)
            image.time_increment_s = units.to_s(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
            image.channels = [channel.get("Name") or "" for channel in _named(pixels, "Channel")]
            for plane in _named(pixels, "Plane"):
                factor = units.seconds_of(plane.get("DeltaTUnit", "s"))
                try:
                    t, c, z = (int(plane.get(key, "0")) for key in ("TheT", "TheC", "TheZ"))
                    image.planes[t, c, z] = float(plane.get("DeltaT", "nan")) * (np.nan if factor is None else factor)
                except ValueError:
                    continue
    return found


def _named(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Elements of that name below, whatever version of the schema their namespace is."""
    return [e for e in element.iter() if re.sub(r"^\{.*\}", "", str(e.tag)) == name]


def _imagej(found: Calibration, info: dict[str, Any], per_px: list[float | None]) -> None:
    """ImageJ's fields. `fps` is the speed at which it plays a stack, not the one at which it was recorded."""
    found.metadata["metadata"] = {k: v for k, v in info.items() if k not in ("Labels", "LUTs", "Info")}
    y, x = per_px
    x_unit = info.get("unit", "")
    y_unit = info.get("yunit", x_unit)
    found.pixel_size_yx_nm = _both(units.to_nm(1 / y if y else None, y_unit), units.to_nm(1 / x if x else None, x_unit))
    if found.pixel_size_yx_nm is None and x and y and x_unit == y_unit:
        found.aspect = positive(x / y)  # of pixels whose size has no unit that we know
    found.frame_time_s = units.to_s(info.get("finterval"), info.get("tunit") or "s")


def _micromanager(found: Calibration, file: tifffile.TiffFile) -> None:
    """Size and start of each plane, which Micro-Manager writes with every page."""
    tags = [page.tags.valueof("MicroManagerMetadata") for page in file.pages if page is not None and page.tags]
    tags = [tag if isinstance(tag, dict) else {} for tag in tags]
    if tags and tags[0]:
        size = units.to_nm(tags[0].get("PixelSizeUm"), "um")
        found.pixel_size_yx_nm = _both(size, size)
        found.frame_time_s = units.to_s(tags[0].get("Interval_ms"), "ms")
        starts = [float(tag["ElapsedTime-ms"]) / 1000 for tag in tags if tag.get("ElapsedTime-ms") is not None]
        if len(starts) == len(tags):
            found.starts_s = starts


def _description(found: Calibration, page: Any) -> str | None:
    """Fields of a JSON description: those of this software, and the channels' names as tifffile writes them."""
    for text in (page.description, getattr(page, "description1", "")):
        try:
            said = json.loads(text)
        except ValueError:
            continue
        if not isinstance(said, dict):
            continue
        names = said.get("Channel", {}).get("Name") if isinstance(said.get("Channel"), dict) else None
        if isinstance(names, list):
            found.channels = [str(name) for name in names]
        size = units.stated_yx(said.get("pixel_size_yx_nm")) or units.stated_yx(said.get("pixel_size_nm"))
        found.pixel_size_yx_nm = found.pixel_size_yx_nm or size
        found.frame_time_s = found.frame_time_s or positive(said.get("frame_time_s"))
        found.dose_e_per_px = found.dose_e_per_px or positive(said.get("dose_e_per_px"))
        if said.get("time_s") is not None:
            found.starts_s = said["time_s"]
    return None if found.pixel_size_yx_nm is None else "description"


def _both(y: float | None, x: float | None) -> tuple[float, float] | None:
    return None if y is None or x is None else (y, x)


def _pixels_per_unit(page: Any, tag: str) -> float | None:
    value = page.tags.valueof(tag)
    try:
        return positive(value[0] / value[1])
    except (TypeError, ZeroDivisionError, IndexError):
        return None
