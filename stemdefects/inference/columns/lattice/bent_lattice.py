"""How the lattice of a frame is bent at any place, by the phases of its Bragg components there.

Geometric phase analysis (Hytch et al., Ultramicroscopy 74, 131 (1998)) in small windows: where the network lost
columns, the image still says where they stand.
"""

import cmath
import math
from typing import NamedTuple

import numpy as np

from stemdefects.compiled import entry
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
    flat = np.asarray(image, np.float32) - np.float32(np.mean(image))
    return _windowed(flat, np.ascontiguousarray(place_px, float), np.ascontiguousarray(waves, float), float(sigma))


@entry
def _windowed(image: np.ndarray, place: np.ndarray, waves: np.ndarray, sigma: float) -> np.ndarray:
    half, (height, width) = int(np.ceil(2.5 * sigma)), image.shape
    size, n_waves = 2 * half + 1, len(waves)
    bell, wave = np.empty((2, size)), np.empty((2, n_waves, size), np.complex128)
    sums, out = np.empty((n_waves, size), np.complex128), np.empty((len(place), n_waves), np.complex128)
    middle = np.empty(2, np.int64)
    for n in range(len(place)):
        for i in range(2):
            middle[i] = int(np.rint(place[n, i]))
            off = place[n, i] - middle[i]
            for s in range(size):
                bell[i, s] = math.exp(-0.5 * ((s - half - off) / sigma) ** 2)
            for k in range(n_waves):
                turn = -2 * math.pi * waves[k, i]
                step, now = cmath.exp(1j * turn), cmath.exp(1j * turn * (-half - off))
                for s in range(size):
                    wave[i, k, s] = bell[i, s] * now
                    now *= step
        top, left = min(max(middle[0], -1), height) - half, min(max(middle[1], -1), width) - half
        first, last = max(-left, 0), min(size, width - left)
        for k in range(n_waves):
            for b in range(size):
                sums[k, b] = 0
        for a in range(max(-top, 0), min(size, height - top)):
            row = image[top + a]
            for k in range(n_waves):
                along = wave[0, k, a]
                for b in range(first, last):
                    sums[k, b] += along * row[left + b]
        for k in range(n_waves):
            total = 0j
            for b in range(first, last):
                total += sums[k, b] * wave[1, k, b]
            out[n, k] = total
    return out
