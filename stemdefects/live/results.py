"""What inference says of each frame as it comes, kept until the table is made.

A frame is one file until its block is full; blocks are those that an offline run writes (`partial_results`), from the
same engine and the same code.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stemdefects.inference.columns import site_columns
from stemdefects.inference.setup import Setup, prepare
from stemdefects.inference.tables import blocks_of_frames, stream
from stemdefects.inference.tables.partial_results import Block, PartialResults
from stemdefects.inference.teaching import teach
from stemdefects.io.movie import FrameError, Movie
from stemdefects.schema import InferenceConfig


def learned(movie: Movie, model: Any, settings: InferenceConfig, folder: Path) -> Setup:
    """The setup from the first frames of `movie`; that of a process before, which `folder` holds, as it is."""
    kept = PartialResults(folder)
    known = kept.setup() if kept.exists() else None
    setup = prepare(movie, model, settings, known or None)
    teach(movie, setup, known and known.get("specimen"))
    if not known:
        kept.start(setup.learned())
    return setup


class Called(NamedTuple):
    """A frame with its results: image: (H, W) counts, None where the frame cannot be used, and error says why."""

    block: Block
    image: np.ndarray | None
    error: FrameError | None


class Results:
    """Results of the frames of `movie`, which grows, kept in `folder`. done: frames that are, from the first on."""

    def __init__(self, movie: Movie, setup: Setup, folder: Path):
        self.movie, self.setup = movie, setup
        self._maker = blocks_of_frames.BlockMaker(setup)
        self._blocks, self._frames = PartialResults(folder), PartialResults(folder / "frames")
        self._frames.path.mkdir(parents=True, exist_ok=True)
        whole = self._blocks.done()
        n_blocks = next(k for k in range(len(whole) + 1) if k not in whole)
        single, self.done = self._frames.done(), n_blocks * self._size
        while self.done in single:
            self.done += 1
        for number in (n_blocks - 1, n_blocks):  # where a kill came in between
            self._join_full(number)

    @property
    def _size(self) -> int:
        return self.setup.settings.block_frames

    def call(self, number: int) -> Called:
        """What there is in frame `number`; nothing is kept yet."""
        self.setup.indices = np.arange(len(self.movie))
        seen = stream.shown(self.movie, number, self.setup)
        indices = np.array([number])
        if isinstance(seen, FrameError):
            return Called(self._maker.block(number, indices, [None], {0: seen}), None, seen)
        (output,) = stream.look(self.setup, [seen])
        block = self._maker.block(number, indices, [self._maker.finish(output)], {})
        return Called(block, seen.stack[len(seen.stack) // 2], None)

    def keep(self, block: Block) -> None:
        """Keep the results of the next frame."""
        self._frames.write(block)
        self.done = block.number + 1
        self._join_full(block.number // self._size)

    def replay(self) -> Iterator[site_columns.Frame]:
        """Frames that are done, as `site_columns.frames` gives them."""
        n_blocks = self.done // self._size
        yield from site_columns.frames(self._blocks.read, range(n_blocks))
        yield from site_columns.frames(self._frames.read, range(n_blocks * self._size, self.done))

    def blocks(self, n_frames: int, time_s: np.ndarray | None) -> Iterator[Block]:
        """Blocks of the first `n_frames`, with the times (n_frames,) that the whole movie states."""
        for number in range(-(-n_frames // self._size)):
            start = number * self._size
            if start + self._size <= self.done:
                block = self._blocks.read(number)
            else:
                block = joined(number, [self._frames.read(k) for k in range(start, n_frames)])
            if time_s is not None:
                block.frames["time_s"] = time_s[block.frames["frame"]]
                for rows in (block.rows, block.weak_rows):
                    rows["time_s"] = block.frames["time_s"][rows["frame"] - start]
            yield block

    def _join_full(self, number: int) -> None:
        """Frames that fill a block become one; a kill in between leaves both, and the block counts."""
        numbers = range(number * self._size, (number + 1) * self._size)
        if number < 0 or self.done < numbers.stop:
            return
        if not self._blocks.has(number):
            self._blocks.write(joined(number, [self._frames.read(k) for k in numbers]))
        for k in numbers:
            self._frames.drop(k)


def joined(number: int, parts: list[Block]) -> Block:
    """The block of consecutive frames from those of each."""
    return Block(number, *(np.concatenate([getattr(part, name) for part in parts]) for name in Block._fields[1:]))
