"""HDF5 files that may be written to a disk that fills up.

When a write fails in the HDF5 library, closing the file fails too, and h5py ends the process (segmentation fault). So
the library writes through a file object of ours: the first failure is kept, what HDF5 writes after it goes nowhere, and
`check` and `close` raise the failure as the OSError it was.
"""

import io
from pathlib import Path
from typing import Any


class Output:
    """The HDF5 file `path`, made anew. file: the `h5py.File` to fill."""

    def __init__(self, path: str | Path):
        import h5py

        self._raw = _Kept(path)
        self.file = h5py.File(self._raw, "w")

    def check(self) -> None:
        """Raise the OSError of the first write that failed, if one did."""
        if self._raw.failure is not None:
            raise self._raw.failure

    def flush(self) -> None:
        """Write what HDF5 holds back; raises like `check`."""
        self.file.flush()
        self.check()

    def close(self) -> None:
        """Close the file; raises like `check`. May be called again."""
        if self.file:
            self.file.close()
        self._raw.close()
        self.check()

    def abandon(self) -> None:
        """Close the file, whole or not, without raising."""
        self._raw.failure = self._raw.failure or OSError("abandoned")
        if self.file:
            self.file.close()
        self._raw.close()

    def __enter__(self) -> Any:
        return self.file

    def __exit__(self, kind: Any, *_: Any) -> None:
        self.abandon() if kind else self.close()


class _Kept(io.FileIO):
    """A file whose first failure of writing is kept as `failure`; from then on it only looks as if it were written."""

    def __init__(self, path: str | Path):
        self.failure: OSError | None = None
        super().__init__(path, "w+")
        self._place = str(path)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        while self.failure is None and done < len(view):  # a disk may take a part of it
            try:
                done += super().write(view[done:]) or 0
            except OSError as error:
                self._keep(error)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        try:
            if self.failure is None:
                return super().truncate(size)
        except OSError as error:
            self._keep(error)
        return size or 0

    def _keep(self, error: OSError) -> None:
        self.failure = OSError(error.errno, error.strerror, self._place)

    def readinto(self, buffer: Any) -> int:
        count = super().readinto(buffer) or 0
        if count < len(buffer) and self.failure is not None:  # what went nowhere
            memoryview(buffer).cast("B")[count:] = bytes(len(buffer) - count)
            return len(buffer)
        return count
