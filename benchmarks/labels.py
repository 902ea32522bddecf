"""How good are labels made from the movie itself?   python benchmarks/labels.py

Simulated movies start intact and end with holes. On each, F1 per frame and kind against the exact truth for

    residual    the Fourier residual of each frame by itself, no network
    paper       a network trained on the reference work's plain recipe (labels=fourier_paper)
    fourier     a network trained on our labels (labels=fourier)
    simulated   a network trained on simulation only (--model: the one that ships, unless another is named)
    tuned       that network, fine-tuned on the movie (labels=fourier training.init=...)

    ideal       the ideal observer of a single intact frame (benchmarks/limit.py), at the movie's prevalences

None of the first three knows kinds, so every method is scored alike: by its score that something is amiss at a place. A
detection of another kind counts neither for nor against; each has its best threshold, chosen per dose and kind on the
early frames and kept for the late ones. What lies within one lattice spacing of a hole or of the border is left out.
Everything trained goes to `--folder` and is used again; every training is the command a user would type. The tables go
into docs/labels.md with `--write`.
"""

import argparse
import dataclasses
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import script
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
    parser.add_argument("--doses", nargs="+", default=["low_dose", "typical", "high_dose"], help="simulation presets")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--folder", default="benchmark_results/labels", help="movies, runs and results")
    parser.add_argument("--model", default="ws2_mo", help="the simulation-trained network: name or model folder")
    parser.add_argument("--steps", type=int, default=2000, help="of each training from scratch (training=movie)")
    parser.add_argument("--tune-steps", type=int, default=600, help="of fine-tuning")
    parser.add_argument("--size-px", type=int, default=512, help="side of the movie's frames")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="put the tables into docs/labels.md")
    options = parser.parse_args()
    folder = Path(options.folder)
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / "results.json"
    results = json.loads(known.read_text()) if known.exists() else {}
    for dose in options.doses:
        movie = make_movie(folder, dose, options)
        results.setdefault(dose, {})
        for method in options.methods:
            if method in results[dose]:
                continue
            start = time.time()
            if method == "ideal":
                results[dose][method] = ideal(movie, dose)
            else:
                model, cpu_s = train(folder, dose, method, movie, options)
                results[dose][method] = score(movie, detect(movie, method, model))
                results[dose][method]["train_cpu_s"] = cpu_s
            print(f"{dose}, {method}: done in {time.time() - start:.0f} s", flush=True)
            known.write_text(json.dumps(results, indent=2, default=float))
            print(table(results), flush=True)
    text = "\n\n".join((table(results), bars(results), effort(results)))
    (folder / "results.md").write_text(text + "\n")
    picture(results, folder / "labels.png")
    if options.write:
        script.fill(ROOT / "docs" / "labels.md", "<!-- measured -->", "<!-- end measured -->", text)
    print(f"{text}\nwritten: {folder / 'results.md'}, {folder / 'labels.png'}")


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


def train(folder: Path, dose: str, method: str, movie: Path, options: argparse.Namespace) -> tuple[Path | None, float]:
    """(model folder of `method`, trained when it is not there yet; CPU seconds of the training, NaN without one)."""
    if method == "residual":
        return None, float("nan")
    if method == "simulated":
        from stemdefects.models import shipped

        return shipped.locate(options.model), float("nan")
    runs = folder / "runs" / f"{dose}_{method}"
    spent = runs / "cpu_s.txt"
    done = sorted(runs.glob("*/model/model.json")) if runs.exists() else []
    if done:
        return done[-1].parent, float(spent.read_text()) if spent.exists() else float("nan")
    steps = options.tune_steps if method == "tuned" else options.steps
    command = [
        sys.executable, str(ROOT / "train.py"), f"labels={'fourier_paper' if method == 'paper' else 'fourier'}",
        f"input={movie}", f"training.steps={steps}", f"runs_dir={runs}", "logging=disabled",
    ]  # fmt: skip
    if method == "tuned":
        command += [f"training.init={options.model}", "training.learning_rate=2e-4"]
    print(" ".join(["python", "train.py", *command[2:]]), flush=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    spent.write_text(f"{cpu_s:.1f}")
    return sorted(runs.glob("*/model/model.json"))[-1].parent, cpu_s


def scored_frames(n: int) -> np.ndarray:
    """Early and late frames, in order."""
    return np.r_[np.arange(LABELLED), np.arange(n - LATE, n)]


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
    engine = Engine(model, movie.shape[1:], sampling, presence=0.04 if model.material.sites[0].floating else 0.5)
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


BARS = (("typical", "Mo_W"), ("typical", "V_W"), ("high_dose", "V_S2"))


def bars(results: dict) -> str:
    """Markdown: errors (1 - F1) on the intact first frames beside the paper's recipe, and what is kept of F1 later."""
    lines = [
        "| dose, kind | error, fourier_paper | error, fourier | share | ideal observer's error |",
        "|---" * 5 + "|",
    ]
    for dose, kind in BARS:
        methods = results.get(dose, {})
        if {"paper", "fourier", "ideal"} <= set(methods):
            paper, ours, ideal_ = (1 - methods[m][kind]["early"] for m in ("paper", "fourier", "ideal"))
            share = f"{ours / paper:.2f}" if paper > 0 else "-"
            lines.append(f"| {dose}, {kind} | {paper:.3f} | {ours:.3f} | {share} | {ideal_:.3f} |")
    lines += ["", "| late F1 / early F1 | " + " | ".join(KINDS[:3]) + " |", "|---" * 4 + "|"]
    for dose, methods in results.items():
        for method in ("residual", "paper", "fourier"):
            if method in methods:
                cells = []
                for kind in KINDS[:3]:
                    first, last = methods[method][kind]["early"], methods[method][kind]["late"]
                    cells.append(f"{last / first:.2f}" if first > 0.3 else "-")
                lines.append(f"| {dose}, {method} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def effort(results: dict) -> str:
    """One line: CPU seconds from the command to the finished model."""
    parts = []
    for dose, methods in results.items():
        for method in ("paper", "fourier", "tuned"):
            seconds = methods.get(method, {}).get("train_cpu_s", float("nan"))
            if np.isfinite(seconds):
                parts.append(f"{dose} {method} {seconds:.0f}")
    return "CPU seconds from the movie to the finished model (two cores have 600 in 5 minutes): " + ", ".join(parts)


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
