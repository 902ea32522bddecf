"""The lattice of a frame whose network finds defects only, anywhere in the cell: from the frame's Bragg components.

Where columns of all sublattices are found they say where the lattice is; here nothing is found but a few defects, and
the phases of the frame's own components say it.
"""

import numpy as np

from stemdefects.crystal.bragg import reciprocal
from stemdefects.inference.columns.lattice.sites import NOWHERE, SiteView
from stemdefects.inference.network import align
from stemdefects.inference.network.engine import FrameOutput

MAX_CHANGE = 0.15  # of the lattice vectors, from those of the movie
STANDS_OUT = 2.0  # times the amplitude beside a Bragg peak: noise alone has one in 230 frames, phases err by 0.07 cells
BESIDE = 3.0  # periods over the frame: what is this far from a peak is not it


def _stands_out(image: np.ndarray, vectors_px: np.ndarray) -> bool:
    """Do both Bragg components of `vectors_px` stand out of what is beside them?"""
    window = np.outer(*(np.hanning(n + 2)[1:-1] for n in image.shape))
    smooth = (image - (image * window).sum() / window.sum()) * window
    y, x = (np.arange(n) for n in image.shape)
    turns = 2 * np.pi * np.arange(12) / 12
    around = BESIDE * np.stack([np.sin(turns), np.cos(turns)], 1) / np.array(image.shape)

    def amplitude(g: np.ndarray) -> float:
        return float(np.abs(np.exp(-2j * np.pi * g[0] * y) @ smooth @ np.exp(-2j * np.pi * g[1] * x)))

    return all(
        amplitude(g) > STANDS_OUT * np.median([amplitude(g + d) for d in around]) for g in reciprocal(vectors_px)
    )


def view(position_px: np.ndarray, output: FrameOutput, vectors_px: np.ndarray) -> SiteView | None:
    """Detections (n, 2) in the cells of the frame's lattice; None where its components do not stand out.

    vectors_px: (2, 2) about which lattice, rows y and x in px of the frame. Cell (0, 0) is where the phases of both
    components are zero, near the middle of the frame; every defect is in the cell whose origin is nearest.
    """
    lattice = output.lattice
    own = lattice.vectors_px if lattice is not None and lattice.clear else None
    alike = own is not None and np.isfinite(own).all()
    if own is not None and alike and np.abs(own @ np.linalg.inv(vectors_px) - np.eye(2)).max() < MAX_CHANGE:
        vectors = own
    elif _stands_out(output.image, vectors_px * output.scale):  # too small a field to be looked at part by part
        vectors = vectors_px
    else:
        return None
    phases = align.lattice_phases(output.image, vectors * output.scale)
    middle = (np.array(output.image.shape) - 1) / 2 / output.scale
    origin = -phases / (2 * np.pi)
    origin = (origin + np.rint(middle @ np.linalg.inv(vectors) - origin)) @ vectors
    cell = np.rint((position_px - origin) @ np.linalg.inv(vectors)).astype(np.int32)
    if lattice is not None and lattice.grains is not None:  # sites are those of the first grain
        cell[lattice.grain_at(*position_px.T) != 0] = NOWHERE
    area = float(np.prod(np.array(output.image.shape) / output.scale))
    n = round(area / abs(np.linalg.det(vectors)))
    none = np.zeros(len(cell), bool)
    return SiteView(cell.reshape(-1, 2), vectors, origin, 0.0, none, n, np.zeros((0, 3), np.int32), np.zeros((0, 2)))
