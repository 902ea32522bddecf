"""A lattice that the scan stretched or sheared, straightened before the network looks.

The network knows crystals strained by a percent; scans distort by many. The affine map from the frame's lattice to the
nearest ideal one is taken from the Bragg peaks, frames are resampled by it, and everything up to the table works in
straightened pixels. Positions and lattices go back into the frame's own pixels.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from stemdefects.inference.network.calibration import Calibration

LEAST = 0.03  # distortion (`bragg_map.distortion`) from which on frames are straightened
SURE = 2.0  # standard errors of the lattice's sampling that the distortion must exceed
MOST_LARGER = 1.6  # of the frame's area: a lattice found wrong would ask for anything


class Undistortion(NamedTuple):
    """raw = straight @ matrix + offset, for places (n, 2) y, x; shape: (h, w) of straightened frames."""

    matrix: np.ndarray
    offset: np.ndarray
    shape: tuple[int, int]

    def raw(self, place_px: np.ndarray) -> np.ndarray:
        """(n, 2) places in pixels of the frame, from straightened ones."""
        return np.asarray(place_px) @ self.matrix + self.offset

    def straight(self, place_px: np.ndarray) -> np.ndarray:
        """(n, 2) places in straightened pixels, from those of the frame."""
        return (np.asarray(place_px) - self.offset) @ np.linalg.inv(self.matrix)

    def image(self, frame: np.ndarray) -> np.ndarray:
        """(h, w) float32 straightened `frame` (H, W), mirrored beyond its border."""
        return ndimage.affine_transform(
            frame.astype(np.float32), self.matrix.T, self.offset, self.shape, order=1, mode="mirror"
        )

    def invalid(self, mask: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
        """(h, w) bool: what is invalid in the frame of `shape` (`mask`, None: nothing), and all beyond its border."""
        wrong = np.zeros(shape, np.uint8) if mask is None else mask.astype(np.uint8)
        return ndimage.affine_transform(wrong, self.matrix.T, self.offset, self.shape, order=0, cval=1) > 0


def measured(
    calibration: Calibration, lattice_nm: np.ndarray, shape: tuple[int, int], aspect: float
) -> Undistortion | None:
    """What straightens frames of `shape` (H, W) with pixels `aspect` times as high as wide; None where they are
    straight, or nobody can say. lattice_nm: (2, 2) of the ideal crystal."""
    from stemdefects.inference.network import bragg_map

    if calibration.vectors_px is None:
        return None
    vectors = np.array(calibration.vectors_px)
    pixel = np.sqrt(abs(np.linalg.det(lattice_nm) / np.linalg.det(vectors)))
    _, strain = bragg_map.deformation(vectors, lattice_nm, pixel)
    off = bragg_map.distortion(strain)
    if off < max(LEAST, SURE * (calibration.lattice_sigma or 0.0)):
        return None
    gradient = np.linalg.solve(lattice_nm, vectors * pixel)  # row vectors: lattice @ gradient, in square pixels
    u, _, vt = np.linalg.svd(gradient)
    forward = np.diag((aspect, 1.0)) @ np.linalg.inv(gradient) @ (u @ vt)
    corners = np.array([(y, x) for y in (0, shape[0] - 1) for x in (0, shape[1] - 1)]) @ forward
    low = corners.min(0)
    height, width = (int(n) for n in np.ceil(np.ptp(corners, axis=0)) + 1)
    if height * width > MOST_LARGER * np.prod(shape) * aspect:
        return None
    matrix = np.linalg.inv(forward)
    return Undistortion(matrix, low @ matrix, (height, width))
