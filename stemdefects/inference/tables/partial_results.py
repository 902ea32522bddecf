"""Finished blocks of an inference, kept in a folder until the table is complete.

Each block is one file, put in place in one step: a kill at any moment costs at most the block being worked on, and the
table made from the blocks is the same as without a kill. The folder remembers what it was made of.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from stemdefects.io.runs import write_atomically


class Block(NamedTuple):
    """Results of consecutive frames: rows of the defect table, their patches, rows of the frame table, maps of their
    regions (`region_map`); and, where the frames are looked at together later, the columns on lattice sites, the
    lattices (`site_columns`) and the sites that invalid pixels hide (`hidden`); of defects of an unknown crystal also
    rows and patches of what one frame alone does not call (`evidence.floating.calls`)."""

    number: int
    rows: np.ndarray
    frames: np.ndarray
    patches: np.ndarray
    columns: np.ndarray
    lattices: np.ndarray
    regions: np.ndarray
    hidden: np.ndarray
    weak_rows: np.ndarray
    weak_patches: np.ndarray


@dataclass(frozen=True)
class PartialResults:
    """A folder of blocks."""

    path: Path

    def exists(self) -> bool:
        return (self.path / "setup.json").exists()

    def setup(self) -> dict[str, Any]:
        """What the blocks were made of; empty when it cannot be read."""
        try:
            return json.loads((self.path / "setup.json").read_text())
        except (OSError, json.JSONDecodeError):
            return {}

    def start(self, setup: dict[str, Any]) -> None:
        """An empty folder for `setup` (plain values)."""
        self.remove()
        self.path.mkdir(parents=True)
        write_atomically(self.path / "setup.json", json.dumps(setup, indent=1, default=float))

    def done(self) -> set[int]:
        """Numbers of the blocks that are there and whole."""
        return {n for n in (_number(file) for file in self.path.glob("block_*.npz")) if self._readable(n)}

    def write(self, block: Block) -> None:
        """Store a block whole, or not at all."""
        partial = self.path / f".{block.number}.{os.getpid()}.partial.npz"
        try:
            np.savez(partial, **{name: value for name, value in block._asdict().items() if name != "number"})
        except OSError:  # a full disk: what there is of it would be in the way
            partial.unlink(missing_ok=True)
            raise
        partial.replace(self._file(block.number))

    def read(self, number: int) -> Block:
        with np.load(self._file(number), allow_pickle=False) as data:
            return Block(number, *(data[name] for name in Block._fields[1:]))

    def has(self, number: int) -> bool:
        return self._file(number).exists()

    def drop(self, number: int) -> None:
        """Forget a block, if it is there."""
        self._file(number).unlink(missing_ok=True)

    def remove(self) -> None:
        """Delete the folder; a kill in the middle of it leaves nothing that looks like results."""
        gone = self.path.with_name(f".{self.path.name}.gone")
        shutil.rmtree(gone, ignore_errors=True)
        if self.path.exists():
            self.path.replace(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _file(self, number: int) -> Path:
        return self.path / f"block_{number:06d}.npz"

    def _readable(self, number: int) -> bool:
        try:
            self.read(number)
        except Exception:  # a disk that filled up, say: the block is computed again
            return False
        return True


def _number(file: Path) -> int:
    return int(file.stem.removeprefix("block_"))
