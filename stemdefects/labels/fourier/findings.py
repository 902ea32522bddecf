"""What people are told of labels before anything is trained on them."""

import numpy as np
from scipy import ndimage

from stemdefects.errors import UserError
from stemdefects.labels.fourier.label import MovieLabels
from stemdefects.labels.fourier.periodic import align, grains, rings
from stemdefects.labels.fourier.points.certainty import AMORPHOUS, DISC, HOLE, LATTICE, NEAR_DIRT, UNKNOWN, region_at
from stemdefects.labels.fourier.points.defects import extrema
from stemdefects.labels.fourier.points.moving import ALL
from stemdefects.schema import FourierConfig

SIGNS = ("dark", "bright")
TOLD = 0.0005  # share of the frames: less is 0.0%


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


def needed(labels: MovieLabels, cfg: FourierConfig, where: str) -> None:
    """Raises UserError, with what would help, when there is nothing to learn from."""
    if len(labels.defects.z):
        return
    n = len(labels.frames)
    helps = []
    if n >= cfg.n_frames:  # else the movie has no more
        helps.append(f"more frames, where nothing moves (labels.fourier.n_frames={2 * cfg.n_frames})")
    if n > 1:
        helps.append("fewer, where something moves (labels.fourier.n_frames=1)")
        helps.append("other ones (labels.fourier.first_frame=<number>)")
    helps.append("a network trained on simulation (labels=simulated)")
    raise UserError(
        f"{where}: no defect to learn from in {n} frame(s): looked for dark and bright points "
        f"{labels.levels[0].lowest:.1f} or more times above the noise, the strongest in the crystal is "
        f"{labels.strongest:.1f}. What would help: {'; '.join(helps)}"
    )


def boundary_rings(labels: MovieLabels) -> rings.Rings | None:
    """Cells along the boundary with their numbers of neighbours, from all frames together; None where there is no
    boundary or the columns are not resolved."""
    if labels.member is None or labels.seam is None:
        return None
    mean, _ = align.mean_at(labels.frames, np.ones(labels.frames.shape, np.float32), labels.shift_px)
    crystal = (labels.steps["regions"] == LATTICE) | labels.seam[0]
    if labels.covered is not None and labels.covered[0].any():  # beside dirt columns are ill seen
        reach = NEAR_DIRT * labels.lattice.spacing_px
        crystal &= ndimage.distance_transform_edt(~labels.covered[0]) > reach
    return rings.find(mean, grains.meeting(labels.member) & crystal, crystal, labels.lattice.vectors_px)


def _of_rings(found: rings.Rings | None) -> str:
    if found is None:
        return "the columns are not resolved well enough to count rings of five and seven along the boundary"
    cells, odd = len(found.neighbours), int((found.neighbours != 6).sum())
    others = odd - found.count(5) - found.count(7)
    more = f", {others} others" if others else ""
    return (
        f"along the boundary {found.count(5)} rings of five, {found.count(7)} of seven{more} among {cells} cells; of "
        f"as many cells inside the grains {cells * found.share_inside:.1f} seem to be no ring of six"
    )


def shares(labels: MovieLabels) -> dict[str, float]:
    """Shares of the labelled frames: `dirt`, which lies on the crystal; `amorphous` beside it; `hole`; `left_out`,
    about which the labels say nothing."""
    dirt = np.zeros(labels.regions.shape, bool) if labels.covered is None else labels.covered
    own = {"amorphous": AMORPHOUS, "hole": HOLE, "left_out": UNKNOWN}
    found = {"dirt": float(dirt.mean())}
    return found | {name: float(((labels.regions == value) & ~dirt).mean()) for name, value in own.items()}


def of_regions(labels: MovieLabels) -> list[str]:
    """A line on how much of the frames is no crystal or left out; none where all of it is crystal."""
    found = shares(labels)
    words = {
        "dirt": "dirt on the crystal",
        "amorphous": "amorphous",
        "hole": "holes",
        "left_out": "left out (too near to these, to a boundary or to what moves to say anything)",
    }
    told = [f"{found[name]:.1%} {text}" for name, text in words.items() if found[name] >= TOLD]
    if not told:
        return []
    return [f"of {len(labels.frames)} frame(s) {', '.join(told)}; the rest is crystal"]


def of_grains(labels: MovieLabels, pixel_size_nm: float) -> list[str]:
    """Lines on the grains: how they are turned, how long the line is where they meet, what is in and between them."""
    grains, seam = labels.grains, labels.seam
    if labels.member is None or grains is None or seam is None:
        return []
    band, length_px = seam
    crystal = labels.steps["regions"] == LATTICE
    size = np.bincount(labels.member[crystal], minlength=len(grains)) / max(crystal.sum(), 1)
    turns = ", ".join(f"{abs(t):.1f}" for t in grains.turn_deg[1:])
    at = region_at(labels.member, labels.defects.yx)
    counts = ", ".join(f"{(at == k).sum()} labels in grain {k + 1}" for k in range(len(grains)))
    stands_out = extrema(
        np.where(band, labels.steps["z"], 0), labels.levels[0].lowest, DISC * labels.lattice.spacing_px
    )
    return [
        f"{len(size)} grains of {', '.join(f'{s:.0%}' for s in size)} of the crystal, turned by {turns} degrees "
        f"against the largest; boundary of {length_px * pixel_size_nm:.3g} nm, about which the labels say nothing",
        f"{counts}; along the boundary {len(stands_out.z)} places stand out",
        _of_rings(boundary_rings(labels)),
    ]
