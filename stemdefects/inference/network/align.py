"""Neighbouring frames on top of each other, for models that see several at once.

The lattice says how far a frame moved, but for whole lattice vectors. Which of the possible steps it was, what is not
periodic decides: defects, film and borders of holes, which move with the crystal. Where they say nothing (an intact
field, too few electrons) the shortest step is taken.
"""

from collections.abc import Callable

import numpy as np

from stemdefects.crystal.bragg import reciprocal
from stemdefects.numerics import robust

REACH = 1.6  # lattice vectors that a frame may have moved between two: a larger step is rare, and often a new field
BLUR = 0.2  # lattice vectors: the width of a column, so that noise counts no more than it must
OFF = 0.3  # lattice vectors from every step that is allowed: there defects do not come to lie on defects
SURE = 5.0  # scatters of a difference: in 200 pairs of frames of an intact crystal chance found none (tests)


def lattice_phases(image: np.ndarray, vectors_px: np.ndarray) -> np.ndarray:
    """(2,) phases of the Fourier components of `image` at the reciprocal vectors of `vectors_px` (rows a1, a2)."""
    height, width = image.shape
    window = _window(image.shape)
    smooth = (image - (image * window).sum() / window.sum()) * window
    phases = []
    for ky, kx in reciprocal(vectors_px):
        rows, columns = np.exp(-2j * np.pi * ky * np.arange(height)), np.exp(-2j * np.pi * kx * np.arange(width))
        phases.append(np.angle(rows @ smooth @ columns))
    return np.array(phases)


def step(before: np.ndarray, after: np.ndarray, vectors_px: np.ndarray) -> np.ndarray:
    """(2,) px (y, x) by which the crystal moved between two frames, given their `lattice_phases`: the shortest step."""
    return _choices(before, after, vectors_px)[0]


def _choices(before: np.ndarray, after: np.ndarray, vectors_px: np.ndarray) -> np.ndarray:
    """(n, 2) px: steps that the phases allow, shortest first, to `REACH` lattice vectors."""
    part = -(after - before) / (2 * np.pi)
    part = part - np.rint(part)
    cells = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 2, indexing="ij"), -1).reshape(-1, 2)
    choices = (part + cells) @ vectors_px
    length = np.linalg.norm(choices, axis=1)
    order = np.argsort(length, kind="stable")
    return choices[order][length[order] <= max(REACH * np.linalg.norm(vectors_px, axis=1).max(), length.min())]


def aperiodic(image: np.ndarray, vectors_px: np.ndarray) -> np.ndarray:
    """(H, W // 2 + 1) Fourier transform of what an image has besides its lattice, blurred to the size of a column.

    A pixel less the mean of those one lattice vector away, in the six directions a1, a2, a1 - a2: what repeats is gone.
    """
    height, width = image.shape
    ky, kx = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)
    a1, a2 = vectors_px
    if a1 @ a2 < 0:
        a2 = -a2  # so that a1 - a2 is the short diagonal
    repeats = sum(np.cos(2 * np.pi * (ky * v[0] + kx * v[1])) for v in (a1, a2, a1 - a2)) / 3
    blur = BLUR * np.linalg.norm(vectors_px, axis=1).min()
    kept = np.fft.rfft2(image - image.mean()) * (1 - repeats) * np.exp(-2 * (np.pi * blur) ** 2 * (ky**2 + kx**2))
    # at the border pixels were compared with those of the opposite one: the window comes after
    return np.fft.rfft2(np.fft.irfft2(kept, s=image.shape) * _window(image.shape))


def _window(shape: tuple[int, ...]) -> np.ndarray:
    """(H, W) Hann window, nowhere 0."""
    height, width = shape
    return np.hanning(height + 2)[1:-1, None] * np.hanning(width + 2)[1:-1]


def moved(before: np.ndarray, after: np.ndarray, vectors_px: np.ndarray) -> np.ndarray:
    """(2,) px (y, x) by which the crystal moved between two images of one size: among the steps that the lattice
    allows the one at which what is not periodic fits, if it fits `SURE` better than at the shortest."""
    choices = _choices(lattice_phases(before, vectors_px), lattice_phases(after, vectors_px), vectors_px)
    product = np.conj(aperiodic(before, vectors_px)) * aperiodic(after, vectors_px)
    height, width = before.shape
    fit = np.fft.irfft2(product, s=(height, width))
    where = np.rint(choices).astype(int) % (height, width)
    found = fit[where[:, 0], where[:, 1]]
    # steps that the lattice does not allow show what chance makes of a fit
    reach = int(np.ceil(REACH * np.linalg.norm(vectors_px, axis=1).max()))
    others = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
    cells = (others - choices[0]) @ np.linalg.inv(vectors_px)
    off = np.linalg.norm((cells - np.rint(cells)) @ vectors_px, axis=1) > OFF * np.linalg.norm(vectors_px[0])
    others = others[off] % (height, width)
    scatter = robust.scatter(fit[others[:, 0], others[:, 1]])
    best = int(np.argmax(found))
    return choices[best] if found[best] - found[0] > SURE * np.sqrt(2) * scatter else choices[0]


def stack(
    frames: list[np.ndarray | None],
    vectors_px: np.ndarray | None,
    invalid: list[np.ndarray | None] | None = None,
    between: Callable[[int, int], np.ndarray] | None = None,
) -> np.ndarray:
    """(T, H, W) of neighbouring frames moved by whole pixels onto the middle one; None: a frame that cannot be used.

    Whole pixels, since interpolation would smooth the noise; the rest is what training shows the network too. Beyond
    the border, for frames that are missing and for the pixels `invalid` (per frame H, W bool or None), the middle frame
    stands in. Without a lattice nothing is moved. between: `moved` from one of `frames` to a later one, by their
    numbers, for callers that know it; None: worked out.
    """
    middle = len(frames) // 2
    own = frames[middle]
    assert own is not None  # a stack without its middle frame is not asked for

    def worked_out(a: int, b: int) -> np.ndarray:
        before, after = frames[a], frames[b]
        assert before is not None and after is not None and vectors_px is not None
        return moved(before, after, vectors_px)

    between = between or worked_out
    out = np.stack([own] * len(frames))
    for direction in (-1, 1):
        shift, last = np.zeros(2), middle
        for k in range(1, middle + 1):
            at = middle + direction * k
            frame = frames[at]
            if frame is None:
                continue
            if vectors_px is not None:
                shift = shift + direction * between(min(last, at), max(last, at))
                last = at
            _place(out[at], frame, -np.rint(shift).astype(int), None if invalid is None else invalid[at])
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
