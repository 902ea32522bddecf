"""Decorators for loops that are compiled (numba) once per machine and run without the interpreter's lock."""

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path


def _numba():
    """numba, even where a script's folder holds a file `coverage.py`, which it would take for the coverage tool."""
    found = None if "coverage" in sys.modules else find_spec("coverage")
    if found is not None and not str(found.origin).endswith("__init__.py"):
        sys.modules["coverage"] = None  # type: ignore[assignment]  # says "not installed"
        try:
            import numba
        finally:
            del sys.modules["coverage"]
        return numba
    import numba

    return numba


_njit = _numba().njit


def forget_stale(folder: Path) -> None:
    """Delete what is compiled of a folder, and of those in it, whose sources have changed since.

    numba keeps compiled code by the file of a function, and does not look at the functions it calls: after an update a
    chain would go on with old rates.
    """
    kept = folder / "__pycache__"
    sources = [(path.relative_to(folder), path.stat()) for path in sorted(folder.rglob("*.py"))]
    state = "".join(f"{name} {s.st_size} {s.st_mtime_ns}\n" for name, s in sources)
    stamp = kept / "compiled.stamp"
    try:
        if stamp.exists() and stamp.read_text() == state:
            return
        for path in folder.rglob("__pycache__/*.nb[ic]"):
            path.unlink(missing_ok=True)
        kept.mkdir(exist_ok=True)
        stamp.write_text(state)
    except OSError:  # a folder that cannot be written to holds nothing that was compiled here
        pass


def _compiled(**options) -> Callable[[Callable], Callable]:
    def decorate(function: Callable) -> Callable:
        try:
            return _njit(cache=True, nogil=True, error_model="numpy", **options)(function)
        except RuntimeError:  # no folder to keep it in: compiled anew in each process
            return _njit(nogil=True, error_model="numpy", **options)(function)

    return decorate


entry = _compiled()
# called from compiled code only: no wrappers for Python, which would cost more to compile than the loops themselves
inner = _compiled(no_cpython_wrapper=True, no_cfunc_wrapper=True)
# loops over many places: sums may be reordered, so that they run several at a time
rows = _compiled(no_cpython_wrapper=True, no_cfunc_wrapper=True, fastmath={"reassoc", "contract", "nsz"})
# a few lines each, put where they are called: a call would cost more, for it counts references to its arrays
tiny = _compiled(no_cpython_wrapper=True, no_cfunc_wrapper=True, inline="always")
