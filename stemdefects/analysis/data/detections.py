"""Detections as the analysis takes them: sorted rows, a clock, a length unit, and where each came from."""

import dataclasses
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Real, Shaped

from stemdefects.analysis.data import fields, foreign_table, frame_times
from stemdefects.errors import UserError
from stemdefects.io.tables import quality_flags
from stemdefects.io.tables import table as defect_table
from stemdefects.numerics.figures import positive
from stemdefects.schema import TableConfig

LEAST_LATTICE = 0.05  # share of a frame: with less of the crystal in it, it says nothing about defects


@dataclass
class Detections:
    """A defect table ready for analysis.

    Attributes:
        rows: structured array of `DEFECT_DTYPE`, sorted by frame.
        n_frames: frames of the movie, also those without detections and those that nobody looked at.
        times: (n_frames,) start of each frame in `time_unit`, not evenly spaced where the table says so.
        pixel_size_nm: width of a pixel (x); None when unknown; lengths are then in pixels (`length_unit`).
        pixel_size_relative_sigma: its relative standard uncertainty (0 when not stated).
        frame_time_s: the usual time from one frame to the next; None: unknown, `times` are then frame numbers.
        pixel_size_yx_nm: (2,) height and width of a pixel, by default square ones; None when unknown.
        observed: (n_frames,) bool: the frame was looked at and could be used; what is not observed is missing, not
            empty. By default all are.
        frames: per-frame table (DataFrame) or None.
        source, path: what the detections are of, and the table's own file (None: in memory).
        patches: (n, 32, 32) image patches in the order of `rows`, or None.
        attrs: the table's own attributes.
        notes: what had to be assumed or left out, one sentence each.
        evidence: what every frame says of each site (`io.tables.evidence.Evidence`), read when asked for; or None.
        over_time: rows found from all frames together, or None.
        followed: what one frame shows may be looked for in the next (`fields.followed`).
        smoothed: rows are the states that all frames together gave: short stays are gone, so that no rate can be had.
        corrected: what a person corrected in the rows (`corrections.applied.Applied`), or None.
    """

    rows: Shaped[np.ndarray, " rows"]
    n_frames: int
    times: Real[np.ndarray, " frames"]
    pixel_size_nm: float | None = None
    pixel_size_relative_sigma: float = 0.0
    frame_time_s: float | None = None
    source: str = ""
    frames: Any = None
    patches: Float[np.ndarray, "rows 32 32"] | None = None
    attrs: dict = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    pixel_size_yx_nm: Float[np.ndarray, " 2"] | None = None
    observed: Any = None
    path: Path | None = None
    evidence: Any = None
    over_time: Shaped[np.ndarray, " rows_over_time"] | None = None
    followed: bool = True
    smoothed: bool = False
    corrected: Any = None

    def __post_init__(self):
        if self.pixel_size_yx_nm is None and self.pixel_size_nm is not None:
            self.pixel_size_yx_nm = np.array([self.pixel_size_nm, self.pixel_size_nm], float)
        if self.observed is None:
            self.observed = np.ones(self.n_frames, bool)

    @property
    def length_unit(self) -> str:
        return "px" if self.pixel_size_nm is None else "nm"

    @property
    def time_unit(self) -> str:
        return "frame" if self.frame_time_s is None else "s"

    @property
    def scale_yx(self) -> Float[np.ndarray, " 2"]:
        """Length units per pixel along y and x."""
        return np.ones(2) if self.pixel_size_yx_nm is None else np.asarray(self.pixel_size_yx_nm, float)

    @property
    def yx_px(self) -> Float[np.ndarray, "rows 2"]:
        """Positions in pixels of the frames, in the original (drifting) frame."""
        return np.column_stack([self.rows["y_px"], self.rows["x_px"]]).astype(float)

    @property
    def yx(self) -> Float[np.ndarray, "rows 2"]:
        """Positions in `length_unit`, in the original (drifting) frame."""
        return self.yx_px * self.scale_yx

    @property
    def kinds(self) -> Shaped[np.ndarray, " rows"]:
        """Kind names as str."""
        return np.char.decode(self.rows["kind"], "utf-8")

    def frame_table(self) -> np.ndarray:
        """Rows of `FRAME_DTYPE`, one for each frame that was looked at, with its time: for a table that is written."""
        numbers = np.flatnonzero(self.observed) if self.frames is None else self.frames["frame"].to_numpy(int)
        out = defect_table.empty_frames(len(numbers))
        if self.frames is not None:
            for name in set(self.frames) & set(out.dtype.names or ()):
                column = self.frames[name]
                out[name] = [str(v).encode() for v in column] if out.dtype[name].kind == "S" else column
        out["frame"], out["n_defects"] = numbers, np.bincount(self.rows["frame"], minlength=self.n_frames)[numbers]
        out["time_s"] = self.times[numbers] if self.frame_time_s else np.nan
        return out

    def table(self) -> defect_table.DefectTable:
        """A defect table with the rows, the frames with their times, and what comes from all frames together."""
        attrs = self.attrs | {"frame_time_s": self.frame_time_s}
        return defect_table.DefectTable(
            self.rows, self.frame_table(), None, attrs, self.over_time, evidence=self.evidence
        )

    def select(self, keep: np.ndarray) -> "Detections":
        """The detections where `keep` (n,) is true."""
        patches = None if self.patches is None else self.patches[keep]
        return replace(self, rows=self.rows[keep], patches=patches)


