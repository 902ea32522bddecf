"""Which of a file's signals is read: by the user's word, else the one that names tell to show most of heavy atoms."""

import re
from pathlib import Path
from typing import NamedTuple

from stemdefects.errors import UserError

# annular dark field first: there a column's intensity counts its atoms; then dark field, bright field last
_PREFERENCE = tuple(
    re.compile(pattern)
    for pattern in (
        r"haadf|high.?angle",
        r"adf|annular.?dark",
        r"(?<![a-z])df|dark.?field",
        r"(?<![a-z])a?bf|bright.?field",
    )
)
_PREVIEW = re.compile(r"preview|thumb")
_AXIS = re.compile(r"(?:^|[\s,;/]+)(z|axis(\d+)):(\d+|time)$", re.IGNORECASE)


class Wanted(NamedTuple):
    """What `inference.signal` asks for. name: part of a signal's name, None: not said; axes: `z` or the number of an
    axis -> the index to take along it, or `time`: its planes are the frames."""

    name: str | None
    axes: dict[str | int, int | str]


def wanted(signal: str | None) -> Wanted:
    """`signal` taken apart: "HAADF", "HAADF z:3", "z:time", "axis1:0", "data/stack axis3:0 axis0:time"."""
    rest, axes = None if signal is None else str(signal).strip(), {}
    while rest and (match := _AXIS.search(rest)):
        key = "z" if match[2] is None else int(match[2])
        axes[key] = "time" if match[3].lower() == "time" else int(match[3])
        rest = rest[: match.start()]
    return Wanted(rest or None, axes)


def rank(name: str) -> int:
    """0 for HAADF, then ADF, DF, BF, what says nothing; previews last."""
    lowered = name.lower()
    if _PREVIEW.search(lowered):
        return len(_PREFERENCE) + 1
    return next((i for i, pattern in enumerate(_PREFERENCE) if pattern.search(lowered)), len(_PREFERENCE))


def pick(names: list[str], name: str | None, where: str | Path, sizes: list[int] | None = None) -> int:
    """Index of the wanted one among `names`: by `name` (exact, else a unique part, else its number), else by
    preference, else by size (largest first), else the first.

    Raises UserError listing the names when `name` matches none or several.
    """
    if name is None:
        sizes = sizes or [0] * len(names)
        return min(range(len(names)), key=lambda i: (rank(names[i]), -sizes[i], i))
    lowered, looked_for = [n.lower() for n in names], str(name).lower()
    hits = [i for i, n in enumerate(lowered) if n == looked_for]
    if not hits and looked_for.isdigit():
        hits = [i for i, n in enumerate(lowered) if re.search(rf"\D0*{looked_for}$", n)]
    hits = hits or [i for i, n in enumerate(lowered) if looked_for in n]
    if len(hits) > 1:  # DF is a part of HAADF, but a word of its own
        alone = re.compile(rf"(?<![a-z0-9]){re.escape(looked_for)}(?![a-z0-9])")
        hits = [i for i in hits if alone.search(lowered[i])] or hits
    if not hits and looked_for.isdigit() and int(looked_for) < len(names):
        hits = [int(looked_for)]
    if len(hits) != 1:
        what = "no such signal" if not hits else "fits several signals"
        raise UserError(f"{where}: inference.signal={name}: {what}; the file holds: {', '.join(names)}")
    return hits[0]


def distinct(names: list[str]) -> list[str]:
    """`names` with a number added to those that occur twice."""
    return [f"{n} {names[: i + 1].count(n)}" if names.count(n) > 1 else n for i, n in enumerate(names)]
