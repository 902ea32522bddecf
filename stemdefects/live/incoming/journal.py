"""What was done, one JSON line each, on the disk before anything goes on.

A process that is killed leaves at most one torn line, which is cut off when the journal is opened again. Records:
`begun` (of what: the same for a run to be gone on with), `taken` (frames of a file, in the order in which they count),
`changed` (a file that was taken is another one now), `called` (a frame whose results are kept), `ended` (no more frames
are waited for, and why), `done` (the table is there).
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = "live.jsonl"


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Whole records of the journal at `path`, none where there is no such file."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            try:
                record = json.loads(line)
            except ValueError:  # of a disk that lost a part of it
                return
            yield record


class Journal:
    """An open journal. Only for who holds the run's lock."""

    def __init__(self, path: Path):
        whole = 0
        if path.is_file():
            with open(path, "rb") as file:
                for line in file:
                    try:
                        json.loads(line)
                    except ValueError:
                        break
                    if not line.endswith(b"\n"):
                        break
                    whole += len(line)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        os.ftruncate(self._file, whole)
        os.lseek(self._file, whole, os.SEEK_SET)

    def write(self, record: dict[str, Any]) -> None:
        """Append a record; it is on the disk when this returns."""
        data = json.dumps(record, default=str).encode() + b"\n"
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)
