"""The compiled part: see `stemdefects.compiled`."""

from stemdefects.compiled import entry, inner

__all__ = ["entry", "inner"]
