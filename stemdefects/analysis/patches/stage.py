"""Classes of the image patches as a stage of the analysis."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from stemdefects.analysis import seeds
from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.inputs import Inputs
from stemdefects.analysis.patches import classes, members, patch_light
from stemdefects.analysis.patches.classes import Classes
from stemdefects.analysis.stage import Figure, Grid, Section, StageResult
from stemdefects.schema import AnalysisConfig

ABOUT_LIGHT = (
    "Light is in units of an ideal column of the brighter sublattice beside it: a missing column has 0. A bonded "
    "column that differs stands first; pictures of such a class are turned onto each other."
)
CAPTION = (
    "Mean picture of each class, with how many it has. At the right how their number was chosen: by BIC, as long as "
    "the worst class comes back in halves of the defects (Jaccard index)."
)


def run(inputs: Inputs, cfg: AnalysisConfig, seed: int) -> StageResult:
    """Classes of the patches; `data` is `classes.Classes`."""
    found = inputs.found
    if found.patches is None or len(found.rows) == 0:
        return StageResult(notes=["There are no image patches in the table, so no classes were looked for."])
    known = np.asarray(np.isfinite(found.patches).all((1, 2)))  # what a person added has none
    some = found if known.all() else found.select(known)
    patches = np.asarray(some.patches)
    light = _light(some, patches, inputs.material) if cfg.clustering.features == "columns" else None
    own = seeds.number(seed, "classes")
    made = classes.classify(patches, cfg.clustering, own, some.kinds, light, some.rows["track"])
    if made is None:
        return StageResult(
            notes=[f"No classes: of {len(found.patches)} patches too few can be compared (30 are needed)."]
        )
    if not known.all():
        label = np.full(len(known), -1, made.label.dtype)
        label[known] = made.label
        made = replace(made, label=label)
    blocks = [_text(made, cfg), *_of_light(made, inputs), Figure("classes", CAPTION)]
    return StageResult(
        (),
        [made.note] if made.note else [],
        _tables(made, inputs),
        {"classes": made},
        Section("Classes of the image patches", blocks),
        made,
    )


def with_classes(inputs: Inputs, results: Mapping[str, StageResult]) -> np.ndarray:
    """The table's rows with `cluster` filled in, where the stage `classes` of the `results` found some."""
    rows = inputs.found.rows
    made = results["classes"].data if "classes" in results else None
    if made is None:
        return rows
    rows = rows.copy()
    rows["cluster"] = made.label
    return rows


def _light(found: Detections, patches: np.ndarray, material) -> patch_light.Light | None:
    """Light of the columns in the patches; None where their lattice is not known."""
    lattices = members.lattices(found)
    if lattices is None or found.pixel_size_nm is None or not found.attrs.get("patch_nm"):
        return None
    patch_nm = float(found.attrs["patch_nm"])
    vectors = lattices[found.rows["frame"]] * found.scale_yx * (patches.shape[1] / patch_nm)
    return patch_light.measure(patches, vectors, material, patch_nm)


def _text(made: Classes, cfg: AnalysisConfig) -> str:
    text = f"{len(made.averages)} classes by {made.method}; {int((made.label < 0).sum())} patches belong to none."
    if made.agreement is not None:
        text += (
            f" Agreement with the network's kinds: adjusted Rand index {made.agreement:.2f} (1 the same, 0 by chance)."
        )
    beyond = next((s for s in made.scores[1:] if s["stability"] < classes.STABLE), None)
    if beyond is not None and not cfg.clustering.classes:
        text += (
            f" With {beyond['classes']} one class no longer comes back in halves of the defects (Jaccard index "
            f"{beyond['stability']:.2f})."
        )
    return f"{text} {made.note}"


def _of_light(made: Classes, inputs: Inputs) -> list:
    if made.light is None or made.site is None or inputs.material is None:
        return []
    kinds, rows = inputs.found.kinds, []
    for k, (own, *bonds) in enumerate(made.light):
        names, counts = np.unique(kinds[made.label == k], return_counts=True)
        most = counts.argmax()
        rows.append(
            [
                str(k),
                str(made.counts[k]),
                inputs.material.site_names[made.site[k]],
                f"{own:.2f}",
                ", ".join(f"{b:.2f}" for b in bonds),
                f"{names[most]} ({100 * counts[most] / made.counts[k]:.0f}%)",
            ]
        )
    head = ["class", "patches", "sublattice", "light of the column", "of its three bonded columns", "most are called"]
    return [Grid(head, rows), ABOUT_LIGHT]


def _tables(made: Classes, inputs: Inputs) -> dict:
    import pandas as pd

    out = {
        "classes": pd.DataFrame(
            {
                "class": np.arange(len(made.counts)),
                "n_patches": made.counts,
                "method": made.method,
            }
        )
    }
    if made.light is not None and made.site is not None and inputs.material is not None:
        out["classes"]["sublattice"] = [inputs.material.site_names[g] for g in made.site]
        for k, name in enumerate(("light", "light_bond_1", "light_bond_2", "light_bond_3")):
            out["classes"][name] = made.light[:, k]
    pairs, n_patches = np.unique(
        np.column_stack([made.label.astype(str), inputs.found.kinds]), axis=0, return_counts=True
    )
    out["class_kinds"] = pd.DataFrame({"class": pairs[:, 0].astype(int), "kind": pairs[:, 1], "n_patches": n_patches})
    out["class_selection"] = pd.DataFrame(made.scores)
    return out
