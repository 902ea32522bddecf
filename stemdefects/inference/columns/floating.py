"""The lattice of a frame whose network finds defects only, anywhere in the cell: from the frame's Bragg components.

Where columns of all sublattices are found they say where the lattice is; here nothing is found but a few defects, and
the phases of the frame's own components say it.
"""

import numpy as np

from stemdefects.inference.columns.sites import SiteView
from stemdefects.inference.network import align
from stemdefects.inference.network.engine import FrameOutput


def view(position_px: np.ndarray, output: FrameOutput, vectors_px: np.ndarray) -> SiteView | None:
    """Detections (n, 2) in the cells of the frame's lattice; None where its components do not stand out.

    vectors_px: (2, 2) about which lattice, rows y and x in px of the frame. Cell (0, 0) is where the phases of both
    components are zero, near the middle of the frame; every defect is in the cell whose origin is nearest.
    """
    lattice = output.lattice
    if lattice is None or not lattice.clear or not np.isfinite(lattice.vectors_px).all():
        return None
    vectors = lattice.vectors_px
    if np.abs(vectors @ np.linalg.inv(vectors_px) - np.eye(2)).max() > 0.15:  # of another field
        return None
    phases = align.lattice_phases(output.image, vectors * output.scale)
    middle = (np.array(output.image.shape) - 1) / 2 / output.scale
    origin = -phases / (2 * np.pi)
    origin = (origin + np.rint(middle @ np.linalg.inv(vectors) - origin)) @ vectors
    cell = np.rint((position_px - origin) @ np.linalg.inv(vectors)).astype(np.int32)
    area = float(np.prod(np.array(output.image.shape) / output.scale))
    n = round(area / abs(np.linalg.det(vectors)))
    none = np.zeros(len(cell), bool)
    return SiteView(cell.reshape(-1, 2), vectors, origin, 0.0, none, n, np.zeros((0, 3), np.int32), np.zeros((0, 2)))
