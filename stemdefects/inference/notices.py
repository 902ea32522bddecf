"""What a user is told of an inference, by the command and by the library alike: whose word it rests on, and what makes
its results doubtful."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from stemdefects.inference.electrons import Dose
from stemdefects.inference.network.calibration import Calibration
from stemdefects.inference.specimen import composition
from stemdefects.inference.specimen.learned import per_cm2
from stemdefects.io.movie import QUALITY, Movie
from stemdefects.io.tables import quality_flags
from stemdefects.io.tables.contradictions import Contradiction

WHOSE_DOSE = {
    "user": "yours (inference.dose_e_per_px)",
    "current": "the beam's current times its time on a pixel (inference.current_pA, inference.dwell_us, or the file)",
    "file": "from the file",
    "detector": "by the detector's calibration (inference.counts_per_electron)",
    "noise": "from the frames' noise",
}  # by `electrons.Dose.origin`


def inputs(movie: Movie, setup: Any) -> list[str]:
    """Which pixel size, frame time and dose are used, and who says so (setup: `setup.Setup`)."""
    settings = setup.settings
    times = movie.times_s
    if settings.frame_time_s is not None:
        time = f"{settings.frame_time_s:.5g} s, yours (inference.frame_time_s)"
    elif times is not None and len(times) > 1 and not np.allclose(np.diff(times), np.diff(times)[0], rtol=1e-3):
        steps = np.diff(times)
        time = f"{steps.min():.4g} to {steps.max():.4g} s, each frame's own time from the file"
    elif setup.frame_time_s is not None:
        time = f"{setup.frame_time_s:.5g} s, from the file"
    elif len(movie) > 1:
        time = "not known: no rates per second; say inference.frame_time_s=<s>"
    else:
        time = None
    lines = [f"calibration: {setup.calibration.message}"]
    if time is not None:
        lines.append(f"frame time:  {time}")
    return [*lines, f"dose:        {dose(setup.dose)}", *several_grains(setup), *specimen(setup)]


def several_grains(setup: Any) -> list[str]:
    """What to tell of frames that show several grains."""
    if not setup.grains_turn_deg:
        return []
    turns = ", ".join(f"{abs(turn):.1f}" for turn in setup.grains_turn_deg)
    return [
        f"grains:      {len(setup.grains_turn_deg) + 1}, turned by {turns} degrees against the first; sites and states "
        f"over time are the first one's{'; nothing is called along the boundary' if setup.of_movie else ''}"
    ]


def dose(found: Dose) -> str:
    """The dose, its error and who says so."""
    if found.e_per_px is None:
        return "not known; say inference.dose_e_per_px=<electrons per pixel and frame>, or current_pA= and dwell_us="
    sigma = "" if found.relative_sigma is None else f" +-{found.relative_sigma:.1%}"
    detail = f": {found.detail}" if found.detail else ""
    digits = 2 if found.origin == "noise" else 5
    return f"{found.e_per_px:.{digits}g} e/px{sigma}, {WHOSE_DOSE[found.origin]}{detail}"


def specimen(setup: Any) -> list[str]:
    """What the frames taught of the specimen: alloys, and how common the kinds are that single frames can tell."""
    taught, material = setup.rules.specimen, setup.model.material
    if taught is None:
        return []
    lines = []
    for g, site in enumerate(material.sites):
        bulk = taught.levels.bulk[g]
        if taught.levels.alloyed[g]:
            kinds = [f"{share:.0%} at {level:.2f}" for level, share in bulk[np.isfinite(bulk[:, 0])]]
            lines.append(
                f"alloy:       two kinds of {site.name} columns, by their light over that of the brightest sublattice: "
                f"{', '.join(kinds)}; each column is judged against its own"
            )
    for name, level, share in composition.doubtful(taught.levels, material):
        lines.append(
            f"doubt:       {name} would have the light of the {share:.0%} at {level:.2f}, but they are more than the "
            "material's file allows (density of the kind): another crystal, or raise it there"
        )
    for one in taught.compositions:
        value, low, high = one.order[0], one.low[0], one.high[0]
        lines.append(
            f"order:       nearest {one.site} columns {value:+.3f} [{low:+.3f}, {high:+.3f}] (Warren-Cowley; 0: mixed "
            "by chance, above: like ones gather)"
        )
    lines += [f"unnamed:     {one.sentence()}" for one in taught.unnamed]
    lines += [f"alike:       {sentence}" for sentence in taught.alike]
    told = []
    for kind in material.kinds:
        low, high = taught.low[kind.state], taught.high[kind.state]
        if np.isfinite(high):
            told.append(f"{kind.name} {taught.prior[kind.state]:.2%} [{low:.2%}, {high:.2%}]")
    if told:
        lines.append(f"prevalence:  {', '.join(told)} of their sublattice, from the frames")
    limits = [(k.name, taught.limit[k.state]) for k in material.kinds if np.isfinite(taught.limit[k.state])]
    if limits:
        named = ", ".join(f"{name} {per_cm2(share, material):.1e}" for name, share in limits)
        lines.append(f"limit:       {named} per cm2; fewer could not be told from none by the light of single frames")
    return lines


def warnings_of(
    frames: np.ndarray, calibration: Calibration, tolerance: float, contradicted: Iterable[Contradiction] = ()
) -> list[str]:
    """What makes the detections doubtful, a sentence each: the scale, frames that were skipped, doubts.

    frames: rows of the table `/frames`; tolerance: `inference.calibration_tolerance`; contradicted: what speaks against
    the states over time.
    """
    told = []
    if quality_flags.scale_disagrees(calibration.to_dict(), tolerance):
        told.append(f"Pixel size: {calibration.message}.")
    skipped = frames[frames["quality"] != 0]
    if len(skipped):
        values, numbers = np.unique(skipped["quality"], return_counts=True)
        reasons = ", ".join(f"{n} {QUALITY[int(v)]}" for v, n in zip(values, numbers, strict=True))
        several = "s" * (len(skipped) != 1)
        told.append(f"{len(skipped)} frame{several} skipped ({reasons}); first: {skipped[0]['note'].decode()}.")
    return told + quality_flags.sentences(frames) + [one.sentence for one in contradicted]
