"""Warnings on labels and on what they were made from: sentences for people, with a code for programs."""

from collections.abc import Iterable
from enum import Enum

import numpy as np

from stemdefects.labels.fourier.periodic.align import Alignment
from stemdefects.labels.fourier.periodic.grains import Grains
from stemdefects.labels.fourier.periodic.regions import ORDER_LOST
from stemdefects.labels.fourier.periodic.residual import Residual
from stemdefects.labels.fourier.points.certainty import DISC, LATTICE
from stemdefects.labels.fourier.points.defects import Levels
from stemdefects.labels.fourier.points.moving import ALL, Told

MUCH_REST = 1.4  # spread of the residual, of the noise expected
TOO_MUCH = 0.12  # of the crystal covered by labels
FEW = 5  # labels, each frame's counted
DOUBTFUL = 0.1  # share of labels that may be false


class Code(Enum):
    """What a warning is about."""

    FRAMES_LEFT_OUT = "frames that could not be used, or show another field"
    PIXELS_MISSING = "pixels hold no intensity"
    OTHER_LATTICE = "Bragg peaks that the lattice does not explain"
    LITTLE_LATTICE = "much of the frame shows no lattice"
    DRIFT_UNSURE = "the drift may be off by a lattice vector"
    NOT_ONLY_NOISE = "what does not repeat is more than counting explains"
    COVERED = "labels cover much of the crystal"
    FEW_LABELS = "too few labels to carry a training"
    FALSE_LABELS = "many labels are expected to be false"


class Warned(str):
    """A sentence with the `code` of what it is about."""

    code: Code

    def __new__(cls, code: Code, sentence: str) -> "Warned":
        self = super().__new__(cls, sentence)
        self.code = code
        return self


def codes(warnings: Iterable[Warned]) -> list[str]:
    """Names of the codes of `warnings`, each once, in their own order."""
    there = {warning.code for warning in warnings}
    return [code.name for code in Code if code in there]


def expected_false(told: Told, levels: Levels) -> np.ndarray:
    """(2,) dark and bright labels that are expected to be false, at most as many as there are."""
    false, signs = np.zeros(2), np.sign(told.defects.z)
    for own, here in ((told.frame == ALL, levels), (told.frame != ALL, told.levels)):
        for k, sign in enumerate((-1, 1)):
            count = int((own & (signs == sign)).sum())
            false[k] += 0.0 if here is None else min(here.false[k], count)
    return false


def left_out(frames: np.ndarray, where: str) -> Warned:
    """The warning on frames (numbers) that blur the mean."""
    numbers = ", ".join(map(str, frames))
    return Warned(
        Code.FRAMES_LEFT_OUT,
        f"{where}: frame(s) {numbers} do not show what the others do (drift, another field): labels are made without",
    )


def of_lattice(crystal: Grains, parts: Residual, alignment: Alignment, indices: np.ndarray, where: str) -> list[Warned]:
    """Warnings on crystal and drift."""
    said: dict[Code, str] = {}
    lattice = crystal.lattices[0]
    if len(crystal) == 1 and lattice.stray_snr > max(0.1 * lattice.snr.max(), 50):
        said[Code.OTHER_LATTICE] = (
            f"other Bragg peaks at the lattice's own spacing ({lattice.stray_snr:.0f} times the noise, "
            f"its own {lattice.snr.max():.0f}): there may be several grains; labels hold for the strongest one"
        )
    broken = float((parts.order < ORDER_LOST).mean())
    if broken > 0.3:
        said[Code.LITTLE_LATTICE] = (
            f"{broken:.0%} of the first frame shows no lattice; earlier frames are better labelled"
        )
    if not alignment.clear.all():
        frames = ", ".join(str(i) for i in np.asarray(indices)[~alignment.clear])
        said[Code.DRIFT_UNSURE] = (
            f"frame(s) {frames}: too few defects that stay to tell the drift from one lattice vector more; "
            "the shortest way was taken"
        )
    return [Warned(code, f"{where}: {sentence}") for code, sentence in said.items()]


def of_labels(
    told: Told, levels: Levels, region: np.ndarray, spacing: float, excess: float, where: str
) -> list[Warned]:
    """Warnings on labels that will not teach much."""
    said: dict[Code, str] = {}
    if excess > MUCH_REST:
        said[Code.NOT_ONLY_NOISE] = (
            f"what does not repeat is {excess:.1f} times what counting electrons explains: very many defects, "
            "more than one crystal, or a scan that is not steady; only what stands out of it is labelled"
        )
    in_frame = told.sure.sum(1).max()
    covered = in_frame * np.pi * (DISC * spacing) ** 2 / max((region == LATTICE).sum(), 1)
    if covered > TOO_MUCH:
        said[Code.COVERED] = (
            f"labels cover {covered:.0%} of the crystal; so many defects leave no lattice to compare with, or "
            "the frame holds more than one crystal"
        )
    shown = int(told.sure.sum())
    if 0 < shown < FEW:
        said[Code.FEW_LABELS] = (
            f"only {shown} label(s) to learn from, too few to carry a training; take more frames "
            "(labels.fourier.n_frames), or a network trained on simulation (labels=simulated)"
        )
    false = expected_false(told, levels).sum() / max(len(told.defects.z), 1)
    if false > DOUBTFUL:
        said[Code.FALSE_LABELS] = (
            f"{false:.0%} of the labels are expected to be false; a network learns them too: take more frames "
            "(labels.fourier.n_frames) or a lower labels.fourier.false_alarms"
        )
    return [Warned(code, f"{where}: {sentence}") for code, sentence in said.items()]
