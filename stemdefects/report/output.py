"""Everything an analysis leaves on disk: tables, figures, the page, and what goes to the tracker."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from stemdefects.analysis.patches.stage import with_classes
from stemdefects.analysis.pipeline import Analysis
from stemdefects.io.tables import corrections, hdf5_output
from stemdefects.io.tables.table import DefectTable
from stemdefects.io.tracking import Tracker
from stemdefects.report import page, style
from stemdefects.report.drawings import registry


def write(
    result: Analysis, folder: Path, title: str, config_yaml: str, earlier: Mapping[str, Path] | None = None
) -> Path:
    """Write tables (CSV, HDF5), figures (PNG, SVG) and `report.html` into `folder`; return the page's path.
    earlier: pictures that the run has from before, by figure name, shown on the page where they exist."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = _defect_table(result)
    whole.write(folder / "defects.h5")
    whole.write_csv(folder / "defects.csv")
    frames = result.tables
    for name, table in frames.items():
        table.to_csv(folder / f"{name}.csv", index=False)
    _write_hdf5(frames, folder / "analysis.h5")
    for stage in result.stages.values():
        for name, text in stage.files.items():
            (folder / name).write_text(text)
    pictures = {name: picture for name, picture in (earlier or {}).items() if picture.exists()}
    colours = style.colours(result.inputs)
    drawn = {name: registry.draw(name, data, colours) for name, data in result.figures.items()}
    figures = {name: figure for name, figure in drawn.items() if figure is not None}
    pictures |= style.save_all(figures, folder / "figures")
    return page.write(folder / "report.html", result, pictures, title, config_yaml)


def log(result: Analysis, folder: Path, tracker: Tracker, earlier: Mapping[str, Path] | None = None) -> None:
    """What `write` left in `folder`, to the tracker."""
    pictures = {name: picture for name, picture in (earlier or {}).items() if picture.exists()}
    pictures |= {name: path for name in result.figures if (path := folder / "figures" / f"{name}.png").exists()}
    for name, picture in pictures.items():
        tracker.image(name, picture)
    for name, table in result.tables.items() if tracker.wandb_run else ():
        tracker.table(name, table)
    tracker.artifact("report", "report", folder / "report.html")


def _defect_table(result: Analysis) -> DefectTable:
    """The table that was analysed, with tracks and classes filled in."""
    found = result.inputs.found
    attrs = {k: v for k, v in found.attrs.items() if k != "known"}
    attrs |= {
        "pixel_size_nm": found.pixel_size_nm,
        "pixel_size_yx_nm": None if found.pixel_size_yx_nm is None else found.scale_yx.tolist(),
        "frame_time_s": found.frame_time_s,
        "source": found.source,
        "linked": True,
    }
    if found.corrected is not None:
        attrs |= {
            "corrected_from": found.corrected.given.table,
            "corrected_file_sha256": found.corrected.file_sha256,
            "corrections_sha256": corrections.file_sha256(found.corrected.given),
        }
    return DefectTable(with_classes(result.inputs, result.stages), found.frame_table(), found.patches, attrs)


def _write_hdf5(frames: dict, path: Path) -> None:
    """The same tables in one HDF5 file, a compound dataset each."""
    with hdf5_output.Output(path) as file:
        for name, table in frames.items():
            kinds, columns = [], []
            for column in table.columns:
                values = table[column]
                if values.dtype.kind in "biuf":
                    columns.append(values.to_numpy())
                else:
                    try:
                        columns.append(values.to_numpy(dtype=float, na_value=np.nan))
                    except (TypeError, ValueError):
                        columns.append(np.array([str(v).encode() if v is not None else b"" for v in values], dtype="S"))
                    if columns[-1].dtype == "S0" or columns[-1].dtype.itemsize == 0:
                        columns[-1] = columns[-1].astype("S1")
                kinds.append((str(column), columns[-1].dtype))
            data = np.empty(len(table), kinds)
            for (column, _), values in zip(kinds, columns, strict=True):
                data[column] = values
            file.create_dataset(name, data=data)
