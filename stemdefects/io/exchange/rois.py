"""ImageJ: a point for each detection, in its frame, named by its kind."""

from pathlib import Path
from typing import Any

from stemdefects.errors import UserError
from stemdefects.needed import needed


def write(table: Any, path: str | Path) -> Path:
    """Write a .zip for ImageJ's ROI manager. ImageJ's pixel 0 spans 0 to 1, and it counts frames from 1."""
    roifile = needed("roifile", "to_imagej()")
    path = Path(path)
    if path.suffix.lower() != ".zip":
        raise UserError(f"{path}: ImageJ's ROI manager reads a .zip")
    if not len(table.rows):
        raise UserError(f"{path}: the table has no detections, and ImageJ cannot read an empty .zip")
    made = []
    for i, row in enumerate(table.rows):
        name = f"{row['kind'].decode()}_{row['frame']:05d}_{i:06d}"
        one = roifile.ImagejRoi.frompoints(
            [[row["x_px"] + 0.5, row["y_px"] + 0.5]], name=name, position=int(row["frame"])
        )
        one.roitype = roifile.ROI_TYPE.POINT
        made.append(one)
    path.unlink(missing_ok=True)
    roifile.roiwrite(path, made)
    return path
