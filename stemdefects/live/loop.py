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

from stemdefects.inference import notices
from stemdefects.inference.columns import site_columns
from stemdefects.io.movie import Movie
from stemdefects.live.account import Account
from stemdefects.live.incoming.intake import RECENT, Intake
from stemdefects.live.incoming.journal import Journal
from stemdefects.live.publish import Publisher
from stemdefects.live.results import Called, Results, learned
from stemdefects.live.server import Page
from stemdefects.messages import LOG
from stemdefects.schema import InferenceConfig, LiveConfig

LEARN_FROM = 8  # frames, where `inference.first_frames` does not say it: as many as calibration takes of a movie
SAID = 12  # last messages that the page shows
BEHIND = 12  # frames that wait, beyond which it is said


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
        self.intake = Intake(asked.text, asked.settings, asked.live, journal, self.say)
        self.results: Results | None = None
        self.account: Account | None = None
        self._said: deque[str] = deque(maxlen=SAID)
        self._took_s: deque[float] = deque(maxlen=RECENT)
        self._latency_s: deque[float] = deque(maxlen=RECENT)
        self._behind = False

    @property
    def learn_from(self) -> int:
        """Frames that are waited for before the first is called."""
        return max(self.asked.settings.first_frames or LEARN_FROM, self.asked.settings.over_time.min_frames)

    def run(self) -> str:
        """Work until no more frames are waited for; returns why."""
        with _first_interrupt() as interrupted, self.intake.noticing(), threadpool_limits(1, "blas"):
            last, said_quiet = time.monotonic(), False
            self._show("waiting for frames")
            while True:
                came = self.intake.look()
                if came:
                    last, said_quiet = time.monotonic(), False
                worked = self._work()
                if not worked and (ended := self._ended(time.monotonic() - last, interrupted)):
                    break
                if not came and not worked:
                    said_quiet = self._quiet(time.monotonic() - last, said_quiet)
                    interrupted.wait(self.asked.live.poll_s)
            self.intake.rest()
            while self._work(ended=True):
                pass
        return ended

    def say(self, text: str, doubt: bool = False) -> None:
        """Tell the user, here and on the page."""
        (LOG.warning if doubt else LOG.info)("%s", text)
        self._said.append(text)

    def _ended(self, quiet_s: float, interrupted: threading.Event) -> str | None:
        live, n = self.asked.live, len(self.intake.entries)
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
        usual = np.median(np.diff(self.intake.came_s)) if len(self.intake.came_s) > 2 else np.inf
        if said or quiet_s < max(10.0, 5 * usual):
            return said
        end = self.asked.live.stop_after_s
        rest = "" if end is None else f"; after {end:g} s the table is made"
        why = "" if self.intake.watch.unreadable is None else f" ({self.intake.watch.unreadable})"
        self.say(f"no new frame for {quiet_s:.0f} s: waiting{rest}{why}", doubt=bool(why))
        self._show("waiting for frames")
        return True

    def _work(self, ended: bool = False) -> bool:
        """Call the next frame, if there is one; whether there was."""
        movie = self.intake.movie
        if movie is None or len(movie) < self.learn_from:
            return False
        if self.results is None:
            self._begin(movie)
        assert self.results is not None
        behind = max(self.model.frames, self.asked.settings.average_frames) // 2  # frames that it is shown with
        number = self.results.done
        if number >= len(movie) or (not ended and number + behind >= len(movie)):
            return False
        start = time.monotonic()
        called = self.results.call(number)
        self.results.keep(called.block)
        self._account(called)
        self._took_s.append(time.monotonic() - start)
        self._pace()
        return True

    def _begin(self, movie: Movie) -> None:
        """Learn from the first frames, and take up what a process before has done."""
        self._show("learning from the first frames")
        settings = self.asked.settings
        setup = learned(movie, self.model, settings, self.asked.folder)
        self.results = Results(movie, setup, self.asked.folder)
        self.account = Account(setup, self.asked.live)
        self.say(setup.calibration.message)
        self.say(f"dose: {notices.dose(setup.dose)}")
        if setup.reference_px is None:
            self.say("no lattice found: defects have no sites, so that nothing is followed from frame to frame", True)
        if self.account.frame_time_s is None:
            self.account.frame_time_s = self.intake.interval_s()
        for frame in self.results.replay():
            self.account.add(frame)
        if self.results.done:
            self.say(f"going on: {self.results.done} frames were done before")

    def _account(self, called: Called) -> None:
        """A frame that is kept goes to the account, the page and whoever listens."""
        assert self.account is not None and self.results is not None
        number = called.block.number
        (frame,) = site_columns.frames(lambda _: called.block, [0])
        told = self.account.add(frame)
        if called.error is not None:
            told = self.intake.why_left_out(number, str(called.error))
        if told is not None:
            self.say(told, True)
        since = self.intake.changed_s.pop(number, None)
        latency = None if since is None else time.monotonic() - since
        if latency is not None:
            self._latency_s.append(latency)
        entry = self.intake.entries[number]
        self.publisher.send(
            {
                "frame": number,
                "file": entry.file,
                "index": entry.place,
                "quality": int(frame.row["quality"]),
                "doubt": int(frame.row["doubt"]),
                "latency_s": None if latency is None else round(latency, 3),
                "calls": self.account.calls,
                **self.account.line(),
            }
        )
        self.journal.write({"called": number, "latency_s": latency})
        self._show("at work", called.image)

    def _pace(self) -> None:
        """Say when frames come faster than they are called, and when that is made up for."""
        assert self.results is not None
        waiting = len(self.intake.entries) - self.results.done
        if waiting > BEHIND and not self._behind and len(self.intake.came_s) == len(self._took_s) == RECENT:
            each, took = (self.intake.came_s[-1] - self.intake.came_s[0]) / (RECENT - 1), float(np.median(self._took_s))
            if took > each > 0:
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
            "status": status,
            "watch": self.asked.text,
            "frames": len(self.intake.entries),
            "done": done,
            "waiting": len(self.intake.entries) - done,
            "said": list(self._said),
            "latency_s": took[len(took) // 2] if took else None,
        }
        if self.account is not None and self.intake.movie is not None:
            height, width = self.intake.movie.shape[1:]
            state |= {
                "sentence": self.account.sentence(),
                "cards": self.account.cards(),
                "points": self.account.points,
                "calls": self.account.calls,
                "looks": self.account.looks(),
                "curves": self.account.curves(),
                "shape": [height, width],
                "skipped": self.account.skipped,
                "pixel_size_nm": self.account.setup.calibration.pixel_size_nm,
            }
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
