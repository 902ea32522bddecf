"""What `analyze.py` does: find the table, its movie and truth, analyse, write, log."""

import contextlib
import hashlib
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stemdefects import config
from stemdefects.command_line import parts_of_list
from stemdefects.crystal import material as crystal
from stemdefects.crystal.material import measured
from stemdefects.errors import UserError, reason_of
from stemdefects.io import locks, opening, runs, tracking
from stemdefects.io.staging import Staging
from stemdefects.io.tables import corrections
from stemdefects.messages import LOG
from stemdefects.schema import AnalyzeRoot

if TYPE_CHECKING:
    from stemdefects.analysis.data.detections import Detections
    from stemdefects.analysis.data.truth import Truth
    from stemdefects.crystal.material import Material
    from stemdefects.io.movie import Movie


def run(cfg: AnalyzeRoot) -> Path:
    """Analyse the table of a run, or a table of its own (which opens a run); returns the path of the page.

    Several (`run=[a,b]` or `table=[a.csv,b.csv]`) are analysed each where they have not been, and compared in a new
    run.

    Raises UserError when neither or both are given, the table is missing, or an analysis is already there.
    """
    given = [one for one in (cfg.run, cfg.table) if one is not None]
    if len(given) != 1:
        raise UserError("give either run=<id> (the run whose defects.h5 is analysed) or table=<file.csv or file.h5>")
    names = several(given[0])
    _check_series(cfg, names)
    if cfg.corrections is not None and len(names) > 1:
        raise UserError("corrections= belongs to one table; analyse each run with its own, then compare")
    return _one(cfg) if len(names) == 1 else _compare(cfg, names)


def several(text: str) -> list[str]:
    """`[a, b]` -> its parts; anything else is one name, brackets or not."""
    names = parts_of_list(text)
    if names is None:
        return [str(text)]
    if not all(names) or len(names) < 2:
        raise UserError(f"{text}: several runs or tables are given as [first,second], without empty parts")
    if len(set(names)) < len(names):
        raise UserError(f"{text}: the same one is given twice; there is nothing to compare")
    return names


def _check_series(cfg: AnalyzeRoot, names: list[str]) -> None:
    """UserError where a joint fit has one run, or states voltages or temperatures for another number of runs."""
    asked = cfg.analysis.damage
    if asked.joint is not None and len(names) < 2:
        raise UserError(f"damage.joint={asked.joint}: is fitted to several runs; give run=[first,second,...]")
    for key in ("voltage_kv", "temperature_k"):
        given = getattr(asked, key)
        if given and len(given) != len(names):
            raise UserError(f"damage.{key}={given}: {len(given)} for {len(names)} runs; give one number for each run")


def _compare(cfg: AnalyzeRoot, names: list[str]) -> Path:
    """Analyses side by side; those that are there already are taken as they are."""
    import pandas as pd

    from stemdefects.analysis import run_comparison
    from stemdefects.analysis.damage.series import joint, statements
    from stemdefects.io.tables.table import DefectTable
    from stemdefects.report import run_comparison_page

    tables, attributes, titles, series = {}, {}, {}, []
    stated = cfg.analysis.damage
    found = [runs.resolve(cfg.runs_dir, name, having="defects.h5") for name in names] if cfg.run is not None else []
    if len({one.id for one in found}) < len(found):
        raise UserError(f"run={cfg.run}: the same run is given twice; there is nothing to compare")
    if missing := [name for name in names if cfg.run is None and not Path(name).is_file()]:
        raise UserError(f"table={missing[0]}: no such defect table")
    for number, name in enumerate(names):
        if cfg.run is not None:
            one = found[number]
            if cfg.overwrite or not (one.analysis_dir / "report.html").exists():
                _one(replace(cfg, run=one.id, overwrite=True))
            folder, label = one.analysis_dir, one.id
        else:
            folder, label = _one(replace(cfg, table=name)).parent, Path(name).name
        label = label if label not in tables else f"{label} ({len(tables) + 1})"
        tables[label] = pd.read_csv(folder / "estimates.csv")
        attributes[label] = DefectTable.read(folder / "defects.h5", patches=False).attrs
        of_file = attributes[label].get("voltage_kv")
        kv = stated.voltage_kv[number] if stated.voltage_kv else of_file
        if of_file and abs(kv / of_file - 1) > joint.SAME:
            LOG.warning("%s: the file says %g kV, you say %g kV, which is used", label, of_file, kv)
        kelvin = stated.temperature_k[number] if stated.temperature_k else attributes[label].get("temperature_k")
        damage = folder / "damage.csv"
        rates = pd.read_csv(damage) if damage.exists() else None
        series.append(joint.Run(label, rates, tables[label], kv, kelvin))
        source = Path(str(attributes[label].get("source", ""))).name
        titles[label] = f"{label}: {source}" + (f", model {m}" if (m := attributes[label].get("model_id")) else "")
    rows = run_comparison.side_by_side(tables)
    notes = run_comparison.cautions(attributes, rows["quantity"])
    together = None if stated.joint is None else joint.fit(series, stated.joint, stated.debye_k)
    new = runs.create(cfg.runs_dir)
    new.write_config(cfg, "analyze")
    with tracking.start(cfg.logging, new, "compare", config.to_plain(cfg)) as tracker:
        page = run_comparison_page.write(new.analysis_dir, rows, tables, notes, titles, together)
        tracker.table("comparison", rows)
    if together is not None:
        notes = [*notes, *statements.remarks(together)]
        print("\n".join(statements.sentences(together)) or f"damage.joint={stated.joint}: nothing could be fitted.")
    print("\n".join([*run_comparison_page.sentences(rows), *(f"note: {n}" for n in notes)]))
    print(f"comparison: {runs.short(page)}")
    return page


