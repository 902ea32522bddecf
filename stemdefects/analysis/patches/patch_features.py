"""Features of whole image patches: raw pixels, three-fold means, invariant moments."""

import numpy as np
from scipy.sparse import csr_matrix

from stemdefects.numerics import robust


def features(patches: np.ndarray, kind: str) -> np.ndarray:
    """Features of patches (n, h, w), whose frames are normalised already; all are scaled alike, so that brightness
    counts.

    `raw`: pixels in the central disc. `threefold`: the polar image averaged over the three rotations that leave a
    1H lattice as it is, so that the orientations of one complex fall together. `zernike`: sizes of the Zernike
    moments up to order 8, unchanged by any rotation (Teague, J. Opt. Soc. Am. 70, 920 (1980)).

    Raises:
        ValueError: unknown kind.
    """
    flat = np.asarray(patches, np.float32).reshape(len(patches), -1)
    height, width = patches.shape[1:]
    middle = np.nanmedian(flat)
    spread = max(robust.scatter(flat, middle), 1e-6)
    flat = np.clip((flat - middle) / spread, -30, 30)
    yy, xx = np.mgrid[:height, :width]
    radius = np.hypot(yy - (height - 1) / 2, xx - (width - 1) / 2)
    limit = (min(height, width) - 1) / 2
    if kind == "raw":
        return flat[:, (radius <= limit).ravel()]
    if kind == "threefold":
        polar = (_polar_matrix(height, width) @ flat.T).T.reshape(len(flat), _RADII, 3, _ANGLES // 3)
        return polar.mean(2).reshape(len(flat), -1)
    if kind == "zernike":
        return np.abs(flat @ _zernike(height, width).T)
    raise ValueError(f"unknown features: {kind}")


_RADII, _ANGLES = 7, 36  # of the polar grid; angles in three equal parts, whose mean is three-fold
_REACH = 0.58  # of the patch: a defect differs from the crystal at its own column and the nearest ones


def _polar_matrix(height: int, width: int) -> csr_matrix:
    """Bilinear sampling of a flattened patch at _RADII x _ANGLES polar points around its middle."""
    limit = _REACH * (min(height, width) - 1) / 2
    r, a = np.meshgrid(np.linspace(0, limit, _RADII), np.arange(_ANGLES) * 2 * np.pi / _ANGLES, indexing="ij")
    y, x = (height - 1) / 2 + (r * np.sin(a)).ravel(), (width - 1) / 2 + (r * np.cos(a)).ravel()
    y0, x0 = np.clip(np.floor(y), 0, height - 2).astype(int), np.clip(np.floor(x), 0, width - 2).astype(int)
    fy, fx = y - y0, x - x0
    rows = np.tile(np.arange(y.size), 4)
    columns = np.concatenate([y0 * width + x0, y0 * width + x0 + 1, (y0 + 1) * width + x0, (y0 + 1) * width + x0 + 1])
    values = np.concatenate([(1 - fy) * (1 - fx), (1 - fy) * fx, fy * (1 - fx), fy * fx])
    return csr_matrix((values, (rows, columns)), (y.size, height * width))


def _zernike(height: int, width: int, order: int = 8) -> np.ndarray:
    """Complex conjugate Zernike polynomials on the patch's disc, (n_moments, height * width)."""
    from math import factorial

    yy, xx = np.mgrid[:height, :width]
    y, x = yy - (height - 1) / 2, xx - (width - 1) / 2
    r, a = np.hypot(y, x) / ((min(height, width) - 1) / 2), np.arctan2(y, x)
    inside = r <= 1
    moments = []
    for n in range(order + 1):
        for m in range(n % 2, n + 1, 2):
            radial = sum(
                (-1) ** k
                * factorial(n - k)
                / (factorial(k) * factorial((n + m) // 2 - k) * factorial((n - m) // 2 - k))
                * r ** (n - 2 * k)
                for k in range((n - m) // 2 + 1)
            )
            moments.append((np.sqrt(n + 1) * radial * np.exp(-1j * m * a) * inside).ravel() / inside.sum())
    return np.array(moments)
