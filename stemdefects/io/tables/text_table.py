"""Tables written as text by whatever program: delimiters, decimal commas, units and header lines told from the content.

`read` returns columns of text with their units; `numbers` makes one of them numeric. What the columns mean is for the
caller. What cannot be decided is a `UserError` that names the way out, never a guess.
"""

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stemdefects.errors import UserError

DELIMITERS = ("\t", ";", ",", "|")
MISSING = {"", "nan", "na", "n/a", "#n/a", "null", "none", "-", "--", "inf", "-inf", "+inf", "undefined"}
HEADER_REACH = 30  # lines in which the header must begin
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$")
_COMMA = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?$")
_GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d*)?$")
_UNIT = re.compile(r"^(.*?)[\s_]*[\[(]\s*([^\])]*?)\s*[\])]\s*$")
_NO_TABLE = {
    b"PK\x03\x04": "an Excel workbook or archive; save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV",
    b"\x1f\x8b": "compressed; unpack it first",
    b"<?xml": "XML; export the spots as CSV (TrackMate: Export spots)",
    b"<TrackMate": "XML; export the spots as CSV (TrackMate: Export spots)",
    b"PAR1": "a Parquet file; save it as CSV",
}


@dataclass
class TextTable:
    """Columns of text, (n,) of str each, by their name as written; `units` of those that state one; `path`."""

    columns: dict[str, np.ndarray]
    units: dict[str, str]
    path: Path

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))


def read(path: str | Path) -> TextTable:
    """Read a table of text: UTF-8 or -16, with or without byte order mark; separated by tabs, semicolons, commas, bars
    or blanks; cells quoted or not; comment lines (#), a title and lines of units allowed.

    Raises UserError for what is no such table.
    """
    path = Path(path)
    lines = _lines(path)
    delimiter = _delimiter(lines)
    start, header = _header(path, lines, delimiter)
    cells = _cells(path, lines[start + 1 :], delimiter, len(header))
    below = _lines_of_header(cells)
    units = {}
    names = [_named(name, i) for i, name in enumerate(header)]
    for i, name in enumerate(names):
        split = _UNIT.match(name)
        texts = [cells[i][k] for k in range(below)]
        inside = [m.group(2) for m in map(_UNIT.match, texts) if m and not m.group(1)]
        if split and split.group(1):
            units[name] = split.group(2)
        elif inside:
            units[name] = inside[-1]
    doubled = {name for name in names if names.count(name) > 1}
    columns = {}
    for i, name in enumerate(names):
        column = cells[i][below:]
        if name in doubled and name in columns and not np.array_equal(columns[name], column):
            raise UserError(f"{path}: two columns are called {name!r} and differ; rename or remove one")
        columns[name] = column
    return TextTable(columns, units, path)


