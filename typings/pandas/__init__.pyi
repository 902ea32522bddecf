"""Taken as Any: the types that are there are guessed from its code, or say less than its documentation."""

from typing import Any

def __getattr__(name: str) -> Any: ...
