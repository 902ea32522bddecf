"""`infer.py`: a file and a run's model in; defect table, CSV, pictures and summary out."""

import contextlib
import time
from pathlib import Path
from typing import Any

from stemdefects import config
from stemdefects.command_line import parts_of_list
from stemdefects.commands import resumption
from stemdefects.errors import UserError
from stemdefects.inference import notices
from stemdefects.inference.columns import confusion
from stemdefects.inference.source import open_input
from stemdefects.inference.tables.partial_results import PartialResults
from stemdefects.io import locks, runs, sources, tracking
from stemdefects.io import movie as movies
from stemdefects.io.readers.conventions import dose
from stemdefects.io.staging import Staging
from stemdefects.messages import LOG
from stemdefects.models import shipped
from stemdefects.schema import InferRoot


def infer(cfg: InferRoot, into: runs.Run | None = None) -> runs.Run:
    """Find the defects in `cfg.input` with the model of `cfg.run`; everything is written into that run's folder, or
    `into` another one.

    An inference that was interrupted goes on where it stopped. Raises UserError for anything the user can mend: no such
    file or run, a damaged file, a table that is already there, an unknown sampling.
    """
    if cfg.input is None:
        raise UserError("input: no file given; say input=<movie or image file>")
    if parts_of_list(cfg.input) or isinstance(cfg.input, list | tuple):
        raise UserError(f"input={cfg.input}: several files are each a run of its own: add cluster=local")
    run, model_dir = chosen_model(cfg)
    run = into or run
    with contextlib.ExitStack() as holding:
        if run is not None:
            holding.enter_context(locks.held(run, "infer"))
            resumption.refuse_what_is_done(run, cfg.overwrite)
        movie = open_input(cfg.input, cfg.inference)  # before JAX is imported: mistakes show at once
        return into_run(cfg, run, movie, model_dir, holding)


def into_run(
    cfg: InferRoot,
    run: runs.Run | None,
    movie: movies.Movie,
    model_dir: Path,
    holding: contextlib.ExitStack,
    made: resumption.Made | None = None,
) -> runs.Run:
    """See `infer`; `holding` keeps the lock of the run, also of one that is found or opened here. made: all blocks of
    the movie, where they were computed as it was recorded."""
    from stemdefects import devices
    from stemdefects.inference.setup import prepare
    from stemdefects.inference.tables import assembly
    from stemdefects.inference.teaching import teach
    from stemdefects.models import artifact, other_crystal
    from stemdefects.report.pictures import draw

    devices.use_compilation_cache()
    devices.check()
    model = other_crystal.asked_for(artifact.load(model_dir), cfg.inference)
    fingerprint = resumption.fingerprint_of(movie, model, cfg.inference)
    if run is None and not cfg.overwrite:
        run = resumption.interrupted(cfg.runs_dir, fingerprint, holding)
    known = None if run is None else resumption.resumable(run, fingerprint, cfg.overwrite)
    if made is not None and known is None and run is not None:
        known = resumption.taken_over(run, made, fingerprint)
    hashing = sources.Hashing(movie)
    LOG.info("%s", movie)
    setup = prepare(movie, model, cfg.inference, known)
    for sentence in (*movie.remarks, *confusion.unsaid(model, setup.dose.e_per_px)):
        LOG.info("note: %s", sentence)
    teach(movie, setup, known and known.get("specimen"))
    if run is None:
        run = runs.create(cfg.runs_dir)
        holding.enter_context(locks.held(run, "infer"))
        LOG.info("run %s: new, with the model of %s", run.id, runs.short(model_dir))
    partial = resumption.partial_of(run)
    with resumption.kept(run, partial, setup):
        if not known:
            partial.start(setup.learned() | {"fingerprint": fingerprint, "replaces": run.defects_path.exists()})
        LOG.info("%s", "\n".join(notices.inputs(movie, setup)))
        if setup.reference_px is None:
            LOG.info("no lattice found: defects have no sites, complexes no orientation")
        if not run.defects_path.exists():  # else the former one stands until its results are replaced
            run.write_config(cfg, "infer")
        with tracking.start(cfg.logging, run, "infer", config.to_plain(cfg)) as tracker:
            seconds = _compute(movie, setup, partial)
            attrs = attributes(movie, setup) | {"source_sha256": hashing.result()}
            new = Staging(run, "infer")
            folder = new.begin()
            run.write_config(cfg, "infer", folder)
            found = assembly.assemble(folder, setup, partial, attrs)
            drawn = draw(movie, folder / "defects.h5", setup, folder / "pictures")
            pictures = [run.path / path.relative_to(folder) for path in drawn]
            summary = assembly.summarise(found, setup) | {"infer_seconds": seconds}
            new.commit(summary)
            for path in pictures:
                if path.suffix == ".png":
                    tracker.image(path.stem, path)
            if tracker.wandb_run:  # else nobody takes it, and pandas need not make it
                tracker.table("defects", found.first.to_pandas())
            tracker.artifact("defects", "defect_table", run.defects_path)
            tracker.summary(summary, write=False)
        partial.remove()
    movie.close()
    _report(run, setup, found, summary, pictures)
    return run


