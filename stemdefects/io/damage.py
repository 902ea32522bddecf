"""Whose fault an exception is: that of a damaged file, met by the library that reads it, or that of our own code."""

from types import TracebackType

# Python code of NumPy that takes a file apart; the rest of NumPy only does what its caller asks
_NUMPY_READERS = ("numpy.lib", "numpy._core._memmap", "numpy._core.memmap", "numpy.core.memmap")
# what a library raises wherever it notices: no memory for what a header promises, a disk that went away
_ALWAYS_THE_FILE = (MemoryError, OSError, EOFError, SystemExit)


def of_the_file(error: BaseException) -> bool:
    """Was `error` raised inside a library that was given a file, and not by a line of this package?

    A mistake of ours must show as what it is, and not be told to the user as a damaged file.
    """
    return isinstance(error, _ALWAYS_THE_FILE) or not _raised_in(error.__traceback__).startswith("stemdefects")


def reason(error: BaseException, length: int = 120) -> str:
    """What the library said, on one line of at most `length` characters."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:length]


def _raised_in(trace: TracebackType | None) -> str:
    """Name of the module that raised; NumPy's functions count as the module that called them."""
    name = ""
    while trace is not None:
        module = trace.tb_frame.f_globals.get("__name__", "")
        if not module.startswith("numpy") or module.startswith(_NUMPY_READERS):
            name = module
        trace = trace.tb_next
    return name
