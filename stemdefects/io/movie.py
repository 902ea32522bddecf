"""A movie of frames, read lazily, whatever file it comes from.

`read(path)` opens a file, a folder or a glob; `Movie(array, pixel_size_nm=...)` wraps an array. A frame is read when
it is used, so that memory does not grow with the length of the movie.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io import damage
from stemdefects.numerics.figures import positive

MAX_FRAME_PIXELS = 2**27  # 11,585 px square: a header that promises more is damaged, or no frame of a movie

# Why a frame was skipped; the number goes to column `quality` of table `/frames`.
QUALITY = {
    0: "ok",
    1: "unreadable",
    2: "other size than the first",
    3: "not finite",
    4: "constant",
    5: "saturated",
    6: "not an intensity image",
    7: "hardly a valid pixel",
}
UNREADABLE, OTHER_SIZE, NOT_FINITE, CONSTANT, SATURATED, NOT_INTENSITY, INVALID = range(1, 8)


class FrameError(UserError):
    """One frame cannot be used. `quality` is the number in `QUALITY`; the movie goes on without it."""

    def __init__(self, quality: int, message: str):
        super().__init__(message)
        self.quality = quality


class LazyFrames:
    """A sequence of frames behind a function.

    `get(i)` returns frame i as a 2-D array; `shape` is (n_frames, height, width) with the size of the first frame.
    """

    def __init__(self, get: Callable[[int], np.ndarray], shape: tuple, dtype: Any, close: Callable | None = None):
        self._get, self.shape, self.dtype, self._close = get, tuple(int(n) for n in shape), np.dtype(dtype), close

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> np.ndarray:
        if isinstance(index, tuple):  # (frames, y, x), as of an array
            frames, *inside = index
            return self[frames][(slice(None), *inside) if isinstance(frames, slice) else tuple(inside)]
        if isinstance(index, slice):
            return np.stack([self._get(i) for i in range(*index.indices(len(self)))])
        index = int(index)
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of {len(self)}")
        return self._get(index % len(self))

    def close(self) -> None:
        if self._close:
            self._close()


class Movie:
    """Frames with their calibration. A single image is a movie of one frame.

    Args:
        frames: (n, height, width), or (height, width) for one image; any array-like indexed by frame (NumPy, h5py,
            dask, `LazyFrames`). Further axes of length 1 before or behind are dropped.
        pixel_size_nm: sampling as the file states it, nm per pixel, or (height, width) of a pixel that is not square;
            None: unknown.
        frame_time_s: constant time from one frame to the next; None: unknown, or not constant.
        dose_e_per_px: incident electrons per pixel and frame; None: unknown.
        source: file name or what the frames are.
        metadata: everything else the file says.
        times_s: (n,) recorded starts of the frames, increasing, in any distances; None: not recorded.
        signal: name of the signal that the frames show; signals: of all signals of the file.
        aspect: height over width of a pixel, where that is known and its size is not.
        remarks: what whoever uses the frames has to be told of how they were read, one sentence each.

    Raises:
        UserError: when the array is not a stack of images.
    """

    def __init__(
        self,
        frames: Any,
        pixel_size_nm: float | tuple[float, float] | None = None,
        frame_time_s: float | None = None,
        dose_e_per_px: float | None = None,
        source: str = "array",
        metadata: Mapping[str, Any] | None = None,
        *,
        times_s: Any = None,
        signal: str | None = None,
        signals: Sequence[str] = (),
        aspect: float | None = None,
        remarks: Sequence[str] = (),
    ):
        if not hasattr(frames, "ndim"):
            frames = np.asarray(frames)
        self.source, self.metadata = str(source), dict(metadata or {})
        self.signal, self.signals, self.remarks = signal, tuple(signals), tuple(remarks)
        self.second: Movie | None = None  # another detector of the same scan
        kept = frames.shape[:-1] if frames.ndim == 3 and frames.shape[-1] == 1 else frames.shape
        kept = [n for n in kept if n != 1] if len(kept) > 3 else list(kept)
        if len(kept) in (2, 3) and len(kept) < frames.ndim and hasattr(frames, "reshape"):
            frames = frames.reshape(kept)
        if frames.ndim == 2:
            frames = frames[None]
        if frames.ndim != 3:
            shape = " x ".join(map(str, frames.shape))
            raise UserError(f"{source}: data of shape {shape} is neither an image nor a movie of images")
        n, height, width = frames.shape
        if n < 1 or min(height, width) < 1:
            raise UserError(f"{source}: holds no pixels (shape {n} x {height} x {width})")
        if height * width > MAX_FRAME_PIXELS:
            raise UserError(f"{source}: a frame of {height} x {width} px is too large, or the header is damaged")
        self.frames = frames
        stated: Any = pixel_size_nm
        sizes = np.ravel(self.metadata.get("pixel_size_yx_nm", stated) if np.ndim(stated) == 0 else stated)
        if len(sizes) not in (1, 2):
            raise UserError(f"{source}: pixel_size_nm={pixel_size_nm!r} is neither a number nor (height, width)")
        height_nm, width_nm = (_positive("pixel_size_nm", size, source) for size in (sizes[0], sizes[-1]))
        self.pixel_size_nm = width_nm
        if height_nm is not None and width_nm is not None:
            self.aspect = float(height_nm / width_nm)
        else:
            self.aspect = _positive("aspect", aspect, source) or 1.0
        self.times_s = None if times_s is None else _times(times_s, n, source)
        self.frame_time_s = _positive("frame_time_s", frame_time_s, source)
        if self.times_s is not None and n > 1:
            self.frame_time_s = interval(self.times_s)
        self.dose_e_per_px = _positive("dose_e_per_px", dose_e_per_px, source)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width)."""
        n, height, width = (int(n) for n in self.frames.shape)
        return n, height, width

    @property
    def pixel_size_yx_nm(self) -> tuple[float, float] | None:
        """(height, width) of a pixel in nm; None: unknown. `pixel_size_nm` is the width."""
        return None if self.pixel_size_nm is None else (self.pixel_size_nm * self.aspect, self.pixel_size_nm)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int) -> np.ndarray:
        return self.frame(index)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self.frame(i) for i in range(len(self)))

    def __repr__(self) -> str:
        n, height, width = self.shape
        size = "unknown sampling" if self.pixel_size_nm is None else f"{self.pixel_size_nm:.5g} nm/px"
        if self.pixel_size_nm is not None and abs(self.aspect - 1) > 1e-3:
            size = f"{self.pixel_size_nm * self.aspect:.5g} x {size} (y, x)"
        time = "" if self.frame_time_s is None else f", {self.frame_time_s:.4g} s/frame"
        if self.times_s is not None and self.frame_time_s is None and n > 1:
            steps = np.diff(self.times_s)
            time = f", recorded times {steps.min():.4g} to {steps.max():.4g} s apart"
        files = self.metadata.get("files", ())
        names = f", {len(files)} files from {Path(files[0]).name} to {Path(files[-1]).name}" if len(files) > 1 else ""
        signal = "" if self.signal is None or len(self.signals) < 2 else f", signal {self.signal}"
        others = ", ".join(n for n in self.signals if not f"{self.signal} ".startswith(f"{n} "))
        signal += f" (also there: {others})" if signal and others else ""
        frames = f"{n} frame{'s' * (n > 1)} of {height} x {width} px"
        return f"Movie({Path(self.source).name}: {frames}, {size}{time}{signal}{names})"

    def frame(self, index: int, whole: bool = False) -> np.ndarray:
        """Frame `index` as (height, width) float32, checked by `check_frame`, its invalid pixels filled. whole: that
        was done before and found none, and is not done again.

        Raises FrameError when the frame cannot be read or used, IndexError when there is none.
        """
        raw = self._read(index) if whole else None
        return self.checked(index).image if raw is None or raw.ndim != 2 else np.array(raw, np.float32, order="C")

    def checked(self, index: int) -> "Checked":
        """Frame `index` and its invalid pixels, see `check_frame`; raises as `frame` does."""
        return check_frame(self._read(index), f"{self.source}, frame {index}")

    def _read(self, index: int) -> np.ndarray:
        """Frame `index` as it is stored; raises as `frame` does."""
        try:
            raw = np.asarray(self.frames[index])
        except (FrameError, IndexError, KeyboardInterrupt):
            raise
        except MemoryError:
            raise FrameError(UNREADABLE, f"{self.source}, frame {index}: does not fit into memory") from None
        except Exception as error:  # libraries given damaged files raise anything
            if not damage.of_the_file(error):
                raise
            why = damage.reason(error)
            raise FrameError(UNREADABLE, f"{self.source}, frame {index}: cannot be read ({why})") from None
        if raw.ndim == 2 and raw.shape != self.shape[1:]:
            got, first = (f"{h} x {w}" for h, w in (raw.shape, self.shape[1:]))
            raise FrameError(OTHER_SIZE, f"{self.source}, frame {index}: {got} px where the first has {first}")
        return raw

    def close(self) -> None:
        """Close the file; frames can no longer be read."""
        if hasattr(self.frames, "close"):
            self.frames.close()

    def __enter__(self) -> "Movie":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Checked(NamedTuple):
    """A frame that can be used. image: (height, width) float32, finite; invalid: (height, width) bool, pixels that hold
    no intensity and were filled from around them (`invalid_pixels`), None where there are none."""

    image: np.ndarray
    invalid: np.ndarray | None


