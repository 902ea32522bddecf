"""Files `<name>.raw16`: one line of text (frames, height, width, nm per pixel, s per frame), then 16-bit counts."""

import numpy as np

from stemdefects import Movie, UserError


def open_file(path, signal):
    """The movie in `path`; signal: which of several, None: the usual one."""
    with open(path, "rb") as file:
        head = file.readline().split()
        n, height, width = (int(word) for word in head[:3])
        counts = np.frombuffer(file.read(), "<u2")
    if len(counts) != n * height * width:
        raise UserError(f"{path}: {len(counts)} pixels where its first line promises {n * height * width}")
    return Movie(counts.reshape(n, height, width), float(head[3]), float(head[4]), source=path)
