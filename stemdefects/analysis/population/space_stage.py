"""Where defects are relative to each other, as a stage of the analysis: pairs, lines, deformation of the field."""

from dataclasses import dataclass, field, replace

import numpy as np

from stemdefects.analysis import seeds
from stemdefects.analysis.estimates import Estimate, estimate
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.population import lines, space
from stemdefects.analysis.population.lines import Lines
from stemdefects.analysis.stage import Block, Figure, Section, StageResult, sentences
from stemdefects.schema import AnalysisConfig

FEWEST = 20  # detections in the table, below which nothing is said
CAPTIONS = {
    "pairs": "Above 1: more pairs at this distance than random places give. Grey: 95% of chance for a single frame, "
    "since frames repeat the same defects.",
    "lines": "Rows of neighbours along the lattice's directions. Grey: random sites, as many defects.",
}


@dataclass(frozen=True)
class Places:
    """pairs, lines: by kind; deformation: of the field, None where too few defects live long."""

    pairs: dict[str, space.PairCorrelation] = field(default_factory=dict)
    lines: dict[str, Lines] = field(default_factory=dict)
    deformation: space.Deformation | None = None


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """Pair correlations and lines per kind against random places on the lattice; uneven motion of the field."""
    rng = seeds.stream(seed, "pairs")
    enough = len(inputs.found.rows) >= FEWEST
    places, said = _neighbours(inputs, rng) if enough else (Places(), [])
    d = space.deformation(inputs.tracks, rng=rng) if enough else None
    blocks: list[Block] = [
        sentences(said, lambda e: e.quantity.startswith("pairs of neighbours")),
        sentences(said, lambda e: e.quantity.startswith("share of defects in lines")),
    ]
    unit, notes = inputs.found.length_unit, []
    if d is not None:
        blocks.append(
            f"Smooth deformation of the field explains {100 * d.share:.0f}% of the slow motion of {d.n_tracks} "
            f"long-lived defects (p = {d.p:.2f} by chance), {d.relative:.2f} {unit} across the field over the movie."
        )
        if d.p < 0.01 and d.relative > 0.3 * inputs.lattice_constant:
            notes.append(
                f"The field does not move as one: long-lived defects move apart by up to {d.relative:.2f} {unit} over "
                f"the movie ({100 * d.share:.0f}% of their slow motion is a smooth deformation). Drift correction "
                "removes the common part only, so slow motion and long lags of the MSD are not diffusion alone."
            )
    blocks += [Figure(name, text) for name, text in CAPTIONS.items()]
    figures = {"pairs": {"pairs": places.pairs, "unit": unit}, "lines": {"lines": places.lines}}
    places = replace(places, deformation=d)
    return StageResult(said, notes, _tables(places, unit), figures, Section("In space", blocks), places)


def _neighbours(inputs: Inputs, rng: np.random.Generator) -> tuple[Places, list[Estimate]]:
    found, rows = inputs.found, inputs.found.rows
    sites, out, said = _random_places(inputs), Places(), []
    where = "random places on the lattice" if sites is not None else "random places"
    for kind in inputs.kinds:
        own = found.kinds == kind
        g = space.pair_correlation(rows["frame"][own], found.yx[own], sites, inputs.lattice_constant, rng=rng)
        if g is None:
            continue
        out.pairs[kind] = g
        said.append(
            estimate(
                "pairs of neighbours against chance",
                g.ratio_near,
                None,
                None,
                "1",
                f"pair correlation, {where}",
                subject=kind,
                n=g.n_frames,
                n_of="frames",
                warning=f"p = {g.p:.2f} for no correlation.",
            )
        )
        if sites is None or inputs.lattice[0] is None:
            continue
        rowed = lines.find(rows["frame"][own], found.yx[own], inputs.lattice[0], sites, rng=rng)
        if rowed is None:
            continue
        out.lines[kind] = rowed
        chance, _, most = rowed.null_share
        said.append(
            estimate(
                "share of defects in lines of three and more",
                rowed.share,
                None,
                None,
                "1",
                "neighbours in a row",
                subject=kind,
                n=rowed.n_frames,
                n_of="frames",
                warning=f"By chance {chance:.2f}, up to {most:.2f} in a frame; p = {rowed.p:.2f}.",
            )
        )
    return out, said


def _random_places(inputs: Inputs) -> np.ndarray | None:
    """(m, 2) sites of a lattice over the field; None where the lattice is not known."""
    vectors = inputs.lattice[0]
    if vectors is None:
        return None
    low, high = inputs.found.yx.min(0), inputs.found.yx.max(0)
    reach = int(np.ceil(np.linalg.norm(high - low) / inputs.lattice_constant)) + 2
    cells = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2, indexing="ij"), -1).reshape(-1, 2)
    sites = cells @ vectors + (low + high) / 2
    return sites[((sites >= low) & (sites <= high)).all(1)]


def _tables(places: Places, unit: str) -> dict:
    import pandas as pd

    out = {
        "pair_correlation": pd.DataFrame(
            [(kind, *row) for kind, g in places.pairs.items() for row in zip(g.r, g.g, g.low, g.high, strict=True)],
            columns=["kind", f"distance_{unit}", "pairs_over_chance", "chance_low", "chance_high"],
        )
    }
    if places.lines:
        out["lines"] = pd.DataFrame(
            [
                {"kind": kind, "defects_in_line": k, "lines_per_frame": n, "by_chance": chance}
                for kind, found in places.lines.items()
                for k, (n, chance) in found.histogram.items()
            ]
        )
    return out
