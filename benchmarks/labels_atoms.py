"""Are a few moving atoms, grains and dirt labelled, found and followed?   python benchmarks/labels_atoms.py

    labels    labels alone against the truth of simulated movies (labels_movies.py: one Si that hops in nine of ten
              frames in graphene, two adatoms on WS2; three doses), no training
    kinds     labels of simulated WS2 with hundreds of defects (the movies of labels.py, smaller), per kind
    movies    the whole way on the same movies: train.py labels=fourier, infer.py, analyze.py with defaults; recall and
              precision of the calls in all frames, of what all frames together say and of the ideal observer of
              single frames, position error, drift, hop rate with its interval
    grains    an image of graphene with a grain boundary and contamination (shared data): grains, angle, boundary, what
              is labelled

The tables go into docs/labels.md with `--write`.
"""

import argparse
import sys
from pathlib import Path

import labels_movies as movies
import labels_whole
import numpy as np
import script
from scipy.spatial import cKDTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
GRAINS = ROOT.parent / "shared" / "cases" / "real" / "graphene_grain_boundary.hdf5"
RADIUS_NM = 0.08  # between a call and the atom it is; the nearest other place is 0.14 nm away
SIZE_PX = 320  # of the movies with many defects
GRAINS_PX_NM = 6.0 / 512  # scan size by its metadata


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", default=["labels", "kinds", "movies", "grains"])
    parser.add_argument("--crystals", nargs="+", default=sorted(movies.CRYSTALS), choices=sorted(movies.CRYSTALS))
    parser.add_argument("--doses", nargs="+", default=list(movies.DOSES), choices=movies.DOSES)
    parser.add_argument("--seeds", nargs="+", type=int, default=[21, 22])
    parser.add_argument("--movie-seeds", nargs="+", type=int, help="of the part movies, else --seeds")
    parser.add_argument("--steps", type=int, help="of the trainings, else the default")
    parser.add_argument("--folder", type=Path, default=Path("benchmark_results/labels_atoms"))
    parser.add_argument("--write", action="store_true", help="put the tables into docs/labels.md")
    options = parser.parse_args()
    parts = {"labels": labels, "kinds": kinds, "movies": whole_way, "grains": grains}
    text = "\n\n".join(parts[name](options) for name in options.parts)
    print(text)
    if options.write:
        script.fill(ROOT / "docs" / "labels.md", "<!-- atoms -->", "<!-- end atoms -->", text)


