"""Frames as they come, through inference, to the journal, the page and whoever listens, until no more come."""

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from stemdefects.inference.columns import site_columns
from stemdefects.io import opening
from stemdefects.io.movie import Movie
from stemdefects.live.account import Account
from stemdefects.live.incoming import growing
from stemdefects.live.incoming.growing import Entry, GrowingFrames
from stemdefects.live.incoming.journal import Journal
from stemdefects.live.incoming.watch import Arrived, Watch
from stemdefects.live.publish import Publisher
from stemdefects.live.results import Called, Results, learned
from stemdefects.live.server import Page
from stemdefects.messages import LOG
from stemdefects.schema import InferenceConfig, LiveConfig

LEARN_FROM = 8  # frames, where `inference.first_frames` does not say it: as many as calibration takes of a movie
SAID = 12  # last messages that the page shows
RECENT = 21  # frames that say how fast they come and how long one takes
BEHIND = 12  # frames that wait, beyond which it is said
OTHER_SCALE = 0.005  # relative difference of a stated pixel size that is said


class Asked(NamedTuple):
    """What is watched, and how: text of `watch=`, settings, and the folder for results that are kept until the end."""

    text: str
    settings: InferenceConfig
    live: LiveConfig
    folder: Path


class Loop:
    """One watch. `results` and `setup` are there once the first frames came."""

    def __init__(self, asked: Asked, model: Any, journal: Journal, page: Page | None, publisher: Publisher):
        self.asked, self.model, self.journal = asked, model, journal
        self.page, self.publisher = page, publisher
        self.watch = Watch(asked.text, asked.settings.signal, asked.live.settle_s)
        self.movie: Movie | None = None
        self.frames: GrowingFrames | None = None
        self.results: Results | None = None
        self.account: Account | None = None
        self.entries: list[Entry] = []
        self.changed: set[str] = set()  # files that are another now than when they were read
        self._changed_s: dict[int, float] = {}  # of frames that came in this process
        self._said: deque[str] = deque(maxlen=SAID)
        self._came_s: deque[float] = deque(maxlen=RECENT)
        self._took_s: deque[float] = deque(maxlen=RECENT)
        self._latency_s: deque[float] = deque(maxlen=RECENT)
        self._pixel_nm: float | None = None
        self._shape: tuple[int, int] | None = None
        self._acquired: list[str | None] = []
        self._behind = False
        self._announced: set[str] = set()

    @property
    def learn_from(self) -> int:
        """Frames that are waited for before the first is called."""
        return max(self.asked.settings.first_frames or LEARN_FROM, self.asked.settings.over_time.min_frames)

    def known(self, record: dict[str, Any]) -> None:
        """A `taken` record of a process before."""
        came = Arrived(**{k: v for k, v in record.items() if k != "taken"}, changed_s=-np.inf)
        self.watch.known(came.file, came.stop, came.size, came.modified_ns, came.bad is not None)
        self._enter(came)

    def run(self) -> str:
        """Work until no more frames are waited for; returns why."""
        with _first_interrupt() as interrupted, threadpool_limits(1, "blas"):
            last, said_quiet = time.monotonic(), False
            self._show("waiting for frames")
            while True:
                now = time.monotonic()
                came = self._take(self.watch.look(now))
                if came:
                    last, said_quiet = now, False
                worked = self._work()
                if not worked and (ended := self._ended(now - last, interrupted)):
                    break
                if not came and not worked:
                    said_quiet = self._quiet(time.monotonic() - last, said_quiet)
                    interrupted.wait(self.asked.live.poll_s)
            self._take(self.watch.rest(time.monotonic()))
            if self.movie is not None and len(self.movie) >= self.learn_from:
                while self._work(ended=True):
                    pass
        return ended

    def say(self, text: str, doubt: bool = False) -> None:
        """Tell the user, here and on the page."""
        (LOG.warning if doubt else LOG.info)("%s", text)
        self._said.append(text)

    def _ended(self, quiet_s: float, interrupted: threading.Event) -> str | None:
        live, n = self.asked.live, len(self.entries)
        if interrupted.is_set():
            return "interrupted: no more frames are waited for (once more: stop at once)"
        if self.page is not None and self.page.finish.is_set():
            return "the page says that no more frames come"
        if live.stop_frames is not None and n >= live.stop_frames:
            return f"{n} frames came (live.stop_frames={live.stop_frames})"
        if live.stop_after_s is not None and quiet_s >= live.stop_after_s:
            return f"no new frame for {quiet_s:.0f} s (live.stop_after_s={live.stop_after_s:g})"
        return None

    def _quiet(self, quiet_s: float, said: bool) -> bool:
        """Say once that frames have stopped coming; whether that was said."""
        usual = np.median(np.diff(self._came_s)) if len(self._came_s) > 2 else np.inf
        if said or quiet_s < max(10.0, 5 * usual):
            return said
        end = self.asked.live.stop_after_s
        rest = "" if end is None else f"; after {end:g} s the table is made"
        self.say(f"no new frame for {quiet_s:.0f} s: waiting{rest}")
        self._show("waiting for frames")
        return True

    def _take(self, arrived: list[Arrived]) -> int:
        """Write down what came before anything is done with it."""
        for file in dict.fromkeys(self.watch.changed):
            self.changed.add(file)
            self.journal.write({"changed": file})
            self.say(f"{Path(file).name}: changed after it was read; the table at the end takes it as it is then", True)
        self.watch.changed.clear()
        for one in arrived:
            self.journal.write({"taken": True, **{k: v for k, v in one._asdict().items() if k != "changed_s"}})
            self._tell(one)
            n = len(self.entries)
            self._enter(one)
            for k in range(n, len(self.entries)):
                self._changed_s[k] = one.changed_s
                self._came_s.append(one.changed_s)
        return len(arrived)

    def _tell(self, one: Arrived) -> None:
        """What is odd about a file."""
        name = Path(one.file).name
        if one.bad is not None:
            self._announced.add(one.file)
            self.say(f"{name}: left out, {one.bad.removeprefix(f'{one.file}: ')}", True)
        if one.shape is not None and self._shape is not None and tuple(one.shape) != self._shape:
            (h, w), (first_h, first_w) = one.shape, self._shape
            self._announced.add(one.file)
            self.say(f"{name}: {h} x {w} px where the first has {first_h} x {first_w}; left out", True)
        if one.pixel_size_nm and self._pixel_nm and abs(one.pixel_size_nm / self._pixel_nm - 1) > OTHER_SCALE:
            text = f"states {one.pixel_size_nm:.5g} nm/px where the first has {self._pixel_nm:.5g}: a new scale?"
            if text not in self._announced:
                self._announced.add(text)
                self.say(f"{name}: {text} Its frames are flagged where their lattice says so", True)

    def _enter(self, one: Arrived) -> None:
        """Frames of a file become frames of the movie."""
        if one.bad is None and self._shape is None and one.shape is not None:
            self._shape, self._pixel_nm = (one.shape[0], one.shape[1]), one.pixel_size_nm
            with opening.open_one(Path(one.file), self.asked.settings.signal) as first:
                self.movie, self.frames = growing.movie(first, self.asked.text, self.asked.settings)
            for entry in self.entries:  # those before it that could not be read
                self.frames.add(entry)
        for k in range(one.first, one.stop):
            self.entries.append(Entry(one.file, k))
            self._acquired.append(one.acquired)
            if self.frames is not None:
                self.frames.add(self.entries[-1])

    def _work(self, ended: bool = False) -> bool:
        """Call the next frame, if there is one; whether there was."""
        if self.movie is None or len(self.movie) < self.learn_from:
            return False
        if self.results is None:
            self._begin()
        assert self.results is not None
        behind = max(self.model.frames, self.asked.settings.average_frames) // 2  # frames that it is shown with
        number = self.results.done
        if number >= len(self.movie) or (not ended and number + behind >= len(self.movie)):
            return False
        start = time.monotonic()
        called = self.results.call(number)
        self.results.keep(called.block)
        self._account(called)
        self._took_s.append(time.monotonic() - start)
        self._pace()
        return True

    def _begin(self) -> None:
        """Learn from the first frames, and take up what a process before has done."""
        assert self.movie is not None
        self._show("learning from the first frames")
        settings = self.asked.settings
        setup = learned(self.movie, self.model, settings, self.asked.folder)
        self.results = Results(self.movie, setup, self.asked.folder)
        self.account = Account(setup, self.asked.live, self.movie.dose_e_per_px)
        self.say(setup.calibration.message)
        if setup.reference_px is None:
            self.say("no lattice found: defects have no sites, so that nothing is followed from frame to frame", True)
        self._time()
        for frame in self.results.replay():
            self.account.add(frame)
        if self.results.done:
            self.say(f"going on: {self.results.done} frames were done before")

    def _time(self) -> None:
        """Time between frames: stated, or from when single images were acquired."""
        account = self.account
        if account is None or account.frame_time_s is not None:
            return
        from datetime import datetime

        from stemdefects.io.readers.conventions import units
        from stemdefects.io.readers.folder import interval_of_whole_seconds

        with contextlib.suppress(TypeError, ValueError):
            moments = [datetime.fromisoformat(text or "") for text in self._acquired]
            times = units.start_times(np.array([(m - moments[0]).total_seconds() for m in moments]), len(moments))
            if times is not None and len(times) > 2:
                account.frame_time_s = interval_of_whole_seconds(times) or float(np.median(np.diff(times)))

    def _account(self, called: Called) -> None:
        """A frame that is kept goes to the account, the page and whoever listens."""
        assert self.account is not None and self.results is not None
        number = called.block.number
        (frame,) = site_columns.frames(lambda _: called.block, [0])
        told = self.account.add(frame)
        if called.error is not None:
            told = self._why_left_out(number, str(called.error))
        if told is not None:
            self.say(told, True)
        since = self._changed_s.pop(number, None)
        latency = None if since is None else time.monotonic() - since
        if latency is not None:
            self._latency_s.append(latency)
        entry = self.entries[number]
        self.publisher.send({
            "frame": number, "file": entry.file, "index": entry.place, "quality": int(frame.row["quality"]),
            "doubt": int(frame.row["doubt"]), "latency_s": None if latency is None else round(latency, 3),
            "calls": self.account.calls, **self.account.line(),
        })  # fmt: skip
        self.journal.write({"called": number, "latency_s": latency})
        self._show("at work", called.image)

    def _why_left_out(self, number: int, error: str) -> str | None:
        """Why a frame is left out, where its file has not been told of."""
        file, index = self.entries[number]
        if file in self._announced:
            return None
        which = "" if self.movie is None or len(self.movie) < 2 or index == 0 else f", frame {index}"
        reason = error.removeprefix(f"{self.asked.text}, frame {number}: ").removeprefix(f"{file}: ")
        return f"{Path(file).name}{which}: left out, {reason}"

    def _pace(self) -> None:
        """Say when frames come faster than they are called, and when that is made up for."""
        assert self.results is not None
        waiting = len(self.entries) - self.results.done
        if waiting > BEHIND and not self._behind and len(self._came_s) > 2:
            each, took = float(np.median(np.diff(self._came_s))), float(np.median(self._took_s))
            if took > each:
                self._behind = True
                self.say(f"falls behind: a frame comes every {each:.2f} s and takes {took:.2f} s; {waiting} wait", True)
        elif self._behind and waiting <= 1:
            self._behind = False
            self.say("no frame waits any more")

    def _show(self, status: str, image: np.ndarray | None = None) -> None:
        if self.page is None:
            return
        done = 0 if self.results is None else self.results.done
        took = sorted(self._latency_s)
        state: dict[str, Any] = {
            "status": status, "watch": self.asked.text, "frames": len(self.entries), "done": done,
            "waiting": len(self.entries) - done, "said": list(self._said),
            "latency_s": took[len(took) // 2] if took else None,
        }  # fmt: skip
        if self.account is not None and self.movie is not None:
            height, width = self.movie.shape[1:]
            state |= {
                "sentence": self.account.sentence(), "cards": self.account.cards(), "points": self.account.points,
                "calls": self.account.calls, "looks": self.account.looks(), "curves": self.account.curves(),
                "shape": [height, width],
                "skipped": self.account.skipped, "pixel_size_nm": self.account.setup.calibration.pixel_size_nm,
            }  # fmt: skip
        self.page.show(state, image)

    def finished(self, status: str) -> None:
        """Show how it ended."""
        self._show(status)


@contextlib.contextmanager
def _first_interrupt() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, the second interrupts."""
    event, before = threading.Event(), None

    def interrupt(*_: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    with contextlib.suppress(ValueError):  # not the main thread
        before = signal.signal(signal.SIGINT, interrupt)
    try:
        yield event
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)
