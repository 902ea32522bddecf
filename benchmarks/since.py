"""What became of the speed since an older version: both on this machine, by the same movie and commands.

    python benchmarks/since.py [commit=5b7b94a] [frames=60] [movie_frames=100] [size=512] [model=ws2_mo]
        [docs=docs/inference.md]

Frames per second from array to table, without and with the states over time, and their peak memory; seconds from a file
to the page (the second time, without the lattice model, which older versions do not have); CPU time of a training step
(`benchmarks/training.py parts=speed` of each). The older version's frames are one tile in the whole way
(`inference.tile_px`), as it has them if a movie's scale allows. Wall times mean something on idle cores only.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import script

ROOT = Path(__file__).parents[1]
DEFAULTS = {
    "commit": "5b7b94a",
    "frames": "60",
    "movie_frames": "100",
    "size": "512",
    "model": "ws2_mo",
    "docs": str(ROOT / "docs" / "inference.md"),
}
MARKS = "<!-- since: made by benchmarks/since.py -->", "<!-- end of since -->"
DETECT = """
import importlib, json, sys, time
import h5py
import stemdefects as sd
from stemdefects import devices
devices.use_compilation_cache()
path, n, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with h5py.File(path) as file:
    frames, pixel = file["frames"][:n], float(file.attrs["pixel_size_nm"])
model = importlib.import_module(sd.detect.__module__).load_model(name)
out = {}
for over_time in (False, True):
    common = dict(model=model, pixel_size_nm=pixel, progress=False, over_time={"enabled": over_time})
    sd.detect(sd.Movie(frames[:12]), **common)
    walls = []
    for _ in range(3):
        start = time.perf_counter()
        sd.detect(sd.Movie(frames), **common)
        walls.append(time.perf_counter() - start)
    out["over_time" if over_time else "detect"] = n / min(walls)
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))  # the process's own, no parent's
out["peak_mb"] = int(peak.split()[1]) / 1024
print(json.dumps(out))
"""
ROWS = {
    "detect": ("array to table, frames/s", ".1f"),
    "over_time": ("the same with states over time, frames/s", ".1f"),
    "peak_mb": ("peak memory of both, MB", ".0f"),
    "infer": ("infer.py, s", ".1f"),
    "analyze": ("analyze.py, s", ".1f"),
    "way": ("file to page, s", ".1f"),
    "step_cpu_ms": ("training step, CPU ms", ".0f"),
}


def called(tree: Path, *arguments: str) -> str:
    """What python prints, called with `arguments` in the version at `tree`."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run([sys.executable, *arguments], cwd=tree, env=environment, capture_output=True, text=True)
    if done.returncode and '"weights"' not in done.stdout:  # the older benchmark fails after what is wanted
        sys.exit(f"error: {' '.join(arguments[:3])}: {done.stderr.strip()[-2000:]}")
    return done.stdout


def way(tree: Path, movie: Path, model: str, folder: Path, *, old: bool) -> dict[str, float]:
    """Seconds of infer.py and analyze.py, the second time."""
    seconds = {}
    for attempt in ("first", "second"):
        common = [f"runs_dir={folder / attempt}", "logging=disabled"]
        start = time.perf_counter()
        called(
            tree,
            "infer.py",
            f"model={model}",
            f"input={movie}",
            *common,
            *(["inference.tile_px=560"] if old else []),
        )
        (summary,) = (folder / attempt).glob("*/summary.json")
        between = time.perf_counter()
        called(
            tree,
            "analyze.py",
            f"run={summary.parent.name}",
            *common,
            *([] if old else ["analysis.kinetics.enabled=false"]),
        )
        seconds = {"infer": between - start, "analyze": time.perf_counter() - between}
    return seconds | {"way": sum(seconds.values())}


def measured(tree: Path, movie: Path, options: dict, folder: Path, *, old: bool) -> dict[str, float]:
    """All of `ROWS` by the version at `tree`."""
    found = json.loads(called(tree, "-c", DETECT, str(movie), options["frames"], options["model"]).splitlines()[-1])
    found |= way(tree, movie, options["model"], folder, old=old)
    page = folder / "models.md"
    page.write_text((tree / "docs" / "models.md").read_text())
    step = called(tree, "benchmarks/training.py", "parts=speed", f"docs={page}")
    line = next(text for text in step.splitlines() if '"weights"' in text)
    return found | {"step_cpu_ms": 1000 * json.loads(line)["pmap"]["cpu_s"]}


def run(options: dict) -> list[str]:
    """Lines of the page's block."""
    from stemdefects import config, devices
    from stemdefects.commands.detection import load_model
    from stemdefects.simulation import files

    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        cfg = config.load_group("simulation", "movie")
        side = int(options["size"])
        cfg.movie.n_frames, cfg.view.size_px = int(options["movie_frames"]), [side, side]
        files.write_movie(folder / "movie.h5", load_model(options["model"]).material, cfg, 99)
        before = folder / "before"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(before), options["commit"]], check=True)
        found = {}
        try:
            for name, tree in (("before", before), ("now", ROOT)):
                (folder / name / "way").mkdir(parents=True, exist_ok=True)
                found[name] = measured(tree, folder / "movie.h5", options, folder / name / "way", old=name == "before")
                print(name, found[name], flush=True)
        finally:
            subprocess.run([*git, "remove", "--force", str(before)], check=True)
    lines = [
        f"{options['frames']} and {options['movie_frames']} frames of {side} x {side} px, {devices.describe()}, "
        f"load {os.getloadavg()[0]:.1f} at the end.",
        "",
        f"| | {options['commit']} | now | ratio |",
        "|---|---|---|---|",
    ]
    for key, (words, form) in ROWS.items():
        old, new = found["before"][key], found["now"][key]
        lines.append(f"| {words} | {old:{form}} | {new:{form}} | {new / old:.2f} |")
    return lines


def main() -> None:
    options = script.options(sys.argv[1:], DEFAULTS)
    lines = run(options)
    shown = [a for a in sys.argv[1:] if not a.startswith("docs=")]
    made = "\n".join([f"`{' '.join(['python benchmarks/since.py', *shown])}`", "", *lines])
    script.fill(Path(options["docs"]), *MARKS, made)


if __name__ == "__main__":
    main()
