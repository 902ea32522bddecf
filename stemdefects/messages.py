"""What is said along the way, by the one logger of this software; results are printed by the commands.

Commands show it: messages on stdout, warnings and errors on stderr. A program that uses this as a library decides by
`logging.getLogger("stemdefects")`; unless it does, Python shows warnings alone.
"""

import logging
import sys
import warnings
from typing import Any

LOG = logging.getLogger("stemdefects")
LEVELS = (logging.WARNING, logging.INFO, logging.DEBUG)  # by how much is asked for (`verbose=`)
PREFIX = {logging.WARNING: "warning: ", logging.ERROR: "error: ", logging.CRITICAL: "error: "}


class _Console(logging.Handler):
    """Lines on whatever stdout and stderr are at the moment, above progress bars where there are some."""

    def emit(self, record: logging.LogRecord) -> None:
        stream = sys.stderr if record.levelno >= logging.WARNING else sys.stdout
        text = PREFIX.get(record.levelno, "") + record.getMessage()
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(text, file=stream)
        else:
            print(text, file=stream)
        stream.flush()


_CONSOLE = _Console()


def show(verbose: int = 1) -> None:
    """Show what is said. verbose: 0: warnings alone; 1: what is done, too; 2: also how long it takes."""
    LOG.setLevel(LEVELS[verbose])
    LOG.propagate = False
    if _CONSOLE not in LOG.handlers:
        LOG.addHandler(_CONSOLE)


def progress_bar() -> Any:
    """The class of progress bars that suits where this runs: widgets in a notebook that has them, else lines.

    That a notebook has none is nothing to be warned of.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from tqdm.auto import tqdm
    return tqdm
