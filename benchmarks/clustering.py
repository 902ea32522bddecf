"""Classes of image patches against the truth: our default discovery, the published raw-pixel mixture, a classifier
trained on simulation. Writes docs/clustering.csv; benchmarks/statistics_page.py puts it into docs/statistics.md.

    python benchmarks/clustering.py [each=600] [doses=low_dose,typical,high_dose] [seeds=10,11,12,13,14] [mixed=false]
        [output=docs] [patches=<folder to keep them>]

Patches are cut as inference cuts them, from simulated images of every kind and orientation with no other defect within
a lattice constant. The images of a set are of one specimen and one probe, as the frames of a movie are (`mixed=true`:
every image has its own, signals and aberrations drawn anew). The adjusted Rand index (1: the same groups, 0: by chance)
is taken against the kinds (and complexes) without their orientation, and averaged over the seeds.
"""

import csv
import itertools
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import script

DEFAULTS = {
    "each": "600",
    "doses": "low_dose,typical,high_dose",
    "output": "docs",
    "patches": "",
    "seeds": "10,11,12,13,14",
    "mixed": "false",
}
PATCH_NM = 0.96
ANGLE_DEG = 20.0  # of a1; one movie has one direction
MATERIAL = "ws2_mo"


def patches(simulation: str, each: int, seed: int, mixed: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(patches (n, 32, 32), class names (n,), image number (n,)): `each` of every kind and complex, orientations mixed,
    so that rare ones count."""
    import jax

    from stemdefects import config
    from stemdefects.crystal import material
    from stemdefects.inference.columns.defects import cut_patches
    from stemdefects.models.frames.normalization import normalize
    from stemdefects.simulation import images
    from stemdefects.simulation.conditions import draw_conditions
    from stemdefects.simulation.optics import stage

    crystal = material.load(MATERIAL)
    cfg = config.load_group("simulation", simulation)
    cfg.view.rotation_deg = [ANGLE_DEG, ANGLE_DEG]
    cfg.defects.density = {"V_S": [0.02, 0.02], "V_S2": [0.02, 0.02], "Mo_W": [0.05, 0.05], "V_W": [0.02, 0.02]}
    cfg.defects.complexes = {"Mo_W+V_S": [0.5, 0.5], "Mo_W+2V_S": [0.0, 0.0]}
    cfg.defects.density_at = None
    simulate = jax.jit(images.make_known_simulator(stage.make_stage(crystal, cfg, (256, 256)), 1))
    one = draw_conditions(jax.random.key(1000 * seed), crystal, cfg)
    rng = np.random.default_rng(seed)
    out, names, number, k = [], [], [], 0
    while k < 40 or min(np.unique(np.concatenate(names), return_counts=True)[1]) < each:
        key = jax.random.key(1000 * seed + k)
        conditions = draw_conditions(key, crystal, cfg)
        if not mixed:
            same = {name: getattr(one, name) for name in ("signals_nm2", "mean_fraction", "probe")}
            conditions = conditions._replace(**same)
        frames, truth, _ = simulate(key, None, conditions)
        image, truth = np.asarray(frames[0]), jax.tree.map(np.asarray, truth)
        kind = crystal.kind_of_state[truth.state]
        y, x = truth.y_px, truth.x_px
        inside = (np.minimum(y, 255 - y) > 17) & (np.minimum(x, 255 - x) > 17)
        keep = np.flatnonzero(truth.valid & (kind >= 0) & inside)
        label = np.array(crystal.kind_names, dtype="U24")[kind[keep]]
        grouped = truth.complex[keep] >= 0
        alone = ~grouped | (label == "Mo_W")
        keep, label = keep[alone], label[alone]
        label[truth.complex[keep] >= 0] = "Mo_W+V_S"
        pure = other_defects(truth, kind, keep, 1.15 * crystal.a_nm / float(truth.pixel_size_nm)) == 0
        keep, label = keep[pure], label[pure]
        place = np.column_stack([y[keep], x[keep]]) + rng.normal(0, 0.5, (len(keep), 2))  # as well as columns are found
        side_px = PATCH_NM / float(truth.pixel_size_nm)
        out.append(cut_patches(np.asarray(normalize(image)), place.astype(float), side_px))
        names.append(label)
        number.append(np.full(len(keep), k))
        k += 1
    out, names, number = np.concatenate(out), np.concatenate(names), np.concatenate(number)
    order = rng.permutation(len(names))
    rank = np.empty(len(names), int)
    for name in np.unique(names):
        mine = order[names[order] == name]
        rank[mine] = np.arange(len(mine))
    some = rank < each
    return out[some], names[some], number[some]


def light(data: np.ndarray):
    """Light of the columns in the patches, of a lattice of the nominal size and direction."""
    from stemdefects.analysis.patches import patch_light
    from stemdefects.crystal import bragg, material

    crystal = material.load(MATERIAL)
    vectors = crystal.lattice_nm @ bragg.rotation(np.deg2rad(ANGLE_DEG)) * (data.shape[1] / PATCH_NM)
    return patch_light.measure(data, np.broadcast_to(vectors, (len(data), 2, 2)), crystal, PATCH_NM)


def other_defects(truth, kind, of, radius_px: float) -> np.ndarray:
    """(n,) defects within `radius_px` of the columns `of` that are neither the column nor of its own complex."""
    from scipy.spatial import cKDTree

    place = np.column_stack([truth.y_px, truth.x_px])
    defects = np.flatnonzero(truth.valid & (kind >= 0))
    near = cKDTree(place[defects]).query_ball_point(place[of], radius_px)
    group = truth.complex
    return np.array(
        [
            sum(j != i and not (group[i] >= 0 and group[j] == group[i]) for j in defects[n])
            for i, n in zip(of, near, strict=True)
        ]
    )


def told_apart(names: np.ndarray, label: np.ndarray) -> int:
    """Number of groups of true classes that the labels keep apart: two stay together when a labelled patch of theirs
    cannot be given to one of them with 80% right."""
    kinds, groups = np.unique(names, return_inverse=True)[0], np.unique(label)
    table = np.array([[((names == k) & (label == g)).sum() for g in groups] for k in kinds], float)
    table /= table.sum(1, keepdims=True)
    joined = list(range(len(kinds)))
    for i, j in itertools.combinations(range(len(kinds)), 2):
        if np.maximum(table[i], table[j]).sum() / 2 < 0.8:
            joined = [joined[i] if g == joined[j] else g for g in joined]
    return len(set(joined))


def scores(data: np.ndarray, names: np.ndarray, number: np.ndarray) -> list[dict]:
    """One row per method: adjusted Rand index, number of classes, and how many true classes it tells apart."""
    from omegaconf import OmegaConf
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import adjusted_rand_score

    from stemdefects import config
    from stemdefects.analysis.patches import classes, patch_features
    from stemdefects.schema import ClusteringConfig

    rows = []
    default = config.load_group("analysis", "default").clustering
    stored = OmegaConf.load(config.config_dir() / "analysis" / "clustering" / "paper.yaml")
    paper = config.to_object(stored, ClusteringConfig)
    whole = replace(default, features="threefold")
    methods = {
        "default": default,
        "three-fold means of the pixels": whole,
        "raw pixels, five components (published)": paper,
    }
    for method, cfg in methods.items():
        start = time.process_time()
        found = classes.classify(data, cfg, 0, names, light(data) if cfg is default else None)
        rows.append(
            {
                "estimator": method,
                "ari": round(adjusted_rand_score(names, found.label), 3),
                "classes": len(found.averages),
                "told_apart": told_apart(names, found.label),
                "seconds": round(time.process_time() - start, 1),
            }
        )
    start = time.process_time()
    features = patch_features.features(data, "threefold")
    train = number % 2 == 0
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features[train], names[train])
    said = model.predict(features[~train])
    rows.append(
        {
            "estimator": "classifier trained on simulation (other images)",
            "ari": round(adjusted_rand_score(names[~train], said), 3),
            "classes": len(np.unique(said)),
            "told_apart": told_apart(names[~train], said),
            "seconds": round(time.process_time() - start, 1),
        }
    )
    return rows


def kept(settings: dict, name: str, seed: int):
    """Patches of a simulation config, from the folder when they are there."""
    folder = Path(settings["patches"]) if settings["patches"] else None
    each, mixed = int(settings["each"]), settings["mixed"] == "true"
    path = None if folder is None else folder / f"patches_{name}_{seed}_{each}{'_mixed' * mixed}.npz"
    if path is not None and path.exists():
        with np.load(path) as file:
            return file["data"], file["names"], file["number"]
    found = patches(name, each, seed, mixed)
    if path is not None:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, data=found[0], names=found[1], number=found[2])
    return found


def main() -> None:
    """Score every dose and write the table."""
    settings = script.options(sys.argv[1:], DEFAULTS)
    kind = ", every image its own probe" if settings["mixed"] == "true" else ""
    seeds = [int(s) for s in settings["seeds"].split(",")]
    rows = []
    for simulation in settings["doses"].split(","):
        found: dict[str, list[dict]] = {}
        for seed in seeds:
            data, names, number = kept(settings, simulation, seed)
            for row in scores(data, names, number):
                found.setdefault(row["estimator"], []).append(row)
        for method, each in found.items():
            row = {
                "setting": f"simulation={simulation}, {settings['each']} of each{kind}",
                "n_patches": len(names),
                "true_classes": len(np.unique(names)),
                "estimator": method,
                "sets": len(seeds),
                "ari": round(float(np.mean([r["ari"] for r in each])), 3),
                "classes": ", ".join(str(r["classes"]) for r in each),
            }
            row["told_apart"] = ", ".join(str(r["told_apart"]) for r in each)
            rows.append(row | {"seconds": round(float(np.mean([r["seconds"] for r in each])), 1)})
            print(rows[-1], flush=True)
    with open(Path(settings["output"]) / "clustering.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
