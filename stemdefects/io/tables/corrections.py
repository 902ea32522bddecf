"""What a person corrected in a defect table: `corrections.csv`, as the page of an analysis saves it.

One row per correction, in the order in which they were made; every row says the version of the layout and which table
it belongs to. Positions are pixels of the original frames.

    add       a defect of `kind` that was missed at frame, y_px, x_px
    delete    the detection there is none
    relabel   the detection there is of `kind`
    relink    the detection there is the same defect as that at frame_to, y_to_px, x_to_px
    unlink    the detection there is another defect than its track before that frame
    exclude   nothing counts between y_px, x_px and y_to_px, x_to_px: in this frame, or with an empty frame in all of
              them, the place moved with the specimen from the first frame on
    checked   all of the frame was looked at: with the corrections above it is right
"""

import csv
import hashlib
import io
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects.errors import UserError

SCHEMA_VERSION = 1  # of the file's columns; one that a newer version wrote is refused
COLUMNS = (
    "schema_version",
    "table",
    "action",
    "frame",
    "y_px",
    "x_px",
    "kind",
    "track",
    "frame_to",
    "y_to_px",
    "x_to_px",
)
PLACE, PLACE_TO = ("frame", "y_px", "x_px"), ("frame_to", "y_to_px", "x_to_px")
NEEDED = {
    "add": (*PLACE, "kind"),
    "delete": PLACE,
    "relabel": (*PLACE, "kind"),
    "relink": (*PLACE, *PLACE_TO),
    "unlink": PLACE,
    "exclude": ("y_px", "x_px", "y_to_px", "x_to_px"),
    "checked": ("frame",),
}


@dataclass(frozen=True)
class Correction:
    """One row; `line` in its file, `track` as the page numbers it, for reading. None: not given."""

    action: str
    frame: int | None = None
    y_px: float | None = None
    x_px: float | None = None
    kind: str | None = None
    track: int | None = None
    frame_to: int | None = None
    y_to_px: float | None = None
    x_to_px: float | None = None
    line: int = 0


@dataclass(frozen=True)
class Corrections:
    """All of a file; table: digest of the table's rows, see `digest`; name: of the file, for messages."""

    items: tuple[Correction, ...]
    table: str
    name: str = "corrections"


def digest(rows: np.ndarray) -> str:
    """SHA-256 of frame, place and kind of the detections, whatever their order: what corrections are of."""
    key = np.zeros(len(rows), [("frame", "<i4"), ("y_px", "<f4"), ("x_px", "<f4"), ("kind", rows["kind"].dtype)])
    for name in key.dtype.names or ():
        key[name] = rows[name]
    key = key[np.lexsort((key["kind"], key["x_px"], key["y_px"], key["frame"]))]
    parts = (np.ascontiguousarray(key[name]) for name in ("frame", "y_px", "x_px"))
    kinds = b"\n".join(key["kind"].tolist())
    return hashlib.sha256(b"".join(part.tobytes() for part in parts) + kinds).hexdigest()


def read(source: Any, table: str | None = None) -> Corrections:
    """Corrections from a CSV file with `COLUMNS`, or a pandas DataFrame, which needs those of its actions alone.

    table: digest of the table that a DataFrame without column `table` is of.

    Raises UserError, with the line of the file, where it cannot be read, is of a later version, an action is unknown,
    or what the action needs is missing or no number.
    """
    if isinstance(source, Corrections):
        return source
    if hasattr(source, "to_csv"):
        usual = {name: "" for name in COLUMNS} | {"schema_version": SCHEMA_VERSION, "table": table}
        missing = {name: value for name, value in usual.items() if name not in source and value is not None}
        return _parse(source.assign(**missing).to_csv(index=False), "corrections")
    path = Path(source)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise UserError(f"corrections={path}: no such file; the page of an analysis saves it") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"corrections={path}: cannot be read ({error}); the page of an analysis saves it") from None
    return _parse(text, str(path))


def write(path: str | Path, given: Corrections) -> Path:
    """Write a corrections file."""
    Path(path).write_text(_text(given), encoding="utf-8")
    return Path(path)


def sha256(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def file_sha256(given: Corrections) -> str:
    """SHA-256 of the file that `write` makes of them."""
    return hashlib.sha256(_text(given).encode()).hexdigest()


def _text(given: Corrections) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for one in given.items:
        values = [getattr(one, name) for name in COLUMNS[2:]]
        writer.writerow([SCHEMA_VERSION, given.table, *("" if v is None else v for v in values)])
    return out.getvalue()


def _parse(text: str, name: str) -> Corrections:
    first = text.split("\n", 1)[0]
    delimiter = ";" if first.count(";") > first.count(",") else ","  # spreadsheets of some countries
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter)
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{name}: has no column {missing[0]}; a corrections file has {','.join(COLUMNS)}")
    items, tables = [], []
    for row in reader:
        where = f"{name}, line {reader.line_num}"
        if row["schema_version"] is None or any(row[column] is None for column in COLUMNS):
            raise UserError(f"{where}: has fewer cells than the header; the file may be cut off")
        version = _number(row["schema_version"], f"{where}: schema_version", whole=True)
        if version is None or version > SCHEMA_VERSION:
            raise UserError(
                f"{where}: schema_version {row['schema_version'] or '(empty)'}, but this software reads "
                f"{SCHEMA_VERSION}; update it, or save the corrections again from its own page"
            )
        items.append(_correction(row, where, reader.line_num))
        tables.append(row["table"].strip())
    if not items:
        raise UserError(f"{name}: holds no correction")
    if len(set(tables)) > 1:
        raise UserError(f"{name}: its rows belong to {len(set(tables))} different tables; apply each by itself")
    return Corrections(tuple(items), tables[0], name)


def _correction(row: dict[str, str], where: str, line: int) -> Correction:
    action = row["action"].strip()
    if action not in NEEDED:
        raise UserError(f"{where}: action {action!r} is not one of {', '.join(NEEDED)}")
    values: dict[str, Any] = {"kind": row["kind"].strip() or None}
    for column in COLUMNS[3:]:
        if column != "kind":
            whole = column in ("frame", "track", "frame_to")
            values[column] = _number(row[column], f"{where}: {column}", whole)
    for column in NEEDED[action]:
        if values[column] is None:
            raise UserError(f"{where}: {action} needs {column}")
    return Correction(action, line=line, **values)


def _number(text: str, what: str, whole: bool = False) -> float | int | None:
    text = text.strip()
    if text in ("", "nan"):
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (whole and value != int(value)):
        raise UserError(f"{what} is {text!r}, no {'whole ' if whole else ''}number")
    return int(value) if whole else value
