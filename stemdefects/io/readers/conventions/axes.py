"""What the axes of an array mean, and how one frame is cut out of it.

Axes are letters as in OME: T time, C channel (a signal), Z depth, Y, X, S colour samples; Q: not said.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.movie import MAX_FRAME_PIXELS
from stemdefects.io.readers.conventions.signals import Wanted, pick

MIN_SIDE_PX = 8  # along the last axis of an image; fewer are channels or frames


@dataclass(frozen=True)
class Plan:
    """How a movie lies in an array of `shape`. index: what is taken along each axis (a number, or all); time, samples:
    axis of the frames and of colour samples, or None; signal, signals: names of the chosen channel and of all."""

    shape: tuple[int, ...]
    index: tuple[int | slice, ...]
    y: int
    x: int
    time: int | None = None
    samples: int | None = None
    signal: str | None = None
    signals: tuple[str, ...] = ()

    @property
    def movie_shape(self) -> tuple[int, int, int]:
        """(n_frames, height, width)."""
        return (1 if self.time is None else self.shape[self.time]), self.shape[self.y], self.shape[self.x]

    def at(self, frame: int) -> tuple[int | slice, ...]:
        """Index of frame number `frame`."""
        index = list(self.index)
        if self.time is not None:
            index[self.time] = frame
        return tuple(index)

    def cut(self, data: Any, frame: int) -> np.ndarray:
        """Frame number `frame` of `data` (NumPy, h5py, dask) as (height, width), or (height, width, samples)."""
        image = data[self.at(frame)]
        image = np.asarray(image.compute(scheduler="synchronous") if hasattr(image, "compute") else image)
        left = [i for i, taken in enumerate(self.at(frame)) if isinstance(taken, slice)]
        wanted = [self.y, self.x] + ([] if self.samples is None else [self.samples])
        return image.transpose([left.index(axis) for axis in wanted])


def plan(letters: str, shape: tuple[int, ...], channels: list[str], wanted: Wanted, where: str) -> Plan:
    """The movie in an array with axes `letters` (all Q: an array that says nothing); `channels`: names along C.

    Axes of length 1 mean nothing. Of an array that says nothing the last two axes are y and x and the one before is
    time, unless its shape speaks against it. Raises UserError, saying how to choose, where it cannot be told.
    """
    was = letters
    return _plan(was, list(letters), shape, channels, wanted, where)


def _plan(
    was: str, letters: list[str], shape: tuple[int, ...], channels: list[str], wanted: Wanted, where: str
) -> Plan:
    index: list[int | slice] = [slice(None)] * len(shape)
    for key, value in wanted.axes.items():
        axis = letters.index("Z") if key == "z" and "Z" in letters else key
        if not isinstance(axis, int) or axis >= len(shape) or (isinstance(value, int) and value >= shape[axis]):
            name = key if isinstance(key, str) else f"axis{key}"
            raise UserError(f"{where}: inference.signal={name}:{value}: there is none in {_words(was, shape)}")
        if not isinstance(value, int):  # `time`
            letters[axis] = "T"
        else:
            index[axis], letters[axis] = value, "."
    says_nothing = set(was) == {"Q"}
    for axis in range(len(shape)):
        between = says_nothing and len(shape) == 3 and axis == 1  # rows of a line scan, no image
        if letters[axis] not in "YX." and shape[axis] == 1 and not between:
            index[axis], letters[axis] = 0, "."
    if says_nothing:
        letters = _guessed(letters, shape)
    names, chosen = [], None
    if "C" in letters:
        axis = letters.index("C")
        names = [(channels[i : i + 1] or [""])[0] or f"channel {i + 1}" for i in range(shape[axis])]
        which = pick(names, wanted.name, where)
        index[axis], letters[axis], chosen = which, ".", names[which]
    if letters.count("Y") != 1 or letters.count("X") != 1:
        how = _choose(letters, shape) if could_be(shape) else "an image has two axes, a movie three"
        raise UserError(f"{where}: no image can be made out in {_words(was, shape)}; {how}")
    if "Z" in letters:
        n = shape[letters.index("Z")]
        raise UserError(
            f"{where}: {n} slices along Z: depth, or frames of a movie? Say inference.signal=z:time where they follow "
            f"one another in time, inference.signal=z:0 (up to z:{n - 1}) for one of them"
        )
    others = [axis for axis, letter in enumerate(letters) if letter not in "TYXS."]
    if len(others) == 1 and "T" not in letters:
        letters[others.pop()] = "T"
    if others or letters.count("T") > 1:
        raise UserError(
            f"{where}: which axis is time cannot be told in {_words(was, shape)}; {_choose(letters, shape)}"
        )
    y, x = letters.index("Y"), letters.index("X")
    if shape[y] * shape[x] > MAX_FRAME_PIXELS:
        raise UserError(f"{where}: a frame of {shape[y]} x {shape[x]} px is too large, or the header is damaged")
    time, samples = (letters.index(a) if a in letters else None for a in "TS")
    return Plan(tuple(shape), tuple(index), y, x, time, samples, chosen, tuple(names) if len(names) > 1 else ())


def could_be(shape: tuple[int, ...]) -> bool:
    """Could an array of this shape hold an image or a movie, if need be after a choice?"""
    return 2 <= sum(n > 1 for n in shape) <= 5 and min(shape) > 0


def grey(image: np.ndarray, axis: int, where: str) -> None:
    """Raise UserError when the samples of a colour picture (h, w, 3 or 4) are not all the same."""
    if image.shape[-1] in (3, 4) and (image[..., :1] == image[..., 1:3]).all():
        return
    raise UserError(
        f"{where}: {image.shape[-1]} samples per pixel that differ: a colour picture is not an HAADF intensity, "
        f"export the grey-scale image; detectors or frames stored as colours: inference.signal=axis{axis}:0 takes "
        f"the first, axis{axis}:time makes them the frames"
    )


def _guessed(letters: list[str], shape: tuple[int, ...]) -> list[str]:
    """Letters of an array that says nothing, as far as its shape allows."""
    free = [i for i, letter in enumerate(letters) if letter == "Q"]
    sizes = [shape[i] for i in free]
    letters = list(letters)
    with_colours = len(free) == (3 if "T" in letters else 4) or len(free) == 3
    if with_colours and sizes[-1] in (3, 4) and min(sizes[-3:-1]) >= MIN_SIDE_PX:
        for axis, letter in zip(free[-3:], "YXS", strict=True):
            letters[axis] = letter
        return letters
    n_images = 2 if "T" in letters else 3  # axes that time and one image can have
    few_behind = len(free) > 2 and sizes[-1] < MIN_SIDE_PX <= min(sizes[-3:-1])
    square_before = len(free) == 3 and sizes[0] == sizes[1] != sizes[2] and sizes[0] >= MIN_SIDE_PX
    if 2 <= len(free) <= n_images and not few_behind and not square_before:
        letters[free[-2]], letters[free[-1]] = "Y", "X"
    return letters


def _words(letters: str, shape: tuple[int, ...]) -> str:
    size = " x ".join(map(str, shape)) or "one number"
    return f"data of {size}" if set(letters) <= {"Q"} else f"data of {size} with axes {letters}"


def _choose(letters: list[str], shape: tuple[int, ...]) -> str:
    """How to answer, on the axes that are likely meant: an image has the longest, detectors are fewer than frames."""
    free = [i for i, letter in enumerate(letters) if letter not in "YXS."] or [0]
    image = 2 - sum(letter in "YX" for letter in letters)
    by_length = sorted(free, key=lambda i: (shape[i], i))
    rest = by_length[: max(len(free) - image, 1)]
    plane, time = rest[0], (rest[1:] or rest)[0]
    return (
        f"inference.signal=axis{plane}:0 takes the first plane along axis {plane} (counted from 0), "
        f"axis{time}:time makes axis {time} the frames; both may be given, with a blank between"
    )