def read(path: str | Path, cfg: TableConfig) -> Detections:
    """Read a defect table: our HDF5, or any CSV with columns mapped by `cfg.columns`.

    Raises UserError when the file is missing, unreadable, or has no columns for frame and position.
    """
    path = Path(path)
    if not path.exists():
        raise UserError(f"{path}: no such defect table; give table=<file.csv or file.h5>, or run=<id>")
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give table=<file.csv or file.h5>, or run=<id>")
    if path.suffix.lower() in (".h5", ".hdf5") or _is_hdf5(path):
        found = _from_table(defect_table.DefectTable.read(path), cfg, str(path))
    else:
        found = Detections(**foreign_table.read(path, cfg))
    return _clean(replace(found, path=path), cfg, str(path))


def _is_hdf5(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(8) == b"\x89HDF\r\n\x1a\n"


def from_table(table: defect_table.DefectTable, cfg: TableConfig) -> Detections:
    """Detections of a `DefectTable` in memory (its rows are copied)."""
    return _clean(_from_table(dataclasses.replace(table, rows=table.rows.copy()), cfg, "table"), cfg, "table")


def _from_table(table: defect_table.DefectTable, cfg: TableConfig, name: str) -> Detections:
    attrs = dict(table.attrs)
    pixel_size = cfg.pixel_size_nm or positive(attrs.get("pixel_size_nm"))
    if (
        (own := positive(attrs.get("pixel_size_nm"))) and pixel_size and pixel_size != own
    ):  # lengths that were made with it
        table.rows["sigma_nm"] *= pixel_size / own
        attrs |= {"patch_nm": float(attrs["patch_nm"]) * pixel_size / own} if attrs.get("patch_nm") else {}
    frame_time = cfg.frame_time_s or positive(attrs.get("frame_time_s"))
    frames = table.frames_to_pandas() if len(table.frames) else None
    n_frames = _length(table)
    clock = frame_times.resolve(n_frames, *_recorded(table), frame_time if cfg.frame_time_s else None)
    if clock.frame_time_s is None and frame_time:
        clock = frame_times.resolve(n_frames, np.empty(0, int), np.empty(0), frame_time)
    apart = table.frames["frame"][fields.apart(attrs, table.frames)]
    rows, patches, over_time = table.rows, table.patches, table.over_time
    patches = np.asarray(patches) if patches is not None and len(patches) == len(rows) else None
    followed = fields.followed(attrs, table.frames)
    if len(apart):
        keep = ~np.isin(rows["frame"], apart)
        rows, patches = rows[keep], None if patches is None else patches[keep]
    if over_time is not None:
        over_time = over_time[~np.isin(over_time["frame"], apart)] if followed else over_time[:0]
    return Detections(
        rows=rows,
        n_frames=n_frames,
        times=clock.times,
        pixel_size_nm=pixel_size,
        pixel_size_relative_sigma=cfg.pixel_size_relative_sigma
        or float(attrs.get("pixel_size_relative_sigma", 0.0) or 0.0),
        frame_time_s=clock.frame_time_s,
        source=str(attrs.get("source", name)),
        frames=frames,
        patches=patches,
        attrs=attrs,
        notes=quality_flags.sentences(table.frames)
        + fields.contradictions_of(attrs)
        + fields.notes(attrs, table.frames)
        + [n for n in (clock.note,) if n],
        pixel_size_yx_nm=_pixel_yx(pixel_size, attrs),
        observed=_observed(table, n_frames),
        evidence=table.evidence,
        over_time=over_time,
        followed=followed,
        smoothed=_are_over_time(table),
    )


def _are_over_time(table: defect_table.DefectTable) -> bool:
    """Did somebody put the states over time in the place of the rows?

    Where every defect was called in every frame both are at the same places; what a frame says of one is not what all
    frames say.
    """
    if table.over_time is None or not len(table.rows) or len(table.rows) != len(table.over_time):
        return False
    same = ("frame", "y_px", "x_px", "score", "kind_prob")
    return all(np.array_equal(table.rows[name], table.over_time[name]) for name in same)


def _length(table: defect_table.DefectTable) -> int:
    """Frames of the movie: its own number where the table knows it, else as far as frames and rows go."""
    shape = table.attrs.get("source_shape")
    n_movie = int(shape[0]) if isinstance(shape, list | tuple | np.ndarray) and len(shape) == 3 else 0
    return max(n_movie, *(int(part["frame"].max(initial=-1)) + 1 for part in (table.rows, table.frames)))


def _recorded(table: defect_table.DefectTable) -> tuple[np.ndarray, np.ndarray]:
    """(frames, their times in s): of the frame table, else of the rows; NaN where none is recorded."""
    part = table.frames if np.isfinite(table.frames["time_s"]).any() else table.rows
    return part["frame"], part["time_s"]


def _observed(table: defect_table.DefectTable, n_frames: int) -> np.ndarray:
    """(n_frames,) which frames say something about defects: looked at, usable, and with a lattice where the movie has
    one. Without a frame table all are taken as looked at."""
    frames = table.frames
    if not len(frames):
        return np.ones(n_frames, bool)
    usable = (frames["quality"] == 0) & ~fields.apart(table.attrs, frames)
    if (frames["n_sites"] > 0).any():
        usable &= (frames["n_sites"] > 0) & ~(frames["fraction_lattice"] <= LEAST_LATTICE)
    out = np.zeros(n_frames, bool)
    out[frames["frame"][usable]] = True
    return out


def _pixel_yx(pixel_size_nm: float | None, attrs: dict) -> np.ndarray | None:
    """(2,) height and width of a pixel as wide as `pixel_size_nm`, of the shape that the table's own pixels have."""
    if pixel_size_nm is None:
        return None
    own = np.ravel(np.asarray(attrs.get("pixel_size_yx_nm", []), float))
    aspect = own[0] / own[1] if own.shape == (2,) and np.isfinite(own).all() and (own > 0).all() else 1.0
    return np.array([pixel_size_nm * aspect, pixel_size_nm])


def _clean(found: Detections, cfg: TableConfig, name: str) -> Detections:
    """Drop rows that cannot be used, and say so; sort by frame. UserError where no row is left, except in our own table
    of frames that were looked at: that they hold no defect is a result."""
    rows, notes = found.rows, found.notes
    good = np.isfinite(rows["y_px"]) & np.isfinite(rows["x_px"]) & (rows["frame"] >= 0)
    if not good.all():
        notes.append(f"{int((~good).sum())} rows without a frame or position were left out.")
    weak = good & ~(rows["score"] >= cfg.min_score)
    if weak.any():
        notes.append(f"{int(weak.sum())} rows with a score below {cfg.min_score} were left out.")
    keep = good & ~weak
    key = np.stack([rows["frame"].astype(float), rows["y_px"], rows["x_px"]], 1)
    _, first = np.unique(key, axis=0, return_index=True)
    once = np.zeros(len(rows), bool)
    once[first] = True
    if (keep & ~once).any():
        notes.append(f"{int((keep & ~once).sum())} duplicated rows (same frame and position) were left out.")
    keep &= once
    order = np.flatnonzero(keep)
    order = order[np.argsort(rows["frame"][order], kind="stable")]
    if not len(order) and (found.frames is None or not found.observed.any()):
        why = " ".join(note for note in notes if "left out" in note) or "it has no rows"
        raise UserError(f"{name}: holds no usable detection ({why.rstrip('.')}); there is nothing to analyse")
    found = found.select(order)
    found.rows = found.rows.copy()
    if found.pixel_size_nm is None:
        notes.append(
            "The pixel size is not known, so lengths are in pixels and D in px^2 per unit of time; "
            "set analysis.table.pixel_size_nm."
        )
    else:
        found.rows["y_nm"], found.rows["x_nm"] = found.yx.T
    if found.smoothed:
        notes.append(fields.SMOOTHED)
    if found.frame_time_s is None and found.n_frames > 1:
        notes.append("The frame time is not known, so times are in frames; set analysis.table.frame_time_s.")
    found.rows["time_s"] = found.times[found.rows["frame"]] if found.frame_time_s else np.nan
    return found