def attributes(movie: movies.Movie, setup: Any) -> dict[str, Any]:
    """Attributes of the defect table: what was done with what."""
    calibration = setup.calibration.to_dict()
    return {
        "pixel_size_nm": setup.calibration.pixel_size_nm,
        "pixel_size_yx_nm": [setup.calibration.pixel_size_nm * setup.aspect, setup.calibration.pixel_size_nm],
        "frame_time_s": setup.frame_time_s,
        "dose_e_per_px": setup.dose.e_per_px,
        "dose_origin": setup.dose.origin,
        "dose_relative_sigma": setup.dose.relative_sigma,
        "dose_detail": setup.dose.detail or None,
        "voltage_kv": dose.of_file(movie.metadata).voltage_kv,
        "times_recorded": movie.times_s is not None,
        "calibration": calibration,
        "source": movie.source,
        "signal": movie.signal if movie.signal or movie.second else setup.settings.signal,
        "second_signal": None if movie.second is None else movie.second.signal or movie.second.source,
        **sources.record(movie),
        "source_shape": list(movie.shape),
        "model": setup.model.name,
        "model_id": setup.model.id,
        "model_signature": setup.model.signature,
        "material": setup.model.material.name,
        "kinds": setup.model.material.kind_names,
        "confusion": confusion.nearest(setup.model, setup.dose.e_per_px),
        "patch_nm": setup.settings.patch_nm,
        "region_step_px": setup.region_step_px,
        "reference_px": None
        if setup.reference_px is None
        else (setup.raw_vectors(setup.reference_px) * (setup.aspect, 1)).tolist(),
        "specimen": None if setup.rules.specimen is None else setup.rules.specimen.to_plain(),
        "straightened": setup.straighten is not None,
        "grains_turn_deg": setup.grains_turn_deg or None,
        "boundary_called": not setup.of_movie,
        "config": config.to_plain(setup.settings),
    }


def chosen_model(cfg: InferRoot) -> tuple[runs.Run | None, Path]:
    """The run that gets the table (None: a new one), and the folder of the model."""
    if cfg.run is not None and cfg.inference.model is not None:
        raise UserError("run= and model= are both given; run=<id> uses that run's own model")
    if cfg.run is not None:
        run = runs.resolve(cfg.runs_dir, cfg.run, having="model")
        return run, run.model_dir
    if cfg.inference.model is None:
        there_are = ", ".join(shipped.names()) or "none yet"
        raise UserError(
            f"run: say whose model to use: run=<id>, run=latest, model=<run id or model folder>, "
            f"or model=<network that ships> ({there_are})"
        )
    if cfg.inference.model == shipped.AUTO:
        from stemdefects.models import other_crystal

        return None, shipped.folder() / other_crystal.chosen(cfg.inference)
    return None, shipped.locate(cfg.inference.model, cfg.runs_dir)


def _compute(movie: movies.Movie, setup: Any, partial: PartialResults) -> float:
    """Compute the blocks that are missing; returns the seconds it took."""
    from tqdm import tqdm

    done = partial.done()
    todo = [n for n in range(setup.n_blocks) if n not in done]
    finished = sum(len(setup.block(n)) for n in done if n < setup.n_blocks)
    from stemdefects.inference.tables import stream

    defects = 0
    start = time.perf_counter()
    with tqdm(total=len(setup.indices), initial=finished, unit="frame", desc="inference", smoothing=0.1) as bar:

        def progress(frames: int, new: int) -> None:
            nonlocal defects
            defects += new
            bar.update(frames)
            bar.set_postfix(defects=defects, refresh=False)

        try:
            for block in stream.blocks(movie, setup, todo, progress):
                partial.write(block)
        except KeyboardInterrupt:
            kept = sum(len(setup.block(n)) for n in partial.done())
            bar.close()
            LOG.warning("stopped after %s of %s frames; the same command goes on from there", kept, len(setup.indices))
            raise
    return time.perf_counter() - start


def _report(run: runs.Run, setup: Any, found: Any, summary: dict[str, Any], pictures: list[Path]) -> None:
    used = summary["n_frames"] - summary["n_frames_skipped"]
    kinds = ", ".join(f"{n} {kind}" for kind, n in summary["detections"].items()) or "none"
    print(f"{found.n_rows} defects in {used} frame{'s' * (used != 1)}: {kinds}")
    if found.counts_over_time is not None:
        by_kind = summary["detections_over_time"]
        print(f"over time: {', '.join(f'{n} {kind}' for kind, n in by_kind.items()) or 'none'} (all frames together)")
    tolerance = setup.settings.calibration_tolerance
    for sentence in notices.warnings_of(found.frames, setup.calibration, tolerance, found.contradicted):
        print(f"warning: {sentence[0].lower()}{sentence[1:]}")
    print(f"table:    {runs.short(run.defects_path)}  {runs.short(run.path / 'defects.csv')}")
    for path in pictures:
        print(f"picture:  {runs.short(path)}")
