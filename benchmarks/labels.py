"""How good are labels made from the movie itself?   python benchmarks/labels.py

Simulated movies start intact and end with holes. On each, F1 per frame and kind against the exact truth for

    residual    the Fourier residual of each frame by itself, no network
    paper       a network trained on the reference work's plain recipe (labels=fourier_paper)
    fourier     a network trained on our labels (labels=fourier)
    simulated   a network trained on simulation only (--model: which one; else one is trained)
    tuned       that network, fine-tuned on the movie (labels=fourier training.init=...)

    ideal       the ideal observer of a single intact frame (benchmarks/limit.py), at the movie's prevalences

None of the first three knows kinds, so every method is scored alike: by its score that something is amiss at a place. A
detection of another kind counts neither for nor against; each has its best threshold, chosen per dose and kind on the
early frames and kept for the late ones. What lies within one lattice spacing of a hole or of the border is left out.
Everything trained goes to `--folder` and is used again; every training is the command a user would type.
"""

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

METHODS = ("residual", "paper", "fourier", "simulated", "tuned", "ideal")
KINDS = ("Mo_W", "V_W", "V_S2", "V_S")
RADIUS_NM = 0.09
LABELLED = 8  # frames that labels are made from; the early frames scored are these
LATE = 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--doses", nargs="+", default=["typical", "high_dose"], help="simulation presets")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--folder", default="benchmark_results/labels", help="movies, runs and results")
    parser.add_argument("--model", help="model folder of the simulation-trained network")
    parser.add_argument("--steps", type=int, default=600, help="of each training")
    parser.add_argument("--size-px", type=int, default=384, help="side of the movie's frames")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    results = {}
    for dose in options.doses:
        movie = make_movie(folder, dose, options)
        results[dose] = {}
        for method in options.methods:
            start = time.time()
            if method == "ideal":
                results[dose][method] = ideal(movie, dose)
            else:
                model = train(folder, dose, method, movie, options)
                results[dose][method] = score(movie, detect(movie, method, model))
            results[dose][method]["seconds"] = time.time() - start
            print(f"{dose}, {method}: done in {time.time() - start:.0f} s", flush=True)
            (folder / "results.json").write_text(json.dumps(results, indent=2, default=float))
            print(table(results), flush=True)
    (folder / "results.md").write_text(table(results) + "\n")
    picture(results, folder / "labels.png")
    print(f"written: {folder / 'results.md'}, {folder / 'labels.png'}")


def make_movie(folder: Path, dose: str, options: argparse.Namespace) -> Path:
    """Simulate (once) a movie that is intact at first and has holes in the end."""
    path = folder / f"{dose}_{options.size_px}_{options.frames}_{options.seed}.h5"
    if path.exists():
        return path
    from stemdefects import config
    from stemdefects.crystal import material
    from stemdefects.simulation import files

    cfg = config.load_group("simulation", dose)
    cfg = dataclasses.replace(cfg, view=dataclasses.replace(cfg.view, size_px=[options.size_px] * 2))
    dose_e_per_nm2 = cfg.detector.dose_e_per_px[0] / cfg.view.pixel_size_nm[0] ** 2
    cfg.movie = dataclasses.replace(
        cfg.movie, n_frames=options.frames, frame_time_s=2.25,
        hole_cross_section_nm2=2e-4 / dose_e_per_nm2, hole_rate_per_s=0.004,
    )  # fmt: skip
    print(f"simulating {path.name}", flush=True)
    return files.write_movie(path, material.load("ws2_mo"), cfg, options.seed)


def train(folder: Path, dose: str, method: str, movie: Path, options: argparse.Namespace) -> Path | None:
    """The model folder of `method`, trained when it is not there yet."""
    if method == "residual":
        return None
    if method == "simulated" and options.model:
        return Path(options.model)
    runs = folder / "runs" / (method if method == "simulated" else f"{dose}_{method}")
    done = sorted(runs.glob("*/model/model.json")) if runs.exists() else []
    if done:
        return done[-1].parent
    command = [
        sys.executable, str(ROOT / "train.py"), "training=quick", f"training.steps={options.steps}",
        "training.size_px=128", f"training.validation.every={max(options.steps // 2, 1)}",
        f"runs_dir={runs}", "logging=disabled",
    ]  # fmt: skip
    if method in ("paper", "fourier", "tuned"):
        command += [f"labels={'fourier_paper' if method == 'paper' else 'fourier'}", f"input={movie}"]
    if method == "tuned":
        command += [f"training.init={train(folder, dose, 'simulated', movie, options)}", "training.learning_rate=5e-4"]
    print(" ".join(["python", "train.py", *command[2:]]), flush=True)
    subprocess.run(command, check=True, cwd=ROOT)
    return sorted(runs.glob("*/model/model.json"))[-1].parent


