"""Sentences that say what could not be done or believed, with a code for whoever decides by it.

People read the sentence, code reads the code: a sentence may be reworded without changing a number.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Code(Enum):
    """What a sentence is about, where some part of the program acts on it."""

    SITES_NOT_RESOLVED = "the localisation error is too large to tell lattice sites apart"
    NOTHING_MOVED = "positions carry no localisation error"
    FEW_TRACKS = "too few tracks for a good interval"
    REACHES_ZERO = "motion is not shown beyond localisation error"
    STEPS_NOT_RANDOM = "steps are not those of hops at random times"
    TRACKS_DIFFER = "tracks differ more than one rate explains"
    DRIFT_GUESSED = "by how many lattice vectors the crystal has moved is a guess"
    HOPS_COINCIDE = "several tracks hop in the same frames"
    FASTER_THAN_FRAMES = "states change as fast as frames come"
    TRACKS_CUT = "tracks end at pauses"
    PAUSES_BRIDGED = "tracks go on across pauses"
    IRREGULAR_TIMES = "frames are not evenly spaced"
    NOT_FOLLOWED = "frames of other fields or with a second lattice: nothing is followed into them"
    OVER_TIME_CONTRADICTED = "single frames or the columns' light contradict the states over time"
    SMOOTHED = "states that all frames together gave: no D, no rates"
    UNNAMED_COMPLEXES = "defects bound to a centre count as free: the table names no complexes"
    NO_LATTICE_MODEL = "the lattice model has no input"
    NO_VACANCIES = "the data favour an empty field"
    NO_HOPS = "no hop was seen: an upper limit"
    MOTION_CHANGES = "the hop rate differs between parts of the movie or of the field"
    ORIENTATIONS_DIFFER = "the orientations of a centre's vacancy have rates of their own"
    LIKE_NOISE = "what may be there is as fast and faint as noise: an upper limit"
    LOWER_LIMIT = "too fast for the frames: a lower limit"
    CANNOT_TELL = "the prior would be the answer"
    NOT_CONVERGED = "the chains do not agree"
    NO_DOSE = "the dose is not known: no cross-sections"
    JOINT_NO_RATES = "a run has no rate that a joint fit can take"
    JOINT_NO_CONDITION = "the voltage or temperature of a run is not known"
    JOINT_ALIKE = "runs of one voltage or temperature cannot tell what depends on it"
    JOINT_ATOM = "which atom leaves is not known, or not the same in all runs"
    JOINT_ASSUMED = "a joint fit rests on something that nobody stated"
    JOINT_LIMIT = "a parameter of a joint fit has a limit only, or none"
    JOINT_UNTESTED = "no more runs than parameters: the model is not tested"
    JOINT_REFUSED = "the model does not describe the runs"
    STAGE_FAILED = "a stage of another package failed"
    TRACKS_DISAGREE = "tracks or calls and the lattice model contradict each other"


class Note(str):
    """A sentence, or several, as a plain string with the `codes` of what it says."""

    codes: frozenset[Code]

    def __new__(cls, sentence: str = "", *codes: Code) -> Note:
        self = super().__new__(cls, sentence)
        self.codes = frozenset(codes)
        return self


def join(notes: Iterable[str]) -> Note:
    """One text of several, which keeps all their codes."""
    notes = [note for note in notes if note]
    return Note(" ".join(notes), *(code for note in notes for code in codes(note)))


def codes(text: str) -> frozenset[Code]:
    """Codes of a text; a plain string has none."""
    return getattr(text, "codes", frozenset())
