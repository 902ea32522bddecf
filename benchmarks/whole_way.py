"""From a file to the page: wall and CPU time of infer.py and analyze.py, the first time on a machine and the second.

    python benchmarks/whole_way.py [model=ws2_mo] [movies=100x512,1000x256] [docs=docs/inference.md]

movies: frames x side in pixels of movies of `simulation=movie`. The first time nothing is compiled yet: JAX and numba
keep what they compile in empty folders of this benchmark. Wall times mean something on idle cores only. The stages of
the analysis are as it states them itself; the sampling of the kinetics stands among them.
"""

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import script

ROOT = Path(__file__).parents[1]
DEFAULTS = {"model": "ws2_mo", "movies": "100x512,1000x256", "docs": str(ROOT / "docs" / "inference.md")}
MARKS = "<!-- whole way: made by benchmarks/whole_way.py -->", "<!-- end of whole way -->"


def timed(name: str, arguments: list[str], environment: dict[str, str]) -> tuple[float, float, str]:
    """Wall and CPU seconds of one of the scripts, and what it said."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(ROOT / name), *arguments], capture_output=True, text=True, env=os.environ | environment
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"error: {name}: {done.stderr.strip()[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout + done.stderr


def once(movie: Path, model: str, runs: Path, environment: dict[str, str]) -> dict:
    """Seconds of one way from `movie` to its page."""
    common = [f"runs_dir={runs}", "logging=disabled"]
    infer = timed("infer.py", [f"model={model}", f"input={movie}", *common], environment)
    run = max(runs.glob("*/summary.json"), key=lambda path: path.stat().st_mtime).parent
    analyze = timed("analyze.py", [f"run={run.name}", "verbose=2", *common], environment)
    stages = {name: float(s) for name, s in re.findall(r"(\w+) +([\d.]+) s$", analyze[2], re.M)}
    assert (run / "analysis" / "report.html").exists()
    frames_s = json.loads((run / "summary.json").read_text())["infer_seconds"]
    return {"infer": infer[:2], "analyze": analyze[:2], "frames_s": frames_s, "stages": stages}


def run(options: dict) -> list[str]:
    """Lines of the page's block."""
    from stemdefects import config, devices
    from stemdefects.commands.detection import load_model
    from stemdefects.simulation import files

    devices.use_compilation_cache()
    material = load_model(options["model"]).material
    lines = [
        f"{devices.describe()}, load {os.getloadavg()[0]:.1f} at the start. Seconds of wall time (CPU time).",
        "",
        "| movie | time | infer.py | of it the frames | analyze.py | file to page | longest stages of the analysis |",
        "|---|---|---|---|---|---|---|",
    ]
    for asked in options["movies"].split(","):
        n, side = map(int, asked.split("x"))
        with tempfile.TemporaryDirectory() as folder:
            folder = Path(folder)
            cfg = config.load_group("simulation", "movie")
            cfg.movie.n_frames, cfg.view.size_px = n, [side, side]
            files.write_movie(folder / "movie.h5", material, cfg, 99)
            environment = {"JAX_COMPILATION_CACHE_DIR": str(folder / "jax"), "NUMBA_CACHE_DIR": str(folder / "numba")}
            for which in ("first", "second"):
                one = once(folder / "movie.h5", options["model"], folder / f"runs_{which}", environment)
                total = [a + b for a, b in zip(one["infer"], one["analyze"], strict=True)]
                longest = sorted(one["stages"].items(), key=lambda item: -item[1])[:5]
                lines.append(
                    f"| {n:,} of {side} x {side} px | {which} | {words(one['infer'])} | {one['frames_s']:.1f} | "
                    f"{words(one['analyze'])} | {words(total)} | {', '.join(f'{k} {v:.1f}' for k, v in longest)} |"
                )
                print(lines[-1], flush=True)
    return lines


def words(seconds) -> str:
    return f"{seconds[0]:.1f} ({seconds[1]:.1f})"


def main() -> None:
    options = script.options(sys.argv[1:], DEFAULTS)
    lines = run(options)
    shown = [a for a in sys.argv[1:] if not a.startswith("docs=")]
    made = "\n".join([f"`{' '.join(['python benchmarks/whole_way.py', *shown])}`", "", *lines])
    script.fill(Path(options["docs"]), *MARKS, made)


if __name__ == "__main__":
    main()
