"""What `analyze.py` does: find the table, its movie and truth, analyse, write, log."""

from pathlib import Path

from stemdefects import config
from stemdefects.errors import UserError
from stemdefects.io import runs, tracking
from stemdefects.schema import AnalyzeRoot


def run(cfg: AnalyzeRoot) -> Path:
    """Analyse the table of a run, or a table of its own (which opens a run); returns the path of the page.

    Raises UserError when neither or both are given, the table is missing, or an analysis is already there.
    """
    from stemdefects.analysis import detections, pipeline
    from stemdefects.report import output

    if (cfg.run is None) == (cfg.table is None):
        raise UserError("give either run=<id> (the run whose defects.h5 is analysed) or table=<file.csv or file.h5>")
    if cfg.run is not None:
        the_run = runs.resolve(cfg.runs_dir, cfg.run, having="defects.h5")
        path = the_run.defects_path
        if not path.exists():
            raise UserError(
                f"run={the_run.id}: has no defects.h5 yet; make it with `python infer.py run={the_run.id} input=<file>`"
            )
        if (the_run.analysis_dir / "report.html").exists() and not cfg.overwrite:
            raise UserError(
                f"run={the_run.id}: is analysed already ({the_run.analysis_dir}); overwrite=true replaces it"
            )
        found = detections.read(path, cfg.analysis.table)
    else:
        path = Path(cfg.table)
        found = detections.read(path, cfg.analysis.table)
        the_run = runs.create(cfg.runs_dir)
    the_run.write_config(cfg, "analyze")
    material, movie, truth = surroundings(found, cfg)
    with tracking.start(cfg.logging, the_run, "analyze", config.to_plain(cfg)) as tracker:
        from tqdm import tqdm

        result = pipeline.analyse(
            found, cfg.analysis, material, movie, truth, cfg.seed,
            lambda items, what: tqdm(items, desc=what, leave=False),
        )  # fmt: skip
        title = f"Defects in {Path(found.source).name}"
        page = output.write(result, the_run.analysis_dir, title, config.to_yaml(cfg), tracker)
        tracker.log({"n_tracks": result.tracks.n_tracks, "n_detections": len(found.rows)})
        tracker.summary(output.summary(result))
    print(output.text(result))
    print(f"report: {runs.short(page)}")
    return page


def surroundings(found, cfg: AnalyzeRoot) -> tuple:
    """(material, movie or None, truth or None) that belong to the detections, by their attributes and the config."""
    return _material(cfg, found), _movie(found, cfg), _truth(found, cfg)


def _material(cfg: AnalyzeRoot, found):
    """The material the table names when there is such a config, else the one of the command line."""
    from stemdefects.crystal import material

    name = found.attrs.get("material")
    if isinstance(name, str) and name != cfg.material.name and name in config.group_names("material"):
        found.notes.append(f"The table was made for material {name}; that is used, not {cfg.material.name}.")
        return material.load(name)
    return material.from_config(cfg.material)


def _source(found) -> Path | None:
    source = found.attrs.get("source")
    return Path(str(source)) if source and Path(str(source)).exists() else None


def _movie(found, cfg: AnalyzeRoot):
    from stemdefects.io import movie

    path = _source(found) or (Path(cfg.truth) if cfg.truth and Path(cfg.truth).exists() else None)
    if path is None:
        return None
    try:
        return movie.read(path)
    except UserError as error:
        found.notes.append(f"The movie could not be read for pictures: {error}")
        return None


def _truth(found, cfg: AnalyzeRoot):
    from stemdefects.analysis import truth

    if cfg.truth is not None:
        return truth.read(cfg.truth)
    path = _source(found)
    return truth.read(path) if path is not None and truth.holds_truth(path) else None
