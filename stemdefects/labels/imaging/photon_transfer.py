"""What the noise of frames says of the detector: counts that an electron makes, afterglow, the level without beam.

Counted electrons have noise whose variance grows with the intensity, by the counts that one electron makes (photon
transfer: Janesick, Photon Transfer, SPIE 2007). The lattice is taken off, and neighbouring pixels' differences at
bright and at dark places give that gain; what the detector's afterglow hides of the noise follows from how alike
neighbours along the fast axis are.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from stemdefects.errors import UserError
from stemdefects.labels.fourier.periodic.lattice import find_lattice
from stemdefects.labels.fourier.periodic.residual import Residual, fit_noise, take_apart

N_FRAMES = 4  # looked at: with 256 x 256 px of each the gain is known to about 2%, and other errors are ten times that
SIDE_PX = 256  # of the middle of each, see above
WHITE = 0.08  # of the correlation of differences of neighbouring rows, against that of independent ones: else filtered
MOST_AFTERGLOW = 0.7  # of a pixel's signal that the next one keeps
DARK = 2.0  # standard errors from which a dark level is told from none


class Transfer(NamedTuple):
    """counts: what an electron makes of variance, in counts, and its standard error; dark: counts without beam; level:
    mean counts of the crystal."""

    counts: float
    error: float
    dark: float
    level: float


class Noise(NamedTuple):
    """quarters: (4, 3) gain, variance without signal and mean counts of a frame's quarters; kept: of a pixel's signal
    by the next one along the fast axis."""

    quarters: np.ndarray
    kept: float


def transfer(frames: Float[np.ndarray, "frames height width"]) -> Transfer | None:
    """The detector's gain from the noise of `frames` of a crystal; None where no lattice is seen, or where the noise is
    not that of counting (filtered, resampled or compressed frames)."""
    height, width = (min(n, SIDE_PX) for n in frames.shape[1:])
    top, left = ((n - m) // 2 for n, m in zip(frames.shape[1:], (height, width), strict=True))
    some = frames[np.unique(np.linspace(0, len(frames) - 1, min(N_FRAMES, len(frames))).astype(int))]
    some = np.asarray(some[:, top : top + height, left : left + width], np.float32)
    try:
        lattice = find_lattice(some)
    except UserError:
        return None
    with np.errstate(all="ignore"):  # frames that hold no noise, or hardly anything else
        found = [one.quarters for frame in some if (one := of_frame(take_apart(frame, lattice))) is not None]
    if len(found) < len(some):
        return None
    gain, read, level = np.concatenate(found).T
    if not (gain > 0).all() or not np.isfinite([gain, read, level]).all():
        return None
    counts, error = float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain)))
    zero = -read / gain
    told = zero.mean() > DARK * zero.std(ddof=1) / np.sqrt(len(zero))
    return Transfer(counts, error, float(zero.mean()) if told else 0.0, float(level.mean()))


def of_frame(parts: Residual) -> Noise | None:
    """The noise of a frame taken apart; None where it is not that of counting."""
    rest, clean, calm = parts.residual, parts.periodic, parts.calm
    if calm.mean() < 0.25:
        return None
    mixed = rest[1:, 1:] - rest[:-1, 1:] - rest[1:, :-1] + rest[:-1, :-1]
    mixed = np.where(calm[1:, 1:], mixed, 0.0)
    power = float((mixed**2).mean())
    if power == 0:
        return None
    along, across = (float((mixed[a] * mixed[b]).mean()) / power for a, b in _neighbours())
    kept = max(1 + 2 * along, 0.0)  # of a pixel by the next: differences of independent neighbours correlate by -1/2
    if abs(across + 0.5) > WHITE or along < -0.5 - WHITE or kept > MOST_AFTERGLOW:
        return None
    hidden = (1 + kept) / (1 - kept) ** 2
    out = []
    for rows in np.array_split(np.arange(rest.shape[0]), 2):
        for columns in np.array_split(np.arange(rest.shape[1]), 2):
            here = np.ix_(rows, columns)
            gain, read = fit_noise(rest[here], clean[here], calm[here].astype(np.float32))
            use = calm[here]
            level = float(clean[here][use].mean()) if use.any() else float(clean[here].mean())
            out.append((gain * hidden, read * hidden, level))
    return Noise(np.array(out), kept)


def _neighbours() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Slices of all pixels and of their neighbours, along the fast axis and across it."""
    everything = slice(None)
    first, second = slice(None, -1), slice(1, None)
    return ((everything, first), (everything, second)), ((first, everything), (second, everything))
