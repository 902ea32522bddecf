"""What lies on the crystal: where it is, to a part of a lattice spacing, and the rim that it dims or brightens.

A window wide enough to tell dirt from a heavy atom sees it much farther out than it reaches, the farther the brighter
it is. So that window only says that there is dirt; its edge is where a narrow window, which just smooths the columns
out, sees half of it: that is the edge whatever the window and however soft it is.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import ndimage

from stemdefects.labels.fourier.periodic import grains
from stemdefects.labels.fourier.periodic.residual import Residual
from stemdefects.schema import FourierConfig

# times the usual intensity in a window of so many spacings: the crystal is covered. A window this wide sees a heavy
# atom as a few per cent, dirt as what it is
DIRT, DIRT_WINDOW = 1.5, 1.5
# dirt that is fainter, but rough: uneven light and a bend are smooth. `TEXTURE` is of the mean square of the filtered
# residual over its usual one, where `LARGEST` standard deviations count at most, so that one atom makes no texture
FAINT, TEXTURE, LARGEST = 1.15, 3.0, 5.0
LIES = 0.5  # of that faint light, also in the gaps between columns: roughness and the window take the rest
COLUMN = 0.17  # lattice spacings, about the width (standard deviation) of a column
EDGE_WINDOW = 0.5  # lattice spacings: a hexagonal lattice's ripple is 0.1% in it, a square one's 0.7%
LEVEL_WINDOW, LEVEL_REACH = 0.8, 1.5  # the dirt's own brightness is the largest in such a window this near
REACH = 2.5  # lattice spacings from what the wide window has seen: farther it is something else
ORDER_KEPT = 0.6  # local amplitude of the lattice, of its usual one, where it is crystal for sure
RIM_LEVEL, RIM = 1.12, 2.0  # times the usual intensity, this near to dirt: it still brightens what is there
UNSURE, LEAST_RIM = 0.25, 0.4  # of the dirt's own light, and lattice spacings from it: neither dirt nor crystal
SPOT = 1.2  # lattice spacings: side of what a heavy atom is in the narrow window


class Dirt(NamedTuple):
    """(H, W) bool: `mask`, what is dirt; `rim`, what is neither dirt nor crystal for sure; `touched`, all that it
    brightens, itself included."""

    mask: np.ndarray
    rim: np.ndarray
    touched: np.ndarray


def find(frame: np.ndarray, parts: Residual, spacing_px: float) -> Dirt | None:
    """What lies on the crystal of `frame` (H, W), which was taken apart into `parts`; None: nothing."""
    zero = -parts.read_variance / parts.gain if parts.gain > 0 and parts.read_variance < 0 else 0.0
    kept = parts.order > ORDER_KEPT

    def level(width: float) -> np.ndarray:
        slow = ndimage.gaussian_filter(frame, width * spacing_px) - zero
        return slow / max(float(np.median(slow[kept])) if kept.any() else 1.0, 1e-30)

    usual = max(float(np.median((frame - zero)[kept])) if kept.any() else 1.0, 1e-30)
    wide = level(DIRT_WINDOW)
    seed = wide > DIRT
    if (wide > FAINT).any():
        faint = (wide > FAINT) & (_texture(parts, spacing_px, kept) > TEXTURE)
        seed |= faint & (_raised(frame, spacing_px, kept) / usual > LIES * (wide - 1))
    if not seed.any():
        return None
    narrow = level(EDGE_WINDOW)
    size = 2 * round(LEVEL_REACH * spacing_px) + 1
    top = ndimage.maximum_filter(level(LEVEL_WINDOW), size)
    share = (narrow - 1) / (np.maximum(top, FAINT) - 1)
    mask = (share > 0.5) & (ndimage.distance_transform_edt(~seed) < REACH * spacing_px)
    label, _ = ndimage.label(mask)
    mask = np.isin(label, np.setdiff1d(np.unique(label[seed & mask]), [0]))
    if not mask.any():
        return None
    mask = ndimage.binary_fill_holes(mask)
    away = ndimage.distance_transform_edt(~mask) / spacing_px
    # an atom beside dirt is a spot, what dirt brightens reaches farther
    smooth = ndimage.grey_opening(narrow, size=round(SPOT * spacing_px) | 1)
    rim = ~mask & ((away < LEAST_RIM) | ((away < RIM) & (smooth > 1 + UNSURE * (np.maximum(top, FAINT) - 1))))
    return Dirt(mask, rim, mask | rim | ((away < RIM) & (smooth > RIM_LEVEL)))


def taken_apart(
    frames: np.ndarray, crystal: grains.Grains, cfg: FourierConfig, invalid: np.ndarray | None
) -> tuple[list[Residual], list[Dirt | None]]:
    """Each of `frames` (N, H, W) taken apart, and what lies on its crystal, which must not have a say in that."""
    settings: dict[str, Any] = {"window": cfg.window, "background": cfg.background_window, "fit_rows": cfg.fit_rows}
    parts, covers = [], []
    for t, frame in enumerate(frames):
        missing = None if invalid is None else invalid[t]
        part = grains.take_apart(frame, crystal, invalid=missing, **settings)
        cover = find(frame, part, crystal.lattices[0].spacing_px) if cfg.recipe == "local" else None
        if cover is not None:
            part = grains.take_apart(frame, crystal, invalid=missing, covered=cover.touched, **settings)
        parts.append(part)
        covers.append(cover)
    return parts, covers


def masks(covers: Sequence[Dirt | None], shape: tuple[int, ...]) -> np.ndarray | None:
    """(N, H, W) bool of `shape`: what lies on the crystal in each frame; None where nothing does in any."""
    if all(cover is None for cover in covers):
        return None
    return np.stack([np.zeros(shape[1:], bool) if cover is None else cover.mask for cover in covers])


def marks(frame: np.ndarray, parts: Residual, dirt: Dirt, spacing_px: float) -> np.ndarray:
    """(H, W) what `dirt` shows that no lattice does, in units of the noise; 0 elsewhere.

    Dirt lies still on the crystal and repeats with nothing: it says by which lattice vector the crystal has moved.
    """
    narrow, wide = (ndimage.gaussian_filter(frame, w * spacing_px) for w in (EDGE_WINDOW, DIRT_WINDOW))
    variance = ndimage.gaussian_filter(parts.variance, spacing_px) / (4 * np.pi * (EDGE_WINDOW * spacing_px) ** 2)
    return np.where(dirt.touched, (narrow - wide) / np.sqrt(variance), 0.0).astype(np.float32)


def _raised(frame: np.ndarray, spacing_px: float, kept: np.ndarray) -> np.ndarray:
    """(H, W) by how much the darkest place of each cell is brighter than usual, in the wide window: a film fills the
    gaps between columns, a few heavy atoms beside each other do not."""
    darkest = ndimage.minimum_filter(ndimage.gaussian_filter(frame, COLUMN * spacing_px), round(spacing_px))
    level = ndimage.gaussian_filter(darkest, DIRT_WINDOW * spacing_px)
    return level - (float(np.median(level[kept])) if kept.any() else 0.0)


def _texture(parts: Residual, spacing_px: float, kept: np.ndarray) -> np.ndarray:
    """(H, W) mean square of what does not repeat, in the wide window, over what it usually is."""
    sigma = COLUMN * spacing_px
    filtered = ndimage.gaussian_filter(parts.normalised, sigma) * (2 * np.sqrt(np.pi) * sigma)
    square = np.minimum(filtered**2, LARGEST**2)
    mean = ndimage.gaussian_filter(square, DIRT_WINDOW * spacing_px)
    return mean / max(float(np.median(mean[kept])) if kept.any() else 1.0, 1e-30)