def scored_frames(n: int) -> np.ndarray:
    """Early and late frames, in order."""
    return np.r_[np.arange(0, LABELLED, 2), np.arange(n - LATE, n, 2)]


def detect(path: Path, method: str, model_folder: Path | None) -> dict[int, np.ndarray]:
    """Per scored frame (n, 3): y, x in px and the score that something is amiss there."""
    from stemdefects.io import movie as movies

    movie = movies.read(path)
    wanted = scored_frames(len(movie))
    if method == "residual":
        return {int(i): residual_points(movie.frame(int(i))) for i in wanted}
    from stemdefects import devices
    from stemdefects.inference.engine import Engine
    from stemdefects.models import artifact

    devices.use_compilation_cache()
    model = artifact.load(model_folder)
    # the crystal at the size the network knows, as infer.py shows it
    from stemdefects.inference.calibration import calibrate

    frames = np.stack([movie.frame(int(i)) for i in wanted])
    sampling = calibrate(frames[:4], model.material.lattice_nm, movie.pixel_size_nm, source=path.name).sampling_nm
    engine = Engine(model, movie.shape[1:], sampling, presence=0.1 if model.material.sites[0].floating else 0.5)
    found = {}
    for i, output in zip(wanted, engine(frames[:, None]), strict=True):
        columns = output.columns
        score = 1 - columns.state_prob[:, model.material.ideal_states].sum(1)
        keep = np.isin(columns.region, (0, 3)) & (score > 0.005)
        found[int(i)] = np.stack([columns.y_px, columns.x_px, score], 1)[keep]
    return found


def ideal(path: Path, dose: str, n_images: int = 8) -> dict[str, dict[str, float]]:
    """The ideal observer's F1 per kind in one intact frame of `dose`, at the movie's early prevalences.

    Scored as the others: by its probability that something is amiss, columns of other kinds left out.
    """
    import h5py

    from stemdefects import config
    from stemdefects.crystal import material as crystal
    from stemdefects.evaluation import detection, study

    stuff, cfg = crystal.load("ws2_mo"), config.load_group("simulation", dose)
    with h5py.File(path) as file:
        rows = file["truth/defects"][:]
        site = file["truth/site"][:]
        inside = ((file["truth/sites_px"][:] >= 0) & (file["truth/sites_px"][:] < file["frames"].shape[1])).all(1)
    early = rows[rows["frame"] < LABELLED]
    prevalence = {}
    for kind in stuff.kinds:
        sites = LABELLED * (inside & (site == stuff.states[kind.state].site)).sum()
        prevalence[kind.name] = max((early["kind"] == kind.name.encode()).sum() / max(sites, 1), 1e-5)
    watch = study.Study(stuff, cfg, prevalence, [1], (256, 256))
    seen = [one for _, one in watch.run(cfg.detector.dose_e_per_px[:1], n_images)]
    state = np.concatenate([s.state for s in seen])
    normal = stuff.ideal_states[np.concatenate([s.site for s in seen])]
    amiss = 1 - np.take_along_axis(np.concatenate([s.prob[1] for s in seen]), normal[:, None], 1)[:, 0]
    result = {}
    for kind in KINDS:
        this = state == stuff.kinds[stuff.kind_index(kind)].state
        counted = this | (state == normal)
        f1 = detection.best_f1(amiss[counted], this[counted])[0]
        result[kind] = {"early": f1, "late": float("nan"), "n_early": int(this.sum()), "n_late": 0}
    return result


def residual_points(frame: np.ndarray) -> np.ndarray:
    """Extrema of the matched-filtered residual of one frame, (n, 3): y, x, |z|."""
    from stemdefects.labels import fourier_defects as defects
    from stemdefects.labels.fourier import DISC
    from stemdefects.labels.fourier_lattice import find_lattice
    from stemdefects.labels.fourier_residual import take_apart

    lattice = find_lattice(frame)
    parts = take_apart(frame, lattice)
    sigma = defects.column_sigma_px(parts, lattice.spacing_px)
    found = defects.significance(parts.residual, parts.variance, parts.phase, parts.weight, sigma, parts.calm)
    points = defects.extrema(found.z, 2.0, DISC * lattice.spacing_px)
    return np.column_stack([points.yx, np.abs(points.z)])


