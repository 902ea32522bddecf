"""What the frames taught of the specimen, as a stage of the analysis: light of the columns, alloys, how common kinds
are.

Inference learns it before it judges (`inference/specimen/learned.py`) and keeps it with the table; here it is said,
with densities and the limit of detection.
"""

from typing import Any

import numpy as np

from stemdefects.analysis.estimates import Estimate, estimate, number
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.stage import Figure, Grid, Section, StageResult
from stemdefects.schema import AnalysisConfig

LIGHT = (-0.5, 3.0)  # range of the histograms that inference keeps
PER_CM2 = 1e14  # per nm2
COMPOSITION = (
    "How the kinds of columns of the alloy are mixed: share of the brighter kind over the field, and their order by "
    "distance (Warren-Cowley): 0 as chance mixes them, above 0 like columns gather, below 0 they avoid each other; "
    "95% intervals."
)
NAMES = ("prior", "low", "high", "limit")


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """Levels and shares of columns, densities of kinds with intervals, and what could not have been seen."""
    told, material = inputs.found.attrs.get("specimen"), inputs.material
    if not isinstance(told, dict) or material is None or len(told["prior"]) != material.n_states:
        return StageResult()
    arrays = {name: np.array(told[name], float) for name in (*NAMES, "histogram")}
    bulk, level = (np.array(told["levels"][name], float) for name in ("bulk", "level"))
    cell = material.cell_area_nm2
    said, rows = [], []
    for kind in material.kinds:
        share, low, high, limit = (arrays[name][kind.state] / cell * PER_CM2 for name in NAMES)
        learned = np.isfinite(high)
        if learned:
            said.append(
                estimate(
                    "density from the columns' light and the network",
                    share,
                    low,
                    high,
                    "1/cm2",
                    "expectation maximisation on posteriors",
                    subject=kind.name,
                    n=_columns(told, kind, material),
                    n_of="columns",
                )
            )
        rows.append(
            [
                kind.name,
                f"{level[kind.state]:.2f}",
                number(share) if learned else "as the file says",
                f"{number(low)} to {number(high)}" if learned else "",
                number(limit) if np.isfinite(limit) else "not known",
            ]
        )
    blocks: list[Any] = [*_alloys(bulk, material)]
    if said:
        blocks.append(
            "How many of each kind there are, learned from the frames before they were judged. The limit is the "
            "density below which single frames could not tell a kind from none by the light of its columns."
        )
    blocks.append(Grid(["kind", "light", "density, 1/cm^2", "95% interval", "limit, 1/cm^2"], rows))
    blocks.append(Figure("light", "Light of all columns over that of the brightest sublattice; lines: learned levels."))
    names = [site.name for site in material.sites]
    figures = {"light": lambda pyplot: _drawn(pyplot, arrays["histogram"], bulk, level, names, material)}
    tables, mixed = {}, told.get("compositions") or []
    if mixed:
        said += [_order_of(one) for one in mixed]
        blocks.append(Figure("composition", COMPOSITION))
        figures["composition"] = lambda pyplot: _mixed(pyplot, mixed)
        tables["composition_order"] = _table(mixed)
    return StageResult(said, (), tables, figures, Section("The specimen", blocks), told)


def _order_of(mixed: dict) -> Estimate:
    """Of nearest columns of an alloyed sublattice."""
    value, low, high = (mixed[name][0] for name in ("order", "low", "high"))
    return estimate(
        "Warren-Cowley order of nearest columns",
        value,
        low,
        high,
        "1",
        "correlation of the columns' light, jackknife over parts of the field",
        subject=mixed["site"],
        n=int(mixed["n_pairs"][0]),
        n_of="pairs",
    )


def _table(mixed: list[dict]) -> Any:
    import pandas as pd

    rows = [
        (one["site"], *row)
        for one in mixed
        for row in zip(*(one[name] for name in ("distance_nm", "order", "low", "high", "n_pairs")), strict=True)
    ]
    return pd.DataFrame(rows, columns=["sublattice", "distance_nm", "order", "low", "high", "n_pairs"])


def _mixed(pyplot: Any, mixed: list[dict]):
    """Map of the composition and its order over distance, a row per alloyed sublattice."""
    figure, axes = pyplot.subplots(len(mixed), 2, figsize=(6.8, 2.9 * len(mixed)), squeeze=False)
    for (left, right), one in zip(axes, mixed, strict=True):
        field, side = np.array(one["field"], float), one["cell_nm"]
        size = (0, field.shape[1] * side, field.shape[0] * side, 0)
        seen = left.imshow(field, cmap="viridis", vmin=0, vmax=1, extent=size)
        figure.colorbar(seen, ax=left, label="share of the brighter kind", shrink=0.8)
        left.set(title=f"{one['site']} columns", xlabel="x (nm)", ylabel="y (nm)")
        distance, value, low, high = (np.array(one[k], float) for k in ("distance_nm", "order", "low", "high"))
        right.errorbar(distance, value, np.abs([value - low, high - value]), fmt="o", ms=4, capsize=2)
        right.axhline(0, color="k", lw=0.6)
        right.set(xlabel="distance (nm)", ylabel="Warren-Cowley order")
    return figure


def _columns(told: dict, kind: Any, material: Any) -> int:
    return int(told["levels"]["n"][material.states[kind.state].site])


def _alloys(bulk: np.ndarray, material: Any) -> list[str]:
    """A sentence per sublattice with more than one kind of ideal columns."""
    out = []
    for site, kinds in zip(material.sites, bulk, strict=True):
        known = kinds[np.isfinite(kinds[:, 0])]
        if len(known) > 1:
            shares = " and ".join(f"{share:.0%} with the light {value:.2f}" for value, share in known)
            out.append(
                f"The {site.name} columns are of {len(known)} kinds (an alloy): {shares} of the brightest "
                "sublattice's. Each was judged against its own kind."
            )
    return out


def _drawn(pyplot: Any, histogram: np.ndarray, bulk: np.ndarray, level: np.ndarray, names: list[str], material: Any):
    """Histograms, one below the other; None where nothing was counted."""
    use = np.flatnonzero(histogram.sum(1))
    if not len(use):
        return None
    figure, axes = pyplot.subplots(len(use), 1, figsize=(6.4, 2.2 * len(use)), sharex=True, squeeze=False)
    edges = np.linspace(*LIGHT, histogram.shape[1] + 1)
    top = edges[1:][histogram.sum(0) > 0].max() + 0.1
    for axis, g in zip(axes[:, 0], use, strict=True):
        axis.stairs(histogram[g], edges, fill=True, color="0.75")
        ideal = bulk[g][np.isfinite(bulk[g, :, 0]), 0]
        for value in ideal:
            axis.axvline(value, color="C0")
        for kind in material.kinds:
            if material.states[kind.state].site == g and level[kind.state] < top:
                axis.axvline(level[kind.state], color="C1", lw=0.8, ls="--")
                axis.text(level[kind.state], axis.get_ylim()[1], kind.name, rotation=90, va="top", ha="right", size=6)
        axis.set(ylabel=f"{names[g]} columns", yscale="symlog", xlim=(LIGHT[0], top))
    axes[-1, 0].set_xlabel("light of a column (brightest sublattice: 1)")
    return figure
