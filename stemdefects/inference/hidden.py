"""What invalid pixels of a frame hide: columns and lattice sites on and beside them, about which it says nothing."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from stemdefects.inference.columns.lattice.sites import SiteView
from stemdefects.inference.network import region_map


def site_dtype() -> np.dtype:
    """A hidden lattice site of a frame."""
    return np.dtype([("frame", "i4"), ("cell", "i2", 2), ("site", "i1")])


class Hidden(NamedTuple):
    """away_px: (H, W) distance of each pixel of a frame to the nearest invalid one, in pixel widths; aspect: height
    over width of a pixel; n_invalid: invalid pixels of the frame. Places are in square pixels, as everywhere here."""

    away_px: np.ndarray
    aspect: float = 1.0
    n_invalid: int = 1

    def near(self, y_px: np.ndarray, x_px: np.ndarray, within_px: float) -> np.ndarray:
        """(n,) bool: an invalid pixel lies this close, or under the place."""
        height, width = self.away_px.shape
        row = np.rint(np.asarray(y_px) / self.aspect).astype(int).clip(0, height - 1)
        return self.away_px[row, np.rint(x_px).astype(int).clip(0, width - 1)] <= max(within_px, 0.5)


def by(invalid: np.ndarray | None, aspect: float = 1.0) -> Hidden | None:
    """What the `invalid` pixels (H, W bool) of a frame hide; None: nothing."""
    if invalid is None:
        return None
    away = ndimage.distance_transform_edt(~invalid, sampling=(aspect, 1.0)).astype(np.float32)
    return Hidden(away, aspect, int(invalid.sum()))


def sites(hidden: Hidden, seen: SiteView, basis: np.ndarray, within_px: float, frame: int) -> np.ndarray:
    """Lattice sites of the frame that are hidden, as `site_dtype`. basis: (G, 2) of the lattice vectors."""
    height, width = hidden.away_px.shape
    size = np.array([(height - 1) * hidden.aspect, width - 1])
    corners = (np.array([(0, 0), (0, 1), (1, 0), (1, 1)]) * size - seen.origin_px) @ np.linalg.inv(seen.vectors_px)
    low, high = np.floor(corners.min(0)).astype(int) - 1, np.ceil(corners.max(0)).astype(int) + 1
    cell = np.stack(np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)), indexing="ij"), -1)
    cell = cell.reshape(-1, 2)
    found = []
    for g, place in enumerate(basis):
        yx = (cell + place) @ seen.vectors_px + seen.origin_px
        inside = ((yx >= -0.5) & (yx <= size + 0.5)).all(1)
        inside[inside] = hidden.near(yx[inside, 0], yx[inside, 1], within_px)
        rows = np.zeros(int(inside.sum()), site_dtype())
        rows["frame"], rows["cell"], rows["site"] = frame, cell[inside], g
        found.append(rows)
    return np.concatenate(found)


def regions(hidden: Hidden, found: np.ndarray, step_px: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Map of the regions `found` (ny, nx), unknown where a cell of `step_px` (y, x; px of the frame) is hidden, and the
    area fractions (4,) of what is known."""
    centres = [(np.arange(n) + 0.5) * step - 0.5 for n, step in zip(found.shape, step_px, strict=True)]
    y, x = np.meshgrid(*centres, indexing="ij")
    known = np.where(hidden.near(y * hidden.aspect, x, 0.5), region_map.UNKNOWN, found)
    counts = np.bincount(known[known < 4].ravel(), minlength=4)[:4]
    return known.astype(np.uint8), counts / max(counts.sum(), 1)
