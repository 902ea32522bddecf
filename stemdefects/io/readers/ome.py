"""What the XML of an OME-TIFF says: images, channels, sizes and times."""

import re
import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass, field

import numpy as np

from stemdefects.io.readers import units


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


def images(text: str) -> list[OmeImage]:
    """The images that OME-XML describes, in order; empty when it is no XML."""
    try:
        root = ElementTree.fromstring(text.encode())
    except (ElementTree.ParseError, ValueError):
        return []
    found = []
    for element in _all(root, "Image"):
        image = OmeImage(element.get("Name") or "")
        found.append(image)
        for date in _all(element, "AcquisitionDate"):
            image.acquired = (date.text or "").strip() or None
        for pixels in _all(element, "Pixels")[:1]:
            sizes = [
                units.to_nm(pixels.get(f"PhysicalSize{axis}"), pixels.get(f"PhysicalSize{axis}Unit", "um"))
                for axis in "YX"
            ]
            if None not in sizes:
                image.pixel_size_yx_nm = (sizes[0], sizes[1])
            image.time_increment_s = units.to_s(pixels.get("TimeIncrement"), pixels.get("TimeIncrementUnit", "s"))
            image.channels = [channel.get("Name") or "" for channel in _all(pixels, "Channel")]
            for plane in _all(pixels, "Plane"):
                factor = units.seconds_of(plane.get("DeltaTUnit", "s"))
                try:
                    where = tuple(int(plane.get(key, "0")) for key in ("TheT", "TheC", "TheZ"))
                    image.planes[where] = float(plane.get("DeltaT", "nan")) * (np.nan if factor is None else factor)
                except ValueError:
                    continue
    return found


def _all(element: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Elements of that name below, whatever version of the schema their namespace is."""
    return [e for e in element.iter() if re.sub(r"^\{.*\}", "", str(e.tag)) == name]