def score(path: Path, found: dict[int, np.ndarray]) -> dict[str, dict[str, float]]:
    """Per kind: F1 on early and on late frames at the threshold best for the early ones, and the numbers behind it."""
    import h5py

    with h5py.File(path) as file:
        rows, regions = file["truth/defects"][:], file["truth/regions"] if "truth/regions" in file else None
        pixel_nm = float(file.attrs["pixel_size_nm"])
        shape = file["frames"].shape
        masks = {i: _inside(None if regions is None else regions[i], shape[1:], 0.3153 / pixel_nm) for i in found}
    frames = {i: _pair(rows[rows["frame"] == i], points, masks[i], RADIUS_NM / pixel_nm) for i, points in found.items()}
    early = [i for i in frames if i < LABELLED]
    late = [i for i in frames if i >= LABELLED]
    result = {}
    for kind in KINDS:
        thresholds = np.unique(np.concatenate([frames[i]["score"] for i in early]))
        thresholds = thresholds[:: max(1, len(thresholds) // 400)]
        values = [_f1(frames, early, kind, t)[0] for t in thresholds] or [0.0]
        best = float(thresholds[int(np.argmax(values))]) if len(thresholds) else 0.0
        first, n_early, p, r = _f1(frames, early, kind, best)
        last, n_late, p_late, r_late = _f1(frames, late, kind, best)
        result[kind] = {
            "early": first, "late": last, "n_early": n_early, "n_late": n_late, "threshold": best,
            "precision": p, "recall": r, "precision_late": p_late, "recall_late": r_late,
        }  # fmt: skip
    return result


def _inside(regions: np.ndarray | None, shape: tuple[int, int], spacing_px: float) -> np.ndarray:
    """(H, W) bool: crystal at least one lattice spacing away from a hole and from the border."""
    crystal = np.ones(shape, bool) if regions is None else regions == 0
    return ndimage.distance_transform_edt(np.pad(crystal, 1))[1:-1, 1:-1] > spacing_px


def _pair(truth: np.ndarray, points: np.ndarray, inside: np.ndarray, radius: float) -> dict[str, np.ndarray]:
    """Pair detections with true defects, the surest first; places outside `inside` count neither way."""
    true = np.stack([truth["y_px"], truth["x_px"]], 1)
    kinds = np.array([k.decode() for k in truth["kind"]])

    def within(yx):
        cell = np.clip(np.rint(yx).astype(int), 0, np.array(inside.shape) - 1)
        return inside[tuple(cell.T)]

    counted = within(true)
    points = points[np.argsort(-points[:, 2], kind="stable")]
    partner = np.full(len(points), -1)
    free = np.ones(len(true), bool)
    if len(true):
        for i, near in enumerate(cKDTree(true).query_ball_point(points[:, :2], radius)):
            near = [j for j in near if free[j]]
            if near:
                partner[i] = min(near, key=lambda j: np.linalg.norm(true[j] - points[i, :2]))
                free[partner[i]] = False
    use = np.where(partner >= 0, counted[partner] if len(true) else False, within(points[:, :2]))
    kind = np.where(partner >= 0, kinds[partner] if len(true) else "", "")
    return {"score": points[use, 2], "kind": kind[use], "n": {k: int((counted & (kinds == k)).sum()) for k in KINDS}}


def _f1(frames: dict, chosen: list[int], kind: str, threshold: float) -> tuple[float, int, float, float]:
    hits = sum(int(((frames[i]["kind"] == kind) & (frames[i]["score"] >= threshold)).sum()) for i in chosen)
    false = sum(int(((frames[i]["kind"] == "") & (frames[i]["score"] >= threshold)).sum()) for i in chosen)
    n = sum(frames[i]["n"][kind] for i in chosen)
    precision, recall = hits / max(hits + false, 1), hits / max(n, 1)
    return 2 * hits / max(hits + false + n, 1), n, precision, recall


def table(results: dict) -> str:
    """Markdown: F1 early / late per dose, method and kind."""
    lines = [
        "| dose | method | " + " | ".join(f"{k} early / late" for k in KINDS) + " |",
        "|---" * (2 + len(KINDS)) + "|",
    ]
    for dose, methods in results.items():
        for method, kinds in methods.items():
            cells = [f"{kinds[k]['early']:.3f} / {kinds[k]['late']:.3f}".replace(" / nan", "") for k in KINDS]
            lines.append(f"| {dose} | {method} | " + " | ".join(cells) + " |")
        some = next(iter(methods.values()))
        lines.append(
            f"| {dose} | (defects) | " + " | ".join(f"{some[k]['n_early']} / {some[k]['n_late']}" for k in KINDS) + " |"
        )
    return "\n".join(lines)


def picture(results: dict, path: Path) -> None:
    """F1 per kind as bars, early and late, one row per dose."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.2 * len(results)), layout="constrained")
    axes = np.atleast_2d(figure.subplots(len(results), 2, sharey=True))
    for row, (dose, methods) in zip(axes, results.items(), strict=True):
        for ax, when in zip(row, ("early", "late"), strict=True):
            for n, (method, kinds) in enumerate(methods.items()):
                ax.bar(np.arange(len(KINDS)) + 0.14 * (n - 2.5), [kinds[k][when] for k in KINDS], 0.13, label=method)
            ax.set(
                xticks=range(len(KINDS)), xticklabels=KINDS, ylim=(0, 1), ylabel="F1", title=f"{dose}, {when} frames"
            )
    axes[0, 0].legend(fontsize=8)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
