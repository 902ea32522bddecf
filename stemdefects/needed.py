"""Libraries that only some of what we do needs: imported when it is asked for."""

import importlib
from typing import Any

from stemdefects.errors import UserError

HUB = '"stemdefects[hub]"'  # the extra that brings what networks are exported with


def needed(name: str, what: str, install: str | None = None) -> Any:
    """The module `name`. Raises UserError, with the way to get it (`install`: what pip takes; None: the package
    itself), where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".")[0]
        raise UserError(f"{what} needs {package}, which is not installed: pip install {install or package}") from None
