"""What fifty corrections are worth: movies whose network is wrong on purpose, corrected in part, learned from.

python benchmarks/corrections.py movies=3 [page=docs/corrections.md]      (some ten minutes a movie on two cores)

The network is one that was trained for another microscope: at 100 kV, with a sharp probe, without film (`network=`: a
folder or run to take, else it is trained first, five minutes). The movies are of 60 kV, a wider probe and film. A
person is played by the truth: frames are gone through, those of the least sure calls first, every error of a frame is
corrected, the least sure first, until there are `corrections` of them. `train.py labels=corrections` adapts the
network; then the frames that were not corrected are scored, with the network before and after, and with one that had
no corrections (`labels=fourier`).
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from script import fill, options

MARGIN_PX = 10  # what lies this close to the border is left out: a column cut off there cannot be told
RADIUS_PX = 3.0
TILE_PX = 48  # the bootstrap draws parts of the field: calls of one place are not independent
N_RESAMPLES = 2000
NETWORK = (  # of another microscope
    "model=unet_small",
    "training=quick",
    "training.size_px=96",
    "training.steps=700",
    "training.validation.every=700",
    "training.validation.images=4",
    "training.validation.size_px=128",
    "training.validation.pictures=0",
    "simulation.view.voltage_kv=[100,100]",
    "simulation.probe.source_fwhm_nm=[0.05,0.06]",
    "simulation.probe.C10_nm=[-1,1]",
    "simulation.probe.C12_nm=[0,0.3]",
    "simulation.probe.C21_nm=[0,5]",
    "simulation.probe.C23_nm=[0,5]",
    "simulation.scan.row_jitter_px=[0.1,0.2]",
    "simulation.detector.blotches=[0,0.03]",
    "simulation.detector.background=[0,0.05]",
    "simulation.detector.dose_e_per_px=[1500,4000]",
)
MOVIE = (
    "simulation=demo_movie",
    "simulation.movie.n_frames=16",
    "simulation.view.voltage_kv=[60,60]",
    "simulation.probe.source_fwhm_nm=[0.12,0.12]",
    "simulation.detector.background=[0.3,0.3]",
    "simulation.detector.blotches=[0.2,0.2]",
)
QUIET = ("verbose=0",)
QUICK = ("logging=disabled", *QUIET)
PLAIN = (  # single frames are scored: no states over time, no pictures
    "inference.over_time.enabled=false",
    "inference.pictures.animation=false",
    "inference.pictures.frames=false",
    "inference.pictures.contact_sheet=false",
)
STAGES = ("tracks", "counts", "corrections")  # of the analysis: what applying corrections needs
START, END = "<!-- measured by benchmarks/corrections.py -->", "<!-- end -->"


def command(script: str, *arguments: str) -> None:
    """One of the four commands, as a user types it."""
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{script} {' '.join(arguments)}: {done.stderr.strip()[-800:]}")


def newest(runs_dir: Path):
    """The run that was opened last."""
    from stemdefects.io import runs

    return runs.Run(runs_dir / runs.list_ids(runs_dir)[-1])


def done(runs_dir: Path, product: str):
    """The newest run there, if it has this product: a folder that is kept (`folder=`) is gone on with."""
    from stemdefects.io import runs

    there = runs_dir.is_dir() and runs.list_ids(runs_dir)
    return newest(runs_dir) if there and (newest(runs_dir).path / product).exists() else None


def inside(rows: np.ndarray, size: int, margin_px: float = MARGIN_PX) -> np.ndarray:
    """Rows more than `margin_px` away from the border of frames of `size` px."""
    low, high = margin_px, size - 1 - margin_px
    return rows[(rows["y_px"] > low) & (rows["y_px"] < high) & (rows["x_px"] > low) & (rows["x_px"] < high)]


def paired(rows: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and true defects of one frame that are at one place, whatever their kinds."""
    from stemdefects.scoring.matching import match

    a, b = (np.column_stack([r["y_px"], r["x_px"]]).astype(float) for r in (rows, true))
    return match(a, b, RADIUS_PX)


