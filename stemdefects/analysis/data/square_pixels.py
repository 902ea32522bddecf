"""Table and movie as if pixels were square: what looks at pictures needs one scale for both axes."""

from dataclasses import replace
from typing import Protocol

import numpy as np

from stemdefects.analysis.data.detections import Detections


class Frames(Protocol):
    """Where pictures come from: a movie (`io.movie.Movie`), as it is or with square pixels."""

    def __len__(self) -> int: ...

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width)."""
        ...

    def frame(self, index: int) -> np.ndarray:
        """(H, W); raises `FrameError` where it cannot be read."""
        ...


class SquareMovie:
    """A movie whose pixels are `aspect` times as high as wide, shown with square ones; first rows coincide."""

    def __init__(self, movie: Frames, aspect: float):
        self._movie, self._aspect = movie, float(aspect)

    def __len__(self) -> int:
        return len(self._movie)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width) as shown."""
        from stemdefects.models.frames.resample import resampled_shape

        n, height, width = self._movie.shape
        return n, resampled_shape((height, width), (self._aspect, 1.0))[0], width

    def frame(self, index: int) -> np.ndarray:
        """(H, W) float32; raises `FrameError` as the movie does."""
        from stemdefects.models.frames.resample import square_pixels

        return square_pixels(np.asarray(self._movie.frame(index), np.float32)[None], self._aspect)[0]


def view(found: Detections, movie: Frames | None) -> tuple[Detections, Frames | None]:
    """(detections, movie or None) in square pixels as wide as the movie's; the same ones where pixels are square.

    Lengths (`yx`, `y_nm`) do not change; rows, lattice vectors and drift in pixels do.
    """
    aspect = float(found.scale_yx[0] / found.scale_yx[1])
    if aspect == 1:
        return found, movie
    rows = found.rows.copy()
    rows["y_px"] *= aspect
    frames = found.frames
    if frames is not None:
        names = [name for name in frames if name.endswith("_y_px")]
        frames = frames.assign(**{name: frames[name] * aspect for name in names})
    width = found.scale_yx[1]
    square = replace(found, rows=rows, frames=frames, pixel_size_yx_nm=np.array([width, width]))
    return square, None if movie is None else SquareMovie(movie, aspect)
