"""Are the Si atoms of a real movie found without a change but the input?   python benchmarks/labels_graphene.py

Trains `labels=fourier` on `graphene_si_trimer.npz` (shared data; labels by its authors, incomplete) as a user would,
runs the model on all frames and prints the recall of the labelled Si, in all frames and in those it was not trained on,
the detections per frame, and how far they are from the labels.
"""

import argparse
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
DATA = ROOT.parent / "shared" / "data" / "real" / "graphene_si_trimer.npz"
FIELD_NM = 2.0  # side of its frames, by its authors
RADIUS_NM = 0.09


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--input", type=Path, default=DATA)
    parser.add_argument("--folder", type=Path, default=Path("benchmark_results/labels_graphene"))
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    if not options.input.exists():
        sys.exit(f"error: {options.input} is not there")
    command = [
        sys.executable, str(ROOT / "train.py"), "labels=fourier", f"input={options.input}", "logging=disabled",
        f"training.steps={options.steps}", f"runs_dir={options.folder.resolve()}",
    ]  # fmt: skip
    if not list(options.folder.glob("*/model/model.json")):
        subprocess.run(command, check=True, cwd=ROOT)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    model = sorted(options.folder.glob("*/model/model.json"))[-1].parent
    with np.load(options.input) as stored:
        images = stored["images"]
        labels = {int(one["frame"]): np.array(one["Si_xy"]).reshape(-1, 2) for one in json.loads(str(stored["labels"]))}
        numbers = stored["frame"].tolist()
    found = detect(model, options.input)
    px_nm = FIELD_NM / images.shape[-1]
    hits, distances = [], []
    for index, number in enumerate(numbers):
        for x, y in labels.get(number, ()):
            distance = cKDTree(found[index]).query([y, x])[0] * px_nm if len(found[index]) else np.inf
            hits.append((index, distance < RADIUS_NM))
            distances += [distance] * bool(distance < RADIUS_NM)
    hits = np.array(hits)
    new = hits[:, 0] >= 8
    print(
        f"labelled Si found: {hits[:, 1].sum()} of {len(hits)} in {len(images)} frames, {hits[new, 1].sum()} of "
        f"{new.sum()} in the {len(images) - 8} that were not trained on; {np.mean([len(f) for f in found]):.1f} "
        f"detections per frame; {np.mean(distances):.3f} nm from the labels on average; "
        f"{used.ru_utime + used.ru_stime:.0f} CPU seconds of training ({options.steps} steps)"
    )


def detect(model_folder: Path, path: Path) -> list[np.ndarray]:
    """Per frame (n, 2) y, x in px of what `infer.py` calls a defect."""
    import stemdefects as sd

    found = sd.detect(str(path), model_folder, progress=False)
    frames = found.frames["frame"]
    return [np.column_stack([r["y_px"], r["x_px"]]) for r in (found.rows[found.rows["frame"] == t] for t in frames)]


if __name__ == "__main__":
    main()