def _lines(path: Path) -> list[str]:
    """Lines that are neither blank nor comment; a comment that is the header of a table of numbers is kept."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: not a readable CSV table ({error.strerror})") from None
    for magic, what in _NO_TABLE.items():
        if data.lstrip(b"\xef\xbb\xbf \r\n").startswith(magic):
            raise UserError(f"{path}: {what}")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", errors="replace")
    else:
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("latin-1")  # Excel in Western Europe: units such as a micron sign
    if not all(c.isprintable() or c in "\t\r\n\f" for c in text[:4096]):
        raise UserError(f"{path}: not a readable CSV table (binary data); give a .csv or .h5 table")
    lines = [line for line in text.splitlines() if line.strip(' \t;,|"')]
    comments = [line for line in lines if line.lstrip().startswith("#")]
    lines = [line for line in lines if not line.lstrip().startswith("#")]
    if lines and comments and sum(_is_number(c) for c in re.split(r"[\s,;|]+", lines[0].strip())) > 1:
        lines.insert(0, comments[-1].lstrip().lstrip("#").lstrip())  # as numpy.savetxt writes it
    if lines and re.fullmatch(r"sep=.", lines[0].strip(), re.IGNORECASE):  # a hint for Excel
        del lines[0]
    if not lines:
        raise UserError(f"{path}: not a readable CSV table (no lines in it)")
    return lines


def _delimiter(lines: list[str]) -> str | None:
    """What separates cells, None for blanks: the first of `DELIMITERS` that stands in nearly all of the first lines."""
    head = [re.sub(r'"[^"]*"', "", line) for line in lines[:200]]
    words = [line for line in head[:HEADER_REACH] if not any(_is_number(part) for part in line.split())]
    for mark in DELIMITERS:
        share = np.mean([mark in line for line in head])
        # blanks between decimal commas: the names of the columns have no comma
        if share > (0.8 if len(head) > 9 else 0.5) and any(mark in line for line in words):
            return mark
    return None


def _split(line: str, delimiter: str | None) -> list[str]:
    import csv

    if delimiter is None:
        return line.split()
    return [cell.strip() for cell in next(csv.reader([line], delimiter=delimiter, skipinitialspace=True))]


def _header(path: Path, lines: list[str], delimiter: str | None) -> tuple[int, list[str]]:
    """(line, names): the first line of words that is as wide as the lines of the table."""
    parts = [_split(line, delimiter) for line in lines[: HEADER_REACH + 100]]
    widths = [len(p) for p in parts]
    usual = max(set(widths), key=lambda w: (widths.count(w), w))
    for i, cells in enumerate(parts[:HEADER_REACH]):
        while len(cells) > 1 and not cells[-1]:
            cells = cells[:-1]
        if any(_is_number(c) for c in cells) and all(_is_number(c) or not c for c in cells):
            raise UserError(f"{path}: no line with the names of the columns; put one above, e.g. frame,y_px,x_px,kind")
        words = not any(_is_number(c) for c in cells) and len(cells) >= max(usual / 2, 2)
        wide = widths[i] >= usual - 1 or words or len(lines) == 1
        if (wide and sum(bool(c) for c in cells) >= 2) or usual == 1:
            return i, cells
    raise UserError(f"{path}: not a readable CSV table (no line of column names in its first {HEADER_REACH} lines)")


def _cells(path: Path, lines: list[str], delimiter: str | None, width: int) -> list[np.ndarray]:
    """`width` columns of (n,) str. Lines may end in empty cells; one leading cell more is a number of rows."""
    import pandas as pd

    if not lines:
        return [np.empty(0, str)] * width
    options = {"sep": delimiter} if delimiter else {"sep": r"\s+"}
    first = max(len(_split(line, delimiter)) for line in lines[:200])
    try:
        frame = pd.read_csv(
            io.StringIO("\n".join(lines)),
            header=None,
            names=range(max(first, width)),
            dtype=str,
            keep_default_na=False,
            skipinitialspace=True,
            engine="c",
            **options,
        ).fillna("")
    except ValueError as error:
        reason = str(error).splitlines()[0].replace("Error tokenizing data. C error: ", "")
        raise UserError(f"{path}: not a readable CSV table ({reason}; lines of the table counted)") from None
    columns = [frame[i].str.strip().to_numpy(object) for i in frame]
    extra = columns[width:]
    if all((column == "").all() for column in extra):
        return columns[:width]
    first_cells = list(columns[0][:50])
    counted = [[str(i + start) for i in range(len(first_cells))] for start in (0, 1)]
    if len(extra) == 1 and (extra[0] != "").all() and first_cells in counted:
        return columns[1:]
    raise UserError(
        f"{path}: lines have {len(columns)} cells where the header has {width} names; decimal commas need another "
        "mark between the cells (semicolon, tab), or quotes"
    )


def _lines_of_header(cells: list[np.ndarray], most: int = 4) -> int:
    """Lines below the names without any number in them, as TrackMate writes: longer names, units."""
    n = len(cells[0])
    for k in range(min(most, n)):
        if any(_is_number(column[k]) for column in cells):
            return k if k < n else 0
    return 0


def _named(name: str, i: int) -> str:
    return name.strip().strip("\ufeff") or f"unnamed {i}"


def _is_number(text: str) -> bool:
    text = text.strip().strip('"').replace("\u00a0", "")
    return bool(_PLAIN.match(text) or _COMMA.match(text) or _GROUPED.match(text))


def numbers(table: TextTable, name: str) -> np.ndarray:
    """(n,) float64 of a column, NaN where a cell is no number. Decimal commas and marks between thousands are read.

    Raises UserError where commas may be either.
    """
    import pandas as pd

    texts = table.columns[name]
    fast = pd.to_numeric(pd.Series(texts, dtype=object), errors="coerce").to_numpy(float, copy=True)
    left = np.flatnonzero(~np.isfinite(fast))
    left = left[[texts[i].lower() not in MISSING for i in left]] if len(left) else left
    if not len(left):
        return np.where(np.isfinite(fast), fast, np.nan)
    rest = [re.sub(r"(?<=\d)[\s\u00a0\u202f'](?=\d)", "", texts[i]).replace("\u2212", "-") for i in left]
    grouped = [bool(_GROUPED.match(t)) for t in rest]
    comma = [bool(_COMMA.match(t)) for t in rest]
    german = [bool(re.match(r"[+-]?[1-9]\d{0,2}(\.\d{3})+,\d+$", t)) for t in rest]
    dots = len(left) < len(texts) and any("." in texts[i] for i in np.flatnonzero(np.isfinite(fast)))
    if any(german) or any(c and not g for c, g in zip(comma, grouped, strict=True)):
        decimal = True
    elif any(grouped):
        decimal = not dots and not any("." in t for t in rest) and not np.isfinite(fast).any()
        if not decimal and not dots and not any("." in t or t.count(",") > 1 for t in rest):
            raise UserError(
                f"{table.path}: column {name!r} holds {texts[left[0]]!r}: a decimal comma or a thousands separator? "
                "Write numbers with a decimal point and without separators"
            )
    else:
        decimal = False
    if decimal and dots:
        raise UserError(f"{table.path}: column {name!r} mixes decimal points and decimal commas; write one of them")
    for i, text in zip(left, rest, strict=True):
        text = text.replace(".", "").replace(",", ".") if decimal else text.replace(",", "")
        if _PLAIN.match(text):
            fast[i] = float(text)
    return np.where(np.isfinite(fast), fast, np.nan)
