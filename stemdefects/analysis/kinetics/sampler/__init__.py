"""The compiled part: see `stemdefects.compiled`."""

from pathlib import Path

from stemdefects.compiled import entry, forget_stale, inner, rows, tiny

forget_stale(Path(__file__).parent)

__all__ = ["entry", "inner", "rows", "tiny"]
