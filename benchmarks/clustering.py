"""Classes of image patches against the truth: our default discovery, the published raw-pixel mixture, a classifier
trained on simulation. Writes docs/clustering.csv; benchmarks/statistics_page.py puts it into docs/statistics.md.

    python benchmarks/clustering.py [images=20] [doses=low_dose,typical,high_dose] [output=docs] [patches=<folder>]

Patches are cut as inference cuts them, from simulated images of every kind and orientation; the adjusted Rand index (1:
the same groups, 0: by chance) is taken against the kinds (and complexes) without their orientation.
"""

import csv
import sys
import time
from pathlib import Path

import numpy as np

DEFAULTS = {"images": "20", "doses": "low_dose,typical,high_dose", "output": "docs", "patches": "", "seed": "0"}
PER_CLASS = 150  # patches of each class, so that rare ones count


def patches(simulation: str, n_images: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(patches (n, 32, 32), class names (n,), image number (n,)): kinds and complexes, orientations mixed."""
    import jax

    from stemdefects import config
    from stemdefects.crystal import material
    from stemdefects.inference.defects import cut_patches
    from stemdefects.models.normalization import normalize
    from stemdefects.simulation import images

    crystal = material.load("ws2_mo")
    cfg = config.load_group("simulation", simulation)
    cfg.view.rotation_deg = [20.0, 20.0]  # one movie has one direction
    cfg.defects.density = {"V_S": [0.03, 0.03], "V_S2": [0.03, 0.03], "Mo_W": [0.06, 0.06], "V_W": [0.03, 0.03]}
    cfg.defects.complexes = {"Mo_W+V_S": [0.5, 0.5], "Mo_W+2V_S": [0.0, 0.0]}
    cfg.defects.density_at = None
    simulate = jax.jit(images.make_simulator(crystal, cfg, (256, 256)))
    rng = np.random.default_rng(seed)
    out, names, number = [], [], []
    for k in range(n_images):
        image, truth = jax.tree.map(np.asarray, simulate(jax.random.key(1000 * seed + k)))
        kind = crystal.kind_of_state[truth.state]
        y, x = truth.y_px, truth.x_px
        inside = (np.minimum(y, 255 - y) > 17) & (np.minimum(x, 255 - x) > 17)
        keep = np.flatnonzero(truth.valid & (kind >= 0) & inside)
        label = np.array(crystal.kind_names, dtype="U24")[kind[keep]]
        grouped = truth.complex[keep] >= 0
        keep, label, grouped = keep[~grouped | (label == "Mo_W")], label[~grouped | (label == "Mo_W")], None
        label[truth.complex[keep] >= 0] = "Mo_W+V_S"
        place = np.column_stack([y[keep], x[keep]]) + rng.normal(0, 0.5, (len(keep), 2))  # as well as columns are found
        out.append(cut_patches(np.asarray(normalize(image)), place.astype(float), 0.96 / float(truth.pixel_size_nm)))
        names.append(label)
        number.append(np.full(len(keep), k))
    out, names, number = np.concatenate(out), np.concatenate(names), np.concatenate(number)
    order = rng.permutation(len(names))
    rank = np.empty(len(names), int)
    for name in np.unique(names):
        mine = order[names[order] == name]
        rank[mine] = np.arange(len(mine))
    some = rank < PER_CLASS
    return out[some], names[some], number[some]


def scores(data: np.ndarray, names: np.ndarray, number: np.ndarray) -> list[dict]:
    """One row per method: adjusted Rand index and number of classes."""
    from omegaconf import OmegaConf
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.metrics import adjusted_rand_score

    from stemdefects import config
    from stemdefects.analysis import classes
    from stemdefects.schema import ClusteringConfig

    rows = []
    default = config.load_group("analysis", "default").clustering
    stored = OmegaConf.load(config.config_dir() / "analysis" / "clustering" / "paper.yaml")
    paper = config.to_object(stored, ClusteringConfig)
    for method, cfg in (("default", default), ("raw pixels, five components (published)", paper)):
        start = time.process_time()
        found = classes.classify(data, cfg, 0, names)
        rows.append({"estimator": method, "ari": round(adjusted_rand_score(names, found.label), 3),
                     "classes": len(found.averages), "seconds": round(time.process_time() - start, 1)})  # fmt: skip
    start = time.process_time()
    features = classes.features(data, default.features)
    train = number % 2 == 0
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(features[train], names[train])
    said = model.predict(features[~train])
    rows.append({"estimator": "classifier trained on simulation (other images)",
                 "ari": round(adjusted_rand_score(names[~train], said), 3), "classes": len(np.unique(said)),
                 "seconds": round(time.process_time() - start, 1)})  # fmt: skip
    return rows


def kept(settings: dict, name: str):
    """Patches of a simulation config, from the folder when they are there."""
    folder = Path(settings["patches"]) if settings["patches"] else None
    path = None if folder is None else folder / f"patches_{name}.npz"
    if path is not None and path.exists():
        with np.load(path) as file:
            return file["data"], file["names"], file["number"]
    found = patches(name, int(settings["images"]), int(settings["seed"]))
    if path is not None:
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(path, data=found[0], names=found[1], number=found[2])
    return found


def main() -> None:
    """Score every dose and write the table."""
    settings = DEFAULTS | dict(argument.split("=", 1) for argument in sys.argv[1:])
    rows = []
    for simulation in settings["doses"].split(","):
        data, names, number = kept(settings, simulation)
        for row in scores(data, names, number):
            rows.append({"setting": f"simulation={simulation}", "n_patches": len(names),
                         "true_classes": len(np.unique(names))} | row)  # fmt: skip
            print(rows[-1], flush=True)
    with open(Path(settings["output"]) / "clustering.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
