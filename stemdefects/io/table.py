"""The defect table: the contract between inference, simulation truth and analysis.

One row per defective column and frame. Positions are column centres in the original frame:
`y_px`/`x_px` in pixels (0 is the centre of the first pixel), `y_nm`/`x_nm` the same times the pixel size.
Simulated truth uses the same columns (`track` is then the defect's identity, `score` is 1).
A second table has one row per movie frame, and a third array small pictures of the defects.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io import doubts
from stemdefects.io import evidence as site_evidence

SCHEMA_VERSION = 2  # 2: /sites and /evidence; files of version 1 have none and are read as before
KIND_BYTES = 24
NOTE_BYTES = 120
PATCH_PX = 32

DEFECT_DTYPE = np.dtype(
    [
        ("frame", "i4"),
        ("time_s", "f8"),
        ("y_px", "f4"),
        ("x_px", "f4"),
        ("y_nm", "f4"),
        ("x_nm", "f4"),
        ("sigma_nm", "f4"),  # 1-sigma position uncertainty per axis
        ("score", "f4"),  # probability that this is a defect, 0..1
        ("kind", f"S{KIND_BYTES}"),  # material's kind name, e.g. b"V_S", b"Mo_W"
        ("kind_prob", "f4"),  # probability of `kind`, 0..1
        ("kind_spread", "f4"),  # of an ensemble: standard deviation of its members' kind_prob; NaN: one network
        ("cluster", "i4"),  # -1: not clustered
        ("track", "i4"),  # -1: not linked
        ("complex", "i4"),  # same number within a frame: neighbouring rows of one complex; -1: alone
        ("orientation", "i1"),  # 0/1/2: where the vacancy of a complex sits; -1: none or undecided
    ]
)

FRAME_DTYPE = np.dtype(
    [
        ("frame", "i4"),
        ("time_s", "f8"),
        ("n_defects", "i4"),
        ("drift_y_px", "f4"),  # how far the specimen has moved since the first good frame
        ("drift_x_px", "f4"),
        ("a1_y_px", "f4"),  # lattice vectors of this frame
        ("a1_x_px", "f4"),
        ("a2_y_px", "f4"),
        ("a2_x_px", "f4"),
        ("fraction_lattice", "f4"),  # of the frame's area
        ("fraction_hole", "f4"),
        ("fraction_amorphous", "f4"),
        ("fraction_1T", "f4"),
        ("n_sites", "i4"),  # lattice sites in the frame; 0: no lattice found
        ("n_missed", "i4"),  # of these, sites where no column was found although its neighbours were
        ("pixel_size_nm", "f4"),  # along x, by the frame's own Bragg components and the material's cell
        ("angle_deg", "f4"),  # rotation of the lattice against the material's axes, counter-clockwise with y down
        *((f"strain_{axes}", "f4") for axes in ("yy", "xx", "xy")),  # of the frame's lattice, scan distortion included
        ("n_invalid_px", "i4"),  # pixels that hold no intensity, see stemdefects.io.invalid_pixels
        ("n_withheld", "i4"),  # calls not made where the Bragg components show no lattice
        ("doubt", "i2"),  # 0: none; else flags, see stemdefects.io.doubts
        ("quality", "i1"),  # 0: used; else why it was skipped, see stemdefects.io.movie.QUALITY
        ("note", f"S{NOTE_BYTES}"),
    ]
)

UNITS = {
    "frame": "1", "time_s": "s", "y_px": "px", "x_px": "px", "y_nm": "nm", "x_nm": "nm", "sigma_nm": "nm",
    "score": "1", "kind": "", "kind_prob": "1", "kind_spread": "1",
    "cluster": "1", "track": "1", "complex": "1", "orientation": "1",
}  # fmt: skip


def empty(n_rows: int = 0) -> np.ndarray:
    """`n_rows` rows with every optional column at its 'unknown' value.

    Returns a structured array of `DEFECT_DTYPE`, shape (n_rows,).
    """
    rows = np.zeros(n_rows, DEFECT_DTYPE)
    for name in ("cluster", "track", "complex", "orientation"):
        rows[name] = -1
    for name in ("time_s", "sigma_nm", "y_nm", "x_nm", "kind_spread"):
        rows[name] = np.nan
    return rows


def empty_frames(n_rows: int = 0) -> np.ndarray:
    """`n_rows` rows of `FRAME_DTYPE`; what is measured is NaN, `frame` counts from 0."""
    rows = np.zeros(n_rows, FRAME_DTYPE)
    for name in FRAME_DTYPE.names:
        if FRAME_DTYPE[name].kind == "f":
            rows[name] = np.nan
    rows["frame"] = np.arange(n_rows)
    return rows


@dataclasses.dataclass
class DefectTable:
    """Detections of one movie.

    rows: (n,) of `DEFECT_DTYPE`; frames: (n_frames,) of `FRAME_DTYPE`, possibly empty; patches: (n, 32, 32) normalised
    intensities around each row, or None; attrs: plain values, of pixel_size_nm, frame_time_s, source, model_id,
    material, config, ...; over_time: rows of the same kind from all frames together (inference/over_time.py), or None;
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
        return f"DefectTable({len(self)} detections in {self.n_frames} frames: {counts or 'none'}{self._doubts()})"

    def _doubts(self) -> str:
        """How much of the table should not be taken at its word, in words; nothing where all is well."""
        told = []
        if len(self.frames):
            skipped = self.frames["quality"] != 0
            doubted = ~skipped & (self.frames["doubt"] != 0)
            told += [f"{n} frames {what}" for n, what in ((skipped.sum(), "skipped"), (doubted.sum(), "in doubt")) if n]
        calibration, settings = self.attrs.get("calibration"), self.attrs.get("config")
        if isinstance(calibration, dict) and isinstance(settings, dict):
            if doubts.scale_disagrees(calibration, settings.get("calibration_tolerance", 0.0)):
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
        return {kinds[i].decode(): int(numbers[i]) for i in order}

    def to_pandas(self):
        """The rows as a pandas DataFrame, `kind` as text."""
        return dataframe(self.rows)

    def over_time_to_pandas(self):
        """The rows found from all frames together, as a pandas DataFrame."""
        return dataframe(empty() if self.over_time is None else self.over_time)

    def frames_to_pandas(self):
        """One row per movie frame."""
        return dataframe(self.frames)

    def write(self, path: str | Path) -> Path:
        """Write everything to HDF5 `path`; an old file is replaced in one step, never seen half written."""
        path = Path(path)
        from stemdefects.io.table_writer import TableWriter

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
        from stemdefects.io.table_writer import write_csv

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


def dataframe(rows: np.ndarray):
    """A structured array as a pandas DataFrame, bytes as text."""
    import pandas as pd

    columns = {}
    for name in rows.dtype.names:
        column = rows[name]
        columns[name] = [v.decode(errors="replace") for v in column] if column.dtype.kind == "S" else column
    return pd.DataFrame(columns)


def encode(value: Any) -> Any:
    """`value` as an HDF5 attribute."""
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, default=float)
    return str(value) if isinstance(value, Path) else value


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
