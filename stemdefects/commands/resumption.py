"""What an inference leaves when it is interrupted, and where the same one goes on."""

import contextlib
import hashlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from stemdefects import config
from stemdefects.errors import UserError, reason_of
from stemdefects.inference.tables.partial_results import Block, PartialResults
from stemdefects.io import locks, runs, sources
from stemdefects.io import movie as movies
from stemdefects.io.staging import Staging
from stemdefects.messages import LOG
from stemdefects.schema import InferenceConfig


class Made(NamedTuple):
    """Blocks that were computed before: what they were made of (`partial_results`), and the blocks."""

    about: dict[str, Any]
    blocks: Iterable[Block]


def partial_of(run: runs.Run) -> PartialResults:
    """The finished blocks of an inference into `run`."""
    return PartialResults(run.path / "defects.partial")


def fingerprint_of(movie: movies.Movie, model: Any, settings: InferenceConfig) -> dict[str, Any]:
    """What must be the same for an interrupted inference to go on. Pictures may change."""
    plain = config.to_plain(settings)
    plain.pop("pictures")
    head = hashlib.sha256()
    for path in sources.files(movie):
        head.update(f"{path.name} {path.stat().st_size}".encode())
        with open(path, "rb") as stream_:
            head.update(stream_.read(1 << 20))
    return {"source": movie.source, "head": head.hexdigest(), "shape": list(movie.shape), "model": model.signature} | {
        "settings": plain
    }


def interrupted(runs_dir: str, fingerprint: dict[str, Any], holding: contextlib.ExitStack) -> runs.Run | None:
    """The newest run in which an inference of the same kind was interrupted before its end, and which nobody is working
    on; its lock is kept by `holding`. A run whose results it was to replace is its owner's business."""
    for name in reversed(runs.list_ids(runs_dir)):
        run = runs.Run(Path(runs_dir).resolve() / name)
        partial = partial_of(run)
        known = partial.setup() if partial.exists() else {}
        if known.get("fingerprint") == fingerprint and not known.get("replaces"):
            try:
                holding.enter_context(locks.held(run, "infer"))
            except UserError:  # at work, or not ours to write
                continue
            return run
    return None


def resumable(run: runs.Run, fingerprint: dict[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """The setup of an interrupted inference of the same kind in `run`; None: start anew."""
    partial = partial_of(run)
    if not partial.exists():
        return None
    setup = partial.setup()
    if setup.get("fingerprint") == fingerprint:
        LOG.info("run %s: going on after an interruption, %s blocks are there", run.id, len(partial.done()))
        return setup
    if overwrite or not setup:
        return None
    other = setup["fingerprint"]
    changed = [k for k in fingerprint if other.get(k) != fingerprint[k]]
    raise UserError(
        f"{runs.short(partial.path)} holds an interrupted inference with another {', '.join(changed)} "
        f"(source {other.get('source')}); overwrite=true drops it"
    )


def taken_over(run: runs.Run, made: Made, fingerprint: dict[str, Any]) -> dict[str, Any]:
    """Blocks made before, put where an interrupted inference leaves its own; returns what they were made of."""
    partial, gathered = partial_of(run), PartialResults(run.path / ".defects.taken")
    about = made.about | {"fingerprint": fingerprint, "replaces": run.defects_path.exists()}
    gathered.start(about)
    for block in made.blocks:
        gathered.write(block)
    partial.remove()
    gathered.path.replace(partial.path)
    return partial.setup()


def removed(folder: Path) -> None:
    """Delete a folder of blocks."""
    PartialResults(folder).remove()


def is_done(run: runs.Run) -> bool:
    """Whether `run` has a table, and all that belongs to it: an inference that was cut off in its last steps is not."""
    partial = partial_of(run)
    return run.defects_path.exists() and not (partial.exists() and partial.setup().get("replaces") is False)


def refuse_what_is_done(run: runs.Run, overwrite: bool) -> None:
    """Raise UserError when `run` has its table, which may not be replaced."""
    if is_done(run) and not overwrite:
        raise UserError(
            f"{runs.short(run.defects_path)} is there already; overwrite=true replaces it, "
            f"model={run.id} instead of run= opens a new run with the same model"
        )


@contextlib.contextmanager
def kept(run: runs.Run, partial: PartialResults, setup: Any) -> Iterator[None]:
    """A disk that is full ends the inference with a line that says what is kept."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (reason := reason_of(error)) is None:
            raise
        shutil.rmtree(Staging(run, "infer").path, ignore_errors=True)
        n = sum(len(setup.block(k)) for k in partial.done() if k < setup.n_blocks)
        raise UserError(
            f"run {run.id}: {reason}; {n} of {len(setup.indices)} frames are kept, the same command goes on from there"
        ) from None
