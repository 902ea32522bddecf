"""Run folders: `runs/<id>/` holds everything about one run (layout in docs/architecture.md).

An id is `<date>_<time>_<letters>`, e.g. `2026-03-01_14-05-09_kqzt`: sortable, and never something YAML reads as a
number. W&B uses the same id.
"""

import dataclasses
import difflib
import json
import os
import random
import re
import string
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from stemdefects.errors import UserError

_OWNERS = ".figures_of.json"
_UNOWNED = {"analyze": ("analysis",)}  # figures of summaries from before they had owners
_MARKS = ("config.yaml", "model", "defects.h5", "summary.json")  # one of them is in every run folder
_ID = re.compile(r"^\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[a-z]{4}$")


@dataclasses.dataclass(frozen=True)
class Run:
    """One run folder; attributes name the places inside it."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def model_dir(self) -> Path:
        return self.path / "model"

    @property
    def checkpoints_dir(self) -> Path:
        return self.path / "checkpoints"

    @property
    def defects_path(self) -> Path:
        return self.path / "defects.h5"

    @property
    def analysis_dir(self) -> Path:
        return self.path / "analysis"

    @property
    def corrected_dir(self) -> Path:
        """The analysis with a person's corrections."""
        return self.path / "corrected"

    def write_config(self, cfg: Any, stage: str, folder: Path | None = None) -> Path:
        """Write the validated config: `config.yaml` by the stage that opened the run, `config_<stage>.yaml` by later
        ones (a repeated stage replaces its own file). folder: where to, if not into the run itself."""
        from stemdefects import config

        path = self.path / "config.yaml"
        name = path.name
        if path.exists() and not path.read_text().startswith(f"# {stage}\n"):
            name = f"config_{stage}.yaml"
        path = (folder or self.path) / name
        write_atomically(path, f"# {stage}\n{config.to_yaml(cfg)}")
        return path

    def read_summary(self) -> dict:
        """The figures in `summary.json`; empty when there is none yet."""
        path = self.path / "summary.json"
        return json.loads(path.read_text()) if path.exists() else {}

    def write_summary(self, figures: dict, stage: str | None = None) -> None:
        """Merge `figures` (plain numbers, strings, lists, dicts) into `summary.json`; those of `stage` are replaced."""
        gone = () if stage is None else (stage,)
        for name, text in self.summary_files(figures, stage, gone).items():
            write_atomically(self.path / name, text)

    def summary_files(self, figures: dict, stage: str | None, gone: Iterable[str] = ()) -> dict[str, str]:
        """What summary.json is with `figures` of `stage` in it, and without those of the stages `gone`: text by file
        name, that of a hidden file too, which keeps whose figure is whose.

        A figure that two stages write (`model_id`) stays as long as one of them does."""
        summary, path = self.read_summary(), self.path / _OWNERS
        before = json.loads(path.read_text()) if path.exists() else {}
        owners = {one: names for one, names in before.items() if one not in gone}
        kept = {name for names in owners.values() for name in names}
        for one in gone:
            for name in before.get(one, _UNOWNED.get(one, ())):
                if name not in kept:
                    summary.pop(name, None)
        files = {"summary.json": json.dumps(summary | figures, indent=2, default=float)}
        if stage is not None:
            files[_OWNERS] = json.dumps(owners | {stage: sorted(figures)})
        return files


def write_atomically(path: Path, text: str) -> None:
    """Write `text` so that a reader or a kill never sees half a file."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text)
    except OSError:  # a full disk: what there is of it would be in the way
        partial.unlink(missing_ok=True)
        raise
    partial.replace(path)


def expanded(text: str | Path) -> Path:
    """`text` as a path; `~/` is the user's home, while a name that begins with a tilde (`~t.tif`) is a name."""
    path = Path(text)
    if not str(text).startswith("~") or path.exists():
        return path
    try:
        return path.expanduser()
    except RuntimeError:  # no such user
        return path


def short(path: Path) -> str:
    """`path` as a user would type it: relative to the working folder when it lies below that."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def create(runs_dir: str | Path) -> Run:
    """Make a new, empty run folder under `runs_dir` (made when missing)."""
    root = Path(runs_dir).resolve()
    try:
        root.mkdir(parents=True, exist_ok=True)
        while True:
            letters = "".join(random.SystemRandom().choices(string.ascii_lowercase, k=4))
            path = root / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{letters}"
            try:
                path.mkdir()
            except FileExistsError:
                continue
            return Run(path)
    except OSError as error:
        raise UserError(
            f"runs_dir={root}: cannot make a run folder there ({error.strerror}); set runs_dir=<writable folder>"
        ) from None


def list_ids(runs_dir: str | Path) -> list[str]:
    """Ids of the runs under `runs_dir`, oldest first."""
    root = Path(runs_dir)
    if not root.is_dir():
        return []
    return sorted(path.name for path in root.iterdir() if path.is_dir() and _ID.match(path.name))


def is_run(path: Path) -> bool:
    """Whether the folder `path` holds what a run holds, whatever its name."""
    return path.is_dir() and any((path / name).exists() for name in _MARKS)


def resolve(runs_dir: str | Path, name: str, having: str | None = None) -> Run:
    """The run called `name`: an exact id, a unique prefix of one, `latest` (the newest), or the path of a run folder,
    whose name may have been changed.

    having: file or folder that `latest` must hold, e.g. "model": runs opened by `infer.py model=` have none.

    Raises UserError with the nearest ids when there is none, or with all candidates when the prefix is ambiguous.
    """
    root, name = Path(runs_dir).resolve(), str(name)
    ids = list_ids(root)
    if name == "latest" and ids:
        whole = [i for i in ids if having is None or (root / i / having).exists()]
        if not whole:
            raise UserError(f"run=latest: none of the {len(ids)} runs in {root} has a {having} yet")
        ids = whole
        return Run(root / max(ids, key=lambda i: (i[:19], (root / i).stat().st_ctime_ns)))
    if name in ids:
        return Run(root / name)
    if name:
        is_path = Path(name).name != name
        places = (root / name, expanded(name))
        for path in reversed(places) if is_path else places:  # renamed, or moved to another place
            if is_run(path):
                return Run(path.resolve())
        if is_path:
            what = "holds no run" if expanded(name).exists() else "there is no such folder"
            raise UserError(f"run={name}: {what}; runs are looked for by path, or by name in {root}")
    matches = [i for i in ids if name and i.startswith(name)]
    if len(matches) == 1:
        return Run(root / matches[0])
    if matches:
        first = ", ".join(matches[-5:])
        raise UserError(f"run={name}: {len(matches)} runs begin with that: {first}; give more characters of the id")
    renamed = sorted(p.name for p in root.iterdir() if p.name not in ids and is_run(p)) if root.is_dir() else []
    if not ids and not renamed:
        raise UserError(f"run={name}: there are no runs in {root}; make one with `python train.py`, or set runs_dir=")
    near = difflib.get_close_matches(name, [*ids, *renamed], 3, cutoff=0.3) or [*ids, *renamed][-3:]
    raise UserError(f"run={name}: no such run in {root}; nearest: {', '.join(near)} (or run=latest)")
