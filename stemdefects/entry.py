"""The thin shell around Hydra that every entry script shares.

`command_line.py` checks the arguments before Hydra composes; here the composed config is validated, a `UserError`
becomes one line and exit code 2, and so does what the machine refuses: a disk that is full or read-only, a missing
device, a reader that closed the pipe.
"""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stemdefects import command_line, config, messages, sweep_grid
from stemdefects.errors import UserError, reason_of

FAILED_JOBS: set[str] = set()  # folders of a sweep's jobs that failed
ERROR_FILE = "error.txt"
INTERRUPTED = 130  # exit code as shells know it: 128 and the signal's number


def hydra_main(
    config_name: str, schema_class: type, function: Callable[[Any], Any], aliases: dict[str, str] | None = None
) -> None:
    """Run `function(cfg)` with `cfg` a validated instance of `schema_class`, composed by Hydra from the command line.

    `aliases` maps short command-line keys to config keys (infer.py: `model` -> `inference.model`).
    Exit codes: 0 done, 2 a `UserError` (one line on stderr), 130 interrupted.
    """
    completing = any(argument in ("-sc", "--shell-completion") for argument in sys.argv[1:])
    multirun = any(argument in ("-m", "--multirun") for argument in sys.argv[1:])
    try:
        if not completing:  # what a shell asks for is no setting
            sys.argv[1:] = command_line.prepare(sys.argv[1:], schema_class, aliases or {})
        if multirun:
            sweep_grid.check(sys.argv[1:], config_name, schema_class)
    except UserError as error:
        _exit_with(error)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands over its errors instead of printing them and ending
    import hydra

    @hydra.main(version_base="1.3", config_path=str(config.config_dir()), config_name=config_name)
    def task(cfg):
        try:
            whole = config.to_object(cfg, schema_class)
            messages.show(whole.verbose)
            return function(whole)
        except Exception as error:
            reason = _reason(error)
            if multirun and reason is not None:  # one bad job must not cost the others
                print(f"error: {reason}", file=sys.stderr, flush=True)
                _leave(reason)
                return None
            _end(error)  # here, because Hydra would tell of it in its own words
            raise

    logging.raiseExceptions = False  # loggers of libraries on a full disk: our own line says it
    for name in ("jax", "absl", "orbax"):  # Hydra shows every logger's INFO
        logging.getLogger(name).setLevel(logging.WARNING)
    with _output_that_may_break(), _ending_like_an_interrupt():
        try:
            task()
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr, flush=True)
            sys.exit(INTERRUPTED)
        except Exception as error:
            _end(error)
            raise
    if FAILED_JOBS:
        first = Path(min(FAILED_JOBS, key=lambda folder: (len(folder), folder))) / ERROR_FILE
        reason = f"; the first: {first.read_text().strip()} ({first})" if first.is_file() else ""
        print(f"error: {len(FAILED_JOBS)} job(s) failed{reason}", file=sys.stderr, flush=True)
        sys.exit(2)


@contextlib.contextmanager
def _ending_like_an_interrupt():
    """SIGTERM (a queue's time limit, a shutdown) ends the work like Ctrl-C: what is done is kept."""

    def interrupt(*_):
        raise KeyboardInterrupt

    try:
        before = signal.signal(signal.SIGTERM, interrupt)
    except ValueError:  # not the main thread
        before = None
    try:
        yield
    finally:
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _reason(error: Exception) -> str | None:
    """Why, in one line, where the user or the machine is the cause; None: a mistake of ours, which shows as such."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, HydraException | OmegaConfBaseException):
        lines = [line.strip() for line in f"{error}\n{error.__cause__ or ''}".splitlines() if line.strip()]
        return ". ".join(dict.fromkeys(lines[:2]))
    return reason_of(error)


def _end(error: Exception) -> None:
    """End the process with one line for `error`, where there is one to be said."""
    if (reason := _reason(error)) is not None:
        _exit_with(UserError(reason))


class _Unbreakable:
    """Output whose reader may go (`python train.py | head -1`): the work goes on, and what it says goes nowhere."""

    def __init__(self, stream: Any):
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._trying(lambda: self._stream.write(text)) or len(text)

    def flush(self) -> None:
        self._trying(self._stream.flush)

    def _trying(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except BrokenPipeError:
            with contextlib.suppress(OSError, ValueError):  # ValueError: no real file
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self._stream.fileno())
                os.close(nowhere)
            return None


@contextlib.contextmanager
def _output_that_may_break():
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _Unbreakable(sys.stdout), _Unbreakable(sys.stderr)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
        sys.stdout, sys.stderr = before


def _leave(reason: str) -> None:
    """Note that this job of a sweep failed, in its folder, which the process that started it will look into."""
    from hydra.core.hydra_config import HydraConfig

    folder = Path(HydraConfig.get().runtime.output_dir)
    FAILED_JOBS.add(str(folder.resolve()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ERROR_FILE).write_text(f"{reason}\n")
    except OSError:  # a full disk: it was printed
        pass


def collect_failures(sweep_dir: Path) -> None:
    """Count the jobs under `sweep_dir` that failed in other processes."""
    FAILED_JOBS.update(str(path.parent.resolve()) for path in Path(sweep_dir).glob(f"*/{ERROR_FILE}"))


def _exit_with(error: UserError) -> None:
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.exit(2)
