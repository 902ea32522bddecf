"""Files that came become frames of one movie: written down first, and what is odd about them said."""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects.io.movie import Movie
from stemdefects.io.readers.conventions import units
from stemdefects.io.readers.folder import interval_of_whole_seconds
from stemdefects.live.incoming import growing
from stemdefects.live.incoming.growing import Entry, GrowingFrames
from stemdefects.live.incoming.journal import Journal
from stemdefects.live.incoming.mrc_series import open_growing
from stemdefects.live.incoming.watch import Arrived, Watch
from stemdefects.schema import InferenceConfig, LiveConfig

RECENT = 21  # frames that say how fast they come
OTHER_SCALE = 0.005  # relative difference of a stated pixel size that is said
SPARING = 10.0  # times a look at a large folder takes: so much lies between two of them

Say = Callable[[str, bool], None]  # a sentence, and whether it is a doubt


class Intake:
    """Frames of what is watched. entries: where each is; movie: of them, None before one could be read; changed: files
    that are another now than when they were read; changed_s: when the file of a frame was last seen to change, of those
    that came in this process; came_s: the same of the last frames."""

    def __init__(self, text: str, settings: InferenceConfig, live: LiveConfig, journal: Journal, say: Say):
        self.text, self.settings, self.live = text, settings, live
        self._journal, self._say = journal, say
        self.watch = Watch(text, settings.signal, live.settle_s)
        self.entries: list[Entry] = []
        self.movie: Movie | None = None
        self.changed: set[str] = set()
        self.changed_s: dict[int, float] = {}
        self.came_s: deque[float] = deque(maxlen=RECENT)
        self._frames: GrowingFrames | None = None
        self._pixel_nm: float | None = None
        self._shape: tuple[int, int] | None = None
        self._acquired: list[str | None] = []
        self._told: set[str] = set()  # files and sentences that were told of

    def known(self, record: dict[str, Any]) -> None:
        """A record of the journal of a process before."""
        if "changed" in record:
            self.changed.add(record["changed"])
        if "taken" in record:
            came = Arrived(**{k: v for k, v in record.items() if k != "taken"}, changed_s=-np.inf)
            self.watch.known(came.file, came.stop, came.size, came.modified_ns, came.bad is not None)
            self._enter(came)

    def look(self) -> int:
        """Take what has come; how many files that were."""
        return self._take(self.watch.look(time.monotonic()))

    def rest(self) -> None:
        """Take all that is there: nothing more is waited for."""
        self._take(self.watch.rest(time.monotonic()))

    @contextlib.contextmanager
    def noticing(self) -> Iterator[None]:
        """A thread that sees when files change while a frame is at work: from then on it counts how long they rest."""
        stop = threading.Event()

        def look() -> None:
            wait = self.live.poll_s
            while not stop.wait(wait):
                start = time.monotonic()
                self.watch.notice(start)
                wait = max(self.live.poll_s, SPARING * (time.monotonic() - start))

        thread = threading.Thread(target=look, name="watch", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def interval_s(self) -> float | None:
        """Time between frames by when single images were acquired; None where files do not say it."""
        with contextlib.suppress(TypeError, ValueError):
            moments = [datetime.fromisoformat(text or "") for text in self._acquired]
            times = units.start_times(np.array([(m - moments[0]).total_seconds() for m in moments]), len(moments))
            if times is not None and len(times) > 2:
                return interval_of_whole_seconds(times) or float(np.median(np.diff(times)))
        return None

    def why_left_out(self, number: int, error: str) -> str | None:
        """Why a frame is left out; None where its file has been told of."""
        file, place = self.entries[number]
        if file in self._told:
            return None
        which = "" if place == 0 else f", frame {place}"
        reason = error.removeprefix(f"{self.text}, frame {number}: ").removeprefix(f"{file}: ")
        return f"{Path(file).name}{which}: left out, {reason}"

    def _take(self, arrived: list[Arrived]) -> int:
        """Write down what came before anything is done with it."""
        for file in dict.fromkeys(self.watch.changed):
            self.changed.add(file)
            self._journal.write({"changed": file})
            self._say(f"{Path(file).name}: changed after it was read; the table takes it as it is at the end", True)
        self.watch.changed.clear()
        for one in arrived:
            self._journal.write({"taken": True, **{k: v for k, v in one._asdict().items() if k != "changed_s"}})
            self._tell(one)
            n = len(self.entries)
            self._enter(one)
            for k in range(n, len(self.entries)):
                self.changed_s[k] = one.changed_s
                self.came_s.append(one.changed_s)
        return len(arrived)

    def _tell(self, one: Arrived) -> None:
        """What is odd about a file."""
        name = Path(one.file).name
        if one.bad is not None:
            self._told.add(one.file)
            self._say(f"{name}: left out, {one.bad.removeprefix(f'{one.file}: ')}", True)
        if one.shape is not None and self._shape is not None and tuple(one.shape) != self._shape:
            (h, w), (first_h, first_w) = one.shape, self._shape
            self._told.add(one.file)
            self._say(f"{name}: {h} x {w} px where the first has {first_h} x {first_w}; left out", True)
        if one.pixel_size_nm and self._pixel_nm and abs(one.pixel_size_nm / self._pixel_nm - 1) > OTHER_SCALE:
            text = f"states {one.pixel_size_nm:.5g} nm/px where the first has {self._pixel_nm:.5g}: a new scale?"
            if text not in self._told:
                self._told.add(text)
                self._say(f"{name}: {text} Its frames are flagged where their lattice says so", True)

    def _enter(self, one: Arrived) -> None:
        """Frames of a file become frames of the movie."""
        if one.bad is None and self._shape is None and one.shape is not None:
            self._shape, self._pixel_nm = (one.shape[0], one.shape[1]), one.pixel_size_nm
            with open_growing(Path(one.file), self.settings.signal) as first:
                self.movie, self._frames = growing.movie(first, self.text, self.settings)
            for entry in self.entries:  # those before it that could not be read
                self._frames.add(entry)
        for k in range(one.first, one.stop):
            self.entries.append(Entry(one.file, k))
            self._acquired.append(one.acquired)
            if self._frames is not None:
                self._frames.add(self.entries[-1])
