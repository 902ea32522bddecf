"""The compiled part: see `stemdefects.compiled`."""

from stemdefects.compiled import entry, inner, rows, tiny

__all__ = ["entry", "inner", "rows", "tiny"]
