"""Detection as a library: `stemdefects.detect(movie, model)` returns a table, and writes nothing."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects import config
from stemdefects.errors import StemdefectsWarning, UserError
from stemdefects.io.movie import Movie
from stemdefects.io.sources import Hashing
from stemdefects.io.tables.evidence import Held
from stemdefects.io.tables.table import DefectTable, empty
from stemdefects.messages import progress_bar
from stemdefects.schema import InferenceConfig


def detect(
    movie: Movie | np.ndarray | str | Path,
    model: Any = None,
    *,
    run: str | None = None,
    runs_dir: str | Path = "runs",
    progress: bool = True,
    **settings: Any,
) -> DefectTable:
    """Find the defects in a movie or image.

    Args:
        movie: a `Movie`, an array (H, W) or (n, H, W) of counts, or a file name.
        model: a loaded model, the name of a network that ships (`ws2_mo`), a model folder, a run folder, or the id
            of a run in `runs_dir`.
        run: the same for the id of a run, as infer.py has it; without either the newest run's model is used.
        progress: show a progress bar.
        settings: fields of `InferenceConfig` (configs/inference/default.yaml), e.g. `pixel_size_nm=0.03`,
            `thresholds={"V_S": 0.5}`, `over_time={"enabled": False}`.

    Returns the table, patches and frame table included; `over_time` holds what all frames of a movie say together.
    Warns (`StemdefectsWarning`) of what makes them doubtful: a pixel size that the lattice contradicts, frames that
    were skipped, doubts of frames. Raises UserError when there is no such model, the sampling is unknown, or no frame
    can be used.
    """
    from stemdefects import devices
    from stemdefects.commands.infer import attributes
    from stemdefects.inference import notices
    from stemdefects.inference.columns import confusion
    from stemdefects.inference.evidence.floating import calls
    from stemdefects.inference.setup import prepare
    from stemdefects.inference.source import opened, overruled
    from stemdefects.inference.tables import stream
    from stemdefects.inference.tables.assembly import look_together, tells_states
    from stemdefects.inference.teaching import teach
    from stemdefects.models import other_crystal, shipped

    devices.use_compilation_cache()
    devices.check()
    if model is not None and run is not None:
        raise UserError("detect: give model or run, not both")
    asked = configure(**settings)
    if model == shipped.AUTO:
        model = other_crystal.chosen(asked)
    loaded = other_crystal.asked_for(load_model(run or model or "latest", runs_dir), asked)
    if isinstance(movie, str | Path):
        movie = opened(movie, settings.get("signal"))
    elif not isinstance(movie, Movie):
        movie = Movie(movie)
    movie = overruled(movie, asked)
    hashing = Hashing(movie)
    setup = prepare(movie, loaded, asked)
    teach(movie, setup)
    with progress_bar()(total=len(setup.indices), unit="frame", desc="inference", disable=not progress) as bar:

        def done(frames: int, _: int) -> None:
            bar.update(frames)

        blocks = list(stream.blocks(movie, setup, range(setup.n_blocks), done))
    read = calls.judged(blocks.__getitem__, setup.n_blocks, setup)
    blocks = [read(number) for number in range(setup.n_blocks)]
    names = ("rows", "frames", "patches", "regions")
    rows, frames, patches, regions = (np.concatenate([getattr(b, n) for b in blocks]) for n in names)
    found = DefectTable(rows, frames, patches, attributes(movie, setup), regions=regions)
    found.attrs |= {"source_sha256": hashing.result()} if "source_path" in found.attrs else {}
    over_time, held = [empty(0)], Held()
    together = look_together(blocks.__getitem__, setup, over_time.append, held.start)
    if together is not None:
        found.over_time = np.concatenate(over_time) if tells_states(setup) else None
        found.frames = together.doubted(found.frames)
        found.frames["drift_y_px"], found.frames["drift_x_px"] = together.drift_px.T
        found.attrs |= together.attributes
        found.evidence = held.evidence
    told = [*movie.remarks, *confusion.unsaid(loaded, setup.dose.e_per_px)]
    contradicted = () if together is None else together.contradicted
    tolerance = setup.settings.calibration_tolerance
    told += notices.warnings_of(found.frames, setup.calibration, tolerance, contradicted)
    for sentence in told:
        warnings.warn(sentence, StemdefectsWarning, stacklevel=2)
    return found


def configure(**settings: Any) -> InferenceConfig:
    """The default inference config with `settings` in place; groups within it are given as dicts."""
    return config.default_with("inference", settings)


def load_model(model: Any, runs_dir: str | Path = "runs") -> Any:
    """A `LoadedModel` from itself, the name of a network that ships, a model folder, a run folder, or a run's id."""
    from stemdefects.models import artifact, shipped

    return artifact.load(shipped.locate(model, runs_dir)) if isinstance(model, str | Path) else model
