"""The defect table: the contract between inference, simulation truth and analysis.

One row per defective column and frame. Positions are column centres in the original frame:
`y_px`/`x_px` in pixels (0 is the centre of the first pixel), `y_nm`/`x_nm` the same times the pixel size.
Simulated truth uses the same columns (`track` is then the defect's identity, `score` is 1).
A second table has one row per movie frame, and a third array small pictures of the defects.
"""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.exchange.methods import Exchange
from stemdefects.io.tables import evidence as site_evidence
from stemdefects.io.tables import quality_flags
from stemdefects.io.tables.table_columns import (
    ALL_FRAMES,
    DEFECT_DTYPE,
    FRAME_DTYPE,
    KIND_BYTES,
    NOTE_BYTES,
    PATCH_PX,
    SCHEMA_VERSION,
    UNITS,
    dataframe,
    empty,
    empty_frames,
    encode,
)

if TYPE_CHECKING:
    import pandas as pd


__all__ = [
    "DEFECT_DTYPE",
    "FRAME_DTYPE",
    "KIND_BYTES",
    "NOTE_BYTES",
    "PATCH_PX",
    "SCHEMA_VERSION",
    "UNITS",
    "DefectTable",
    "dataframe",
    "empty",
    "empty_frames",
    "encode",
]


@dataclasses.dataclass
class DefectTable(Exchange):
    """Detections of one movie.

    rows: (n,) of `DEFECT_DTYPE`; frames: (n_frames,) of `FRAME_DTYPE`, possibly empty; patches: (n, 32, 32) normalised
    intensities around each row, or None; attrs: plain values, of pixel_size_nm, frame_time_s, source, model_id,
    material, config, ...; over_time: rows of the same kind from all frames together (inference/evidence/), or None;
    regions: (n_frames, ny, nx) uint8, where a frame is lattice (0), hole (1), amorphous or contaminated (2) or 1T (3),
    in cells of attribute `region_step_px` (y, x), 255: frame not used; or None; evidence: what every frame says of each
    site, read when it is asked for; None for CSV, single images, crystals without a lattice and older files.
    """

    rows: np.ndarray
    frames: np.ndarray = dataclasses.field(default_factory=empty_frames)
    patches: np.ndarray | None = None
    attrs: dict[str, Any] = dataclasses.field(default_factory=dict)
    over_time: np.ndarray | None = None
    regions: np.ndarray | None = None
    evidence: site_evidence.Evidence | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        counts = ", ".join(f"{n} {kind}" for kind, n in self.counts().items())
        frames = f"{self.n_frames} frames" if self.n_frames != 1 else "one image"
        return f"DefectTable({len(self)} detections in {frames}: {counts or 'none'}{self._doubts()})"

    def _doubts(self) -> str:
        """How much of the table should not be taken at its word, in words; nothing where all is well."""
        told = []
        if len(self.frames):
            skipped = self.frames["quality"] != 0
            doubted = ~skipped & (self.frames["doubt"] != 0)
            told += [f"{n} frames {what}" for n, what in ((skipped.sum(), "skipped"), (doubted.sum(), "in doubt")) if n]
        calibration, settings = self.attrs.get("calibration"), self.attrs.get("config")
        if isinstance(calibration, dict) and isinstance(settings, dict):
            if quality_flags.scale_disagrees(calibration, settings.get("calibration_tolerance", 0.0)):
                told.append("pixel size disagrees with the lattice")
        return f"; {', '.join(told)}" if told else ""

    @property
    def n_frames(self) -> int:
        if len(self.frames):
            return len(self.frames)
        return int(self.rows["frame"].max()) + 1 if len(self.rows) else 0

    @property
    def pixel_size_nm(self) -> float | None:
        value = self.attrs.get("pixel_size_nm")
        return None if value is None else float(value)

    @property
    def frame_time_s(self) -> float | None:
        value = self.attrs.get("frame_time_s")
        return None if value is None else float(value)

    def counts(self) -> dict[str, int]:
        """Detections per kind, most frequent first."""
        kinds, numbers = np.unique(self.rows["kind"], return_counts=True)
        order = np.argsort(-numbers, kind="stable")
        names = [kind.decode() for kind in kinds.tolist()]
        return {names[i]: int(numbers[i]) for i in order}

    def to_pandas(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame, `kind` as text."""
        return dataframe(self.rows)

    def over_time_to_pandas(self) -> "pd.DataFrame":
        """The rows found from all frames together, as a pandas DataFrame that says so of each row (`all_frames`)."""
        return dataframe(empty() if self.over_time is None else self.over_time).assign(**{ALL_FRAMES: 1})

    def frames_to_pandas(self) -> "pd.DataFrame":
        """One row per movie frame."""
        return dataframe(self.frames)

    def write(self, path: str | Path) -> Path:
        """Write everything to HDF5 `path`; an old file is replaced in one step, never seen half written."""
        path = Path(path)
        from stemdefects.io.tables.table_writer import TableWriter

        writer = TableWriter(path, self.attrs, patches=self.patches is not None)
        try:
            writer.append(self.rows, self.frames, self.patches, self.regions)
            if self.over_time is not None:
                writer.append_over_time(self.over_time)
            if self.evidence is not None:
                writer.copy_evidence(self.evidence)
            writer.finish()
        finally:
            writer.discard()
        return path

    def write_csv(self, path: str | Path) -> Path:
        """Write the rows to CSV `path`: the same columns as in HDF5."""
        from stemdefects.io.tables.table_writer import write_csv

        return write_csv(path, [self.rows])

    @classmethod
    def read(cls, path: str | Path, patches: bool = True) -> "DefectTable":
        """Read a table written by `write`. Without `patches` they and the maps of regions stay there.

        Raises UserError when the file is missing, damaged or no defect table.
        """
        import h5py

        path = Path(path)
        if not path.exists():
            raise UserError(f"{path}: no such defect table")
        try:
            with h5py.File(path, "r") as file:
                if "defects" not in file:
                    raise UserError(f"{path}: holds no table /defects; a defect table is written by infer.py")
                attrs = {key: _decode(value) for key, value in file.attrs.items()}
                if attrs.get("schema_version", SCHEMA_VERSION) > SCHEMA_VERSION:
                    raise UserError(f"{path}: written by a newer version of this software; update it to read this file")
                rows = _conform(file["defects"][()], empty, path)
                frames = _conform(file["frames"][()], empty_frames, path) if "frames" in file else empty_frames()
                pictures = file["patches"][()] if patches and "patches" in file else None
                regions = file["regions"][()] if patches and "regions" in file else None
                name = "defects_over_time"
                over_time = _conform(file[name][()], empty, path) if name in file else None
                evidence = site_evidence.read(file, path.resolve())
        except (OSError, KeyError, RuntimeError) as error:
            raise UserError(f"{path}: cannot be read as a defect table ({str(error).splitlines()[0][:120]})") from None
        return cls(rows, frames, pictures, attrs, over_time, regions, evidence)


def _decode(value: Any) -> Any:
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return json.loads(value)
        except json.JSONDecodeError:
            return value
    return value.item() if isinstance(value, np.generic) else value


def _conform(found: np.ndarray, make: Any, path: Path) -> np.ndarray:
    """Rows with exactly our columns: extra ones are left out, missing ones keep their 'unknown' value."""
    rows = make(len(found))
    known = [name for name in rows.dtype.names if found.dtype.names and name in found.dtype.names]
    if "frame" not in known:
        raise UserError(f"{path}: its table has no column 'frame'")
    for name in known:
        rows[name] = found[name]
    return rows
