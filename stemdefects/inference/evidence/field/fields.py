"""Are the frames of a movie those of one field of view? A folder of single images is read as a movie too.

Two frames of a field share their lattice and most of their defects. A frame whose defects are no better expected, by
what the frames before showed on the same sites, than by chance is of another field; so is one whose lattice is turned
or scaled. Frames with hardly a defect say nothing.
"""

import numpy as np

TRUST = 0.7  # what is seen on a site is there in the next frame too; more would make a few hops outweigh all that rests
TELLING = 20.0  # log-odds that a frame would recognise itself with
ALIKE = 0.1  # of these, that it recognises the frames before with at least
STEADY = 0.7  # mean resultant of the lattice's phase steps: chance gives this to eight frames once in 2,000 times
MANY_STEPS = 6  # fewer are steady by chance too often (six: once in 360 times)
MOST = 0.5  # of the frames that tell


class Kinship:
    """Gathers frame after frame what tells one field from many."""

    def __init__(self) -> None:
        self._alone, self._steps, self._last = [], [], None

    def other_lattice(self) -> None:
        """A frame whose lattice is not that of the movie."""
        self._alone.append(True)

    def add(self, gain: float, telling: float, phase: np.ndarray) -> None:
        """A frame on the movie's lattice. gain: log-odds that its defects were expected; telling: that they would be by
        the frame itself; phase: (2,) of its lattice, in lattice vectors."""
        if self._last is not None:
            self._steps.append(phase - self._last)
            if telling > TELLING:
                self._alone.append(gain < ALIKE * telling)
        self._last = phase

    @property
    def unrelated(self) -> bool:
        """Do most frames that tell show a field of their own?"""
        if len(self._alone) < 2 or np.mean(self._alone) <= MOST:
            return False
        if len(self._steps) < MANY_STEPS:
            return True
        steady = np.abs(np.exp(2j * np.pi * np.array(self._steps)).mean(0)).min()
        return bool(steady < STEADY)
