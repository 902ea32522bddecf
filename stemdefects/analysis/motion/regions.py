"""D of one kind beside holes and amorphous patches, and away from them."""

import numpy as np

from stemdefects.analysis import run_comparison, seeds
from stemdefects.analysis.crystallography import gaps
from stemdefects.analysis.data import square_pixels
from stemdefects.analysis.estimates import Estimate, estimate
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.motion import diffusion, estimators
from stemdefects.analysis.tracking import registration
from stemdefects.schema import AnalysisConfig


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int, kind: str | None) -> dict[str, diffusion.Diffusion]:
    """Region -> D of `kind` within a nanometre of holes and amorphous patches, and away from them; empty where the
    movie shows none, or `kind` is None."""
    found = inputs.found
    frames = found.frames
    if kind is None or inputs.movie is None or found.pixel_size_nm is None or frames is None:
        return {}
    share = sum(frames[f"fraction_{p}"].to_numpy(float) for p in ("hole", "amorphous") if f"fraction_{p}" in frames)
    if not np.any(np.nan_to_num(share) > 0.01):
        return {}
    square, movie = square_pixels.view(found, inputs.movie)
    vectors = registration.lattice_px(square, inputs.material, movie)
    if vectors is None or movie is None:
        return {}
    numbers = registration.some_observed(found, len(inputs.movie), 8)
    maps = gaps.distance_to_gaps(movie, numbers, vectors, found.pixel_size_nm)
    if not maps or not any(np.isfinite(m).all() for m in maps.values()):
        return {}
    names = estimators.labels(found, cfg.transitions.centre)
    keep = estimators.subjects(inputs.tracks, names, cfg).get(kind)
    if keep is None or not keep.any():
        return {}
    some = inputs.tracks.select(keep)
    near = gaps.track_distance(some, square.rows, maps) < gaps.NEAR_NM
    parts = {f"within {gaps.NEAR_NM:g} nm of holes": near, "away from holes": ~near}
    return {
        place: diffusion.cve(some.select(which), 300, seeds.stream(seed, "regions", place), inputs.lattice_constant)
        for place, which in parts.items()
        if which.sum() >= 3
    }


def estimates(regions: dict[str, diffusion.Diffusion], kind: str | None, unit: str) -> list[Estimate]:
    """D of each region as a row."""
    return [
        estimate(
            "D by region", d.D, d.low, d.high, unit, "cve", subject=f"{kind} {place}", n=d.n_tracks, warning=d.warning
        )
        for place, d in regions.items()
    ]


def note(regions: dict[str, diffusion.Diffusion], kind: str | None) -> list[str]:
    """A sentence where two regions differ."""
    if len(regions) != 2:
        return []
    one, two = ((d.D, d.low, d.high) for d in regions.values())
    p = run_comparison.difference(one, two)[3] if np.isfinite([*one, *two]).all() else 1.0
    return [f"D of {kind} near holes differs from that away from them (p = {p:.2g})."] if p < 0.05 else []