def played(rows: np.ndarray, true: np.ndarray, most: int):
    """Corrections that a person who knows the truth would make, at most `most`; and the frames they are in."""
    from stemdefects.io.tables.corrections import Correction

    sure = np.abs(2 * rows["kind_prob"] - 1)
    frames = np.unique(true["frame"])
    order = frames[np.argsort([sure[rows["frame"] == f].mean() if (rows["frame"] == f).any() else 0 for f in frames])]
    items, used = [], []
    for frame in order:
        mine, here = np.flatnonzero(rows["frame"] == frame), np.flatnonzero(true["frame"] == frame)
        i, j = paired(rows[mine], true[here])
        wrong = [
            (sure[m], Correction("delete", int(frame), float(rows["y_px"][m]), float(rows["x_px"][m])))
            for m in np.delete(mine, i)
        ]
        for m, n in zip(mine[i], here[j], strict=True):
            if rows["kind"][m] != true["kind"][n]:
                at = float(rows["y_px"][m]), float(rows["x_px"][m])
                wrong.append((sure[m], Correction("relabel", int(frame), *at, true["kind"][n].decode())))
        for n in np.delete(here, j):  # what was missed has no probability; it is found when the frame is looked at
            at = float(true["y_px"][n]), float(true["x_px"][n])
            wrong.append((1.0, Correction("add", int(frame), *at, true["kind"][n].decode())))
        wrong.sort(key=lambda pair: pair[0])
        left = most - sum(one.action != "checked" for one in items)
        items += [one for _, one in wrong[:left]]
        used.append(int(frame))
        if len(wrong) <= left:
            items.append(Correction("checked", int(frame)))
        if len(wrong) >= left:
            break
    return items, used


