"""A file that grows, opened: an MRC series says how many images it has when it is closed, or before they are there.

Source of the header: Cheng et al., J. Struct. Biol. 192, 146 (2015) (MRC2014).
"""

import struct
from pathlib import Path

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io import opening
from stemdefects.io.movie import LazyFrames, Movie

HEADER = 1024  # bytes
TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}  # by mode; others (complex, colour) cannot be intensities
LITTLE = 0x44  # first byte of the machine stamp; 0x11: big
ANGSTROM_NM = 0.1  # the header states lengths in angstroms


def open_growing(path: Path, signal: str | None) -> Movie:
    """The movie in a file that is being written. Raises UserError where it cannot be read (yet)."""
    if path.suffix.lower() == ".mrc":
        made = _by_size(path)
        if made is not None:
            return made
    return opening.open_one(path, signal)


def _by_size(path: Path) -> Movie | None:
    """The whole images that the file has room for; None where its header says another number and is right, or it is
    none that is known here."""
    try:
        with open(path, "rb") as file:
            head = file.read(HEADER)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if len(head) < HEADER:
        raise UserError(f"{path}: is not complete yet")
    order = "<" if head[212] in (LITTLE, 0) else ">"
    nx, ny, nz, mode = struct.unpack(f"{order}4i", head[:16])
    (mx, my), (x_len, y_len) = struct.unpack(f"{order}2i", head[28:36]), struct.unpack(f"{order}2f", head[40:48])
    (extended,) = struct.unpack(f"{order}i", head[92:96])
    if mode not in TYPES or min(nx, ny) < 1 or extended < 0:
        return None
    kind = np.dtype(f"{order}{TYPES[mode]}")
    n = (size - HEADER - extended) // (nx * ny * kind.itemsize)
    if n == nz:
        return None  # as the file says: its reader knows more of it
    if n < 1:
        raise UserError(f"{path}: holds no complete image yet")

    def get(index: int) -> np.ndarray:
        start = HEADER + extended + index * nx * ny * kind.itemsize
        return np.fromfile(path, kind, nx * ny, offset=start).reshape(ny, nx)

    known = mx > 0 and my > 0 and x_len > 0 and y_len > 0
    pixel = (y_len / my * ANGSTROM_NM, x_len / mx * ANGSTROM_NM) if known else None
    return Movie(LazyFrames(get, (n, ny, nx), kind), pixel, source=str(path), metadata={"path": str(path)})