def _one(cfg: AnalyzeRoot) -> Path:
    """One table, analysed into its run's folder."""
    from stemdefects.analysis.data import detections

    stage, where = ("analyze", "analysis") if cfg.corrections is None else ("correct", "corrected")
    wanted = None if cfg.corrections is None else corrections.read(cfg.corrections)
    with contextlib.ExitStack() as holding:
        if cfg.run is not None:
            the_run = runs.resolve(cfg.runs_dir, cfg.run, having="defects.h5")
            if not the_run.defects_path.exists():
                raise UserError(
                    f"run={the_run.id}: has no defects.h5 yet; make it with "
                    f"`python infer.py run={the_run.id} input=<file>`"
                )
            holding.enter_context(locks.held(the_run, stage))
            what = _fingerprint(cfg, the_run.defects_path)
            done = (the_run.path / where / "report.html").exists()
            if done and not cfg.overwrite and not Staging(the_run, stage).unfinished(what):
                raise UserError(
                    f"run={the_run.id}: is analysed already ({the_run.path / where}); overwrite=true replaces it"
                )
            found = detections.read(the_run.defects_path, cfg.analysis.table)
            given = _given(cfg, found, wanted, the_run)
        else:
            table = Path(str(cfg.table))
            found = detections.read(table, cfg.analysis.table)
            given = _given(cfg, found, wanted)
            what = _fingerprint(cfg, table)
            the_run = _interrupted(cfg, what, holding)
            if the_run is None:
                the_run = runs.create(cfg.runs_dir)
                holding.enter_context(locks.held(the_run, stage))
        if given[2] is not None:  # else the file stays open until its movie happens to be collected
            holding.callback(given[2].close)
        try:
            return _analyse(cfg, the_run, given, what)
        except UserError:
            raise
        except Exception as error:
            if (reason := reason_of(error)) is None:
                raise
            shutil.rmtree(Staging(the_run, stage).path, ignore_errors=True)
            raise UserError(f"run {the_run.id}: {reason}; then the same command analyses it") from None


def _given(cfg: AnalyzeRoot, found, wanted: corrections.Corrections | None, run: runs.Run | None = None) -> tuple:
    """(detections, material, movie, truth), with the corrections that are asked for: before anything is written."""
    cfg.material = measured.of_table(found.attrs, cfg.material)
    material, movie, truth = context(found, cfg)
    if wanted is not None:
        found = corrected(found, wanted, material, movie)
        before = None if run is None else run.analysis_dir / "estimates.csv"
        if before is not None and before.exists():
            import pandas as pd

            found.corrected = replace(found.corrected, estimates=pd.read_csv(before))
        if run is not None:
            found.corrected = replace(found.corrected, file_sha256=corrections.sha256(run.defects_path))
    return found, material, movie, truth


def corrected(
    found: "Detections", source: Any, material: "Material | None", movie: "Movie | None" = None
) -> "Detections":
    """Detections with the corrections of `source` (a file, a DataFrame or `tables.corrections.Corrections`) in them."""
    from stemdefects.analysis.corrections.applied import apply

    given = corrections.read(source, corrections.digest(found.rows))
    return apply(found, given, material, None if movie is None else movie.shape[1:])


