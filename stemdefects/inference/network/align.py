"""Neighbouring frames on top of each other, for models that see several at once.

The lattice says how far a frame moved, but for whole lattice vectors: the shortest of the possible steps is taken, so a
step between neighbours must stay below half a lattice vector (0.16 nm in WS2).
"""

import numpy as np

from stemdefects.crystal.bragg import reciprocal


def lattice_phases(image: np.ndarray, vectors_px: np.ndarray) -> np.ndarray:
    """(2,) phases of the Fourier components of `image` at the reciprocal vectors of `vectors_px` (rows a1, a2)."""
    height, width = image.shape
    window = np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]
    smooth = (image - (image * window).sum() / window.sum()) * window
    phases = []
    for ky, kx in reciprocal(vectors_px):
        rows, columns = np.exp(-2j * np.pi * ky * np.arange(height)), np.exp(-2j * np.pi * kx * np.arange(width))
        phases.append(np.angle(rows @ smooth @ columns))
    return np.array(phases)


def step(before: np.ndarray, after: np.ndarray, vectors_px: np.ndarray) -> np.ndarray:
    """(2,) px (y, x) by which the crystal moved between two frames, given their `lattice_phases`."""
    part = -(after - before) / (2 * np.pi)
    part = part - np.rint(part)
    choices = (part + [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]) @ vectors_px
    return choices[np.argmin(np.linalg.norm(choices, axis=1))]


def stack(
    frames: list[np.ndarray | None],
    vectors_px: np.ndarray | None,
    invalid: list[np.ndarray | None] | None = None,
) -> np.ndarray:
    """(T, H, W) of neighbouring frames moved by whole pixels onto the middle one; None: a frame that cannot be used.

    Whole pixels, since interpolation would smooth the noise; the rest is what training shows the network too. Beyond
    the border, for frames that are missing and for the pixels `invalid` (per frame H, W bool or None), the middle frame
    stands in. Without a lattice nothing is moved.
    """
    middle = len(frames) // 2
    out = np.stack([frames[middle]] * len(frames))
    for direction in (-1, 1):
        moved, last = np.zeros(2), frames[middle]
        for k in range(1, middle + 1):
            at = middle + direction * k
            if frames[at] is None:
                continue
            if vectors_px is not None:
                phases = [lattice_phases(image, vectors_px) for image in (last, frames[at])]
                moved = moved + step(*phases, vectors_px)
                last = frames[at]
            _place(out[at], frames[at], -np.rint(moved).astype(int), None if invalid is None else invalid[at])
    return out


def _place(target: np.ndarray, image: np.ndarray, shift: np.ndarray, invalid: np.ndarray | None) -> None:
    """Write `image` moved by `shift` (y, x) over `target`; what moves in from outside, and is invalid, stays as it
    was."""
    to, source = [], []
    for s, n in zip(shift, image.shape, strict=True):
        s = int(np.clip(s, -n, n))
        to.append(slice(max(s, 0), n + min(s, 0)))
        source.append(slice(max(-s, 0), n + min(-s, 0)))
    to, source = tuple(to), tuple(source)
    target[to] = image[source] if invalid is None else np.where(invalid[source], target[to], image[source])
