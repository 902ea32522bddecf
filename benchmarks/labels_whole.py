"""What the benchmarks of labels share: a movie through the three commands with defaults, and the hop rate they give."""

import csv
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DONE = {"train": "model/model.json", "infer": "defects.h5", "analyze": "analysis/estimates.csv"}


def run_commands(folder: Path, movie: Path, steps: int | None) -> Path:
    """The run folder of train.py labels=fourier, infer.py and analyze.py of `movie`; what is done is not done again.

    steps: of the training, None: the default. What they print goes into `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    common = [f"runs_dir={folder.resolve()}", "logging=disabled"]
    commands = {
        "train": ["labels=fourier", f"input={movie.resolve()}"],
        "infer": ["run=latest", f"input={movie.resolve()}"],
        "analyze": ["run=latest"],
    }
    if steps:
        commands["train"].append(f"training.steps={steps}")
    for command, arguments in commands.items():
        if not list(folder.glob(f"*/{DONE[command]}")):
            with (folder / f"{command}.log").open("w") as log:
                subprocess.run(
                    [sys.executable, str(ROOT / f"{command}.py"), *arguments, *common],
                    check=True,
                    cwd=ROOT,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                )
    return next(folder.glob("*/defects.h5")).parent


def hop_rate(run: Path, subject: str = "bright") -> str:
    """The rate of hops that were counted, with its interval, as analyze.py states it; - where it does not."""
    with (run / "analysis" / "estimates.csv").open() as file:
        for row in csv.DictReader(file):
            if row["quantity"] == "hop rate" and row["method"] == "hops" and row["subject"] == subject:
                return f"{float(row['value']):.3f} ({float(row['low']):.3f} to {float(row['high']):.3f})"
    return "-"
