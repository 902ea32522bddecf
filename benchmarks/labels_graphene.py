"""Are the Si atoms of real movies found without a change but the input?   python benchmarks/labels_graphene.py

Trains `labels=fourier` on `graphene_si_trimer.npz` and `graphene_si_single_128.npz` (shared data; labels by its
authors, incomplete) as a user would, runs the model on all frames, analyses, and prints a row per movie: recall of the
labelled Si in all frames and in those that were not trained on, other calls per frame, how far the calls are from the
labels, the hop rate, and the CPU seconds of it all. With `--labels` nothing is trained: what the labels alone of eight
frames at a time are on (the first 32 frames of the faint movie, 24 of the other).
"""

import argparse
import json
import resource
import sys
from pathlib import Path

import labels_whole
import numpy as np
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
DATA = ROOT.parent / "shared" / "data" / "real"
FIELD_NM = 2.0  # side of their frames, by their authors
RADIUS_NM = 0.09
TRAINED = 8  # first frames, which labels are made of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = ["graphene_si_trimer.npz", "graphene_si_single_128.npz"]
    parser.add_argument("--inputs", type=Path, nargs="+", default=[DATA / name for name in names])
    parser.add_argument("--folder", type=Path, default=Path("benchmark_results/labels_graphene"))
    parser.add_argument("--steps", type=int, help="of the trainings, else the default")
    parser.add_argument("--labels", action="store_true", help="the labels alone, without a training")
    options = parser.parse_args()
    if options.labels:
        for path in options.inputs:
            print(labels_alone(path), flush=True)
        return
    print("| movie | Si found | in new frames | other calls a frame | nm from the labels | hop rate | CPU s |")
    print("|---" * 7 + "|")
    for path in options.inputs:
        if not path.exists():
            sys.exit(f"error: {path} is not there")
        print(row(path, options.folder / path.stem, options.steps), flush=True)


def row(path: Path, folder: Path, steps: int | None) -> str:
    """What the three commands make of the movie `path`, against the labels in it."""
    before = used_s()
    run = labels_whole.run_commands(folder, path, steps)
    seconds = used_s() - before
    with np.load(path) as stored:
        images = stored["images"]
        labels = {int(one["frame"]): np.array(one["Si_xy"]).reshape(-1, 2) for one in json.loads(str(stored["labels"]))}
        numbers = stored["frame"].tolist()
    found = calls(run, len(images))
    px_nm = FIELD_NM / images.shape[-1]
    hits, distances = [], []
    for index, number in enumerate(numbers):
        for x, y in labels.get(number, ()):
            distance = cKDTree(found[index]).query([y, x])[0] * px_nm if len(found[index]) else np.inf
            hits.append((index, distance < RADIUS_NM))
            distances += [distance] * bool(distance < RADIUS_NM)
    at, hit = np.array(hits).T
    new, others = at >= TRAINED, (sum(map(len, found)) - hit.sum()) / len(images)
    return (
        f"| {path.stem} | {hit.sum()} of {len(hit)} | {hit[new].sum()} of {new.sum()} | {others:.2f} | "
        f"{np.mean(distances):.4f} | {labels_whole.hop_rate(run)} | {seconds:.0f} |"
    )


def labels_alone(path: Path) -> str:
    """What the labels of eight frames at a time are on, against those in the movie `path`."""
    from stemdefects import config
    from stemdefects.io import opening
    from stemdefects.labels.fourier import label

    with np.load(path) as stored:
        px_nm = FIELD_NM / stored["images"].shape[-1]
        known = {int(one["frame"]): np.array(one["Si_xy"]).reshape(-1, 2) for one in json.loads(str(stored["labels"]))}
        numbers = stored["frame"].tolist()
    true, others, distances = 0, 0, []
    for first in (0, 8, 16, 24) if "single" in path.stem else (0, 16, 32):
        cfg = config.load_group("labels", "fourier").fourier
        cfg.first_frame = first
        frames, indices, _, invalid = label.read_frames(opening.read(str(path)), cfg)
        found = label.label(frames, cfg, path.stem, indices, invalid=invalid)
        for t, index in enumerate(found.indices):
            at = found.yx[t][found.sure[t]]
            atoms = known.get(numbers[index], np.zeros((0, 2)))[:, ::-1]
            near = cKDTree(at).query(atoms)[0] * px_nm if len(at) and len(atoms) else np.full(len(atoms), np.inf)
            true += len(atoms)
            distances += near[near < RADIUS_NM].tolist()
            others += len(at) - int((near < RADIUS_NM).sum())
    return (
        f"{path.stem}: labels on {len(distances)} of {true} Si, {np.mean(distances):.3f} nm from them, and on {others} "
        "other places"
    )


def used_s() -> float:
    """CPU seconds of the commands so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def calls(run: Path, n_frames: int) -> list[np.ndarray]:
    """Per frame (n, 2) y, x in px of the file of what the table of `run` calls a defect."""
    import stemdefects as sd

    rows = sd.DefectTable.read(run / "defects.h5").rows
    return [np.column_stack([r["y_px"], r["x_px"]]) for r in (rows[rows["frame"] == t] for t in range(n_frames))]


if __name__ == "__main__":
    main()
