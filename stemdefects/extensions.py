"""What packages of the user add: materials, models, losses, readers and stages, found by their entry points.

A package names them in its pyproject.toml, e.g. `[project.entry-points."stemdefects.materials"]  mote2 =
"my_package:mote2_yaml"`; nothing of this software is changed. What the entry point gives is said by each group's user
(docs/extending.md). Our own names come first.
"""

import difflib
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from stemdefects.errors import UserError

MATERIALS, MODELS, LOSSES, READERS, STAGES = (
    f"stemdefects.{what}" for what in ("materials", "models", "losses", "readers", "stages")
)


def found(group: str) -> dict[str, EntryPoint]:
    """Entry points of `group` by name."""
    return {point.name: point for point in entry_points(group=group)}


def names(group: str, own: Iterable[str] = ()) -> list[str]:
    """Everything that may be chosen: ours, then those of other packages."""
    ours = list(own)
    return ours + sorted(set(found(group)) - set(ours))


def known(group: str, name: str, key: str, own: Iterable[str] = ()) -> None:
    """Raise UserError, with the setting `key` and what exists, when there is no `name`."""
    existing = names(group, own)
    if name not in existing:
        near = difflib.get_close_matches(name, existing, 1)
        hint = f" Did you mean '{near[0]}'?" if near else ""
        raise UserError(f"{key}={name}: no such thing.{hint} There are: {', '.join(existing) or 'none'}")


def load(group: str, name: str, key: str, own: Iterable[str] = ()) -> Any:
    """The object behind the entry point `name`. Raises UserError, with the setting `key` and what exists, when there is
    none or it cannot be imported."""
    points = found(group)
    if name not in points:
        known(group, name, key, own)
    try:
        return points[name].load()
    except Exception as error:  # whatever goes wrong at another package's import
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise UserError(f"{key}={name}: {points[name].value} cannot be imported ({reason})") from error


def material_file(choice: str) -> Path | None:
    """The YAML file of a material that is given by its path or by an entry point; None: neither is meant.

    An entry point gives the path, or a function without arguments that does.
    """
    path = Path(choice).expanduser()
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise UserError(f"material={choice}: no such file")
        return path.resolve()
    if choice not in found(MATERIALS):
        return None
    given = load(MATERIALS, choice, "material")
    path = Path(str(given() if callable(given) else given))
    if not path.is_file():
        raise UserError(f"material={choice}: its package gives {path}, which is not a file")
    return path
