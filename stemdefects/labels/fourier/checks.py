"""What people are told of the labels before anything is trained on them."""

from typing import TYPE_CHECKING

import numpy as np

from stemdefects.errors import UserError
from stemdefects.labels.fourier.align import Alignment
from stemdefects.labels.fourier.certainty import DISC, LATTICE, region_at
from stemdefects.labels.fourier.defects import extrema
from stemdefects.labels.fourier.discovery import Levels
from stemdefects.labels.fourier.grains import Grains
from stemdefects.labels.fourier.moving import ALL, Told
from stemdefects.labels.fourier.regions import ORDER_LOST
from stemdefects.labels.fourier.residual import Residual
from stemdefects.schema import FourierConfig

if TYPE_CHECKING:
    from stemdefects.labels.fourier.label import MovieLabels

MUCH_REST = 1.4  # spread of the residual, of the noise expected
TOO_MUCH = 0.12  # of the crystal covered by labels
FEW = 5  # labels, each frame's counted
DOUBTFUL = 0.1  # share of labels that may be false
SIGNS = ("dark", "bright")


def expected_false(told: Told, levels: Levels) -> np.ndarray:
    """(2,) dark and bright labels that are expected to be false, at most as many as there are."""
    false, signs = np.zeros(2), np.sign(told.defects.z)
    for own, here in ((told.frame == ALL, levels), (told.frame != ALL, told.levels)):
        for k, sign in enumerate((-1, 1)):
            count = int((own & (signs == sign)).sum())
            false[k] += 0.0 if here is None else min(here.false[k], count)
    return false


def counted(z: np.ndarray, frame: np.ndarray, false: np.ndarray) -> list[str]:
    """Lines on how many labels of each sign there are, how they were seen, and how many of them may be false.

    z: (L,) signed; frame: (L,) the only frame that shows one, or `ALL`; false: (2,) from `expected_false`.
    """
    lines = []
    for name, sign, wrong in zip(SIGNS, (-1, 1), false, strict=True):
        mine = np.sign(z) == sign
        count = int(mine.sum())
        if not count:
            lines.append(f"no {name} defect beyond chance: none is trained, none will be called")
            continue
        stay = int((frame[mine] == ALL).sum())
        how = [f"{stay} that stay in place"] * (stay > 0)
        how += [f"{count - stay} in single frames, where something moves"] * (count > stay)
        lines.append(f"{count} {name} labels ({' and '.join(how)}), {wrong:.2g} of them expected to be false")
    return lines


def needed(labels: "MovieLabels", cfg: FourierConfig, where: str) -> None:
    """Raises UserError, with what would help, when there is nothing to learn from."""
    if len(labels.defects.z):
        return
    n = len(labels.frames)
    fewer = "fewer, where something moves (labels.fourier.n_frames=1); " if n > 1 else ""
    raise UserError(
        f"{where}: no defect to learn from in {n} frame(s): looked for dark and bright points "
        f"{labels.levels[0].lowest:.1f} or more times above the noise, the strongest in the crystal is "
        f"{labels.strongest:.1f}. What would help: more frames, where nothing moves "
        f"(labels.fourier.n_frames={2 * max(n, cfg.n_frames)}); {fewer}other ones "
        "(labels.fourier.first_frame=<number>); a network trained on simulation (labels=simulated)"
    )


def of_grains(labels: "MovieLabels", pixel_size_nm: float) -> list[str]:
    """Lines on the grains: how they are turned, how long the line is where they meet, what is in and between them."""
    if labels.member is None:
        return []
    band, length_px = labels.seam
    crystal = labels.steps["regions"] == LATTICE
    size = np.bincount(labels.member[crystal], minlength=len(labels.grains)) / max(crystal.sum(), 1)
    turns = ", ".join(f"{abs(t):.1f}" for t in labels.grains.turn_deg[1:])
    at = region_at(labels.member, labels.defects.yx)
    counts = ", ".join(f"{(at == k).sum()} in grain {k + 1}" for k in range(len(labels.grains)))
    stands_out = extrema(
        np.where(band, labels.steps["z"], 0), labels.levels[0].lowest, DISC * labels.lattice.spacing_px
    )
    return [
        f"{len(size)} grains of {', '.join(f'{s:.0%}' for s in size)} of the crystal, turned by {turns} degrees "
        f"against the largest; boundary of {length_px * pixel_size_nm:.3g} nm, about which the labels say nothing",
        f"labels: {counts}; along the boundary {len(stands_out.z)} places stand out",
    ]


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
