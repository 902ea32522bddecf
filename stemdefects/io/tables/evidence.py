"""What every frame says of every lattice site: the part of a defect table that all kinetics is computed from.

`/sites` has one row per site of every sublattice that any frame shows. `/evidence` (frames x sites x features, float16)
has a row per row of `/frames`, NaN where a column was not seen; `/evidence_flags` says where nothing may be inferred,
and `/evidence_scatter` (frames x sublattices) how far the line of ideal columns scatters. How the features are to be
read is the attribute `description` of `/evidence`: per sublattice the states with their names, where each is expected
on the line, which factors on that are possible, and what the material knows of it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Float32, Int, Shaped, UInt8

SITE_DTYPE = np.dtype(
    [
        ("sublattice", "i1"),
        ("cell_1", "i4"),
        ("cell_2", "i4"),
        ("y_nm", "f4"),
        ("x_nm", "f4"),  # in the specimen's frame: drift since the first frame taken off
    ]
)
DATA = ("evidence", "evidence_flags", "evidence_scatter")
LINE, LIGHT = "line", "light"  # features that every sublattice has; the others are probabilities of its states
EDGE, HOLE, AMORPHOUS, POLYMORPH = 1, 2, 4, 8  # flags of a site in a frame: near the border or outside, in a region
NO_FRAME, PARTIAL = 16, 32  # the frame shows no lattice; read by the network alone where the light counts too
INVALID = 64  # pixels there hold no intensity
EXCLUDED = 128  # a person marked the place as not to be counted
CHUNK_BYTES = 1 << 20  # what HDF5 reads and compresses at once
Block = tuple[  # values, flags and scatter of some frames
    Float[np.ndarray, "frames sites features"],
    UInt8[np.ndarray, "frames sites"],
    Float[np.ndarray, "frames sublattices"],
]


@dataclass
class Evidence:
    """Evidence of one movie; what is large is read when it is asked for.

    sites: (n_sites,) of `SITE_DTYPE`; description: see the module; values (n_frames, n_sites, F) float16, flags
    (n_frames, n_sites) uint8 and scatter (n_frames, n_sublattices) float32 are arrays, or None where `path` has them.
    """

    sites: Shaped[np.ndarray, " sites"]
    description: dict[str, Any]
    values: Float[np.ndarray, "frames sites features"] | None = None
    flags: UInt8[np.ndarray, "frames sites"] | None = None
    scatter: Float[np.ndarray, "frames sublattices"] | None = None
    path: Path | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        names = ", ".join(s["name"] for s in self.description["sublattices"])
        return f"Evidence({len(self.sites)} sites of {names})"

    @property
    def n_frames(self) -> int:
        """Frames, one for each row of the table's `/frames`."""
        if self.values is not None:
            return len(self.values)
        import h5py

        with h5py.File(self.path, "r") as file:
            return len(file["evidence"])

    def sublattice(self, name: str) -> dict[str, Any]:
        """What is known of a sublattice; KeyError where there is none of this name."""
        for number, found in enumerate(self.description["sublattices"]):
            if found["name"] == name:
                return found | {"number": number}
        raise KeyError(f"no sublattice {name!r}")

    def site_indices(self, sublattice: int) -> Int[np.ndarray, " chosen"]:
        """(n,) rows of `sites` of a sublattice."""
        return np.flatnonzero(self.sites["sublattice"] == sublattice)

    def feature(self, name: str, sites: Int[np.ndarray, " chosen"]) -> Float32[np.ndarray, "frames chosen"]:
        """(n_frames, n) float32 feature `name` of the sites (n,) of one sublattice, NaN where not seen."""
        sublattice = self.description["sublattices"][int(self.sites["sublattice"][sites[0]])]
        k = sublattice["features"].index(name)
        return np.concatenate([v[:, sites, k].astype(np.float32) for v in self._blocks("evidence", self.values)])

    def flag(self, sites: Int[np.ndarray, " chosen"]) -> UInt8[np.ndarray, "frames chosen"]:
        """(n_frames, n) uint8 flags of the sites (n,)."""
        return np.concatenate([v[:, sites] for v in self._blocks("evidence_flags", self.flags)])

    def scatters(self) -> Float[np.ndarray, "frames sublattices"]:
        """(n_frames, n_sublattices) scatter of the line of ideal columns; NaN where a frame says nothing."""
        return np.concatenate(list(self._blocks("evidence_scatter", self.scatter)))

    def _blocks(self, name: str, held: np.ndarray | None):
        """Blocks of frames of a data set; from the file one chunk at a time, so that memory is that of what is kept."""
        if held is not None:
            yield held
            return
        import h5py

        with h5py.File(self.path, "r") as file:
            data = file[name]
            step = max(data.chunks[0], 1)
            for start in range(0, max(len(data), 1), step):
                yield data[start : start + step]

    def blocks(self) -> Iterator[Block]:
        """(values, flags, scatter) in blocks of frames, to be copied."""
        yield from zip(
            self._blocks("evidence", self.values),
            self._blocks("evidence_flags", self.flags),
            self._blocks("evidence_scatter", self.scatter),
            strict=True,
        )


