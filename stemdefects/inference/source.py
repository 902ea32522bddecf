"""The movie that is looked at: read, and with what the user states in place of what its file does."""

import copy
from typing import Any

from stemdefects.io import movie as movies
from stemdefects.io import opening
from stemdefects.schema import InferenceConfig


def open_input(source: Any, settings: InferenceConfig) -> movies.Movie:
    """The movie at `source`, with the user's word for what the file says otherwise, or not at all."""
    return overruled(opening.read(str(source), settings.signal), settings)


def overruled(movie: movies.Movie, settings: InferenceConfig) -> movies.Movie:
    """A copy of `movie` with the user's frame time and dose; recorded times give way to a constant frame time.

    The pixel size is left to `calibration.calibrate`, which compares all that is said of it.
    """
    movie = copy.copy(movie)
    if settings.frame_time_s is not None:
        movie.frame_time_s, movie.times_s = settings.frame_time_s, None
    if settings.dose_e_per_px is not None:
        movie.dose_e_per_px = settings.dose_e_per_px
    return movie


def dose_origin(movie: movies.Movie, settings: InferenceConfig) -> str:
    """Who states the dose: `user`, `file` or `unknown`."""
    if movie.dose_e_per_px is None:
        return "unknown"
    return "user" if settings.dose_e_per_px is not None else "file"
