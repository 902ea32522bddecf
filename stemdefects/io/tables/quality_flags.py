"""Why the detections of a frame should not be taken at their word: the flags of column `doubt` of table `/frames`.

A frame with a doubt was used; its rows are in the table. `inference/columns/trust.py` decides, this module says it in
words.
"""

from typing import Any

import numpy as np

MANY, MISSED, OFF_LATTICE, UNSUPPORTED, ELSEWHERE, UNCHECKED, OTHER_CRYSTAL = (2**i for i in range(7))
INVALID_PIXELS, SECOND_LATTICE, DISTORTED, COARSE, OTHER_FIELD, CONTRADICTED, SUBLATTICES, TWO_KINDS = (
    2**i for i in range(7, 15)
)

NOT_FOLLOWED = SECOND_LATTICE | OTHER_FIELD  # nothing is followed into such a frame or out of it

DOUBTS = {
    MANY: "more columns called defective than the network was ever shown",
    MISSED: "columns not found where the Bragg peaks show a lattice",
    OFF_LATTICE: "many columns found off the lattice",
    UNSUPPORTED: "called columns no darker or brighter than the columns around them (uneven brightness?)",
    ELSEWHERE: "network and Bragg peaks disagree on where the lattice is",
    OTHER_CRYSTAL: "the sublattices' brightness is not that of the network's crystal (another voltage or crystal? "
    "inference.material=, or train.py labels=fourier)",
    UNCHECKED: "no lattice found, nothing to check the detections against",
    INVALID_PIXELS: "pixels that hold no intensity (dead lines, borders, spikes, marks); nothing is called beside them",
    SECOND_LATTICE: "a second lattice shows in the Bragg peaks (two layers, a support?); its moire looks like defects",
    DISTORTED: "lattice stretched or sheared by more than 3% against the crystal",
    COARSE: "sampled more coarsely than the network was trained on",
    OTHER_FIELD: "of another field than the other frames; nothing is followed from one to the next",
    CONTRADICTED: "states over time that single frames or the columns' light contradict; they are not to be relied on",
    SUBLATTICES: "both sublattices about equally bright: which is which could not be told, nor what is called on them",
    TWO_KINDS: "more columns as bright as a defect than the material allows: taken for an alloy's and not called",
}


def words(flags: int) -> list[str]:
    """The doubts in `flags`, in words."""
    return [text for bit, text in DOUBTS.items() if int(flags) & bit]


def added(frames: np.ndarray, flag: int, where: np.ndarray | None = None) -> np.ndarray:
    """`frames` (rows of `/frames`) with the doubt `flag` in each that was used, and is in `where` (n,) bool."""
    out = frames.copy()
    out["doubt"][(out["quality"] == 0) & (True if where is None else where)] |= flag
    return out


def counts(frames: np.ndarray) -> dict[str, int]:
    """Frames (rows of `/frames`) with each doubt, most frequent first; frames that were skipped do not count."""
    used = frames["doubt"][frames["quality"] == 0].astype(int)
    found = {text: int((used & bit > 0).sum()) for bit, text in DOUBTS.items()}
    return dict(sorted(((t, n) for t, n in found.items() if n), key=lambda item: -item[1]))


def sentences(frames: np.ndarray) -> list[str]:
    """What a reader of the detections has to be told, one sentence per doubt, and one for what was withheld."""
    if not len(frames) or "doubt" not in (frames.dtype.names or ()):
        return []
    used = int((frames["quality"] == 0).sum())
    told = [f"In {n} of {used} frame{'s' * (used != 1)}: {text}." for text, n in counts(frames).items()]
    bent = frames[(frames["quality"] == 0) & (frames["doubt"].astype(int) & DISTORTED > 0)]
    if len(bent):
        yy, xx, xy = (bent[f"strain_{axes}"].astype(float) for axes in ("yy", "xx", "xy"))
        half = np.hypot((yy - xx) / 2, xy)
        stretch = np.median((1 + (yy + xx) / 2 + half) / (1 + (yy + xx) / 2 - half) - 1)
        scale = np.median((yy + xx) / 2)
        told.append(
            f"Where the lattice is distorted, one axis is {stretch:.1%} longer than the other and the scale is off by "
            f"{scale:+.1%}: the scan, or the pixel size."
        )
    withheld = int(frames["n_withheld"].sum())
    if withheld:
        told.append(f"{withheld} calls were withheld where the frame's Bragg components show no lattice (a hole?).")
    return told


def scale_disagrees(calibration: dict[str, Any], tolerance: float) -> bool:
    """Whether the stated (or the user's) pixel size and the lattice's differ by more than `tolerance` and twice the
    lattice's own error; calibration: what a table keeps under that name."""
    off, sigma = calibration.get("disagreement"), calibration.get("lattice_sigma")
    return off is not None and abs(off) > max(tolerance, 2 * (sigma or 0.0))
