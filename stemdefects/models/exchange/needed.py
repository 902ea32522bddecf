"""Packages of extras, imported when they are needed."""

import importlib
from typing import Any

from stemdefects.errors import UserError


def package(name: str) -> Any:
    """The package `name`. Raises UserError that says how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(f'{name} is not installed; it comes with: pip install "stemdefects[hub]"') from None
