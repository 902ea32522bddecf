"""The compiled part (numba): loops are compiled once per machine and run without the interpreter's lock."""

import sys
from importlib.util import find_spec


def _numba():
    """numba, even where a script's folder holds a file `coverage.py`, which it would take for the coverage tool."""
    found = None if "coverage" in sys.modules else find_spec("coverage")
    if found is not None and not str(found.origin).endswith("__init__.py"):
        sys.modules["coverage"] = None  # says "not installed"
        try:
            import numba
        finally:
            del sys.modules["coverage"]
        return numba
    import numba

    return numba


_njit = _numba().njit
entry = _njit(cache=True, nogil=True, error_model="numpy")
# called from compiled code only: no wrappers for Python, which would cost more to compile than the loops themselves
inner = _njit(cache=True, nogil=True, error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)
