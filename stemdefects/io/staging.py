"""Results of a stage, made beside the former ones and put in their place when they are whole.

    new = Staging(run, "infer")
    new.begin()
    ...write into new.path...
    new.commit(summary)

Until `commit` the former results stand untouched. It writes down what it is about to do, and then only renames and
deletes, so that a process that was killed in the middle of it can be finished by the next one (`settle`): at any moment
either the old or the new results are there, whole, and nothing of the old is left beside the new.
"""

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

from stemdefects.io.runs import Run, write_atomically

OUTPUTS = {
    "infer": ("defects.h5", "defects.csv", "defects_over_time.csv", "pictures", "config_infer.yaml"),
    "analyze": ("analysis", "config_analyze.yaml"),
    "correct": ("corrected", "config_correct.yaml"),
}  # of each stage, in the run folder
MADE_FROM = {
    "infer": ("analyze", "correct"),
    "analyze": (),
    "correct": (),
}  # stages whose results are made from those of this one
RECORD, FORMER = "swap.json", "former"


class Staging:
    """The folder in which `stage` makes its new results. path: that folder."""

    def __init__(self, run: Run, stage: str):
        self.run, self.stage = run, stage
        self.path = run.path / f".{stage}.new"
        self._begun = run.path / f".{stage}.begun"

    def begin(self, what: Any = None, replaces: bool = False) -> Path:
        """An empty folder; returns it. With `what` (plain values: of which data and settings the results are made) the
        run remembers, until `end`, that they are not finished, and whether they replace former ones."""
        if what is not None and not self.unfinished(what):
            write_atomically(self._begun, json.dumps({"what": what, "replaces": replaces}, default=str))
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir()
        return self.path

    def unfinished(self, what: Any) -> bool:
        """Whether results of `what`, the first of this stage in the run, were begun and not finished."""
        try:
            begun = json.loads(self._begun.read_text())
        except (OSError, ValueError):
            return False
        return begun.get("what") == json.loads(json.dumps(what, default=str)) and not begun.get("replaces")

    def end(self) -> None:
        """All is done, what is reported elsewhere too."""
        self._begun.unlink(missing_ok=True)

    def commit(self, summary: dict[str, Any]) -> None:
        """Put what is in the folder in place of all that this stage, and those made from it, left before.

        summary: figures of this stage for summary.json; those of its former results go.
        """
        gone = (self.stage, *MADE_FROM[self.stage])
        for name, text in self.run.summary_files(summary, self.stage, gone).items():
            write_atomically(self.path / name, text)
        metrics = _without_stages(self.run.path / "metrics.csv", gone)
        if metrics is not None:
            write_atomically(self.path / "metrics.csv", metrics)
        staged = sorted(p.name for p in self.path.iterdir())
        drop = [name for stage in gone for name in OUTPUTS[stage] if name not in staged]
        write_atomically(self.path / RECORD, json.dumps({"put": staged, "drop": drop}))
        _swap(self.run, self.path)


def settle(run: Run) -> None:
    """Finish swaps that were cut off, and drop results that never became whole. Only for who holds the run's lock."""
    for stage in OUTPUTS:
        folder = run.path / f".{stage}.new"
        if (folder / RECORD).exists():
            _swap(run, folder)
        elif folder.exists():
            shutil.rmtree(folder, ignore_errors=True)


def _swap(run: Run, folder: Path) -> None:
    """Do what the folder's record says; any part of it may have been done already."""
    record = json.loads((folder / RECORD).read_text())
    former = folder / FORMER
    former.mkdir(exist_ok=True)
    for name in record["drop"]:
        _away(run.path / name, former)
    for name in record["put"]:
        if (folder / name).exists():
            if (folder / name).is_dir() or (run.path / name).is_dir():  # a file replaces a file in one step
                _away(run.path / name, former)
            (folder / name).replace(run.path / name)
    shutil.rmtree(former, ignore_errors=True)
    (folder / RECORD).unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _away(path: Path, former: Path) -> None:
    if path.exists() or path.is_symlink():
        number = sum(1 for _ in former.iterdir())
        path.replace(former / f"{number}_{path.name}")


def _without_stages(path: Path, stages: tuple[str, ...]) -> str | None:
    """The text of a metrics.csv without the rows of `stages`; None where there are none of them."""
    if not path.exists():
        return None
    with open(path, newline="") as file:
        reader = csv.DictReader(file)
        columns, rows = list(reader.fieldnames or []), list(reader)
    kept = [row for row in rows if row.get("stage") not in stages]
    if len(kept) == len(rows):
        return None
    text = io.StringIO()
    writer = csv.DictWriter(text, columns)
    writer.writeheader()
    writer.writerows(kept)
    return text.getvalue()