def labels(options: argparse.Namespace) -> str:
    """Table of the labels of the first frames against the truth."""
    from stemdefects import config
    from stemdefects.labels.fourier import label

    cfg = config.load_group("labels", "fourier").fourier
    lines = ["| labels of | dose | recall | precision | position error, nm | expected false |", "|---" * 6 + "|"]
    for name in options.crystals:
        for dose in options.doses:
            hits, n, true, errors, false = 0, 0, 0, [], 0.0
            for seed in options.seeds:
                scene = movies.simulate(name, dose, seed, n_frames=cfg.n_frames)
                found = label.label(scene.frames, cfg, name)
                points = [found.yx[t][found.sure[t]] for t in range(len(found.frames))]
                score = scored(points, scene)
                hits, n, true = hits + score[0], n + score[1], true + score[2]
                errors += score[3]
                false += found.false.sum()
            error = f"{np.mean(errors):.3f}" if errors else "-"
            lines.append(f"| {name} | {dose} | {hits} of {true} | {hits} of {n} | {error} | {false:.2g} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def scored(points: list[np.ndarray], scene: movies.Scene) -> tuple[int, int, int, list[float]]:
    """Atoms found, points in all, atoms in all, and distances in nm of those found. points: per frame (n, 2) px."""
    hits, errors = 0, []
    for found, true in zip(points, scene.yx, strict=False):
        if len(found):
            distance = cKDTree(found).query(true)[0] * scene.pixel_nm
            hits += int((distance < RADIUS_NM).sum())
            errors += distance[distance < RADIUS_NM].tolist()
    return hits, sum(map(len, points)), sum(len(t) for t in scene.yx[: len(points)]), errors


def kinds(options: argparse.Namespace) -> str:
    """Table of the labels of movies with many defects: recall per kind, precision."""
    import labels as big
    import labels_scores as scores

    from stemdefects import config
    from stemdefects.io import opening
    from stemdefects.labels.fourier import label

    cfg = config.load_group("labels", "fourier").fourier
    lines = ["| labels at | seed | " + " | ".join(f"recall {k}" for k in scores.KINDS) + " | precision |"]
    lines.append("|---" * (len(scores.KINDS) + 3) + "|")
    for dose in ("low_dose", "typical", "high_dose"):
        for seed in options.seeds:
            options.folder.mkdir(parents=True, exist_ok=True)
            wanted = argparse.Namespace(size_px=SIZE_PX, frames=cfg.n_frames, seed=seed)
            path = big.make_movie(options.folder, dose, wanted)
            movie = opening.read(path)
            found = label.label(np.stack([movie.frame(t) for t in range(cfg.n_frames)]), cfg, dose)
            points = [found.yx[t][found.sure[t]] for t in range(cfg.n_frames)]
            points = {t: np.column_stack([p, np.ones(len(p))]) for t, p in enumerate(points)}
            rows = scores.judged(path, points, cfg.n_frames)
            hit = rows["score"] >= 0
            cells = []
            for k in range(len(scores.KINDS)):
                mine = rows["kind"] == k
                cells.append(f"{hit[mine].mean():.3f} of {mine.sum()}" if mine.any() else "-")
            right = (hit & (rows["kind"] >= 0)).sum()
            lines.append(f"| {dose} | {seed} | {' | '.join(cells)} | {right / max(hit.sum(), 1):.3f} of {hit.sum()} |")
            print(lines[-1], flush=True)
    return "\n".join(lines)


def whole_way(options: argparse.Namespace) -> str:
    """Table of what the three commands make of the movies."""
    lines = [
        "| found in | dose | seed | recall | precision | all frames together | ideal observer | error, nm | "
        "drift error, nm | hops a frame | counted |",
        "|---" * 11 + "|",
    ]
    for name in options.crystals:
        for dose in options.doses:
            for seed in options.movie_seeds or options.seeds:
                lines.append(_one(options, name, dose, seed))
                print(lines[-1], flush=True)
    return "\n".join(lines)


def _one(options: argparse.Namespace, name: str, dose: str, seed: int) -> str:
    import stemdefects as sd

    scene = movies.simulate(name, dose, seed)
    folder = options.folder / f"{name}_{dose}_{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    run = labels_whole.run_commands(folder, movies.write(folder / "movie.h5", scene), options.steps)
    table = sd.DefectTable.read(run / "defects.h5")
    drift = np.column_stack([table.frames["drift_y_px"], table.frames["drift_x_px"]])
    hits, n, true, errors = scored(_by_frame(table.rows, len(scene.yx)), scene)
    together = scored(_by_frame(table.over_time, len(scene.yx)), scene)
    best = movies.ideal(scene)
    off = np.nanmax(np.abs(drift - scene.drift_px)) * scene.pixel_nm if np.isfinite(drift).any() else np.nan
    hops = int((np.diff(scene.place, axis=0) != 0).sum())
    per_frame = hops / (len(scene.yx) - 1) / scene.place.shape[1]
    return (
        f"| {name} | {dose} | {seed} | {hits} of {true} | {hits} of {n} | "
        f"{together[0]} of {true}, {together[0]} of {together[1]} | {best[0]} of {true}, {best[0]} of {best[1]} | "
        f"{np.mean(errors):.3f} | {off:.3f} | {per_frame:.3f} | {labels_whole.hop_rate(run)} |"
    )


def _by_frame(rows: np.ndarray, n_frames: int) -> list[np.ndarray]:
    """Per frame (n, 2) px of the rows of a table."""
    return [np.column_stack([r["y_px"], r["x_px"]]) for r in (rows[rows["frame"] == t] for t in range(n_frames))]


def grains(options: argparse.Namespace) -> str:
    """What is said of the image of a grain boundary."""
    if not GRAINS.exists():
        return f"{GRAINS.name} is not there"
    from stemdefects import config
    from stemdefects.io import opening
    from stemdefects.labels.fourier import figures, findings, label
    from stemdefects.labels.fourier.points import certainty

    cfg = config.load_group("labels", "fourier").fourier
    frames, indices, _, invalid = label.read_frames(opening.read(str(GRAINS)), cfg)
    found = label.label(frames, cfg, GRAINS.name, indices, invalid=invalid)
    options.folder.mkdir(parents=True, exist_ok=True)
    figures.draw(found, np.zeros(found.frames.shape, bool), options.folder / "grains.png")
    region = found.regions[0]
    share = {n: float((region == v).mean()) for n, v in (("crystal", 0), ("hole", 1), ("amorphous", 2))}
    amorphous = np.argwhere(region == certainty.AMORPHOUS)
    where = f"amorphous only below row {amorphous[:, 0].min()}" if len(amorphous) else "nothing amorphous"
    told = "; ".join(findings.of_grains(found, GRAINS_PX_NM)) or "one grain"
    return f"{GRAINS.name}: {told}; {', '.join(f'{n} {s:.0%}' for n, s in share.items())}, {where}"


if __name__ == "__main__":
    main()
