"""Which frames are there, whole: a folder into which files come, or one file that grows.

A file counts as written when its size and time of change have stayed as they are for `settle_s`. Time is that of a
clock that never jumps (`time.monotonic`, given by the caller); the clock of the files is only compared with itself.
Files are taken in the order in which a folder is read as a movie; one that is not complete yet keeps those behind it
waiting for a while, and is then a bad frame in its place, or comes late.
"""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io import opening
from stemdefects.io.movie import Movie
from stemdefects.io.readers import folder
from stemdefects.live.incoming.mrc_series import open_growing

PATIENCE = 4.0  # settle times that a file which cannot be read keeps others waiting
LEAST_PATIENCE_S = 2.0  # the same at least, however short the settle time
LOOK_AHEAD = 16  # frames of a file laid out beforehand that are looked at for the last one written


class Arrived(NamedTuple):
    """Frames [first, stop) of `file` are there; changed_s: when it was last seen to change; bad: why its frame cannot
    be read; size, modified_ns: the file's; pixel_size_nm, acquired: what it states; shape: (H, W) of a frame."""

    file: str
    first: int
    stop: int
    changed_s: float
    size: int
    modified_ns: int
    bad: str | None = None
    pixel_size_nm: float | None = None
    acquired: str | None = None
    shape: tuple[int, int] | None = None


@dataclass
class _File:
    """What is known of a file. taken: frames; settled: its state when they were; changed: taken, and another since."""

    state: tuple[int, int]
    since_s: float
    first_s: float
    taken: int = 0
    settled: tuple[int, int] | None = None
    bad: bool = False
    changed: bool = False


class Watch:
    """Looks at `text`, a folder or one file. `changed`: files that are no longer what was taken; `late`: frames were
    taken in another order than a folder is read in."""

    def __init__(self, text: str, signal: str | None, settle_s: float):
        self.text, self._signal, self._settle = text, signal, settle_s
        self._patience = max(PATIENCE * settle_s, LEAST_PATIENCE_S)
        there = folder.existing(text)
        if there is None:
            raise UserError(f"watch={text}: no such folder or file; make the folder first")
        self._growing = not there.is_dir() or there.suffix.lower() == ".zspy"
        self._path = there
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()
        self.changed: list[str] = []
        self.unreadable: str | None = None  # why the file that grows cannot be read, where it could not be

    def known(self, file: str, n: int, size: int, modified_ns: int, bad: bool) -> None:
        """Frames [0, n) of a file were taken by a process before, when it was of this size and time."""
        self._files[file] = _File((size, modified_ns), -np.inf, -np.inf, n, (size, modified_ns), bad)

    def notice(self, now_s: float) -> None:
        """See which files are there and have changed, and open none: for a thread beside other work."""
        with self._lock:
            for path in self._paths():
                self._state(path, now_s)

    def look(self, now_s: float) -> list[Arrived]:
        """Frames that have come and are whole; now_s: of a clock that never jumps."""
        with self._lock:
            return self._look(now_s)

    def _look(self, now_s: float) -> list[Arrived]:
        found = []
        for path, known in [(path, self._state(path, now_s)) for path in self._paths()]:
            if known is None or known.settled == known.state:
                continue
            arrived = self._look_at(path, known, now_s)
            if arrived is not None:
                found.append(arrived)
            elif not self._growing and not known.taken and now_s - known.first_s < self._settle + self._patience:
                break  # those behind it wait, so that frames count in the order in which they were recorded
        return found

    def rest(self, now_s: float) -> list[Arrived]:
        """All that is there and was not taken, whole or not: nothing more is waited for."""
        found = []
        for path in self._members():
            known = self._state(path, now_s)
            if known is not None and (self._growing or known.settled != known.state):
                found.append(self._take(path, known, last=True))
        return [one for one in found if one is not None]

    def order(self) -> list[Path]:
        """Files in the order in which they are read as a movie."""
        return self._members()

    def _members(self) -> list[Path]:
        return [self._path] if self._growing else folder.members(self.text)

    def _paths(self) -> list[Path]:
        try:
            return self._members()
        except OSError:  # the disk is away for a moment
            return []

    def _state(self, path: Path, now_s: float) -> _File | None:
        try:
            stat = path.stat()
        except OSError:
            return None
        state = (stat.st_size, stat.st_mtime_ns)
        known = self._files.get(str(path))
        if known is None:
            known = self._files[str(path)] = _File(state, now_s, now_s)
        if known.state != state:
            known.state, known.since_s = state, now_s
        return known

    def _look_at(self, path: Path, known: _File, now_s: float) -> Arrived | None:
        quiet_s = now_s - known.since_s
        if not self._growing and quiet_s < self._settle:
            return None
        return self._take(path, known, quiet_s >= self._settle, quiet_s >= self._settle + self._patience)

    def _take(
        self, path: Path, known: _File, quiet: bool = True, give_up: bool = True, last: bool = False
    ) -> Arrived | None:
        """What can be taken of a file."""
        state = known.state
        try:
            movie = open_growing(path, self._signal) if self._growing else opening.open_one(path, self._signal)
        except UserError as error:
            return self._bad(path, known, str(error), give_up and quiet)
        self.unreadable = None
        with movie:
            n = len(movie)
            if self._growing and not last:
                n = self._written(movie, known.taken, n if quiet else n - 1)
            if known.taken and known.settled is not None and not self._growing and state != known.settled:
                known.changed = True
                self.changed.append(str(path))
            new = n > known.taken and not known.bad
            if last or (quiet and not (self._growing and new)):  # what grows may hold more than was looked at
                known.settled = state
            if not new:
                return None
            first, known.taken = known.taken, n
            return Arrived(
                str(path),
                first,
                n,
                known.since_s,
                *state,
                None,
                movie.pixel_size_nm,
                movie.metadata.get("acquired"),
                movie.shape[1:],
            )

    def _bad(self, path: Path, known: _File, reason: str, give_up: bool) -> Arrived | None:
        if self._growing:
            self.unreadable = reason
        if not give_up or self._growing:
            return None
        state, known.settled = known.state, known.state
        if known.taken:
            return None
        known.taken, known.bad = 1, True
        return Arrived(str(path), 0, 1, known.since_s, *state, reason)

    def _written(self, movie: Movie, start: int, stop: int) -> int:
        """Frames of a growing file that hold something: it may be laid out with empty frames beforehand."""
        n = start
        for k in range(start, min(stop, start + LOOK_AHEAD)):
            try:
                frame = np.asarray(movie.frames[k])
            except Exception:  # the reader's libraries raise anything at half a frame
                break
            if frame.size and frame.min() != frame.max():
                n = k + 1
        return n
