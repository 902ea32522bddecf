"""What fifty corrections are worth: movies whose network is wrong on purpose, corrected in part, learned from.

python benchmarks/corrections.py movies=3 [page=docs/corrections.md]      (some ten minutes a movie on two cores)

The network is one that was trained for another microscope: at 100 kV, with a sharp probe, without film (`network=`: a
folder or run to take, else it is trained first, five minutes). The movies are of 60 kV, a wider probe and film. A
person is played by the truth: frames are gone through, those of the least sure calls first, every error of a frame is
corrected, the least sure first, until there are `corrections` of them. `train.py labels=corrections` adapts the
network; then the frames that were not corrected are scored, with the network before and after, and with a control that
had no corrections: `control=called` takes the same frames as they were called (all of them `checked`, nothing else
said), adapted in the same way; `control=fourier` is `labels=fourier` on the movie; `control=no` none. How much there is
to gain is said by a network that was trained for such movies (`able=`).
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from corrections_tables import ABLE, AFTER, BEFORE, CONTROL, by_kind, page
from script import fill, options

MARGIN_PX = 10  # what lies this close to the border is left out: a column cut off there cannot be told
RADIUS_PX = 3.0
TILE_PX = 48  # the bootstrap draws parts of the field: calls of one place are not independent
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
MODEL = "model.json"
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


def applied(run, items, digest: str, runs_dir: Path) -> None:
    """`analyze.py corrections=` for `run`, with the stages that applying them needs."""
    from stemdefects.analysis import pipeline
    from stemdefects.io.tables import corrections

    file = corrections.write(runs_dir / "corrections.csv", corrections.Corrections(tuple(items), digest))
    before = run.corrected_dir / "corrections.csv"
    if before.exists() and before.read_text() == file.read_text():
        return
    left_out = ",".join(name for name in pipeline.STAGES if name not in STAGES)
    command(
        "analyze.py",
        f"run={run.id}",
        f"corrections={file}",
        f"analysis.leave_out=[{left_out}]",
        "analysis.slider_frames=0",
        "overwrite=true",
        f"runs_dir={runs_dir}",
        *QUICK,
    )


def as_called(run, used: list[int], digest: str, runs_dir: Path):
    """A copy of `run` in which the frames `used` were looked at and nothing was said of them."""
    from stemdefects.io import runs
    from stemdefects.io.tables.corrections import Correction

    copy = runs.Run(runs_dir / run.id)
    if not copy.path.exists():
        shutil.copytree(run.path, copy.path, ignore=shutil.ignore_patterns("corrected"))
    applied(copy, [Correction("checked", frame) for frame in used], digest, runs_dir)
    return copy


def one_movie(seed: int, folder: Path, network: str, chosen: dict[str, str]) -> dict:
    """Simulate, infer, correct, train, infer again; F1 on the frames that were not corrected. chosen: the options."""
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
    items, used = played(found.rows, inside(true, size, RADIUS_PX), int(chosen["corrections"]))
    digest = corrections.digest(found.rows)
    applied(first, items, digest, found_in)
    steps, control = chosen["steps"], chosen["control"]
    short = (f"training.steps={steps}", f"training.validation.every={steps}", "training.validation.pictures=0", *QUICK)
    lessons = {AFTER: (learned_in, ("labels=corrections", f"run={first.path}"))}
    if control == "called":
        same = as_called(first, used, digest, folder / f"called_{seed}")
        lessons[CONTROL] = (control_in, ("labels=corrections", f"run={same.path}"))
    elif control == "fourier":
        of_movie = ("labels=fourier", "training=adapt", f"training.init={network}", f"input={movie}")
        lessons[CONTROL] = (control_in, of_movie)
    networks = {BEFORE: first}
    for name, (runs_dir, lesson) in lessons.items():
        if done(runs_dir, f"model/{MODEL}") is None:
            command("train.py", *lesson, f"runs_dir={runs_dir}", *short)
        networks[name] = newest(runs_dir)
        if done(runs_dir, "defects.h5") is None:
            command("infer.py", f"run={networks[name].id}", f"input={movie}", *PLAIN, f"runs_dir={runs_dir}", *QUICK)
    if (able := chosen["able"]) != "-":
        runs_dir = folder / f"able_{seed}"
        if done(runs_dir, "defects.h5") is None:
            command("infer.py", f"model={able}", f"input={movie}", *PLAIN, f"runs_dir={runs_dir}", *QUICK)
        networks[ABLE] = newest(runs_dir)
    frames = np.setdiff1d(np.arange(found.attrs["source_shape"][0]), used)
    tables = {name: DefectTable.read(run.defects_path, patches=False).rows for name, run in networks.items()}
    kinds = np.unique(true["kind"])
    of_kinds = {
        name: {
            kind.decode(): counted(rows[rows["kind"] == kind], true[true["kind"] == kind], frames, size).sum(0)
            for kind in kinds
        }
        for name, rows in tables.items()
    }
    shares = {name: json.loads((networks[name].model_dir / MODEL).read_text())["share_trained"] for name in lessons}
    n = {action: sum(one.action == action for one in items) for action in ("add", "delete", "relabel", "checked")}
    return {
        "seed": seed,
        "corrections": n,
        "frames": len(frames),
        "kinds": of_kinds,
        "counts": {name: counted(rows, true, frames, size) for name, rows in tables.items()},
        "share": shares,
        "own": networks[AFTER].read_summary().get("corrected_frames"),
    }


def run(chosen: dict[str, str]) -> None:
    """Measure, print, and write the page that is asked for."""
    steps = int(chosen["steps"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch if chosen["folder"] == "-" else chosen["folder"])
        folder.mkdir(parents=True, exist_ok=True)
        results, network = [], chosen["network"]
        if network == "-" and done(folder / "network", f"model/{MODEL}") is None:
            command("train.py", *NETWORK, f"runs_dir={folder / 'network'}", *QUICK)
        network = str(newest(folder / "network").path) if network == "-" else network
        for seed in range(int(chosen["first"]), int(chosen["first"]) + int(chosen["movies"])):
            results.append(one_movie(seed, folder, network, chosen))
            print(by_kind(results[-1]), page(results, steps), sep="\n", flush=True)
    if chosen["page"]:
        fill(Path(chosen["page"]), START, END, page(results, steps))
        print(f"written: {chosen['page']}")


if __name__ == "__main__":
    defaults = {"movies": "3", "first": "31", "corrections": "50", "steps": "1000", "control": "called", "folder": "-"}
    defaults |= {"network": "-", "able": "ws2_mo"}
    run(options(sys.argv[1:], defaults | {"page": ""}))
