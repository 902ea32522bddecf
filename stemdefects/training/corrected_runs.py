"""Runs that a person corrected, as training takes them: what was found, what was said of it, and by which network."""

import json
from typing import NamedTuple

from stemdefects import schema
from stemdefects.command_line import parts_of_list
from stemdefects.errors import UserError
from stemdefects.io import runs
from stemdefects.io.tables import corrections
from stemdefects.io.tables.table import DefectTable
from stemdefects.models import shipped

HOW = "correct them on its page and apply them: python analyze.py run={} corrections=corrections.csv"


class Looked(NamedTuple):
    """What a person left of one run: the table as found and as corrected, and the corrections."""

    run: runs.Run
    found: DefectTable
    table: DefectTable
    given: corrections.Corrections


def asked(cfg: schema.TrainRoot) -> list[Looked]:
    """The corrected runs that `run=` names."""
    if cfg.run is None:
        raise UserError("labels=corrections: say whose: run=<id> of a run with corrections (several: run=[a,b])")
    names = parts_of_list(cfg.run) or [cfg.run]
    found = [runs.resolve(cfg.runs_dir, name, having="corrected") for name in names]
    if len({run.path for run in found}) < len(found):
        raise UserError(f"run={cfg.run}: the same run twice")
    return [_looked(run) for run in found]


def stored(cfg: schema.TrainRoot) -> list[Looked]:
    """Those that a training was started with, as long as they are the same."""
    found = []
    for name, was in cfg.labels.corrected.items():
        run = runs.resolve(cfg.runs_dir, name)
        found.append(_looked(run))
        if digest(run) != was:
            raise UserError(f"run={run.id}: its corrections have changed since this training began; start a new one")
    return found


def digest(run: runs.Run) -> str:
    """SHA-256 of what a run's corrections are now."""
    return corrections.sha256(run.corrected_dir / "corrections.csv")


def _looked(run: runs.Run) -> Looked:
    file, table = run.corrected_dir / "corrections.csv", run.corrected_dir / "defects.h5"
    if not file.is_file() or not table.is_file():
        raise UserError(f"run={run.id}: has no corrections; {HOW.format(run.id)}")
    given, after = corrections.read(file), DefectTable.read(table, patches=False)
    if digest(run) != after.attrs.get("corrections_sha256"):  # what was applied was also checked, all or none
        raise UserError(
            f"run={run.id}: {file.name} was changed after it was applied; apply it: python analyze.py run={run.id} "
            f"corrections={file} overwrite=true"
        )
    found = run.defects_path
    if not found.is_file():
        raise UserError(
            f"run={run.id}: has no {found.name} of its own, and what is learned needs the network and movie that gave "
            "it; correct the run of infer.py that made the table"
        )
    if corrections.sha256(found) != after.attrs.get("corrected_file_sha256"):
        raise UserError(f"run={run.id}: {found.name} has been made again since it was corrected; {HOW.format(run.id)}")
    return Looked(run, DefectTable.read(found, patches=False), after, given)


def network(looked: list[Looked], runs_dir: str) -> str:
    """Name or folder of the network that made the tables."""
    from omegaconf import OmegaConf

    names = {}
    for one in looked:
        wanted, places = one.found.attrs.get("model_id"), []
        if (one.run.model_dir / "model.json").exists():
            places.append(one.run.id)
        for path in one.run.path.glob("config*.yaml"):
            model = OmegaConf.select(OmegaConf.load(path), "inference.model")
            places += [str(model)] if model and str(model) != shipped.AUTO else []
        for name in [*places, *shipped.names()]:
            try:
                folder = shipped.locate(name, runs_dir)
            except UserError:
                continue
            if wanted is None or json.loads((folder / "model.json").read_text())["id"] == wanted:
                names[one.run.id] = name
                break
        else:
            raise UserError(
                f"run={one.run.id}: the network that made its table ({wanted or 'unknown'}) is not there any more; "
                "name the one to adapt: training.init=<network>"
            )
    if len(set(names.values())) > 1:
        told = ", ".join(f"{run}: {name}" for run, name in names.items())
        raise UserError(
            f"the tables are of different networks ({told}); name the one to adapt: training.init=<network>"
        )
    return next(iter(names.values()))
