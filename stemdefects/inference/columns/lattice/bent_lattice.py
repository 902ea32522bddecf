"""How the lattice of a frame is bent at any place, by the phases of its Bragg components there.

Geometric phase analysis (Hytch et al., Ultramicroscopy 74, 131 (1998)) in small windows: where the network lost
columns, the image still says where they stand.
"""

from typing import NamedTuple

import numpy as np

from stemdefects.crystal.bragg import reciprocal, shells

SIGMA = 1.0  # width of a window, in lattice spacings
REFERENCE = 60  # columns whose places say which phase a lattice that is not bent has
WEAK = 0.3  # of the usual strength of a component: no phase worth reading
FARTHEST = 0.45  # spacings from what the columns around say: beyond it the phase is that of another cell


class Bent(NamedTuple):
    """Places of a lattice, y, x in pixels of the image: `even_px` (n, 2) where they were if it were even, `base_px`
    (n, 2) how far that is from the origin of their cell, `bent_px` (n, 2) by how much they are displaced."""

    even_px: np.ndarray
    base_px: np.ndarray
    bent_px: np.ndarray


def displaced(
    image: np.ndarray, places: Bent, columns: Bent, vectors_px: np.ndarray, lattice_nm: np.ndarray
) -> np.ndarray:
    """(m, 2) displacement of the lattice at `places` (m), y, x, in pixels of the image.

    image: (H, W); places: their displacement is that by the columns around, which stays where the image says nothing;
    columns: those that were found; vectors_px: (2, 2) of the even lattice, in pixels of the image; lattice_nm: of the
    ideal crystal.
    """
    guess_px, bent_px = places.bent_px, columns.bent_px
    if not len(places.even_px) or not len(columns.even_px):
        return guess_px
    index = shells(lattice_nm)[0]
    waves, spacing = index @ reciprocal(vectors_px), np.sqrt(abs(np.linalg.det(vectors_px)))
    some = slice(None, None, max(1, len(bent_px) // REFERENCE))
    known = _components(image, columns.even_px[some], waves, SIGMA * spacing) * np.exp(
        -2j * np.pi * columns.base_px[some] @ waves.T
    )
    phase = (known * np.exp(2j * np.pi * bent_px[some] @ waves.T)).mean(0)
    usual = np.median(np.abs(known), axis=0)
    found = _components(image, places.even_px, waves, SIGMA * spacing) * np.exp(-2j * np.pi * places.base_px @ waves.T)
    turn = np.angle(phase * np.conj(found)) / (2 * np.pi)
    expected = guess_px @ waves.T
    turn += np.rint(expected - turn)
    moved = turn @ np.linalg.pinv(waves).T
    off = np.linalg.norm(moved - guess_px, axis=1)
    use = (np.abs(found) > WEAK * usual).all(1) & (off < FARTHEST * spacing)
    return np.where(use[:, None], moved, guess_px)


def _components(image: np.ndarray, place_px: np.ndarray, waves: np.ndarray, sigma: float) -> np.ndarray:
    """(n, K) complex components of `image` around places of the even lattice; their phases are relative to the place,
    so that every cell of an even lattice has the same ones. Pixels outside the image count nothing."""
    half = int(np.ceil(2.5 * sigma))
    steps, middle = np.arange(-half, half + 1), np.rint(place_px).astype(int)
    padded = np.pad(np.asarray(image, np.float32) - np.float32(np.mean(image)), half + 1)
    inner = np.clip(middle, -1, np.array(image.shape)) + half + 1
    out = np.empty((len(place_px), len(waves)), complex)
    for n, ((row, column), (y, x)) in enumerate(zip(inner, place_px - middle, strict=True)):
        patch = padded[row - half : row + half + 1, column - half : column + half + 1]
        for k, (gy, gx) in enumerate(waves):
            along = np.exp(-0.5 * ((steps - y) / sigma) ** 2 - 2j * np.pi * gy * (steps - y))
            across = np.exp(-0.5 * ((steps - x) / sigma) ** 2 - 2j * np.pi * gx * (steps - x))
            out[n, k] = along @ patch @ across
    return out
