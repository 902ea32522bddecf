"""A trained network becomes part of the package: `ship(run, "ws2_mo")` copies its model folder to where names lie.

Weights are stored as float16 where the scores stay what they are; the card gains what made it and what was measured.
"""

import dataclasses
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects import schema
from stemdefects.errors import UserError
from stemdefects.io.runs import Run, write_atomically
from stemdefects.models import artifact, shipped
from stemdefects.models.artifact import weights
from stemdefects.models.probability import emissions, prevalence
from stemdefects.training.outcome import card

CALLS = "## Calls"
SAME = 0.005  # largest change of an F1 that counts as none: one detection in two hundred
_ID = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[a-z]{4}")


@dataclasses.dataclass(frozen=True)
class Shipped:
    """What became of it. `f1_change`: largest over kinds and doses, float16 against float32."""

    path: Path
    id: str
    dtype: str
    f1_change: float
    size_mb: float
    total_mb: float


def ship(run: Run, name: str, command: str | None = None, into: Path | None = None) -> Shipped:
    """Put the model of `run` into the package as `name`, in place of a network that has this name already.

    command: what makes it again, where the run's own record of it names places of one machine; into: another folder
    than the package's. Raises UserError when the name is no plain word, the network was made for one movie, the command
    is unknown, or all networks together exceed `shipped.LARGEST_MB`.
    """
    into = shipped.folder() if into is None else Path(into)
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UserError(f"name={name}: a name is a plain word: letters, digits and underscores")
    model = artifact.load(run.model_dir)
    if model.config.labels.source != "simulation":
        raise UserError(f"run={run.id}: this network was made for one movie; what ships is trained on simulation")
    command = _command(run, model.record, command)
    dtype, change = _storage(model)
    flat = {path: array.astype(dtype) for path, array in weights.read(run.model_dir).items()}
    made = {
        "shipped_as": name,
        "command": command,
        "date": model.record.get("date") or run.id[:10],
        "weights": {"stored_as": dtype, "f1_change": change, "trained_id": model.id},
    }
    partial = into / f".{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        weights.write(partial, flat)
        weights.write(partial, model.emissions, emissions.NAME)
        (partial / "config.yaml").write_text(_without_places((run.model_dir / "config.yaml").read_text()))
        about = {**model.record, **made, "id": weights.identity(flat)}
        write_atomically(partial / "model.json", json.dumps(about, indent=1))
        # the matrices are long: compact
        write_atomically(partial / "confusion.json", json.dumps(model.confusion, separators=(",", ":")))
        text = (run.model_dir / "README.md").read_text().replace(str(model.record.get("command")), command)
        write_atomically(partial / "README.md", text.rstrip() + "\n" + _section(name, about, run.id))
        size = folder_mb(partial)
        others = [p for p in into.iterdir() if p.is_dir() and p.name != name and not p.name.startswith(".")]
        total = size + sum(folder_mb(p) for p in others)
        if total > shipped.LARGEST_MB:
            raise UserError(
                f"name={name}: {size:.1f} MB make {total:.1f} MB of networks in all, more than {shipped.LARGEST_MB:g}"
            )
        shutil.rmtree(into / name, ignore_errors=True)
        partial.rename(into / name)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Shipped(into / name, about["id"], dtype, change, size, total)


def recount(folder: Path, confusion: dict[str, Any], n_images: int) -> None:
    """Replace the confusion of the network in `folder` by one of inference (`limit.calls`), in its card too."""
    write_atomically(folder / "confusion.json", json.dumps(confusion, separators=(",", ":")))
    tables = "\n\n".join(f"{dose}:\n\n{card.confusion_table(confusion, dose)}" for dose in confusion["doses"])
    text = (folder / "README.md").read_text().split(f"\n{CALLS}\n")[0].rstrip()
    write_atomically(
        folder / "README.md",
        f"{text}\n\n{CALLS}\n\nWhat `infer.py` says (network and light of the columns, thresholds as shipped) of the "
        f"columns of each true state, on\n{n_images} fresh images per dose, by `python benchmarks/ship.py calls="
        f"{folder.name}`; `confusion.json` holds them.\n\n{tables}\n",
    )


def folder_mb(folder: Path) -> float:
    """Size of the files in `folder`."""
    return sum(path.stat().st_size for path in folder.iterdir()) / 1e6


def _storage(model: artifact.LoadedModel) -> tuple[str, float]:
    """float16 or float32, and how far float16 would change an F1 of the card's own test."""
    import jax

    from stemdefects.training import task
    from stemdefects.training.outcome import validation

    half = jax.tree.map(lambda a: np.asarray(a).astype(np.float16).astype(np.float32), model.params)
    if not all(np.isfinite(a).all() for a in jax.tree.leaves(half)):
        return "float32", float("nan")
    cfg = schema.TrainRoot(**vars(model.config))
    the_task = task.from_config(cfg)
    test = validation.Validator(cfg, the_task, seed_offset=1)
    exact, rounded = (
        validation.figures(test.run(params), the_task, model.calibration) for params in (model.params, half)
    )
    change = 0.0
    for dose, kinds in ((dose, figures["kinds"]) for dose, figures in exact.items()):
        for kind in [*prevalence.common_kinds(cfg.labels, the_task.material), "defect"]:
            for what in ("f1", "best_f1", "ap") if kind in kinds else ():
                before, after = kinds[kind][what], rounded[dose]["kinds"][kind][what]
                change = max(change, abs(before - after)) if np.isfinite(before) else change
    return "float16" if change <= SAME else "float32", change


def _command(run: Run, record: dict[str, Any], given: str | None) -> str:
    """What made the network, without places of one machine."""
    command = given or str(record.get("command", "-"))
    words = [w for w in command.split() if not w.startswith(("runs_dir=", "logging", "hydra."))]
    if words[:2] != ["python", "train.py"] or any("=/" in w or "=~" in w for w in words):
        raise UserError(f"run={run.id}: was made by `{command}`, which others cannot repeat; give command='python ...'")
    return " ".join(words)


def _without_places(text: str) -> str:
    """config.yaml with the network it started from named by run id where it was given as a folder."""

    def name(match: re.Match) -> str:
        found = _ID.search(match.group(2))
        return f"{match.group(1)}{found.group() if found else Path(match.group(2)).name}"

    return re.sub(r"^(\s*init: )(.*/.*)$", name, text, flags=re.MULTILINE)


def _section(name: str, about: dict[str, Any], run_id: str) -> str:
    stored = about["weights"]
    change = ""
    if np.isfinite(stored["f1_change"]):
        change = (
            "; on the images of the scores above, float16 instead of float32 changes no F1 or average precision "
            f"by more than {max(stored['f1_change'], 1e-4):.4f}"
        )
    return f"""
## In the package

    python infer.py model={name} input=<movie or image>
    table = stemdefects.detect(movie, model="{name}")

Made on {about["date"]} with seed {about["seed"]} on {about["hardware"]} ({about["seconds"] / 60:.0f} minutes) by

    {about["command"]}
    python benchmarks/ship.py run={run_id} name={name}

Model {about["id"]}. Weights are stored as {stored["stored_as"]}{change}.
Packed {time.strftime("%Y-%m-%d", time.gmtime())}.
"""
