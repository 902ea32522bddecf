"""How good are labels made from the movie itself?   python benchmarks/labels.py

Simulated movies start intact and end with holes. On each, F1 per frame and kind against the exact truth for

    residual    the Fourier residual of each frame by itself, no network
    paper       a network trained on the reference work's plain recipe (labels=fourier_paper)
    fourier     a network trained on our labels (labels=fourier)
    simulated   a network trained on simulation only (--model: the one that ships, unless another is named)
    tuned       that network, fine-tuned on the movie (labels=fourier training=adapt training.init=...)

    ideal       the ideal observer of a single intact frame (benchmarks/limit.py), at the movie's prevalences

None of the first three knows kinds, so every method is scored alike: by its score that something is amiss at a place,
as `infer.py` comes to it (with the light of the columns where the crystal is known). A detection of another kind counts
neither for nor against; each has its best threshold, chosen per dose and kind on the early frames and kept for the late
ones. What lies within one lattice spacing of a hole or of the border is left out. Whether fine-tuning does better than
what it came from is told with intervals: a bootstrap over parts of the field, both methods on the same parts.

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
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import labels_scores as scores
import labels_tables as tables
import numpy as np
import script

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
if TYPE_CHECKING:
    from stemdefects.inference.network.engine import Columns

METHODS = ("residual", "paper", "fourier", "simulated", "tuned", "ideal")
KINDS = scores.KINDS
LABELLED = 8  # frames that labels are made from; the early frames scored are these
LATE = 8


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--doses", nargs="+", default=["low_dose", "typical", "high_dose"], help="simulation presets")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--folder", default="benchmark_results/labels", help="movies, runs and results")
    parser.add_argument("--model", default="ws2_mo", help="the simulation-trained network: name or model folder")
    parser.add_argument("--steps", type=int, default=2000, help="of each training from scratch (training=movie)")
    parser.add_argument("--tune-steps", type=int, default=1000, help="of fine-tuning (training=adapt)")
    parser.add_argument("--size-px", type=int, default=512, help="side of the movie's frames")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--seed", type=int, default=11, help="of the movies; the recipe was developed on 3")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/labels.md")
    options = parser.parse_args()
    folder = Path(options.folder) / f"seed_{options.seed}"
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
                rows = scores.judged(movie, detect(movie, method, model), LABELLED)
                np.save(folder / f"{dose}_{method}.npy", rows)
                results[dose][method] = {kind: scores.summary(rows, kind) for kind in KINDS} | {"train_cpu_s": cpu_s}
            print(f"{dose}, {method}: done in {time.time() - start:.0f} s", flush=True)
            known.write_text(json.dumps(results, indent=2, default=float))
            print(tables.scores(results), flush=True)
    compared = ("tuned", *tables.PARENTS)
    gains = {
        dose: scores.gains({m: np.load(folder / f"{dose}_{m}.npy") for m in compared})
        for dose, methods in results.items()
        if set(compared) <= set(methods)
    }
    text = tables.everything(results, gains)
    (folder / "results.md").write_text(text + "\n")
    tables.picture(results, folder / "labels.png")
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
        cfg.movie,
        n_frames=options.frames,
        frame_time_s=2.25,
        hole_cross_section_nm2=2e-4 / dose_e_per_nm2,
        hole_rate_per_s=0.004,
    )
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
        sys.executable,
        str(ROOT / "train.py"),
        f"labels={'fourier_paper' if method == 'paper' else 'fourier'}",
        f"input={movie}",
        f"training.steps={steps}",
        f"runs_dir={runs}",
        "logging=disabled",
    ]
    if method == "tuned":
        command += [f"training.init={options.model}", "training=adapt"]
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

    from stemdefects.io import opening

    movie = opening.read(path)
    wanted = scored_frames(len(movie))
    if method == "residual":
        return {int(i): residual_points(movie.frame(int(i))) for i in wanted}
    from stemdefects.models import artifact

    model = artifact.load(model_folder)
    frames = np.stack([movie.frame(int(i)) for i in wanted])
    presence = 0.04 if model.material.sites[0].floating else 0.5
    found = {}
    for i, (columns, score) in zip(wanted, columns_of(model, frames, movie.pixel_size_nm, presence), strict=True):
        keep = np.isin(columns.region, (0, 3)) & (score > 0.005)
        found[int(i)] = np.stack([columns.y_px, columns.x_px, score], 1)[keep]
    return found


def columns_of(
    model, frames: np.ndarray, pixel_size_nm: float | None = None, presence: float = 0.5
) -> Iterator[tuple["Columns", np.ndarray]]:
    """Per frame the columns that the network finds, with what `infer.py` says (n,) of whether one is amiss."""
    from stemdefects import devices
    from stemdefects.inference.columns import column_intensity
    from stemdefects.inference.columns.lattice.sites import view
    from stemdefects.inference.network.calibration import calibrate
    from stemdefects.inference.network.engine import Engine
    from stemdefects.models.probability.prevalence import state_prior
    from stemdefects.schema import InferenceConfig

    devices.use_compilation_cache()
    material = model.material
    # the crystal at the size the network knows, as infer.py shows it
    found = calibrate(frames[:4], material.lattice_nm, pixel_size_nm, source="frames")
    shown_nm, basis = found.sampling_nm, material.basis
    engine = Engine(model, frames.shape[1:], shown_nm, InferenceConfig(name="default", presence=presence))
    prior = state_prior(model.config.labels, material)
    for output in engine(frames[:, None]):
        columns = output.columns
        if all(site.floating for site in material.sites):  # taught by the movie: no light is usual of its places
            yield columns, 1 - columns.state_prob[:, material.ideal_states].sum(1)
            continue
        place = np.stack([columns.y_px, columns.x_px], 1).astype(float)
        sites = view(place, columns.site, columns.presence, np.array(found.vectors_px), basis, material.lattice_nm)
        if sites is None:
            raise SystemExit("labels: the columns of a frame form no lattice")
        places = column_intensity.Places(place * output.scale, columns.site, sites.cell)
        prob, *_ = column_intensity.judged(
            columns.state_prob, output.image, places, material, shown_nm / output.scale, prior
        )
        yield columns, 1 - prob[:, material.ideal_states].sum(1)


def ideal(path: Path, dose: str, n_images: int = 8) -> dict[str, dict[str, float]]:
    """The ideal observer's F1 per kind in one intact frame of `dose`, at the movie's early prevalences.

    Scored as the others: by its probability that something is amiss, columns of other kinds left out.
    """
    import h5py

    from stemdefects import config
    from stemdefects.crystal import material as crystal
    from stemdefects.limit import study
    from stemdefects.scoring import detection

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
    from stemdefects.labels.fourier.label import DISC
    from stemdefects.labels.fourier.periodic.lattice import find_lattice
    from stemdefects.labels.fourier.periodic.residual import take_apart
    from stemdefects.labels.fourier.points import defects

    lattice = find_lattice(frame)
    parts = take_apart(frame, lattice)
    sigma = defects.column_sigma_px(parts, lattice.spacing_px)
    found = defects.significance(parts.residual, parts.variance, parts.phase, parts.weight, sigma, parts.calm)
    points = defects.extrema(found.z, 2.0, DISC * lattice.spacing_px)
    return np.column_stack([points.yx, np.abs(points.z)])


if __name__ == "__main__":
    main()
