"""Kills at random moments, and what the same command makes of it: python benchmarks/kills.py kills=100

`train.py`, `infer.py` (a new run; and over the results of another movie) and `analyze.py` (a new analysis; and over
another one) are run undisturbed, then killed (SIGKILL) at moments drawn evenly over the time they take, several times
in a row, and started again until they end: by the same command, a training by `train.py run=<its run>`, as it says
itself. What is then in the run folder must be, byte for byte, what the undisturbed command left. Not compared, because
they tell of the moment and not of the result: dates, times taken and speeds, the command in the model card, the run's
own name and folder, the names that matplotlib draws for the parts of an SVG; and checkpoints/, of which each sitting
keeps others. Prints a row per kind and, for each trial that ended otherwise, the files that differ. Options: kills=,
seed=, folder= (kept, and gone on with: trials that are done are not repeated), kinds=train,infer,...
"""

import csv
import io
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from script import options

ROOT = Path(__file__).resolve().parents[1]
TRAINING = [
    "model=unet_small",
    "model.filters=[8,8]",
    "model.depths=[1,1]",
    "training=quick",
    "training.steps=12",
    "training.batch_size=4",
    "training.size_px=32",
    "training.warmup_steps=2",
    "training.validation.every=4",
    "training.validation.images=2",
    "training.validation.size_px=32",
    "training.checkpoint_minutes=0.00001",
    "simulation.regions.phase_1T_probability=0",
    "simulation.regions.twin_probability=0",
    "simulation.regions.amorphous_probability=0",
    "simulation.regions.hole_probability=0",
    "simulation.defects.line_probability=0",
]
INFERENCE = ["inference.block_frames=2", "inference.pictures.animation=false"]
ANALYSIS = ["analysis.diffusion.n_bootstrap=50", "analysis.transitions.n_gibbs=40", "analysis.transitions.n_burn=10"]
IN_A_ROW = 3  # kills before a trial may end
LIMIT_S = 600
# keys of JSON files and columns of metrics.csv that tell of the moment
OF_THE_MOMENT = ("date", "seconds", "train_seconds", "infer_seconds", "images_per_s", "command", "run")


class Kind:
    """One command to be killed. prepare: makes its runs folder, as it is before the command."""

    def __init__(self, name: str, command: list[str], prepare=None):
        self.name, self.command, self.prepare = name, command, prepare
        self.seconds = 0.0

    def arguments(self, runs: Path) -> list[str]:
        """What starts it, or goes on with what is in the folder `runs`."""
        if self.name == "train":
            begun = sorted(p.parent.name for p in runs.glob("2*/config.yaml"))
            if begun:
                return ["train.py", f"run={begun[-1]}"]
        return self.command