def _fingerprint(cfg: AnalyzeRoot, table: Path) -> dict:
    """What must be the same for an analysis that was cut off to be the one that is asked for."""
    plain = config.to_plain(cfg)
    for name in ("run", "table", "runs_dir", "overwrite", "logging", "verbose"):
        plain.pop(name)
    what = {"config": plain, "table": hashlib.sha256(table.read_bytes()).hexdigest(), "name": table.name}
    path = plain.pop("corrections")
    return what if path is None else what | {"corrections": hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def _interrupted(cfg: AnalyzeRoot, what: dict, holding: contextlib.ExitStack) -> runs.Run | None:
    """The newest run that was opened for the same analysis of the same table and not finished; its lock is kept by
    `holding`."""
    stage = "analyze" if cfg.corrections is None else "correct"
    for name in reversed(runs.list_ids(cfg.runs_dir)):
        run = runs.Run(Path(cfg.runs_dir).resolve() / name)
        if not run.defects_path.exists() and Staging(run, stage).unfinished(what):
            try:
                holding.enter_context(locks.held(run, stage))
            except UserError:  # at work, or not ours to write
                continue
            LOG.info("run %s: started again after an interruption", run.id)
            return run
    return None


def _analyse(cfg: AnalyzeRoot, the_run: runs.Run, given: tuple, what: dict) -> Path:
    """Analyse what is `given` into `the_run`, whose lock is held; what was there before stays until all is written."""
    from tqdm import tqdm

    from stemdefects.analysis import pipeline
    from stemdefects.report import output
    from stemdefects.report import summary as short

    found, material, movie, truth = given
    stage, final = ("analyze", the_run.analysis_dir) if found.corrected is None else ("correct", the_run.corrected_dir)
    new = Staging(the_run, stage)
    folder = new.begin(what, replaces=final.exists())
    the_run.write_config(cfg, stage, folder)
    with tracking.start(cfg.logging, the_run, stage, config.to_plain(cfg)) as tracker:
        bar = lambda items, what: tqdm(items, desc=what, leave=False)  # noqa: E731
        result = pipeline.analyse(found, cfg.analysis, material, movie, truth, cfg.seed, bar)
        for name, seconds in result.seconds.items():
            LOG.debug("%-16s %6.1f s", name, seconds)
        title = f"Defects in {Path(found.source).name}"
        earlier = {"labels": the_run.path / "figures" / "labels.png"}  # of a network that learned from the movie itself
        if found.corrected is not None:  # first: the page names what is beside it
            (folder / final.name).mkdir()
            corrections.write(folder / final.name / "corrections.csv", found.corrected.given)
        output.write(result, folder / final.name, title, config.to_yaml(cfg), earlier)
        summary = short.summary(result)
        if found.corrected is not None:
            summary = {"corrected": summary["analysis"]}
        new.commit(summary)
        output.log(result, final, tracker, earlier)
        tracker.log({"n_tracks": result.inputs.tracks.n_tracks, "n_detections": len(found.rows)})
        tracker.summary(summary, write=False)
    new.end()
    page = final / "report.html"
    print(short.text(result))
    print(f"report: {runs.short(page)}")
    return page


def context(
    found: "Detections", cfg: AnalyzeRoot, movie: "Movie | None" = None
) -> tuple["Material | None", "Movie | None", "Truth | None"]:
    """(material, movie or None, truth or None) that belong to the detections, by their attributes and the config.

    A given `movie` is the user's word. Otherwise the table's own is taken, and only when it holds what the table was
    made from; without it nothing is computed from pictures, and a note says so.
    """
    from stemdefects.analysis.data import truth
    from stemdefects.io import sources

    source = sources.reopen(found.attrs, found.path)
    if movie is None:
        movie = source.movie
        found.notes += [source.note] if source.note else []
        if source.state == sources.UNNAMED and cfg.truth is not None:
            movie = opening.read(cfg.truth)
    if movie is not None:
        _check_size(found, movie)
    path = cfg.truth or source.path
    known = truth.read(path) if path and (cfg.truth is not None or truth.holds_truth(path)) else None
    return _material(cfg, found), movie, known


def _check_size(found, movie) -> None:
    """UserError where the detections do not lie in the frames of `movie`."""
    shape, own = movie.shape, found.attrs.get("source_shape")
    if own is not None and tuple(own) != tuple(shape):
        raise UserError(f"{movie.source}: {shape} frames and pixels, but the table is of a movie of {tuple(own)}")
    last = found.rows["frame"].max(initial=0)
    if last >= shape[0] or (found.yx_px > shape[1:]).any():
        raise UserError(
            f"{movie.source}: {shape[0]} frames of {shape[1]} x {shape[2]} px do not hold all detections of the table "
            f"(frames to {last}, y to {found.yx_px[:, 0].max():.0f}, x to {found.yx_px[:, 1].max():.0f} px)"
        )


def _material(cfg: AnalyzeRoot, found):
    """The material the table names when there is such a config, else the one of the command line."""
    name = found.attrs.get("material")
    if isinstance(name, str) and name != cfg.material.name and name in config.group_names("material"):
        found.notes.append(f"The table was made for material {name}; that is used, not {cfg.material.name}.")
        return crystal.load(name)
    return crystal.from_config(cfg.material)
