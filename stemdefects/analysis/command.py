"""What `analyze.py` does: find the table, its movie and truth, analyse, write, log."""

from dataclasses import replace
from pathlib import Path

from stemdefects import config
from stemdefects.command_line import parts_of_list
from stemdefects.errors import UserError
from stemdefects.io import runs, tracking
from stemdefects.schema import AnalyzeRoot


def run(cfg: AnalyzeRoot) -> Path:
    """Analyse the table of a run, or a table of its own (which opens a run); returns the path of the page.

    Several (`run=[a,b]` or `table=[a.csv,b.csv]`) are analysed each where they have not been, and compared in a new
    run.

    Raises UserError when neither or both are given, the table is missing, or an analysis is already there.
    """
    if (cfg.run is None) == (cfg.table is None):
        raise UserError("give either run=<id> (the run whose defects.h5 is analysed) or table=<file.csv or file.h5>")
    names = several(cfg.run if cfg.run is not None else cfg.table)
    return _one(cfg) if len(names) == 1 else _compare(cfg, names)


def several(text: str) -> list[str]:
    """`[a, b]` -> its parts; anything else is one name, brackets or not."""
    names = parts_of_list(text)
    if names is None:
        return [str(text)]
    if not all(names) or len(names) < 2:
        raise UserError(f"{text}: several runs or tables are given as [first,second], without empty parts")
    if len(set(names)) < len(names):
        raise UserError(f"{text}: the same one twice; there is nothing to compare")
    return names


def _compare(cfg: AnalyzeRoot, names: list[str]) -> Path:
    """Analyses side by side; those that are there already are taken as they are."""
    import pandas as pd

    from stemdefects.analysis import compare
    from stemdefects.io.table import DefectTable
    from stemdefects.report import comparison_page

    tables, attributes, titles = {}, {}, {}
    found = [runs.resolve(cfg.runs_dir, name, having="defects.h5") for name in names] if cfg.run is not None else []
    if len({one.id for one in found}) < len(found):
        raise UserError(f"run={cfg.run}: the same run twice; there is nothing to compare")
    if missing := [name for name in names if cfg.run is None and not Path(name).is_file()]:
        raise UserError(f"table={missing[0]}: no such defect table")
    for number, name in enumerate(names):
        if cfg.run is not None:
            one = found[number]
            if cfg.overwrite or not (one.analysis_dir / "estimates.csv").exists():
                _one(replace(cfg, run=one.id, overwrite=True))
            folder, label = one.analysis_dir, one.id
        else:
            folder, label = _one(replace(cfg, table=name)).parent, Path(name).name
        label = label if label not in tables else f"{label} ({len(tables) + 1})"
        tables[label] = pd.read_csv(folder / "estimates.csv")
        attributes[label] = DefectTable.read(folder / "defects.h5", patches=False).attrs
        source = Path(str(attributes[label].get("source", ""))).name
        titles[label] = f"{label}: {source}" + (f", model {m}" if (m := attributes[label].get("model_id")) else "")
    rows = compare.side_by_side(tables)
    notes = compare.cautions(attributes, rows["quantity"])
    new = runs.create(cfg.runs_dir)
    new.write_config(cfg, "analyze")
    with tracking.start(cfg.logging, new, "compare", config.to_plain(cfg)) as tracker:
        page = comparison_page.write(new.analysis_dir, rows, tables, notes, titles)
        tracker.table("comparison", rows)
    print("\n".join([*comparison_page.sentences(rows), *(f"note: {n}" for n in notes)]))
    print(f"comparison: {runs.short(page)}")
    return page


def _one(cfg: AnalyzeRoot) -> Path:
    """One table, analysed into its run's folder."""
    from stemdefects.analysis import detections, pipeline
    from stemdefects.report import output

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
        earlier = {"labels": the_run.path / "figures" / "labels.png"}  # of a network that learned from the movie itself
        page = output.write(result, the_run.analysis_dir, title, config.to_yaml(cfg), tracker, earlier)
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
