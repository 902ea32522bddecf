"""Which frames of a table belong together: what one shows is looked for in the next only within one field."""

from typing import Any

import numpy as np

from stemdefects.analysis.notes import Code, Note
from stemdefects.io.tables import contradictions, quality_flags

UNRELATED = "unrelated"  # attribute `fields` of a table whose frames show different fields
MOST = 0.5  # share of frames with a second lattice; with more, the frames that pass show the same moire below the bar

SMOOTHED = Note(
    "The rows are the states that all frames together gave. Short stays are gone from them, so that D and rates would "
    "come out too low: these are left out. Analyse the run (run=<id>), or its defects.h5 or defects.csv, for them.",
    Code.SMOOTHED,
)


def followed(attrs: dict[str, Any], frames: np.ndarray) -> bool:
    """Whether anything can be followed from frame to frame: not over unrelated fields, nor where a second lattice lies
    on most frames, whose moire stays in place as defects do. frames: rows of `/frames`."""
    if attrs.get("fields") == UNRELATED:
        return False
    used = frames["doubt"][frames["quality"] == 0].astype(int)
    return not len(used) or float((used & quality_flags.SECOND_LATTICE > 0).mean()) <= MOST


def apart(attrs: dict[str, Any], frames: np.ndarray) -> np.ndarray:
    """(n,) bool, of the rows of `/frames`: to be left out, since others can be followed and this one cannot."""
    if not followed(attrs, frames):
        return np.zeros(len(frames), bool)
    return (frames["quality"] == 0) & (frames["doubt"].astype(int) & quality_flags.NOT_FOLLOWED > 0)


def contradictions_of(attrs: dict[str, Any]) -> list[Note]:
    """What speaks against the states over time of a table, a sentence each."""
    return [Note(one.sentence, Code.OVER_TIME_CONTRADICTED) for one in contradictions.of_table(attrs)]


def notes(attrs: dict[str, Any], frames: np.ndarray) -> list[Note]:
    """What is left out because of it, in a sentence."""
    if not followed(attrs, frames):
        why = (
            "The frames show unrelated fields"
            if attrs.get("fields") == UNRELATED
            else "A second lattice lies on most frames, and its moire stays in place as defects do"
        )
        text = f"{why}: counts are those of each frame; drift, tracks, D, switching and states over time are left out."
        return [Note(text, Code.NOT_FOLLOWED)]
    n = int(apart(attrs, frames).sum())
    several = "s" * (n != 1)
    text = f"{n} frame{several} of another field or with a second lattice count{'s' * (n == 1)} as not looked at."
    return [Note(text, Code.NOT_FOLLOWED)] if n else []
