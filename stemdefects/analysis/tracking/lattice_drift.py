"""Drift from the phases of the lattice's Bragg peaks: exact to a fraction of a lattice vector, blind to whole ones.

A shift d of the specimen turns the phase of the peak at g by -2 pi g.d. The whole lattice vector that the phases leave
open comes from the point pattern of the defects (`drift.from_points`), which needs to be right to half a vector only.
"""

import numpy as np

from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.data.square_pixels import Frames
from stemdefects.analysis.notes import Code, Note
from stemdefects.analysis.tracking.drift import Drift
from stemdefects.errors import UserError

# lattice vectors that the crystal moves from frame to frame with fewer defects than name a whole one
# (`inference.evidence.floating.sites.AGREE`): the shortest way is a guess from here on, which must not happen often
HALFWAY, NAMED_BY, OFTEN = 0.35, 3, 0.1
CLOSURE = 0.12  # cycles by which the three phases of a frame may disagree


def peak_amplitudes(image: np.ndarray, g: np.ndarray) -> np.ndarray:
    """(k,) complex Fourier amplitudes of a windowed image at frequencies g (k, 2) (y, x; cycles per px), centred."""
    from stemdefects.crystal.bragg import apply_window

    windowed = apply_window(np.asarray(image, np.float32))
    y, x = (np.arange(n) - (n - 1) / 2 for n in windowed.shape)
    left = np.exp(-2j * np.pi * np.outer(g[:, 0], y)).astype(np.complex64)
    right = np.exp(-2j * np.pi * np.outer(g[:, 1], x)).astype(np.complex64)
    return np.einsum("kx,kx->k", left @ windowed, right)


def three_peaks(vectors_px: np.ndarray) -> np.ndarray:
    """(3, 2) the shortest reciprocal vectors, third = +-first +- second, of a lattice with rows `vectors_px` (2, 2)."""
    from stemdefects.crystal.lattice import reduce

    first, second = reduce(np.linalg.inv(vectors_px).T)
    third = min((first + second, first - second), key=np.linalg.norm)
    return np.array([first, second, third])


def from_movie(
    movie: Frames, vectors_px: np.ndarray, points: Drift, scale: float, observed: np.ndarray | None = None
) -> Drift:
    """Drift of every frame of a movie.

    Args:
        movie: `io.movie.Movie`.
        vectors_px: (2, 2) lattice vectors (y, x), in px.
        points: drift from the point pattern, in length units; decides the whole lattice vector.
        scale: length units per px.
        observed: (n_frames,) bool, frames to look at; None: all.

    Returns:
        `Drift` in length units. Frames that cannot be read, or whose three phases disagree, keep the point pattern's
        drift and are marked as filled.
    """
    g = three_peaks(vectors_px)
    guess = points.yx / scale
    observed = np.ones(len(guess), bool) if observed is None else observed
    look = np.flatnonzero(observed[: min(len(movie), len(guess))])
    amplitude = np.full((len(guess), 3), np.nan, complex)
    for t in look:
        try:
            amplitude[t] = peak_amplitudes(movie.frame(int(t)), g)
        except UserError:
            continue
    found = np.asarray(np.isfinite(amplitude).all(1))
    if found.sum() < 2:
        return points
    # the reference phase is that of all frames together, moved back by what is known so far
    drift = solved = guess.copy()
    good = found
    for _ in range(3):
        reference = np.nanmean(amplitude * np.exp(2j * np.pi * drift @ g.T), 0)
        turned = -np.angle(amplitude / reference) / (2 * np.pi)  # g.d, up to whole numbers
        expected = drift @ g.T
        cycles = turned + np.round(expected - np.nan_to_num(turned))
        weight = np.nanmean(np.abs(amplitude) ** 2, 0)
        design = np.sqrt(weight)[:, None] * g
        solved = np.linalg.lstsq(design, (np.nan_to_num(cycles) * np.sqrt(weight)).T, rcond=None)[0].T
        closure = np.abs(cycles - solved @ g.T).max(1)
        good = found & (closure < CLOSURE)
        if good.sum() < 2:
            return points
        drift = np.where(good[:, None], solved, guess)
        # the guess may be off by a constant against the lattice's reference
        offset = np.median((solved - guess)[good], 0)
        drift[~good] += offset
    first = drift[np.argmax(good)]
    # the three phases share what a frame's scan adds to all of them; the point pattern does not: an upper bound
    against = (solved - points.yx / scale)[good]
    spread = np.sqrt(((against - np.median(against, 0)) ** 2).mean())
    sigma = np.where(good, float(spread) * scale, points.sigma)
    bad = int((observed & ~good).sum())
    note = (
        f"In {bad} of {int(observed.sum())} frames the lattice gave no phase; their drift is the point pattern's."
        if bad
        else ""
    )
    return Drift((drift - first) * scale, sigma, ~good, "bragg", note)


def guessed(found: Detections) -> Note | None:
    """What to say where the whole lattice vectors of the drift are guesses: a camera that follows one atom moves the
    crystal anywhere, and then that atom's hops are whatever the guesses make of them.

    This can be where a network has learned defects of an unknown crystal, whose sites do not say how it has moved.
    """
    columns = ["drift_y_px", "drift_x_px", "a1_y_px", "a1_x_px", "a2_y_px", "a2_x_px"]
    if not found.attrs.get("places") or found.frames is None or not {*columns, "n_defects"} <= set(found.frames):
        return None
    values = found.frames[[*columns, "n_defects"]].to_numpy(float)
    values = values[np.isfinite(values).all(1)]
    if len(values) < 2:
        return None
    shortest = np.hypot(*np.median(values[:, 2:6], axis=0).reshape(2, 2).T).min()
    step = np.hypot(*np.diff(values[:, :2], axis=0).T) / shortest
    few = np.minimum(values[1:, 6], values[:-1, 6]) < NAMED_BY
    n = int((few & (step > HALFWAY)).sum())
    if n <= OFTEN * len(step):
        return None
    text = (
        f"In {n} of {len(step)} steps the crystal has moved by about half a lattice vector, and fewer than {NAMED_BY} "
        "defects are there to say by which: its drift is a guess, and with it every hop. D and hop rates are left out."
    )
    return Note(text, Code.DRIFT_GUESSED)