def counted(rows: np.ndarray, true: np.ndarray, frames: np.ndarray, size: int) -> np.ndarray:
    """(tiles, 3) right calls, calls, true defects of each part of the field, over `frames`; kinds must agree."""
    across = -(-size // TILE_PX)
    out = np.zeros((across**2, 3))

    def tile(r):
        return (r["y_px"] // TILE_PX).astype(int) * across + (r["x_px"] // TILE_PX).astype(int)

    for frame in frames:
        mine, here = (inside(r[r["frame"] == frame], size) for r in (rows, true))
        i, j = paired(mine, here)
        same = mine["kind"][i] == here["kind"][j]
        for k, r in ((0, here[j[same]]), (1, mine), (2, here)):
            out[:, k] += np.bincount(tile(r), minlength=across**2)
    return out


def f1(counts: np.ndarray) -> float:
    """F1 of summed (right, called, true)."""
    right, called, true = counts.sum(0)
    return 2 * right / max(called + true, 1)


def gain(before: np.ndarray, after: np.ndarray, rng) -> tuple[float, float]:
    """95% interval of the gain in F1, parts of the field drawn again."""
    draws = rng.integers(0, len(before), (N_RESAMPLES, len(before)))
    values = [f1(after[d]) - f1(before[d]) for d in draws]
    return tuple(np.quantile(values, [0.025, 0.975]))


def one_movie(seed: int, folder: Path, network: str, most: int, steps: int, control: bool) -> dict:
    """Simulate, infer, correct, train, infer again; F1 on the frames that were not corrected."""
    from stemdefects.analysis import pipeline
    from stemdefects.analysis.data import truth
    from stemdefects.io.tables import corrections
    from stemdefects.io.tables.table import DefectTable

    movie = folder / f"movie_{seed}.h5"
    found_in, learned_in, control_in = (folder / f"{name}_{seed}" for name in ("found", "learned", "control"))
    if not movie.exists():
        command("simulate.py", *MOVIE, f"output={movie}", f"seed={seed}", *QUIET)
    if done(found_in, "defects.h5") is None:
        command("infer.py", f"model={network}", f"input={movie}", *PLAIN, f"runs_dir={found_in}", *QUICK)
    first = newest(found_in)
    found, true = DefectTable.read(first.defects_path, patches=False), truth.read(movie).rows
    size = int(found.attrs["source_shape"][-1])
    items, used = played(found.rows, inside(true, size, RADIUS_PX), most)
    file = corrections.write(
        folder / f"corrections_{seed}.csv", corrections.Corrections(tuple(items), corrections.digest(found.rows))
    )
    left_out = ",".join(name for name in pipeline.STAGES if name not in STAGES)
    command(
        "analyze.py",
        f"run={first.id}",
        f"corrections={file}",
        f"analysis.leave_out=[{left_out}]",
        "analysis.slider_frames=0",
        "overwrite=true",
        f"runs_dir={found_in}",
        *QUICK,
    )
    short = (f"training.steps={steps}", f"training.validation.every={steps}", "training.validation.pictures=0", *QUICK)
    lessons = {"with corrections": (learned_in, ("labels=corrections", f"run={first.path}"))}
    if control:
        of_movie = ("labels=fourier", "training=adapt", f"training.init={network}", f"input={movie}")
        lessons["without corrections"] = (control_in, of_movie)
    networks = {"before": first}
    for name, (runs_dir, lesson) in lessons.items():
        if done(runs_dir, "model/model.json") is None:
            command("train.py", *lesson, f"runs_dir={runs_dir}", *short)
        networks[name] = newest(runs_dir)
        if done(runs_dir, "defects.h5") is None:
            command("infer.py", f"run={networks[name].id}", f"input={movie}", *PLAIN, f"runs_dir={runs_dir}", *QUICK)
    adapted = networks["with corrections"]
    frames = np.setdiff1d(np.arange(found.attrs["source_shape"][0]), used)
    counts = {
        name: counted(DefectTable.read(run.defects_path, patches=False).rows, true, frames, size)
        for name, run in networks.items()
    }
    about = adapted.read_summary()
    n = {action: sum(one.action == action for one in items) for action in ("add", "delete", "relabel", "checked")}
    return {
        "seed": seed,
        "corrections": n,
        "frames": len(frames),
        "counts": counts,
        "share": about.get("share_trained"),
        "own": about.get("corrected_frames"),
    }


def page(results: list[dict], steps: int) -> str:
    """The table of all movies, and the mean gain with its interval over movies."""
    from scipy import stats

    rng = np.random.default_rng(0)
    lines = [
        "| movie | corrections | F1 before | without corrections | with them | gain (95%, parts of the field) |",
        "|---|---|---|---|---|---|",
    ]
    gains = []
    for one in results:
        counts, n = one["counts"], one["corrections"]
        low, high = gain(counts["before"], counts["with corrections"], rng)
        gains.append(f1(counts["with corrections"]) - f1(counts["before"]))
        control = f"{f1(counts['without corrections']):.3f}" if "without corrections" in counts else "-"
        told = f"{n['add']} added, {n['delete']} deleted, {n['relabel']} relabelled; {n['checked']} frames checked"
        lines.append(
            f"| {one['seed']} | {told} | {f1(counts['before']):.3f} | {control} | "
            f"{f1(counts['with corrections']):.3f} | {gains[-1]:+.3f} ({low:+.3f} to {high:+.3f}) |"
        )
    lines.append("")
    if len(gains) > 1:
        half = stats.t.ppf(0.975, len(gains) - 1) * np.std(gains, ddof=1) / np.sqrt(len(gains))
        low, mean, high = np.mean(gains) - half, np.mean(gains), np.mean(gains) + half
        lines.append(
            f"Mean gain over {len(gains)} movies, {steps} steps each: {mean:+.3f} ({low:+.3f} to {high:+.3f})."
        )
    for one in results:
        own = one["own"] or {}
        told = [
            f"{name} {when}: {v[0]:.2f} ({v[1]:.2f} to {v[2]:.2f})"
            for when, shares in own.items()
            for name, v in shares.items()
            if v
        ]
        if told:
            lines.append(
                f"Movie {one['seed']}, held-out part of the checked frames as `train.py` reports it: {', '.join(told)}."
            )
    return "\n".join(lines)


def run(chosen: dict[str, str]) -> None:
    """Measure, print, and write the page that is asked for."""
    steps = int(chosen["steps"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch if chosen["folder"] == "-" else chosen["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        results, network = [], chosen["network"]
        if network == "-" and done(folder / "network", "model/model.json") is None:
            command("train.py", *NETWORK, f"runs_dir={folder / 'network'}", *QUICK)
        network = str(newest(folder / "network").path) if network == "-" else network
        for seed in range(int(chosen["first"]), int(chosen["first"]) + int(chosen["movies"])):
            results.append(
                one_movie(seed, folder, network, int(chosen["corrections"]), steps, chosen["control"] == "yes")
            )
            print(page(results, steps), flush=True)
    if chosen["page"]:
        fill(Path(chosen["page"]), START, END, page(results, steps))
        print(f"written: {chosen['page']}")


if __name__ == "__main__":
    defaults = {"movies": "3", "first": "31", "corrections": "50", "steps": "400", "control": "yes", "folder": "-"}
    defaults |= {"network": "-"}
    run(options(sys.argv[1:], defaults | {"page": ""}))
