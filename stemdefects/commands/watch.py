"""`infer.py watch=`: frames as they are recorded; at the end the table that `infer.py input=` makes of them."""

import contextlib
import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects import config
from stemdefects.commands import infer, resumption
from stemdefects.errors import UserError
from stemdefects.inference.source import open_input
from stemdefects.io import locks, runs
from stemdefects.live.incoming import journal as journals
from stemdefects.live.incoming.journal import Journal
from stemdefects.live.incoming.watch import Watch
from stemdefects.live.publish import STDOUT, Publisher, to
from stemdefects.messages import LOG
from stemdefects.schema import InferRoot

PARTIAL = "live.partial"


def watch(cfg: InferRoot) -> runs.Run:
    """Follow `cfg.watch` until no more frames are waited for, and make the table of all of them.

    A watch that was interrupted is gone on with where it stopped. Raises UserError for anything the user can mend: no
    such folder, a run that another process works on, settings that make no sense here.
    """
    _check(cfg)
    run, model_dir = infer.chosen_model(cfg)
    Watch(str(cfg.watch), cfg.inference.signal, cfg.live.settle_s)  # a wrong name shows before JAX is imported
    with contextlib.ExitStack() as holding:
        publisher = to(cfg.live.publish)
        holding.callback(publisher.close)
        if cfg.live.publish == STDOUT:  # lines for a program alone; what is said goes to people
            holding.enter_context(contextlib.redirect_stdout(sys.stderr))
        return _watch(cfg, run, model_dir, publisher, holding)


def _watch(
    cfg: InferRoot, run: runs.Run | None, model_dir: Path, publisher: Publisher, holding: contextlib.ExitStack
) -> runs.Run:
    from stemdefects import devices
    from stemdefects.live.loop import Asked, Loop
    from stemdefects.live.server import Page
    from stemdefects.models import artifact, other_crystal

    devices.use_compilation_cache()
    devices.check()
    model = other_crystal.asked_for(artifact.load(model_dir), cfg.inference)
    about = _about(cfg, model)
    run, records = _run(cfg, run, about, holding)
    journal = Journal(run.path / journals.NAME)
    holding.callback(journal.close)
    if not records:
        journal.write({"begun": about})
    page = None
    if cfg.live.port is not None:
        page = Page(cfg.live.port, f"{Path(str(cfg.watch)).name}: run {run.id}")
        holding.callback(page.close)
        LOG.info("page:        %s", page.url)
    loop = Loop(Asked(str(cfg.watch), cfg.inference, cfg.live, run.path / PARTIAL), model, journal, page, publisher)
    ended = None
    for record in records:
        loop.intake.known(record)
        ended = record.get("ended", ended)
    LOG.info("run %s: watching %s", run.id, cfg.watch)
    if ended is None:
        try:
            ended = loop.run()
        except KeyboardInterrupt:
            n = 0 if loop.results is None else loop.results.done
            LOG.warning("stopped after %s frames; the same command goes on from there", n)
            raise
        journal.write({"ended": ended})
        loop.say(ended)
    if not loop.intake.entries:
        raise UserError(f"watch={cfg.watch}: no frame came, so there is no table")
    loop.finished("making the table of all frames")
    done = _finish(cfg, run, model_dir, loop, holding)
    journal.write({"done": True})
    resumption.removed(run.path / PARTIAL)
    loop.finished(f"done: {runs.short(done.defects_path)}")
    return done


def _finish(cfg: InferRoot, run: runs.Run, model_dir: Path, loop: Any, holding: contextlib.ExitStack) -> runs.Run:
    """The table, by the code of an offline run.

    Where `inference.first_frames` says what is learned from, the blocks are those that were computed as the frames
    came; else calibration and specimen are learned from frames of the whole movie, and blocks are computed with these.
    """
    cfg = dataclasses.replace(cfg, input=str(cfg.watch))
    movie = open_input(cfg.input, cfg.inference)
    blocks = None
    if cfg.inference.first_frames is not None and loop.results is not None and _same_frames(movie, loop):
        times = movie.times_s
        if times is None and loop.results.setup.frame_time_s is not None:
            times = np.arange(len(movie)) * loop.results.setup.frame_time_s

        blocks = resumption.Made(loop.results.setup.learned(), loop.results.blocks(len(movie), times))
    return infer.into_run(cfg, run, movie, model_dir, holding, blocks)


def _same_frames(movie: Any, loop: Any) -> bool:
    """Whether what came is what the movie is now: the same files in the same order, none changed since it was read."""
    files = [str(file) for file in loop.intake.watch.order()]
    came = list(dict.fromkeys(entry.file for entry in loop.intake.entries))
    same = len(movie) == loop.results.done == len(loop.intake.entries) and files == came and not loop.intake.changed
    if not same:
        loop.say("files came in another order than they are read in, or have changed: all frames are called once more")
    return same


def _check(cfg: InferRoot) -> None:
    if cfg.input is not None:
        raise UserError("input= and watch= are both given; watch= is for files that are still to come")
    if cfg.cluster is not None:
        raise UserError("cluster= takes files that are there; watch= follows one movie")
    if cfg.inference.frames is not None:
        raise UserError("inference.frames: watch= takes all frames; live.stop_frames ends it after so many")
    config.check(cfg.live, "live.")


def _about(cfg: InferRoot, model: Any) -> dict[str, Any]:
    """What must be the same for a watch to be gone on with."""
    plain = config.to_plain(cfg.inference)
    plain.pop("pictures")
    return {"watch": str(Path(str(cfg.watch)).resolve()), "model": model.signature, "settings": plain}


def _run(
    cfg: InferRoot, run: runs.Run | None, about: dict[str, Any], holding: contextlib.ExitStack
) -> tuple[runs.Run, list[dict[str, Any]]]:
    """The run, locked, and the journal of a watch to be gone on with, empty for a new one."""
    if run is not None:
        holding.enter_context(locks.held(run, "infer"))
        records = list(journals.read(run.path / journals.NAME))
        if records and records[0].get("begun") == about and not records[-1].get("done"):
            return run, records
        resumption.refuse_what_is_done(run, cfg.overwrite)
        (run.path / journals.NAME).unlink(missing_ok=True)
        resumption.removed(run.path / PARTIAL)
        return run, []
    for name in reversed(runs.list_ids(cfg.runs_dir)):
        other = runs.Run(Path(cfg.runs_dir).resolve() / name)
        first = next(journals.read(other.path / journals.NAME), {})
        if first.get("begun") != about or cfg.overwrite:
            continue
        if any(record.get("done") for record in journals.read(other.path / journals.NAME)):
            continue
        try:
            holding.enter_context(locks.held(other, "infer"))
        except UserError as error:
            raise UserError(f"watch={cfg.watch}: {error}") from None
        records = list(journals.read(other.path / journals.NAME))  # whole, now that nobody writes
        LOG.info("run %s: going on after an interruption", other.id)
        return other, records
    run = runs.create(cfg.runs_dir)
    holding.enter_context(locks.held(run, "infer"))
    return run, []
