"""Tables written block by block, so that memory does not grow with their length."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects.io.tables import hdf5_output, table_columns
from stemdefects.io.tables.evidence import Evidence, EvidenceWriter


class TableWriter:
    """Writes a table to HDF5 block by block, beside its final name; `finish` puts it in place in one step.

    Memory does not grow with the number of rows. The same blocks in the same order give the same bytes. (Whoever needs
    to survive a kill keeps its blocks elsewhere: `inference/tables/partial_results.py`.)
    """

    def __init__(self, path: str | Path, attrs: dict[str, Any], patches: bool = True):
        self.path = Path(path)
        self._partial = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
        self._output = hdf5_output.Output(self._partial)
        self._file = self._output.file
        chunked = {"chunks": True, "compression": "gzip", "compression_opts": 1, "shuffle": True}
        self._file.create_dataset(
            "defects", (0,), table_columns.DEFECT_DTYPE, maxshape=(None,), **chunked | {"chunks": (4096,)}
        )
        self._file.create_dataset(
            "frames", (0,), table_columns.FRAME_DTYPE, maxshape=(None,), **chunked | {"chunks": (1024,)}
        )
        if patches:
            size = (table_columns.PATCH_PX, table_columns.PATCH_PX)
            self._file.create_dataset(
                "patches", (0, *size), "f2", maxshape=(None, *size), **chunked | {"chunks": (64, *size)}
            )
        fixed = {"schema_version": table_columns.SCHEMA_VERSION, "units": table_columns.UNITS}
        self.set_attributes({**attrs} | fixed)

    def set_attributes(self, attrs: dict[str, Any]) -> None:
        """Add attributes; None is left out."""
        for key, value in attrs.items():
            if value is not None:
                self._file.attrs[key] = table_columns.encode(value)

    def append(
        self, rows: np.ndarray, frames: np.ndarray, patches: np.ndarray | None, regions: np.ndarray | None = None
    ) -> None:
        """Add a block: rows (n,), frames (m,), patches (n, 32, 32) or None when the table has none, regions (m, ny, nx)
        uint8 or None."""
        blocks = {"defects": rows, "frames": frames, "patches": patches, "regions": regions}
        if ("patches" in self._file) != (patches is not None) or (patches is not None and len(patches) != len(rows)):
            raise ValueError("each block needs one patch per row, or none in the whole table")
        if regions is not None and "regions" not in self._file:
            size = regions.shape[1:]
            packed = {"chunks": (1, *size), "compression": "gzip", "compression_opts": 1}
            self._file.create_dataset("regions", (0, *size), "u1", maxshape=(None, *size), **packed)
        for name, block in blocks.items():
            if block is not None and len(block):
                data = self._file[name]
                start = len(data)
                data.resize(start + len(block), axis=0)
                data[start:] = block
        self._output.check()

    def append_over_time(self, rows: np.ndarray) -> None:
        """Add rows found from all frames together, possibly none of them."""
        name = "defects_over_time"
        if name not in self._file:
            packed = {"chunks": (4096,), "compression": "gzip", "compression_opts": 1, "shuffle": True}
            self._file.create_dataset(name, (0,), table_columns.DEFECT_DTYPE, maxshape=(None,), **packed)
        data, start = self._file[name], len(self._file[name])
        data.resize(start + len(rows), axis=0)
        data[start:] = rows
        self._output.check()

    def start_evidence(self, n_frames: int, n_sites: int, n_features: int, n_sublattices: int) -> EvidenceWriter:
        """The writer of what every frame says of every site; it belongs to this file."""
        return EvidenceWriter(self._file, n_frames, n_sites, n_features, n_sublattices)

    def copy_evidence(self, evidence: Evidence) -> None:
        """Add evidence that is there already, block by block."""
        start, writer = 0, None
        for values, flags, scatter in evidence.blocks():
            n_sites, n_features = values.shape[1:]
            writer = writer or self.start_evidence(evidence.n_frames, n_sites, n_features, scatter.shape[1])
            writer.write(start, values, flags, scatter)
            start += len(values)
        if writer is not None:
            writer.finish(evidence.sites, evidence.description)

    def set_frames(self, **columns: np.ndarray) -> None:
        """Replace columns of the frame table, one value per row written so far."""
        frames = self._file["frames"][()]
        for name, values in columns.items():
            frames[name] = values
        self._file["frames"][...] = frames

    def finish(self) -> Path:
        """Close the file and move it to its name."""
        self._output.close()
        self._partial.replace(self.path)
        return self.path

    def discard(self) -> None:
        """Drop what is not finished; does nothing after `finish`."""
        self._output.abandon()
        self._partial.unlink(missing_ok=True)


def stored(path: str | Path, name: str = "defects", at_once: int = 65536) -> Iterator[np.ndarray]:
    """Rows of the table `name` in the file `path`, `at_once` at a time; at least one, possibly empty, array."""
    import h5py

    with h5py.File(path, "r") as file:
        data = file[name]
        for start in range(0, max(len(data), 1), at_once):
            yield data[start : start + at_once]


def write_csv(path: str | Path, blocks: Iterable[np.ndarray], all_frames: bool = False) -> Path:
    """Write structured arrays one after another to CSV `path`, put in place when it is whole. all_frames: they were
    found from all frames together, and each row says so."""
    path = Path(path)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    with open(partial, "w", encoding="utf-8", newline="") as file:
        for number, rows in enumerate(blocks):
            table = table_columns.dataframe(rows)
            if all_frames:
                table[table_columns.ALL_FRAMES] = 1
            table.to_csv(file, index=False, header=number == 0)
    partial.replace(path)
    return path
