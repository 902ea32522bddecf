"""Displaced neighbours of each class of defects as a stage of the analysis."""

import numpy as np

from stemdefects.analysis import seeds
from stemdefects.analysis.crystallography import displacements
from stemdefects.analysis.crystallography.displacements import Local
from stemdefects.analysis.data import square_pixels
from stemdefects.analysis.estimates import estimate
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.stage import Figure, Fold, Section, StageResult, sentences
from stemdefects.schema import AnalysisConfig

CLEARLY_MORE = 1.25  # than ideal columns have, of the variance along the first component
ABOUT = (
    "Mean displacement of the nearest columns around each class, in the crystal's own frame, against ideal columns of "
    "the same frames measured in the same way. Positive is away from the defect."
)
CAPTIONS = {
    "displacements": "Mean picture of each class, turned onto the crystal's axes; arrows: mean displacement of each "
    "column, in brackets the defects averaged.",
    "components": "Principal components of the displacements: where the first bar stands above chance (lines) and "
    "above ideal columns (dots), the members of a class differ among themselves.",
}


def possible(inputs: Inputs, cfg: AnalysisConfig) -> bool:
    """Whether the movie's frames can be looked at."""
    found = inputs.found
    return bool(
        found.followed and cfg.crystal.enabled and inputs.movie is not None and found.pixel_size_nm and len(found.rows)
    )


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """Displacements around every class; `data` is `displacements.Local`."""
    if not possible(inputs, cfg):
        return StageResult()
    found, movie = square_pixels.view(inputs.found, inputs.movie)
    local = displacements.run(
        found,
        inputs.material,
        movie,
        cfg.transitions.centre,
        seeds.stream(seed, "crystal"),
        cfg.crystal.nearest_columns,
    )
    if not local.classes:
        return StageResult(notes=local.notes, data=local)
    said = [
        estimate(
            "outward displacement of the nearest columns",
            *c.radial_pm,
            "pm",
            "linear fit of all columns, against ideal ones; tracks resampled",
            subject=c.name,
            n=c.n,
            n_of=f"defects in {c.n_tracks} tracks",
        )
        for c in local.classes.values()
    ]
    turned = sentences(said, lambda e: "@" in e.subject)
    blocks = [
        ABOUT,
        sentences(said, lambda e: "@" not in e.subject),
        Fold("orientation by orientation", [turned]),
        _modes(local),
        *(Figure(name, text) for name, text in CAPTIONS.items()),
    ]
    return StageResult(
        said,
        local.notes,
        _tables(local, inputs),
        {"displacements": local, "components": local},
        Section("Crystal around the defects", blocks),
        local,
    )


def _modes(local: Local) -> str:
    clear = [
        f"{c.name} ({100 * c.explained[0]:.0f}%, ideal columns {100 * c.ideal[0]:.0f}%)"
        for c in local.classes.values()
        if "@" not in c.name and c.explained[0] > c.chance[0] and c.explained[0] > CLEARLY_MORE * c.ideal[0]
    ]
    if clear:
        return (
            f"The members of {', '.join(clear)} differ along one common mode more than chance and more than ideal "
            "columns do: such a class may hold more than one structure."
        )
    return (
        "Principal components: in no class do the members differ along a common mode by clearly more than ideal "
        "columns of the same frames, whose common modes are the scan's distortions. What shuffling alone would call a "
        "mode is not enough."
    )


def _tables(local: Local, inputs: Inputs) -> dict:
    import pandas as pd

    sites = [] if inputs.material is None else [s.name for s in inputs.material.sites]
    of_columns = pd.DataFrame(
        [
            {
                "class": name,
                "column": k,
                "site": sites[c.site[k]],
                "y_nm": c.position_nm[k, 0],
                "x_nm": c.position_nm[k, 1],
                "moved_y_pm": c.mean_pm[k, 0],
                "low_y_pm": c.low_pm[k, 0],
                "high_y_pm": c.high_pm[k, 0],
                "moved_x_pm": c.mean_pm[k, 1],
                "low_x_pm": c.low_pm[k, 1],
                "high_x_pm": c.high_pm[k, 1],
                "n_defects": c.n,
                "n_tracks": c.n_tracks,
            }
            for name, c in local.classes.items()
            for k in range(len(c.site))
        ]
    )
    components = pd.DataFrame(
        [
            {
                "class": name,
                "component": k + 1,
                "explained": c.explained[k],
                "shuffled_95": c.chance[k],
                "ideal_columns": c.ideal[k] if k < len(c.ideal) else np.nan,
            }
            for name, c in local.classes.items()
            for k in range(len(c.explained))
        ]
    )
    return {"displacements": of_columns, "displacement_components": components}
