"""Analysis as a library: `stemdefects.analyze(table)` returns a result, and writes nothing until asked."""

import shutil
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects import config
from stemdefects.analysis import pipeline
from stemdefects.analysis.data import detections
from stemdefects.commands.analyze import corrected, surroundings
from stemdefects.errors import StemdefectsWarning, UserError
from stemdefects.io.movie import Movie
from stemdefects.io.tables.table import DefectTable
from stemdefects.schema import AnalyzeRoot


@dataclass
class Result:
    """What an analysis found. Printing it gives the figures in plain sentences.

    analysis: the full `pipeline.Analysis`, for those who want everything; config: what it was made with.
    """

    analysis: pipeline.Analysis
    config: AnalyzeRoot

    def __str__(self) -> str:
        from stemdefects.report import summary

        return summary.text(self.analysis)

    @property
    def tables(self) -> dict[str, Any]:
        """DataFrames by name: estimates (value, interval, unit, method), tracks, counts, transitions, ..."""
        return self.analysis.tables

    def save(self, folder: str | Path) -> Path:
        """Write tables (CSV, HDF5), figures (PNG, SVG) and `report.html` into `folder`; returns the page's path."""
        from stemdefects.report import output

        title = f"Defects in {Path(self.analysis.inputs.found.source).name}"
        return output.write(self.analysis, Path(folder), title, config.to_yaml(self.config))

    def report(self, path: str | Path = "report.html") -> Path:
        """Write the self-contained page alone; returns its path."""
        path = Path(path)
        if not path.parent.is_dir():
            raise UserError(f"report {path}: there is no folder {path.parent}; make it first")
        with tempfile.TemporaryDirectory() as folder:
            shutil.copyfile(self.save(folder), path)
        return path


def analyze(
    table: DefectTable | str | Path,
    /,
    *,
    movie: Movie | np.ndarray | None = None,
    material: str | None = None,
    corrections: Any = None,
    seed: int = 0,
    progress: bool = True,
    **settings: Any,
) -> Result:
    """Tracks, classes, diffusion and transitions of a defect table, each with its interval.

    Args:
        table: from `stemdefects.detect`, or a file: our HDF5, or CSV with columns mapped by `table={"columns": ...}`.
        movie: the movie for pictures and drift; by default the table's own source file where it can be read.
        material: name of a material config; by default the one the table was made for, else ws2_mo.
        corrections: `corrections.csv` that the page saved, or a DataFrame of the same columns: applied to a copy.
        seed: of every resampling.
        progress: show a progress bar.
        settings: groups of `AnalysisConfig` (configs/analysis/default.yaml), e.g. `linking={"memory": 2}`; the group
            `table` too, which is why the table itself is given by its place.

    Warns (`StemdefectsWarning`) of what the command notes: doubts of the table, scales that disagree, what could not be
    determined and why. Raises UserError when the table cannot be read or a setting does not exist.
    """
    from tqdm import tqdm

    cfg = configure(material, **settings)
    if isinstance(table, DefectTable):
        found = detections.from_table(table, cfg.analysis.table)
    else:
        found = detections.read(table, cfg.analysis.table)
    if movie is not None and not isinstance(movie, Movie):
        movie = Movie(movie)
    crystal, movie, truth = surroundings(found, cfg, movie)
    if corrections is not None:
        found = corrected(found, corrections, crystal, movie)
    result = pipeline.analyse(
        found, cfg.analysis, crystal, movie, truth, seed,
        lambda items, what: tqdm(items, desc=what, leave=False, disable=not progress),
    )  # fmt: skip
    for note in result.notes:
        warnings.warn(note, StemdefectsWarning, stacklevel=2)
    return Result(result, cfg)


def configure(material: str | None = None, **settings: Any) -> AnalyzeRoot:
    """The default analysis config with `settings` in place; groups within it are given as dicts."""
    return AnalyzeRoot(
        material=config.load_group("material", material or "ws2_mo"),
        analysis=config.default_with("analysis", settings),
        logging=config.load_group("logging", "disabled"),
    )
