"""The four commands as Hydra applications: of the scripts in a checkout, and of `stemdefects <command>` from a wheel.

stemdefects train model=unet_small          is   python train.py model=unet_small          and so on
"""

import os
import sys
from pathlib import Path

from stemdefects import __version__
from stemdefects.entry import hydra_main
from stemdefects.schema import AnalyzeRoot, InferRoot, SimulateRoot, TrainRoot


def train() -> None:
    """Train a network on endless simulation, or on labels from a movie."""
    hydra_main("train", TrainRoot, _train)


def infer() -> None:
    """Find the defects in a movie or image."""
    hydra_main("infer", InferRoot, _infer, aliases={"model": "inference.model", "formula": "inference.formula"})


def analyze() -> None:
    """Tracks, classes, diffusion and transitions from a defect table."""
    short = {f"damage.{key}": f"analysis.damage.{key}" for key in ("joint", "voltage_kv", "temperature_k", "debye_k")}
    hydra_main("analyze", AnalyzeRoot, _analyze, aliases=short)


def simulate() -> None:
    """Simulate a movie with known truth, or a contact sheet."""
    hydra_main("simulate", SimulateRoot, _simulate)


COMMANDS = {"train": train, "infer": infer, "analyze": analyze, "simulate": simulate}


def main() -> None:
    """`stemdefects <command> key=value ...`"""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        print(__version__)
        return
    if arguments[:1] in (["-sc"], ["--shell-completion"]):
        _complete(arguments)
        return
    if not arguments or arguments[0] not in COMMANDS:
        asked = bool(arguments) and arguments[0] in ("-h", "--help")
        lines = [f"  stemdefects {name:9s} {command.__doc__}" for name, command in COMMANDS.items()]
        text = "\n".join(
            ["usage: stemdefects <command> [key=value ...]; each answers --help with all settings", *lines]
        )
        print(
            text if asked else f"error: no command {arguments[0]!r}\n{text}" if arguments else text,
            file=sys.stdout if asked else sys.stderr,
        )
        sys.exit(0 if asked else 2)
    sys.argv[:2] = [f"{sys.argv[0]} {arguments[0]}"]
    COMMANDS[arguments[0]]()


def _complete(arguments: list[str]) -> None:
    """What a shell asks for (Hydra's own completion, of `stemdefects <command> ...`)."""
    program = Path(sys.argv[0]).name
    typed = os.environ.get("COMP_LINE", "").split(maxsplit=2)
    if len(typed) > 1 and typed[1] in COMMANDS and arguments[1:2] and arguments[1].startswith("query="):
        os.environ["COMP_LINE"] = f"{program} {' '.join(typed[2:])}"
        COMMANDS[typed[1]]()
    elif arguments[1:2] and arguments[1].startswith("query="):
        print(" ".join(name for name in COMMANDS if name.startswith(typed[1] if len(typed) > 1 else "")))
    else:  # what installs it is the same for all commands
        train()


def _train(cfg: TrainRoot) -> float:
    """Train and return the test score (what a Hydra sweeper maximises)."""
    from hydra.core.hydra_config import HydraConfig

    from stemdefects.commands import sweep
    from stemdefects.training.loop import train_and_evaluate

    done = train_and_evaluate(cfg, list(HydraConfig.get().overrides.task))
    score = done.read_summary()["test_score"]
    sweep.record(done.id, score)
    return score


def _infer(cfg: InferRoot) -> None:
    """Write defects.h5, defects.csv and pictures into the run's folder; with cluster= into one run per file."""
    if cfg.watch is not None:
        from stemdefects.commands.watch import watch as infer
    elif cfg.cluster is not None:
        from stemdefects.commands.infer_many import infer_many as infer
    else:
        from stemdefects.commands.infer import infer
    infer(cfg)


def _analyze(cfg: AnalyzeRoot) -> None:
    """Analyse the defect table of a run (run=<id>), or any table (table=<csv or h5>, which opens a new run).

    Several are compared: run=[first,second] or table=[a.csv,b.csv].
    """
    from stemdefects.commands import analyze

    analyze.run(cfg)


def _simulate(cfg: SimulateRoot) -> None:
    """Write a movie, or with preview=true a contact sheet."""
    from stemdefects.commands import simulate

    simulate.run(cfg)
