"""stemdefects: from movies of atoms to numbers.

In a notebook, four lines (arguments and results in the docstring of each function):

    import stemdefects as sd
    movie = sd.read("movie.dm4")
    table = sd.detect(movie, run="latest")
    result = sd.analyze(table)
    result.report("out.html")

Names are imported when first used, so that `import stemdefects` costs nothing.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "read": "stemdefects.io.opening",
    "Movie": "stemdefects.io.movie",
    "DefectTable": "stemdefects.io.tables.table",
    "detect": "stemdefects.commands.detection",
    "analyze": "stemdefects.commands.results",
    "Result": "stemdefects.commands.results",
    "export": "stemdefects.models.exchange.export",
    "load_model": "stemdefects.commands.detection",
    "load_material": "stemdefects.commands.results",
    "simulate": "stemdefects.commands.simulate",
    "UserError": "stemdefects.errors",
    "StemdefectsWarning": "stemdefects.errors",
}

__all__ = [
    "DefectTable",
    "Movie",
    "Result",
    "StemdefectsWarning",
    "UserError",
    "__version__",
    "analyze",
    "detect",
    "export",
    "load_material",
    "load_model",
    "read",
    "simulate",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'stemdefects' has no attribute '{name}'; it has: {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted(__all__)
