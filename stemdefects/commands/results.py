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
from stemdefects.commands.analyze import context, corrected
from stemdefects.errors import StemdefectsWarning, UserError
from stemdefects.io.movie import Movie
from stemdefects.io.tables.table import DefectTable
from stemdefects.messages import progress_bar
from stemdefects.schema import AnalyzeRoot


@dataclass(repr=False)
class Result:
    """What an analysis found. Printing it gives the figures in plain sentences.

    analysis: the full `pipeline.Analysis`, for those who want everything; config: what it was made with.
    """

    analysis: pipeline.Analysis
    config: AnalyzeRoot

    def __str__(self) -> str:
        from stemdefects.report import summary

        return summary.text(self.analysis)

    def __repr__(self) -> str:
        found = self.analysis.inputs.found
        kinds = ", ".join(f"{(found.kinds == kind).sum()} {kind}" for kind in self.analysis.inputs.kinds)
        tracks, frames = self.analysis.inputs.tracks.n_tracks, int(found.observed.sum())
        where = "one image" if found.n_frames == 1 else f"{frames} frames, {tracks} tracks"
        return f"Result({Path(found.source).name}: {kinds or 'no defects'} in {where})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the first frame with its detections, and the headlines."""
        from stemdefects.report import notebook

        return notebook.html(self.analysis)

    def plot(self, name: str | None = None) -> Any:
        """A figure of the page as a matplotlib figure, by its name; without one the names there are.

        Raises UserError where there is none of the name.
        """
        from stemdefects.report import notebook

        return notebook.plot(self.analysis, name)

    @property
    def estimates(self) -> Any:
        """Every number with its interval, unit and method, as a DataFrame."""
        return self.tables["estimates"]

    @property
    def tracks(self) -> Any:
        """Linked detections in the sample's frame, as a DataFrame; empty where nothing was linked."""
        return self._table("tracks")

    @property
    def diffusion(self) -> Any:
        """D by kind and method with its interval, as a DataFrame."""
        return self._table("diffusion")

    @property
    def transitions(self) -> Any:
        """Transition probabilities with their intervals, as a DataFrame; empty where nothing switched."""
        return self._table("transitions")

    def _table(self, name: str) -> Any:
        import pandas as pd

        return self.tables.get(name, pd.DataFrame())

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
        corrections: `corrections.csv` that the page saved, or a DataFrame of the same columns (those its actions need;
            docs/corrections.md): applied to a copy.
        seed: of every resampling.
        progress: show a progress bar.
        settings: groups of `AnalysisConfig` (configs/analysis/default.yaml), e.g. `linking={"memory": 2}`; the group
            `table` too, which is why the table itself is given by its place.

    Warns (`StemdefectsWarning`) of what the command notes: doubts of the table, scales that disagree, what could not be
    determined and why. Raises UserError when the table cannot be read or a setting does not exist.
    """
    cfg = configure(material, **settings)
    if isinstance(table, DefectTable):
        found = detections.from_table(table, cfg.analysis.table)
    else:
        found = detections.read(table, cfg.analysis.table)
    if movie is not None and not isinstance(movie, Movie):
        movie = Movie(movie)
    crystal, movie, truth = context(found, cfg, movie)
    if corrections is not None:
        found = corrected(found, corrections, crystal, movie)
    bar = progress_bar()
    result = pipeline.analyse(
        found,
        cfg.analysis,
        crystal,
        movie,
        truth,
        seed,
        lambda items, what: bar(items, desc=what, leave=False, disable=not progress),
    )
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


def load_material(name: str) -> Any:
    """A material by its name or file (`crystal.material.Material`): lattice, columns and their atoms, kinds."""
    from stemdefects.crystal import material

    return material.load(name)