def read(file: Any, path: Path) -> Evidence | None:
    """The evidence of an open HDF5 `file` at `path`; None where it has none."""
    if "sites" not in file or any(name not in file for name in DATA):
        return None
    return Evidence(file["sites"][()], json.loads(file["evidence"].attrs["description"]), path=path)


class EvidenceWriter:
    """Writes evidence into an open HDF5 file, frames in order, any number at a time."""

    def __init__(self, file: Any, n_frames: int, n_sites: int, n_features: int, n_sublattices: int):
        frames = int(np.clip(CHUNK_BYTES // max(n_sites * n_features * 2, 1), 1, max(n_frames, 1)))
        packed = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
        shapes = {
            "evidence": ((n_sites, n_features), "f2"),
            "evidence_flags": ((n_sites,), "u1"),
            "evidence_scatter": ((n_sublattices,), "f4"),
        }
        for name, (shape, kind) in shapes.items():
            chunks = (frames, *(max(n, 1) for n in shape))
            file.create_dataset(name, (n_frames, *shape), kind, chunks=chunks, **packed)
        self._file = file

    def write(
        self,
        start: int,
        values: Float[np.ndarray, "frames sites features"],
        flags: UInt8[np.ndarray, "frames sites"],
        scatter: Float[np.ndarray, "frames sublattices"],
    ) -> None:
        """Evidence of the frames from row `start` on."""
        for name, block in zip(DATA, (values, flags, scatter), strict=True):
            self._file[name][start : start + len(block)] = block

    def finish(self, sites: Shaped[np.ndarray, " sites"], description: dict[str, Any]) -> None:
        """Write the sites and how all is to be read."""
        self._file.create_dataset("sites", data=sites, chunks=(max(min(len(sites), 4096), 1),), compression="gzip")
        self._file["evidence"].attrs["description"] = json.dumps(description)


class Held:
    """Evidence written into memory: `start` makes it the writer, `evidence` is there after its `finish`."""

    def __init__(self) -> None:
        self.evidence: Evidence | None = None
        self._arrays: tuple[np.ndarray, ...] = ()

    def start(self, n_frames: int, n_sites: int, n_features: int, n_sublattices: int) -> "Held":
        self._arrays = (
            np.full((n_frames, n_sites, n_features), np.nan, np.float16),
            np.zeros((n_frames, n_sites), np.uint8),
            np.full((n_frames, n_sublattices), np.nan, np.float32),
        )
        return self

    def write(self, start: int, *blocks: np.ndarray) -> None:
        """As `EvidenceWriter.write`."""
        for array, block in zip(self._arrays, blocks, strict=True):
            array[start : start + len(block)] = block

    def finish(self, sites: Shaped[np.ndarray, " sites"], description: dict[str, Any]) -> None:
        """As `EvidenceWriter.finish`."""
        values, flags, scatters = self._arrays
        self.evidence = Evidence(sites, description, values, flags, scatters)