def start(arguments: list[str], runs: Path) -> subprocess.Popen:
    """A command as a user starts it, its output to a file beside the runs."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with open(runs.with_suffix(".txt"), "a") as log:
        log.write(f"$ {' '.join(arguments)}\n")
        log.flush()
        return subprocess.Popen(
            [sys.executable, str(ROOT / arguments[0]), *arguments[1:], f"runs_dir={runs}", "logging=disabled"],
            cwd=runs.parent,
            env=environment,
            stdout=log,
            stderr=log,
        )


def undisturbed(kind: Kind, runs: Path) -> list[dict[str, bytes]]:
    """Run `kind` to its end; sets the seconds it takes (the second time, with its programs compiled)."""
    for _ in range(2):
        shutil.rmtree(runs, ignore_errors=True)
        if kind.prepare:
            kind.prepare(runs)
        before = time.perf_counter()
        if start(kind.arguments(runs), runs).wait(LIMIT_S):
            sys.exit(f"error: {kind.name} fails undisturbed: see {runs.with_suffix('.txt')}")
        kind.seconds = time.perf_counter() - before
    return contents(runs)


def trial(kind: Kind, runs: Path, rng: random.Random, n_kills: int) -> tuple[int, list[str]]:
    """Kill `kind` up to `n_kills` times; returns (kills that met it alive, what went wrong otherwise)."""
    if kind.prepare:
        kind.prepare(runs)
    killed, wrong = 0, []
    while killed < n_kills:
        child = start(kind.arguments(runs), runs)
        try:
            code = child.wait(rng.uniform(0.0, kind.seconds))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            killed += 1
            continue
        if code:
            wrong.append(f"exit code {code}")
        return killed, wrong  # it was done before
    code = start(kind.arguments(runs), runs).wait(LIMIT_S)
    return killed, [f"exit code {code}"] if code else []


def contents(runs: Path) -> list[dict[str, bytes]]:
    """Normalised contents, by file name, of each run in `runs` that holds anything.

    A command that opens a new run and was killed while its process was ending leaves a whole run, and opens another one
    when it is given again: each must be as the undisturbed one.
    """
    found = []
    for folder in sorted(p for p in runs.glob("2*") if any(p.iterdir())):
        files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
        names = [str(p.relative_to(folder)) for p in files]
        kept = [n for n in names if not n.startswith(("checkpoints/", ".lock"))]
        found.append({name: normalised(folder / name, runs, folder.name) for name in kept})
    return found


def normalised(path: Path, runs: Path, run: str) -> bytes:
    """The bytes of a file without what tells of the moment."""
    if path.name in ("summary.json", "model.json"):
        return json.dumps(_without(json.loads(path.read_text())), sort_keys=True).encode()
    if path.name == "metrics.csv":
        rows = list(csv.DictReader(io.StringIO(path.read_text())))
        return json.dumps([{k: v for k, v in row.items() if k not in OF_THE_MOMENT} for row in rows]).encode()
    if path.suffix not in (".svg", ".html", ".yaml", ".md"):
        return path.read_bytes()
    text = path.read_text().replace(str(runs), "RUNS").replace(run, "RUN")
    text = re.sub(r"\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?", "DATE", text)
    if path.suffix == ".md":
        text = "\n".join(line for line in text.splitlines() if "train.py" not in line and " min" not in line)
    if path.suffix == ".svg":
        for number, name in enumerate(dict.fromkeys(re.findall(r'id="([^"]+)"', text))):
            text = re.sub(rf'(id="|#){re.escape(name)}(?=["\)])', rf"\g<1>part{number}", text)
    return text.encode()


def _without(value):
    if isinstance(value, dict):
        return {k: _without(v) for k, v in value.items() if k not in OF_THE_MOMENT}
    return value


def make_kinds(folder: Path, names: list[str]) -> list[Kind]:
    """The commands, with what they need made in `folder`."""
    for number in (1, 2):
        movie = folder / f"movie{number}.h5"
        if not movie.exists():
            arguments = [
                "simulate.py",
                "simulation=demo_movie",
                f"output={movie}",
                "simulation.movie.n_frames=12",
                "simulation.view.size_px=[128,128]",
                f"seed={number}",
            ]
            subprocess.run([sys.executable, str(ROOT / arguments[0]), *arguments[1:]], check=True, cwd=folder)
    base = folder / "base"  # a run with inference and analysis of the first movie, to be replaced
    infer = ["infer.py", "model=ws2_mo", *INFERENCE]
    analyze = ["analyze.py", "run=latest", *ANALYSIS]
    if not (base / "done").exists():
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir()
        for command in ([*infer, f"input={folder / 'movie1.h5'}"], analyze):
            if start(command, base).wait(LIMIT_S):
                sys.exit(f"error: see {base.with_suffix('.txt')}")
        [run] = base.glob("2*")
        (run / "model").symlink_to(ROOT / "stemdefects" / "models" / "pretrained" / "ws2_mo")
        (base / "done").touch()

    def whole(runs: Path) -> None:
        shutil.copytree(base, runs, symlinks=True, dirs_exist_ok=True)

    def without_analysis(runs: Path) -> None:
        whole(runs)
        for run in runs.glob("2*"):
            shutil.rmtree(run / "analysis")
            (run / "config_analyze.yaml").unlink()

    second = f"input={folder / 'movie2.h5'}"
    kinds = [
        Kind("train", ["train.py", *TRAINING]),
        Kind("infer", [*infer, second]),
        Kind("infer over", ["infer.py", "run=latest", second, "overwrite=true", *INFERENCE], whole),
        Kind("analyze", analyze, without_analysis),
        Kind("analyze over", [*analyze, "seed=5", "overwrite=true"], whole),
    ]
    return [kind for kind in kinds if kind.name in names or names == ["all"]]


def main() -> int:
    """Run the kinds in turn until there were enough kills; returns the exit code."""
    asked = options(sys.argv[1:], {"kills": "100", "seed": "0", "folder": "", "kinds": "all"})
    folder = Path(asked["folder"] or tempfile.mkdtemp(prefix="kills_")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder / "xla"))
    kinds = make_kinds(folder, asked["kinds"].split(","))
    expected = {kind.name: undisturbed(kind, folder / f"undisturbed_{kind.name.replace(' ', '_')}") for kind in kinds}
    record = folder / "trials.json"
    trials = json.loads(record.read_text()) if record.exists() else []
    number = len(trials)
    while sum(t["kills"] for t in trials) < int(asked["kills"]):
        kind = kinds[number % len(kinds)]
        rng = random.Random(f"{asked['seed']} {number}")
        runs = folder / f"trial_{number:03d}"
        shutil.rmtree(runs, ignore_errors=True)
        runs.mkdir()
        left = int(asked["kills"]) - sum(t["kills"] for t in trials)
        killed, wrong = trial(kind, runs, rng, min(IN_A_ROW, left))
        found, whole = contents(runs), expected[kind.name]
        wrong += [] if found else ["no run"]
        wrong += sorted({n for one in found for n in {*one, *whole[0]} if one.get(n) != whole[0].get(n)})
        trials.append({"kind": kind.name, "number": number, "kills": killed, "differs": wrong})
        record.write_text(json.dumps(trials, indent=1))
        print(f"trial {number}: {kind.name}, {killed} kills: {'the same' if not wrong else wrong}", flush=True)
        if not wrong:
            shutil.rmtree(runs)
            runs.with_suffix(".txt").unlink()
        number += 1
    print(table(kinds, trials))
    return int(any(t["differs"] for t in trials))


def table(kinds: list[Kind], trials: list[dict]) -> str:
    """The figures, as Markdown."""
    lines = ["| command | takes (s) | kills | trials | ended in the same bytes |", "|---|---|---|---|---|"]
    for kind in kinds:
        own = [t for t in trials if t["kind"] == kind.name]
        same = sum(not t["differs"] for t in own)
        kills = sum(t["kills"] for t in own)
        lines.append(f"| {kind.name} | {kind.seconds:.1f} | {kills} | {len(own)} | {same} of {len(own)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
