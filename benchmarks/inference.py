"""Speed, memory and accuracy of inference, beside AtomAI's predictor. Writes its figures into docs/inference.md.

    python benchmarks/inference.py model=<name, run id or folder> [parts=speed,memory,scales] [frames=20] [size=512]
        [fields=movie] [lengths=100,1000,10000] [atomai=<python that has AtomAI>] [atomai_seconds=200]
        [atomai_kept=<folder>] [docs=docs/inference.md]

speed: frames per second from array and from file to the table, without and with the states over time, wall and CPU
time, our CPU time per stage, the network beside the peak of this device, the F1 of columns found on the same simulated
frames, and AtomAI's figures where `atomai=` names its python (its own environment); it is trained on images of the same
simulation, twice as long until its columns' F1 is .85, and both predict in turns. `atomai_kept=`: what it learned is
kept in that folder, and taken from there the next time. Wall times mean something on idle cores only. fields=movie: a
movie of `simulation=movie`, one field with its drift and hopping vacancies; fields=train: every frame another field of
`simulation=train`, turned, scaled and lit as it comes. memory: peak of infer.py on movies of `lengths` small frames.
scales: what one movie costs and shows by the sampling it is taken to have.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import script

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
DEFAULTS = {
    "model": "ws2_mo",
    "parts": "speed,memory",
    "frames": "20",
    "fields": "movie",
    "size": "512",
    "small": "64",
    "lengths": "100,1000,10000",
    "atomai": "",
    "atomai_seconds": "200",
    "atomai_kept": "",
    "docs": str(ROOT / "docs" / "inference.md"),
    "runs_dir": "runs",
    "seed": "0",
}
FIELDS = {"movie": "one movie", "train": "each of another field,"}
NAMES = {
    "array": "array to table",
    "over_time": "array to table, with states over time",
    "file": "file to table",
}
ASSUMED = (0.86, 0.88, 0.882, 0.884, 0.9, 0.95, 1.0, 1.05, 1.079, 1.081, 1.1, 1.12, 1.121, 1.123, 1.125, 1.13, 1.15)
WELL_TRAINED = 0.85  # F1 of its columns, that the rival has
RADIUS_NM = 0.09  # a column found this close to a true one is right


def simulated(model, fields: str, n: int, size: int, seed: int):
    """`n` single images (n, size, size) of `simulation=<fields>` and their columns, list of (m, 2) px; nm per px
    each."""
    import jax

    from stemdefects import config
    from stemdefects.simulation.images import make_simulator

    make = jax.jit(make_simulator(model.material, config.load_group("simulation", fields), (size, size)))
    frames, places, pixels = [], [], []
    for key in jax.random.split(jax.random.key(seed), n):
        image, truth = jax.tree.map(np.asarray, make(key))
        frames.append(image)
        places.append(np.stack([truth.y_px, truth.x_px], 1)[truth.valid])
        pixels.append(float(truth.pixel_size_nm))
    return np.stack(frames), places, np.array(pixels)


def movie(model, n: int, size: int, seed: int, path: Path):
    """The same of a movie of one field, which is left at `path`."""
    import h5py

    from stemdefects import config
    from stemdefects.simulation import files

    cfg = config.load_group("simulation", "movie")
    cfg.movie.n_frames, cfg.view.size_px = n, [size, size]
    files.write_movie(path, model.material, cfg, seed)
    with h5py.File(path) as file:
        frames, pixel = file["frames"][:], float(file.attrs["pixel_size_nm"])
        places = [file["truth/sites_px"][:] + drift for drift in file["truth/drift_px"][:]]
    return frames, places, np.full(n, pixel)


def unit(frames: np.ndarray) -> np.ndarray:
    """Each frame to 0..1 by its own percentiles, which AtomAI's scaling by a stack's extremes then leaves alone."""
    low, high = np.percentile(frames, (0.5, 99.8), axis=(1, 2), keepdims=True)
    return ((frames - low) / (high - low)).clip(0, 1).astype(np.float32)


def column_f1(found: list[np.ndarray], true: list[np.ndarray], pixels: np.ndarray, size: int, margin: float = 8.0):
    """(F1, rms error in px) of columns, all sublattices together, away from the border."""
    from stemdefects.scoring.matching import match

    right = n_found = n_true = 0
    errors = []
    for f, t, pixel in zip(found, true, pixels, strict=True):
        f, t = [p[((p > margin) & (p < size - 1 - margin)).all(1)] for p in (f, t)]
        a, b = match(t, f, RADIUS_NM / pixel)
        right, n_found, n_true = right + len(a), n_found + len(f), n_true + len(t)
        errors.append(((t[a] - f[b]) ** 2).sum(1))
    return 2 * right / max(n_found + n_true, 1), float(np.sqrt(np.concatenate(errors).mean()))


def ours(model_name: str, frames_file: str, raw_file: str) -> dict:
    """Times and columns of this software, in this process. frames_file: npz of frames and nm per px."""
    import jax.numpy as jnp
    from training import peaks

    from stemdefects import devices
    from stemdefects.commands.detection import configure, detect, load_model
    from stemdefects.inference.setup import prepare
    from stemdefects.inference.tables import blocks_of_frames
    from stemdefects.io.movie import Movie
    from stemdefects.io.opening import read

    devices.use_compilation_cache()
    model = load_model(model_name)
    data = np.load(frames_file)
    frames, pixels = data["frames"], data["pixels"]
    settings = {"over_time": {"enabled": False}, "pixel_size_nm": float(np.median(pixels)), "progress": False}
    detect(Movie(frames[:4]), model, **settings)  # compiles
    out = {}
    for name in ("array", "over_time", "file"):
        used = settings | {"over_time": {"enabled": name == "over_time"}}
        times = []
        for _ in range(2):
            source = read(raw_file) if name == "file" else Movie(frames)
            wall, cpu = time.perf_counter(), time.process_time()
            table = detect(source, model, **used)
            times.append((time.perf_counter() - wall, time.process_time() - cpu))
        out[name] = {"wall_s": min(t[0] for t in times), "cpu_s": min(t[1] for t in times)}
    out["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    out["defects"] = len(table)
    movie, start = Movie(frames), time.process_time()
    setup = prepare(movie, model, configure(**{k: v for k, v in settings.items() if k != "progress"}))
    out["stages"] = {"calibration and setup (ms a movie)": (time.process_time() - start) * len(frames)}

    def stage(name: str, work):
        start = time.process_time()
        done = work()
        out["stages"][name] = time.process_time() - start
        return done

    stage("checking each frame", lambda: [movie.checked(i) for i in range(len(frames))])
    outputs = stage("network and peaks", lambda: setup.engine(frames[:, None]))
    maker = blocks_of_frames.BlockMaker(setup)
    done = stage("sites, light, calls, doubts, patches", lambda: [maker.finish(output) for output in outputs])
    stage("tables", lambda: maker.block(0, np.arange(len(frames)), done, {}))
    engine, n = setup.engine, setup.engine.batch_size
    shown = [jnp.zeros((n, 1, *engine.frame_shape), jnp.float32), jnp.ones((n, *engine.frame_shape), bool)]
    lowered = engine._program.lower(model.params, engine._constants, *shown)
    out["gflop"] = float(lowered.compile().cost_analysis().get("flops", np.nan)) / n / 1e9
    out["peak_gflops"] = peaks()[0]
    out["columns"] = [np.stack([o.columns.y_px, o.columns.x_px], 1).round(3).tolist() for o in outputs]
    return out


def in_own_process(*arguments: str) -> str:
    """Last line of what this script prints when called with `arguments`."""
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


def speed(options: dict) -> list[str]:
    """The rows of the comparison."""
    import h5py

    from stemdefects import devices
    from stemdefects.commands.detection import load_model

    devices.use_compilation_cache()
    model = load_model(options["model"], options["runs_dir"])
    n, size, seed = int(options["frames"]), int(options["size"]), int(options["seed"])
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        if options["fields"] == "movie":
            frames, places, pixels = movie(model, n, size, 1_000_000 + seed, folder / "frames.h5")
        else:
            frames, places, pixels = simulated(model, options["fields"], n, size, 1_000_000 + seed)
            with h5py.File(folder / "frames.h5", "w") as file:
                file.create_dataset("frames", data=frames, chunks=(1, size, size))
        np.savez(folder / "frames.npz", frames=frames, pixels=pixels)
        np.save(folder / "frames.npy", unit(frames))
        rival = trained_rival(options, model, folder, frames, places, pixels) if options["atomai"] else None
        mine, theirs = [], []
        for _ in range(2 if rival else 1):  # in turns
            files = str(folder / "frames.npz"), str(folder / "frames.h5")
            mine.append(json.loads(in_own_process("--ours", str(model.path), *files)))
            theirs += [rival_once(options, folder)] if rival else []
        found = mine[0]
        for name in ("array", "over_time", "file"):
            found[name] = {k: min(one[name][k] for one in mine) for k in ("wall_s", "cpu_s")}
        f1, rms = column_f1([np.array(c).reshape(-1, 2) for c in found["columns"]], places, pixels, size)
        lines = [
            f"{n} frames of {size} x {size} px, {FIELDS.get(options['fields'], 'single images')} of "
            f"`simulation={options['fields']}`, "
            f"{devices.describe()}, load {os.getloadavg()[0]:.1f} while measuring. CPU time stands beside wall time: "
            "it depends less on what else the machine does. Best of the repetitions; compilation left out.",
            "",
            "| | frames/s | CPU ms/frame | columns F1 | rms px | peak MB |",
            "|---|---|---|---|---|---|",
        ]
        for name, words in NAMES.items():
            one = found[name]
            figures = f"{n / one['wall_s']:.1f} | {1000 * one['cpu_s'] / n:.0f} | {f1:.3f} | {rms:.2f}"
            lines.append(f"| this software, {words} | {figures} | {found['peak_mb']} |")
        if rival:
            best = {k: min(one[k] for one in theirs) for k in ("wall_s", "cpu_s", "peak_mb")}
            lines += rival_lines(rival, best, found, n, model)
        else:
            lines += ["", "AtomAI was not measured this time: `atomai=` named no python that has it."]
        lines += ["", f"Of our CPU time, ms a frame ({found['defects'] / n:.0f} defects a frame):", ""]
        lines += ["| stage | CPU ms/frame |", "|---|---|"]
        lines += [f"| {name} | {1000 * seconds / n:.1f} |" for name, seconds in found["stages"].items()]
        at_peak = 1000 * found["gflop"] / found["peak_gflops"]
        lines += [
            "",
            f"The network is {found['gflop']:.2f} GFLOP a frame by XLA's count: {at_peak:.1f} ms at the "
            f"{found['peak_gflops']:.0f} GFLOP/s that a matrix product reaches here.",
        ]
    return lines


def trained_rival(options: dict, model, folder: Path, frames, places, pixels) -> dict:
    """AtomAI trained on images of the same simulation by its own standard recipe, until it finds columns well."""
    size, kept = frames.shape[1], Path(options["atomai_kept"] or folder)
    files = ("atomai.pt", "atomai.json")
    if all((kept / name).exists() for name in files):
        for name in files:
            shutil.copy(kept / name, folder)
        rival_once(options, folder)
    else:
        train_rival(options, model, folder, lambda: rival_f1(folder, places, pixels, size)[0])
        kept.mkdir(parents=True, exist_ok=True)
        for name in files if kept != folder else ():
            shutil.copy(folder / name, kept)
    f1, rms = rival_f1(folder, places, pixels, size)
    return json.loads((folder / "atomai.json").read_text()) | {"f1": f1, "rms": rms}


def rival_f1(folder: Path, places, pixels, size: int) -> tuple[float, float]:
    """(F1, rms error in px) of the columns that AtomAI found last."""
    found = np.load(folder / "atomai.npz")
    return column_f1([found[str(i)] for i in range(len(places))], places, pixels, size)


def train_rival(options: dict, model, folder: Path, f1) -> None:
    """Trains AtomAI until `f1` says that it finds columns well, twice as long each time."""
    images, where, _ = simulated(model, options["fields"], 160, 256, 5 + int(options["seed"]))
    y, x = np.mgrid[:256, :256]
    labels = np.zeros(images.shape, np.uint8)
    for label, columns in zip(labels, where, strict=True):
        for cy, cx in columns:  # disks, as its tutorials label atoms
            i, j = int(max(cy - 3, 0)), int(max(cx - 3, 0))
            part = (slice(i, i + 8), slice(j, j + 8))
            label[part] |= ((y[part] - cy) ** 2 + (x[part] - cx) ** 2 <= 2.0**2).astype(np.uint8)
    np.savez(folder / "train.npz", images=unit(images), labels=labels)
    seconds = float(options["atomai_seconds"])
    for longer in (1, 2, 4, 8):
        arguments = [str(folder / "train.npz"), str(folder / "frames.npy"), str(longer * seconds), str(folder)]
        # it leaves files where it runs
        subprocess.run([*side(options), *arguments], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        if f1() >= WELL_TRAINED:
            break


def side(options: dict) -> list[str]:
    return [options["atomai"], str(ROOT / "benchmarks" / "atomai_side.py")]


def rival_once(options: dict, folder: Path) -> dict:
    """Wall and CPU seconds and peak memory of AtomAI's prediction, in a process of its own."""
    arguments = ["--predict", str(folder / "atomai.pt"), str(folder / "frames.npy"), str(folder / "atomai.npz")]
    done = subprocess.run([*side(options), *arguments], check=True, capture_output=True, text=True, cwd=folder)
    return json.loads(done.stdout.splitlines()[-1])


