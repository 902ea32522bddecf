"""Names and units of the columns in tables of other programs, and which of them means what."""

import re

from stemdefects.errors import UserError
from stemdefects.io.tables.text_table import TextTable
from stemdefects.schema import TableConfig

# units as the headers of tables write them, in nm and in s
LENGTHS_NM = {
    "nm": 1.0, "nanometer": 1.0, "nanometre": 1.0, "um": 1e3, "µm": 1e3, "μm": 1e3, "micron": 1e3, "micrometer": 1e3,
    "micrometre": 1e3, "å": 0.1, "ang": 0.1, "angstrom": 0.1, "ångström": 0.1, "pm": 1e-3, "mm": 1e6, "m": 1e9,
}  # fmt: skip
PIXELS = {"px", "pix", "pixel", "pxl"}
TIMES_S = {  # the same
    "s": 1.0, "sec": 1.0, "second": 1.0, "ms": 1e-3, "msec": 1e-3, "millisecond": 1e-3, "us": 1e-6, "µs": 1e-6,
    "μs": 1e-6, "ns": 1e-9, "min": 60.0, "minute": 60.0, "h": 3600.0, "hour": 3600.0,
}  # fmt: skip


def plain(name: str) -> tuple[str, str]:
    """(name in lower case without its unit, the unit or ""): `X (px)` -> x, px; `Frame #` -> frame; `y_nm` -> y, nm."""
    inside = re.match(r"^(.*?)[\s_]*[\[(]\s*([^\])]*?)\s*[\])]\s*$", name)
    base, unit = (inside.group(1), inside.group(2)) if inside and inside.group(1) else (name, "")
    base = re.sub(r"[\s_#.:-]+", "_", base.strip().lower()).strip("_")
    base = re.sub(r"_(no|nr|number|id)$", "", base) if base.startswith("frame_") else base
    head, _, last = base.rpartition("_")
    if not unit and head and (last in LENGTHS_NM or last in PIXELS or last in TIMES_S):
        return head, last
    return base, unit


def find(text: TextTable, cfg: TableConfig, meaning: str) -> str | None:
    """The column that the config's names for `meaning` point at, the first of them that is there."""
    every = found(text, cfg, meaning)
    return every[0] if every else None


def found(text: TextTable, cfg: TableConfig, meaning: str) -> list[str]:
    """All columns with a name of `meaning`, in the config's order; without those that are said to be something else."""
    others = [other for other in cfg.columns if other != meaning]
    taken = {name for name in text.columns if any(explicit(cfg, other, name) for other in others)}
    out = []
    for wanted in cfg.columns.get(meaning, [meaning]):
        for name in text.columns:
            if (
                name not in out
                and name not in taken
                and (name.strip().lower() == wanted.lower() or plain(name)[0] == wanted.lower())
            ):
                out.append(name)
    return out


def explicit(cfg: TableConfig, meaning: str, name: str) -> bool:
    """Did the user say that the column `name` has this meaning?"""
    return [str(n).lower() for n in cfg.columns.get(meaning, [])] == [name.strip().lower()]


def no_column(text: TextTable, what: str, key: str) -> UserError:
    """The error of a table without a column that is needed; key: of the setting that names one."""
    has = ", ".join(list(text.columns)[:20])
    return UserError(f"{text.path}: no {what}; it has {has}; set analysis.table.columns.{key}=[name]")
