"""Libraries of others that a conversion is made with."""

import importlib
from typing import Any

from stemdefects.errors import UserError


def needed(name: str, what: str) -> Any:
    """The module `name`. Raises UserError, with the way to get it, where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.split(".")[0]
        raise UserError(f"{what} needs {package}, which is not installed: pip install {package}") from None
