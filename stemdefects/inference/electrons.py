"""How many electrons hit a pixel: as stated, else by the detector's calibration, else by the noise of the frames.

Counted electrons have noise whose variance grows with the intensity, by the counts that one electron makes (photon
transfer: Janesick, Photon Transfer, SPIE 2007). The lattice is taken off, and neighbouring pixels' differences at
bright and at dark places give that gain; what the detector's afterglow hides of the noise follows from how alike
neighbours along the fast axis are. Counts over the gain are the electrons on the detector; the crystal's cross-section
says what part of the beam they are, unless the counts of the whole beam on the detector are known.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.io.movie import Movie
from stemdefects.io.readers.conventions import dose as stated_in_files
from stemdefects.labels.fourier.periodic.lattice import ImageLattice, find_lattice
from stemdefects.labels.fourier.periodic.residual import fit_noise, take_apart
from stemdefects.schema import InferenceConfig

N_FRAMES = 4  # looked at: with 256 x 256 px of each the gain is known to about 2%, and other errors are ten times that
SIDE_PX = 256  # of the middle of each, see above
# how much pulses of different height add to the noise of counting: 1 + s^2, s from 0 to 0.9 (configs/simulation/train)
PULSES, PULSES_ERROR = 1.27, 0.19
# of the part of the beam that a crystal scatters onto the detector, whose angles nobody states: 0.7 to 1.4, the same
FRACTION_ERROR = 0.20
FILM, FILM_ERROR = 0.2, 0.10  # what film adds to the crystal's mean signal: 0 to 0.4, the same
WHITE = 0.08  # of the correlation of differences of neighbouring rows, against that of independent ones: else filtered
MOST_AFTERGLOW = 0.7  # of a pixel's signal that the next one keeps
DARK = 2.0  # standard errors from which a dark level is told from none


class Dose(NamedTuple):
    """Electrons per pixel and frame, None: not known; origin: `user`, `current`, `file`, `detector`, `noise` or
    `unknown`; relative_sigma: None: nobody says; detail: what was measured, in words."""

    e_per_px: float | None
    origin: str
    relative_sigma: float | None = None
    detail: str = ""


UNKNOWN = Dose(None, "unknown")


class Transfer(NamedTuple):
    """counts: what an electron makes of variance, in counts, and its standard error; dark: counts without beam; level:
    mean counts of the crystal."""

    counts: float
    error: float
    dark: float
    level: float


def stated(movie: Movie, settings: InferenceConfig) -> Dose:
    """The user's word, else current and dwell time where the user says either, else the file's."""
    sigma = settings.dose_relative_sigma
    if settings.dose_e_per_px is not None:
        return Dose(settings.dose_e_per_px, "user", sigma)
    beam = stated_in_files.of_file(movie.metadata)
    current, dwell = settings.current_pA or beam.current_pA, settings.dwell_us or beam.dwell_us
    asked = settings.current_pA is not None or settings.dwell_us is not None
    if current and dwell:
        found = stated_in_files.electrons(current, dwell)
        if asked or movie.dose_e_per_px in (None, found):
            return Dose(found, "current", sigma)
    if asked and movie.dose_e_per_px is None:
        missing = "dwell_us" if current else "current_pA"
        raise UserError(f"inference.{missing}: the file does not state it, and both are needed for the dose")
    if movie.dose_e_per_px is None:
        return UNKNOWN
    return Dose(movie.dose_e_per_px, "file", sigma)


def of_movie(
    movie: Movie, settings: InferenceConfig, material: Material, frames: Float[np.ndarray, "frames height width"]
) -> Dose:
    """What is stated of `movie`, else what its detector or `frames` of it say."""
    found = stated(movie, settings)
    if found.e_per_px is not None:
        return found
    beam, gain = settings.beam_counts, settings.counts_per_electron
    if beam is not None and gain is not None:
        return Dose(beam / gain, "detector", settings.dose_relative_sigma)
    scattered = _fraction(movie, material)
    if beam is None and scattered is None:
        return found
    seen = transfer(frames)
    if seen is None:
        return found
    if gain is not None:
        error, detail = 0.0, ""
    else:
        gain, error = seen.counts / PULSES, float(np.hypot(seen.error / seen.counts, PULSES_ERROR))
        detail = f"an electron makes {gain:.3g} +- {gain * error:.2g} counts"
    if beam is not None:
        per_px = beam / gain
    else:
        assert scattered is not None
        dark = seen.dark if settings.dark_counts is None else settings.dark_counts
        per_px = (seen.level - dark) / gain / (scattered[0] * (1 + FILM))
        error = float(np.sqrt(error**2 + scattered[1] ** 2 + FILM_ERROR**2))
    if not per_px > 0:
        return found
    sigma = error if settings.dose_relative_sigma is None else settings.dose_relative_sigma
    return Dose(float(per_px), "noise" if detail else "detector", sigma, detail)


def _fraction(movie: Movie, material: Material) -> tuple[float, float] | None:
    """What part of the beam the crystal scatters onto an annular dark-field detector, and its relative error; None for
    other detectors, and where the crystal is not known."""
    if material.sites[0].floating or "BF" in str(movie.signal or "").upper():
        return None
    known = stated_in_files.of_file(movie.metadata).voltage_kv
    voltages = material.voltages_kv if known is None else [known]
    parts = [material.intensities(kv)[material.ideal_states].sum() * material.cross_section_nm2(kv) for kv in voltages]
    fraction = float(np.mean(parts)) / material.cell_area_nm2
    return fraction, float(np.hypot(FRACTION_ERROR, np.std(parts) / np.mean(parts)))


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
        found = [one for frame in some if (one := _of_frame(frame, lattice)) is not None]
    if len(found) < len(some):
        return None
    gain, read, level = np.concatenate(found).T
    if not (gain > 0).all() or not np.isfinite([gain, read, level]).all():
        return None
    counts, error = float(gain.mean()), float(gain.std(ddof=1) / np.sqrt(len(gain)))
    zero = -read / gain
    told = zero.mean() > DARK * zero.std(ddof=1) / np.sqrt(len(zero))
    return Transfer(counts, error, float(zero.mean()) if told else 0.0, float(level.mean()))


def _of_frame(frame: np.ndarray, lattice: ImageLattice) -> np.ndarray | None:
    """(4, 3) gain, variance without signal and mean counts of its quarters; None where the noise is filtered."""
    parts = take_apart(frame, lattice)
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
    for rows in np.array_split(np.arange(frame.shape[0]), 2):
        for columns in np.array_split(np.arange(frame.shape[1]), 2):
            here = np.ix_(rows, columns)
            gain, read = fit_noise(rest[here], clean[here], calm[here].astype(np.float32))
            use = calm[here]
            level = float(clean[here][use].mean()) if use.any() else float(clean[here].mean())
            out.append((gain * hidden, read * hidden, level))
    return np.array(out)


def _neighbours() -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Slices of all pixels and of their neighbours, along the fast axis and across it."""
    everything = slice(None)
    first, second = slice(None, -1), slice(1, None)
    return ((everything, first), (everything, second)), ((first, everything), (second, everything))
