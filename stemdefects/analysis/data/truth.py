"""Comparison with what is true: a simulated movie's `/truth`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.tables.table import empty
from stemdefects.scoring.matching import match

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Truth:
    """What a simulated movie knows: `rows` (defect table of the truth), `drift_px` (n_frames, 2) or None, `attrs`."""

    rows: np.ndarray
    drift_px: np.ndarray | None
    attrs: dict
    path: str
    pixel_size_nm: float | None = None
    sites_px: np.ndarray | None = None
    site: np.ndarray | None = None
    centers: np.ndarray | None = None  # identities (truth `track`) of the centres that switch

    @property
    def D_nm2_per_s(self) -> float | None:
        """True diffusion constant of the moving kind; None when the simulation had none."""
        return next((float(self.attrs[k]) for k in ("D_nm2_per_s",) if k in self.attrs), None)


def holds_truth(path: str | Path | None) -> bool:
    """Whether `path` is an HDF5 movie with `/truth/defects`."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return "truth/defects" in file
    except (OSError, TypeError, ValueError):
        return False


def read(path: str | Path) -> Truth:
    """Read `/truth` of a simulated movie.

    Raises UserError when there is none.
    """
    import h5py

    path = Path(path)
    if not path.exists():
        raise UserError(f"truth={path}: no such file")
    if not holds_truth(path):
        raise UserError(f"truth={path}: holds no /truth/defects; only movies from simulate.py do")
    with h5py.File(path, "r") as file:
        group = file["truth"]
        stored = group["defects"][:]
        rows = empty(len(stored))
        for name in rows.dtype.names or ():
            if name in stored.dtype.names:
                rows[name] = stored[name]
        attrs = {key: _plain(value) for key, value in group.attrs.items()}
        drift = group["drift_px"][:] if "drift_px" in group else None
        size = file["frames"].attrs.get("pixel_size_nm") if "frames" in file else None
        sites = group["sites_px"][:] if "sites_px" in group else None
        site = group["site"][:] if "site" in group else None
        centers = group["center_identities"][:] if "center_identities" in group else None
    return Truth(rows, drift, attrs, str(path), None if size is None else float(size), sites, site, centers)


def _plain(value):
    if isinstance(value, bytes):
        value = value.decode()
    if isinstance(value, np.ndarray) and value.dtype.kind in "SO":
        return [v.decode() if isinstance(v, bytes) else v for v in value]
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


@dataclass
class Score:
    """Detections of one kind against the truth."""

    kind: str
    n_true: int
    n_found: int
    n_right: int
    rms_error_px: float = np.nan
    extra: dict = field(default_factory=dict)

    @property
    def precision(self) -> float | None:
        return self.n_right / self.n_found if self.n_found else None

    @property
    def recall(self) -> float | None:
        return self.n_right / self.n_true if self.n_true else None

    @property
    def f1(self) -> float | None:
        total = self.n_true + self.n_found
        return 2 * self.n_right / total if total else None


def score(
    rows: np.ndarray, truth: np.ndarray, radius_px: float, frames: np.ndarray | None = None, aspect: float = 1.0
) -> list[Score]:
    """Precision and recall of every kind, frame by frame, by optimal matching within `radius_px`.

    Args:
        rows, truth: defect table rows, positions in px of the same frames.
        radius_px: in widths of a pixel, as the rms error of the scores.
        frames: frames to count; None: those from the first to the last detection or truth.
        aspect: height over width of a pixel.

    Returns:
        One `Score` per kind that is true or found, then one for `any` kind (position only).
    """
    if frames is not None:
        rows, truth = rows[np.isin(rows["frame"], frames)], truth[np.isin(truth["frame"], frames)]
    kinds = [k.decode() for k in np.unique(np.concatenate([rows["kind"], truth["kind"]]))]
    scores = []
    for kind in [*kinds, "any"]:
        mine = rows if kind == "any" else rows[rows["kind"] == kind.encode()]
        true = truth if kind == "any" else truth[truth["kind"] == kind.encode()]
        right, squares = 0, 0.0
        for frame in np.intersect1d(mine["frame"], true["frame"]):
            a, b = (_places(r[r["frame"] == frame], aspect) for r in (mine, true))
            i, j = match(a, b, radius_px)
            right += len(i)
            squares += ((a[i] - b[j]) ** 2).sum()
        scores.append(
            Score(kind, len(true), len(mine), right, float(np.sqrt(squares / right / 2)) if right else np.nan)
        )
    return scores


def _places(rows: np.ndarray, aspect: float) -> np.ndarray:
    """(n, 2) positions in widths of a pixel."""
    return np.column_stack([rows["y_px"] * aspect, rows["x_px"]]).astype(float)


def identities(rows: np.ndarray, truth: np.ndarray, radius_px: float, aspect: float = 1.0) -> np.ndarray:
    """(n,) identity of the true defect of the same kind that each row was matched with, -1 where there is none."""
    out = np.full(len(rows), -1)
    for kind in np.unique(rows["kind"]):
        for frame in np.unique(rows["frame"][rows["kind"] == kind]):
            mine = np.flatnonzero((rows["frame"] == frame) & (rows["kind"] == kind))
            true = np.flatnonzero((truth["frame"] == frame) & (truth["kind"] == kind))
            a, b = (_places(r, aspect) for r in (rows[mine], truth[true]))
            i, j = match(a, b, radius_px)
            out[mine[i]] = truth["track"][true[j]]
    return out


def table(scores: list[Score]) -> "pd.DataFrame":
    """The scores as a DataFrame: kind, n_true, n_found, precision, recall, f1, rms_error_px (per axis)."""
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "kind": s.kind,
                "n_true": s.n_true,
                "n_found": s.n_found,
                "precision": s.precision,
                "recall": s.recall,
                "f1": s.f1,
                "rms_error_px": s.rms_error_px,
            }
            for s in scores
        ]
    )


def drift_error(found_yx: np.ndarray, truth_px: np.ndarray, scale: float | np.ndarray) -> tuple[float, float]:
    """Root mean square and largest error of the drift per frame, after removing the common offset (unit of found)."""
    n = min(len(found_yx), len(truth_px))
    error = found_yx[:n] - truth_px[:n] * scale
    error = error - np.median(error, 0)
    size = np.hypot(*error.T)
    return float(np.sqrt((size**2).mean())), float(size.max())
