"""One process at a time works on a run: `with held(run, "infer"): ...`.

The lock is the operating system's (flock) on a file in the run folder, so that it vanishes with the process, however
that ends. The file says who holds it; the next one is told.
"""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from stemdefects.errors import UserError
from stemdefects.io.runs import Run

NAME = ".lock"


@contextlib.contextmanager
def held(run: Run, stage: str) -> Iterator[None]:
    """Keep others from `run` while the block runs; a swap of results that was cut off is finished first.

    Raises UserError when another process is at work on the run (with its stage, number, machine and start), or when the
    folder cannot be written.
    """
    from stemdefects.io import staging

    path = run.path / NAME
    try:
        file = _acquire(path)
    except OSError as error:
        raise UserError(
            f"run {run.id}: its folder cannot be written to ({(error.strerror or str(error)).lower()}): {run.path}"
        ) from None
    if file is None:
        raise UserError(f"run {run.id}: {_holder(path)}; wait until it is done, or stop it")
    try:
        _sign(file, stage)
        staging.settle(run)
        yield
    finally:
        with contextlib.suppress(OSError):  # while we hold it, or another might hold a file that is gone
            path.unlink()
        os.close(file)


def _acquire(path: Path) -> int | None:
    """The locked file; None when another process has it."""
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        except (ImportError, OSError):  # no locks on this system or disk
            return file
        try:
            if os.fstat(file).st_ino == os.stat(path).st_ino:
                return file
        except FileNotFoundError:
            pass
        os.close(file)  # of a process that has just ended, and is no longer in the folder


def _sign(file: int, stage: str) -> None:
    who = {
        "stage": stage,
        "process": os.getpid(),
        "host": socket.gethostname(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S"),
    }
    with contextlib.suppress(OSError):  # a full disk: the lock holds without
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(who).encode(), 0)


def _holder(path: Path) -> str:
    """Who holds the lock, in words."""
    try:
        who = json.loads(path.read_text())
        return f"{who['stage']} is at work on it (process {who['process']} on {who['host']}, since {who['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process is at work on it"
