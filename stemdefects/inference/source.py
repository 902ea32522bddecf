"""The movie that is looked at: read, and with what the user states in place of what its file does."""

import copy
from typing import Any

import numpy as np

from stemdefects.command_line import parts_of_list
from stemdefects.errors import UserError
from stemdefects.inference import electrons
from stemdefects.io import movie as movies
from stemdefects.io import opening, runs
from stemdefects.schema import InferenceConfig

SAME_SCAN = 1e-3  # relative, of pixel sizes and times


def open_input(source: Any, settings: InferenceConfig) -> movies.Movie:
    """The movie at `source`, with the user's word for what the file says otherwise, or not at all."""
    return overruled(opened(str(source), settings.signal), settings)


def opened(source: Any, signal: Any = None) -> movies.Movie:
    """The movie at `source`. signal: as `inference.signal`; of two the second is `Movie.second`, another detector of
    the same scan: a signal of the same file, or a file. Raises UserError where they are not of one scan."""
    if isinstance(signal, str) and len(listed := parts_of_list(signal) or []) > 1:
        signal = listed  # as it was typed on the command line
    if signal is None or isinstance(signal, str):
        return opening.read(source, signal)
    names = [str(name) for name in signal]
    if len(names) != 2 or names[0] == names[1]:
        raise UserError(f"inference.signal=[{','.join(names)}]: one signal, or two different ones of the same scan")
    first_file, second_file = (runs.expanded(name).is_file() for name in names)
    first = opening.read(names[0] if first_file else source, None if first_file else names[0])
    second = opening.read(names[1] if second_file else source, None if second_file else names[1])
    where = f"inference.signal=[{','.join(names)}]"
    if first.shape != second.shape:
        sizes = [" x ".join(str(n) for n in one.shape) for one in (first, second)]
        raise UserError(
            f"{where}: {sizes[0]} and {sizes[1]} (frames x height x width) are not two detectors of one scan"
        )
    for what, one, other in (
        ("pixels of {} and {} nm", first.pixel_size_nm, second.pixel_size_nm),
        ("frames of {} and {} s", first.frame_time_s, second.frame_time_s),
    ):
        if one is not None and other is not None and abs(other / one - 1) > SAME_SCAN:
            said = what.format(f"{one:.5g}", f"{other:.5g}")
            raise UserError(f"{where}: {said} are not two detectors of one scan")
    if abs(first.aspect - 1) > SAME_SCAN:
        raise UserError(f"{where}: two detectors are taken together where pixels are square; give one signal")
    first.second = second
    return first


def overruled(movie: movies.Movie, settings: InferenceConfig) -> movies.Movie:
    """A copy of `movie` with the user's frame time and dose; recorded times give way to a constant frame time.

    The pixel size is left to `calibration.calibrate`, which compares all that is said of it.
    """
    movie = copy.copy(movie)
    if settings.frame_time_s is not None:
        movie.frame_time_s, movie.times_s = settings.frame_time_s, None
    movie.dose_e_per_px = electrons.stated(movie, settings).e_per_px
    return movie


def selected(frames: str | None, n_frames: int) -> np.ndarray:
    """Frame numbers that `start:stop:step` (or one number) selects of `n_frames`."""
    if frames is None:
        return np.arange(n_frames)
    text = str(frames).strip()
    try:
        if ":" in text:
            indices = np.arange(n_frames)[slice(*(int(p) if p.strip() else None for p in text.split(":")))]
        else:
            indices = np.arange(n_frames)[[int(text)]]
    except (ValueError, TypeError, IndexError):
        indices = np.zeros(0, int)
    if not len(indices) or (np.diff(indices) <= 0).any():
        raise UserError(f"inference.frames={text}: selects no frames of {n_frames}; write start:stop:step, e.g. 0:100")
    return indices
