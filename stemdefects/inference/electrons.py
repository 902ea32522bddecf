"""How many electrons hit a pixel: as stated, else by the detector's calibration, else by the noise of the frames.

The noise says how many counts an electron makes (`labels/imaging/photon_transfer.py`). Counts over that are the
electrons on the detector; the crystal's cross-section says what part of the beam they are, unless the counts of the
whole beam on the detector are known.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.io.movie import Movie
from stemdefects.io.readers.conventions import dose as stated_in_files
from stemdefects.labels.imaging.photon_transfer import transfer
from stemdefects.schema import InferenceConfig

# how much pulses of different height add to the noise of counting: 1 + s^2, s from 0 to 0.9 (configs/simulation/train)
PULSES, PULSES_ERROR = 1.27, 0.19
# of the part of the beam that a crystal scatters onto the detector, whose angles nobody states: 0.7 to 1.4, the same
FRACTION_ERROR = 0.20
FILM, FILM_ERROR = 0.2, 0.10  # what film adds to the crystal's mean signal: 0 to 0.4, the same


class Dose(NamedTuple):
    """Electrons per pixel and frame, None: not known; origin: `user`, `current`, `file`, `detector`, `noise` or
    `unknown`; relative_sigma: None: nobody says; detail: what was measured, in words."""

    e_per_px: float | None
    origin: str
    relative_sigma: float | None = None
    detail: str = ""


UNKNOWN = Dose(None, "unknown")


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
