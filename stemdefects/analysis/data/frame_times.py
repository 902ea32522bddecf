"""When each frame began: as recorded, as stated, or unknown; never guessed."""

from typing import NamedTuple

import numpy as np

AGREE = 0.02  # relative difference between a stated and a recorded frame time that rounding explains
PAUSE = 1.5  # times the usual interval: longer ones are pauses


class Clock(NamedTuple):
    """`times` (n_frames,) starts of frames, s, or frame numbers where no time is known; `frame_time_s` the usual time
    from one frame to the next, None where no time is known; `note` what has to be said, "" for nothing."""

    times: np.ndarray
    frame_time_s: float | None
    note: str = ""


def resolve(n_frames: int, at: np.ndarray, recorded_s: np.ndarray, stated_s: float | None) -> Clock:
    """Times of `n_frames` frames.

    Args:
        at, recorded_s: (m,) frames, in any order and as often as they come, and the recorded start of each (NaN: none).
        stated_s: a constant interval as stated by the user or by the table, None: not stated.

    Recorded times are taken as they are (pauses, changed rates) where a stated interval agrees with them; where it does
    not, the stated one counts. Frames without a recorded time get theirs by interpolation.
    """
    frames = np.arange(n_frames, dtype=float)
    regular = Clock(frames * (stated_s or 1.0), stated_s)
    at, first = np.unique(np.asarray(at), return_index=True)
    recorded = np.asarray(recorded_s, float)[first]
    known = np.isfinite(recorded)
    at, recorded = at[known], recorded[known]
    if len(at) < 2:
        return regular
    step, count = np.diff(recorded), np.diff(at)
    if (step <= 0).any():
        instead = "the stated frame time is" if stated_s else "frame numbers are"
        return regular._replace(note=f"Times do not increase with the frame number; {instead} used.")
    even = step / count <= PAUSE * np.median(step / count)
    usual = float(step[even].sum() / count[even].sum())  # a mean: rounding of single times cancels
    if stated_s is not None:
        rounding = _rounding(recorded)
        if np.abs(recorded - recorded[0] - stated_s * (at - at[0])).max() < rounding:
            return Clock(recorded[0] + (frames - at[0]) * stated_s, stated_s)
        if abs(usual / stated_s - 1) > AGREE + rounding / (count[even].sum() * stated_s):
            note = (
                f"The recorded times are {usual:.4g} s apart, the stated frame time is {stated_s:.4g} s; "
                "the stated one is used, so pauses between frames are not seen."
            )
            return regular._replace(note=note)
        usual = stated_s
    times = np.interp(frames, at, recorded)
    times[: at[0]] = recorded[0] + (frames[: at[0]] - at[0]) * usual
    times[at[-1] + 1 :] = recorded[-1] + (frames[at[-1] + 1 :] - at[-1]) * usual
    note = ""
    if (longest := (step / count).max()) > PAUSE * usual:
        note = (
            f"Frames are not evenly spaced: usually {usual:.4g} s apart, at most {longest:.4g} s; "
            "times are as recorded."
        )
    return Clock(times, usual, note)


def _rounding(times: np.ndarray) -> float:
    """What times were rounded to: the largest of 1, 0.1, ... 1e-6 s that all are multiples of; 1e-6 at least."""
    for digits in range(6):
        if np.allclose(times, np.round(times, digits), rtol=0, atol=1e-9 * max(1.0, np.abs(times).max())):
            return 10.0**-digits
    return 1e-6
