"""Networks that come with the package, and where any network lies: `locate("ws2_mo")`.

Each is a model folder (`models/artifact/`) in `models/pretrained/`, put there by `benchmarks/ship.py`. Nothing here
imports JAX: a name that does not exist is told at once.
"""

import difflib
from pathlib import Path

from stemdefects.errors import UserError
from stemdefects.io import runs

FILES = ("weights.npz", "emissions.npz", "config.yaml", "model.json", "confusion.json", "README.md")
AUTO = "auto"  # in `model=`: whichever of them is nearest to the crystal that is stated
LARGEST_MB = 12.0  # all of them together


def folder() -> Path:
    """Where the networks that ship lie, in a checkout and in an installed package."""
    return Path(__file__).resolve().parent / "pretrained"


def names() -> list[str]:
    """Names of the networks that ship, sorted."""
    return sorted(path.parent.name for path in folder().glob("*/model.json"))


def locate(name: str | Path, runs_dir: str | Path = "runs", key: str = "model") -> Path:
    """The model folder that `name` means.

    In this order: a network that ships (a folder of the same name is reached as `./name`), a model folder or run
    folder, a run in `runs_dir` (id, unique prefix or `latest`). `key`: what the user typed it after, for messages.
    Raises UserError with the names that exist when it is none of these.
    """
    text, path = str(name), runs.expanded(name)
    if text in names():
        return folder() / text
    for candidate in (path, path / "model"):
        if (candidate / "model.json").is_file():
            return candidate.resolve()
    if path.is_dir():
        raise UserError(f"{key}={text}: no model in this folder; train one with `python train.py`")
    there_are = ", ".join(names()) or "none"
    if path.name != text:  # written as a path: no run is meant
        raise UserError(f"{key}={text}: no such folder; networks that ship: {there_are}")
    try:
        return runs.resolve(runs_dir, text, having="model").model_dir
    except UserError as error:
        near = difflib.get_close_matches(text, names(), 1, cutoff=0.5)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        reason = str(error).removeprefix(f"run={text}: ")
        raise UserError(
            f"{key}={text}: no network of this name ships (there are: {there_are}), no such folder, and {reason}.{hint}"
        ) from None
