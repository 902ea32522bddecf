"""What a defect table can be turned into, and made from: the methods of `DefectTable`."""

from pathlib import Path
from typing import Any, Self

import numpy as np


class Exchange:
    """Conversions; `rows`, `attrs` and the rest are those of `DefectTable`."""

    rows: np.ndarray

    def to_trackpy(self) -> Any:
        """A DataFrame as trackpy has it: `y`, `x` (px), `frame`, `particle` where rows are linked, and our columns."""
        from stemdefects.io.exchange import frames

        return frames.to_trackpy(self.rows)

    def to_trackmate_xml(self, path: str | Path) -> Path:
        """Write TrackMate's XML: spots in nm (px where the pixel size is not known), named by kind, and tracks."""
        from stemdefects.io.exchange import trackmate

        return trackmate.write(self, path)

    def to_napari(self, movie: Any = None) -> list[tuple]:
        """Tuples for `viewer._add_layer_from_data(*layer)` or a plugin: Image of `movie`, Points, Tracks."""
        from stemdefects.io.exchange import layers

        return layers.to_napari(self, movie)

    def to_hyperspy_markers(self, signal: Any = None) -> list[Any]:
        """Markers for `signal.add_marker`, one for each kind, in the axes of `signal` (None: px)."""
        from stemdefects.io.exchange import markers

        return markers.to_markers(self, signal)

    def to_ase(self, material: Any, frame: int = 0, sites_of: Any = None) -> Any:
        """All columns of a frame as `ase.Atoms` in Angstrom; material: of `stemdefects.load_material`; sites_of: the
        table of `infer.py`, where this one is of its analysis or was corrected and holds no lattice sites."""
        from stemdefects.io.exchange import atoms

        return atoms.to_ase(self, material, frame, sites_of=sites_of)

    def to_xyz(self, path: str | Path, material: Any, frame: int = 0, sites_of: Any = None) -> Path:
        """Write all columns of a frame as extended XYZ in Angstrom; sites_of: as in `to_ase`."""
        from stemdefects.io.exchange import atoms

        return atoms.to_xyz(self, path, material, frame, sites_of=sites_of)

    def to_imagej(self, path: str | Path) -> Path:
        """Write points for ImageJ's ROI manager (.zip)."""
        from stemdefects.io.exchange import rois

        return rois.write(self, path)

    @classmethod
    def from_dataframe(cls, table: Any, pixel_size_nm: float | None = None, frame_time_s: float | None = None) -> Self:
        """A table of a DataFrame with our columns or trackpy's (`y`, `x`, `frame`, `particle`)."""
        from stemdefects.io.exchange import frames

        return cls._made(frames.from_dataframe(table, pixel_size_nm), pixel_size_nm, frame_time_s)

    @classmethod
    def from_napari(cls, points: Any, pixel_size_nm: float | None = None, frame_time_s: float | None = None) -> Self:
        """A table of a napari Points layer, or of an array (n, 3) of frame, y, x."""
        from stemdefects.io.exchange import layers

        rows = layers.from_points(points)
        if pixel_size_nm is not None:
            rows["y_nm"], rows["x_nm"] = rows["y_px"] * pixel_size_nm, rows["x_px"] * pixel_size_nm
        return cls._made(rows, pixel_size_nm, frame_time_s)

    @classmethod
    def from_trackmate_xml(cls, path: str | Path) -> Self:
        """A table of a TrackMate file, its tracks taken as they are."""
        from stemdefects.io.exchange import trackmate

        rows, attrs = trackmate.read(path)
        return cls._made(rows, attrs.get("pixel_size_nm"), attrs.get("frame_time_s"), attrs.get("source"))

    @classmethod
    def _made(
        cls, rows: np.ndarray, pixel_size_nm: float | None, frame_time_s: float | None, source: str | None = None
    ) -> Self:
        attrs: dict[str, Any] = {"pixel_size_nm": pixel_size_nm, "frame_time_s": frame_time_s, "source": source}
        attrs |= {"linked": True} if (rows["track"] >= 0).any() else {}
        made: Any = cls  # the table itself, whose fields are not known here
        return made(rows, attrs={k: v for k, v in attrs.items() if v is not None})