def rival_lines(rival: dict, best: dict, found: dict, n: int, model) -> list[str]:
    """AtomAI's row, and what it is."""
    ratio = {k: best[k] / found["array"][k] for k in ("wall_s", "cpu_s")}
    return [
        f"| AtomAI {rival['version']}, predictor and locator | {n / best['wall_s']:.1f} | "
        f"{1000 * best['cpu_s'] / n:.0f} | {rival['f1']:.3f} | {rival['rms']:.2f} | {best['peak_mb']} |",
        "",
        f"AtomAI: U-Net trained by its standard recipe for {rival['train_cpu_s']:.0f} s of CPU time "
        f"({rival['cycles']} batches of 16) on 160 images of the same simulation; ours took "
        f"{model.record.get('seconds', 0):.0f} s of wall time. It finds columns; ours also says what each is. Ratio of "
        "frames per second, array to table: "
        f"**{ratio['wall_s']:.1f}** (by CPU time {ratio['cpu_s']:.1f}).",
    ]


def scales(options: dict) -> list[str]:
    """What one movie costs and shows, by the sampling that it is taken to have."""
    from stemdefects import devices
    from stemdefects.commands.detection import configure, load_model
    from stemdefects.inference.network.engine import Engine
    from stemdefects.inference.setup import prepare
    from stemdefects.inference.tables.blocks_of_frames import BlockMaker
    from stemdefects.io.movie import Movie
    from stemdefects.schema import InferenceConfig

    devices.use_compilation_cache()
    model = load_model(options["model"], options["runs_dir"])
    with tempfile.TemporaryDirectory() as folder:
        frames, _, pixels = movie(model, 12, 256, 77, Path(folder) / "frames.h5")
    setup = prepare(Movie(frames), model, configure(pixel_size_nm=float(pixels[0])))
    finest, coarsest = model.samplings_nm
    lines = [
        f"12 frames of 256 x 256 px of one movie of `simulation=movie`; trained on {finest:g} to {coarsest:g} nm/px.",
        "",
        f"| taken for, times {model.pixel_size_nm:g} nm/px | shown px | CPU ms/frame | columns/frame | calls/frame |",
        "|---|---|---|---|---|",
    ]
    for assumed in (
        0.85,
        0.87,
        0.88,
        0.89,
        0.9,
        0.95,
        1.0,
        1.05,
        1.079,
        1.081,
        1.1,
        1.12,
        1.121,
        1.123,
        1.125,
        1.13,
        1.15,
    ):
        setup.engine = Engine(
            model,
            frames.shape[1:],
            assumed * model.pixel_size_nm,
            InferenceConfig(name="default", resample_tolerance=setup.settings.resample_tolerance),
            vectors_px=np.array(setup.calibration.vectors_px),
            lattice_nm=setup.lattice_nm,
        )
        maker = BlockMaker(setup)
        setup.engine(frames[:2, None])  # compiles
        start = time.process_time()
        outputs = setup.engine(frames[:, None])
        cpu = 1000 * (time.process_time() - start) / len(frames)
        done = [maker.finish(output) for output in outputs]
        columns = np.mean([len(o.columns.site) for o in outputs])
        kinds, counts = np.unique(np.concatenate([d.found.rows["kind"] for d in done]), return_counts=True)
        calls = ", ".join(f"{c / len(frames):.2f} {k.decode()}" for k, c in zip(kinds, counts, strict=True))
        shown = " x ".join(map(str, setup.engine.grid.shape))
        lines.append(f"| {assumed:g} | {shown} | {cpu:.0f} | {columns:.1f} | {calls} |")
        print(lines[-1], flush=True)
    return lines


