"""A movie of the frames that came so far, read by the readers of all files."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from stemdefects.errors import UserError
from stemdefects.inference.source import overruled
from stemdefects.io.movie import UNREADABLE, FrameError, LazyFrames, Movie
from stemdefects.live.incoming.mrc_series import open_growing
from stemdefects.schema import InferenceConfig


class Entry(NamedTuple):
    """A frame: the file it is in, and its place there."""

    file: str
    place: int


class GrowingFrames(LazyFrames):
    """Frames behind a list of entries that grows; one file is open at a time."""

    def __init__(self, frame_shape: tuple[int, int], dtype: np.dtype, signal: str | None):
        super().__init__(self._read, (0, *frame_shape), dtype, self._close_file)
        self.entries: list[Entry] = []
        self._signal = signal
        self._open: tuple[str, Movie] | None = None

    def add(self, entry: Entry) -> None:
        self.entries.append(entry)
        self.shape = (len(self.entries), *self.shape[1:])

    def _read(self, number: int) -> np.ndarray:
        file, index = self.entries[number]
        if self._open is None or self._open[0] != file or index >= len(self._open[1]):  # or it has grown since
            self._close_file()
            try:
                self._open = file, open_growing(Path(file), self._signal)
            except UserError as error:
                raise FrameError(UNREADABLE, str(error)) from None
        if index >= len(self._open[1]):
            raise FrameError(UNREADABLE, f"{file}: frame {index} is no longer there")
        return self._open[1].frames[index]

    def _close_file(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None


def movie(first: Movie, source: str, settings: InferenceConfig) -> tuple[Movie, GrowingFrames]:
    """An empty movie like `first`, the first that could be read, and its frames, to which entries are added.

    What is said of time, dose and pixels is the first file's, with the user's word before it.
    """
    frames = GrowingFrames(first.shape[1:], first.frames.dtype, settings.signal)
    frames.shape = (1, *frames.shape[1:])  # a movie of none is refused
    made = Movie(
        frames,
        first.pixel_size_yx_nm,
        first.frame_time_s,
        first.dose_e_per_px,
        source,
        first.metadata,
        signal=first.signal,
        signals=first.signals,
        aspect=first.aspect,
        remarks=first.remarks,
    )
    frames.shape = (0, *frames.shape[1:])
    return overruled(made, settings), frames