def check_frame(raw: np.ndarray, where: str, max_invalid: float = 0.6, saturated: float = 0.2) -> Checked:
    """`raw` as `Checked`, or a FrameError that says why it cannot be used: more than the fraction `max_invalid` of its
    pixels is invalid, or more than the fraction `saturated` of the others has the largest value while others differ.
    """
    if raw.ndim == 3 and raw.shape[-1] in (3, 4) and raw.dtype.kind in "uif":
        # grey stored as RGB is an intensity; a colour map is not
        if (raw[..., 0] == raw[..., 1]).all() and (raw[..., 0] == raw[..., 2]).all():
            raw = raw[..., 0]
    if raw.ndim != 2 or raw.dtype.kind not in "buif":
        what = "complex" if raw.dtype.kind == "c" else "colour" if raw.dtype.names or raw.ndim == 3 else str(raw.dtype)
        raise FrameError(NOT_INTENSITY, f"{where}: {what} data is not an HAADF intensity; export the grey-scale image")
    # not where a movie is only opened: numba takes a while to import
    from stemdefects.io.pixels import invalid_pixels, loops

    image = np.array(raw, np.float32, order="C")  # a copy: compiled code makes a difference of what may be written to
    finite, low, high, n_high = loops.extent(image)
    bad = 1 - finite / max(image.size, 1)
    if bad > max_invalid:
        raise FrameError(NOT_FINITE, f"{where}: {bad:.1%} of the pixels are NaN or infinite")
    if low == high:
        raise FrameError(CONSTANT, f"{where}: all pixels are {low:g}")
    invalid, n_usable = invalid_pixels.find(image), image.size
    if invalid is not None:
        if invalid.mean() > max_invalid:
            raise FrameError(INVALID, f"{where}: {invalid.mean():.0%} of the pixels hold no intensity (one value, NaN)")
        image = invalid_pixels.fill(image, invalid)
        n_usable, low, high, n_high = loops.extent(np.where(invalid, np.float32(np.nan), image))
    if not high > low:
        raise FrameError(CONSTANT, f"{where}: all pixels are {low:g}")
    if high - low < 1e-30 or high > 1e30 or low < -1e30:
        raise FrameError(NOT_FINITE, f"{where}: values from {low:g} to {high:g} cannot be intensities")
    top = n_high / n_usable
    if top > saturated and n_usable >= 256:
        raise FrameError(SATURATED, f"{where}: {top:.0%} of the pixels have the largest value ({high:g})")
    return Checked(image, invalid)


def interval(times_s: np.ndarray, tolerance: float = 0.02) -> float | None:
    """The mean interval in s of recorded `times_s` when each is the same within `tolerance`, else None."""
    mean = float(np.diff(times_s).mean())
    return mean if np.abs(np.diff(times_s) - mean).max() <= tolerance * mean else None


def _times(values: Any, n: int, source: str) -> np.ndarray:
    try:
        times = np.asarray(values, float)
    except (TypeError, ValueError):
        times = np.zeros(0)
    if times.shape != (n,) or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
        raise UserError(f"{source}: times_s must be {n} increasing numbers, the starts of the frames in s")
    return times


def _positive(name: str, value: Any, source: str) -> float | None:
    if value is None:
        return None
    number = positive(value)
    if number is None:
        raise UserError(f"{source}: {name}={value!r} is not a positive number")
    return number
