"""Warnings on labels and on what they were made from."""

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


def expected_false(told: Told, levels: Levels) -> np.ndarray:
    """(2,) dark and bright labels that are expected to be false, at most as many as there are."""
    false, signs = np.zeros(2), np.sign(told.defects.z)
    for own, here in ((told.frame == ALL, levels), (told.frame != ALL, told.levels)):
        for k, sign in enumerate((-1, 1)):
            count = int((own & (signs == sign)).sum())
            false[k] += 0.0 if here is None else min(here.false[k], count)
    return false


def left_out(frames: np.ndarray, where: str) -> str:
    """The warning on frames (numbers) that blur the mean."""
    numbers = ", ".join(map(str, frames))
    return f"{where}: frame(s) {numbers} do not show what the others do (drift, another field): labels are made without"


def of_lattice(crystal: Grains, parts: Residual, alignment: Alignment, indices: np.ndarray, where: str) -> list[str]:
    """Warnings on crystal and drift."""
    warnings, lattice = [], crystal.lattices[0]
    if len(crystal) == 1 and lattice.stray_snr > max(0.1 * lattice.snr.max(), 50):
        warnings.append(
            f"{where}: other Bragg peaks at the lattice's own spacing ({lattice.stray_snr:.0f} times the noise, "
            f"its own {lattice.snr.max():.0f}): there may be several grains; labels hold for the strongest one"
        )
    broken = float((parts.order < ORDER_LOST).mean())
    if broken > 0.3:
        warnings.append(
            f"{where}: {broken:.0%} of the first frame shows no lattice; earlier frames are better labelled"
        )
    if not alignment.clear.all():
        frames = ", ".join(str(i) for i in np.asarray(indices)[~alignment.clear])
        warnings.append(
            f"{where}: frame(s) {frames}: too few defects that stay to tell the drift from one lattice vector more; "
            "the shortest way was taken"
        )
    return warnings


def of_labels(told: Told, levels: Levels, region: np.ndarray, spacing: float, excess: float, where: str) -> list[str]:
    """Warnings on labels that will not teach much."""
    warnings = []
    if excess > MUCH_REST:
        warnings.append(
            f"{where}: what does not repeat is {excess:.1f} times what counting electrons explains: very many defects, "
            "more than one crystal, or a scan that is not steady; only what stands out of it is labelled"
        )
    in_frame = told.sure.sum(1).max()
    covered = in_frame * np.pi * (DISC * spacing) ** 2 / max((region == LATTICE).sum(), 1)
    if covered > TOO_MUCH:
        warnings.append(
            f"{where}: labels cover {covered:.0%} of the crystal; so many defects leave no lattice to compare with, or "
            "the frame holds more than one crystal"
        )
    shown = int(told.sure.sum())
    if 0 < shown < FEW:
        warnings.append(
            f"{where}: only {shown} label(s) to learn from, too few to carry a training; take more frames "
            "(labels.fourier.n_frames), or a network trained on simulation (labels=simulated)"
        )
    false = expected_false(told, levels).sum() / max(len(told.defects.z), 1)
    if false > DOUBTFUL:
        warnings.append(
            f"{where}: {false:.0%} of the labels are expected to be false; a network learns them too: take more frames "
            "(labels.fourier.n_frames) or a lower labels.fourier.false_alarms"
        )
    return warnings