def memory(options: dict) -> list[str]:
    """Peak memory of infer.py by the number of frames."""
    import h5py

    from stemdefects.commands.detection import load_model

    size, lengths = int(options["small"]), [int(n) for n in options["lengths"].split(",")]
    model = load_model(options["model"], options["runs_dir"])
    frames, *_ = simulated(model, "train", 8, size, 7)
    lines = [f"| frames of {size} x {size} px | peak MB of infer.py | CPU ms/frame |", "|---|---|---|"]
    for n in lengths:
        with tempfile.TemporaryDirectory() as folder:
            with h5py.File(Path(folder) / "movie.h5", "w") as file:
                data = file.create_dataset("frames", (n, size, size), "f4", chunks=(1, size, size))
                for i in range(n):  # a movie that rests for a while, then shows another place
                    data[i] = np.random.default_rng(i).poisson(np.maximum(frames[i * 8 // n], 0))
                file.attrs["pixel_size_nm"], file.attrs["frame_time_s"] = 0.03, 1.0
            arguments = [
                f"model={model.path}",
                f"input={folder}/movie.h5",
                f"runs_dir={folder}/runs",
                "logging=disabled",
            ]
            peak, cpu = in_own_process("--peak", *arguments).split()
        lines.append(f"| {n:,} | {peak} | {1000 * float(cpu) / n:.0f} |")
        print(lines[-1], flush=True)
    return [*lines, "", "CPU time includes the start of the program."]


def peak_of(arguments: list[str]) -> str:
    """Peak MB and CPU seconds of infer.py with `arguments`."""
    subprocess.run([sys.executable, str(ROOT / "infer.py"), *arguments], check=True, stdout=sys.stderr)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return f"{used.ru_maxrss // 1024} {used.ru_utime + used.ru_stime:.1f}"


def main(arguments: list[str]) -> None:
    options = script.options(arguments, DEFAULTS)
    shown = [
        a if not a.startswith("atomai=") else "atomai=<its python>"
        for a in arguments
        if not a.startswith(("docs=", "atomai_kept="))
    ]
    for part in options["parts"].split(","):
        if part == "movies":
            import movie_states

            lines = movie_states.run(options)
        else:
            lines = {"speed": speed, "memory": memory, "scales": scales}[part](options)
        print("\n".join(lines), flush=True)
        made = "\n".join([f"`{' '.join(['python benchmarks/inference.py', *shown])}`", "", *lines])
        marks = f"<!-- {part}: made by benchmarks/inference.py -->", f"<!-- end of {part} -->"
        script.fill(Path(options["docs"]), *marks, made)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ours"]:
        print(json.dumps(ours(*sys.argv[2:])))
    elif sys.argv[1:2] == ["--peak"]:
        print(peak_of(sys.argv[2:]))
    else:
        main(sys.argv[1:])
