"""Training on what a person corrected (`labels=corrections run=<id>`): the network that made a table, adapted to it.

Each run gives the frames that were looked at, with their columns in the states of the corrected table; the network
starts from that of the table, and how far it goes is decided as in every adaptation (`training/outcome/adaptation.py`).
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from stemdefects import schema
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.io import runs, sources
from stemdefects.io.movie import FrameError
from stemdefects.io.tables.table import DefectTable
from stemdefects.labels import corrected
from stemdefects.labels.fourier import sites
from stemdefects.labels.fourier.periodic.lattice import find_lattice
from stemdefects.messages import LOG
from stemdefects.training import corrected_runs, movie, movie_frames, start
from stemdefects.training.update import mixing

REACH_PX = 3.0  # a place means the detection this near, where the pixel size is not known


@dataclasses.dataclass(frozen=True)
class Corrected(movie.Source):
    """A movie whose columns a person has named. `columns.state` is (N, L); whole: (N,) frames that were looked at as a
    whole; name: of its run."""

    whole: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, bool))
    name: str = ""

    @property
    def material(self) -> crystal.Material:
        """What the columns are of: a corrected table is never of an unknown crystal."""
        assert self.crystal is not None
        return self.crystal.material

    @property
    def defects(self) -> np.ndarray:
        """(N, L) columns that are known to be defects."""
        ideal = self.material.ideal_states[self.columns.site]
        return self.columns.sure & (self.columns.state >= 0) & (self.columns.state != ideal)


@dataclasses.dataclass(frozen=True)
class Sources:
    """Corrected movies to learn from together, as `movie.Source` is one."""

    parts: tuple[Corrected, ...]
    floating: bool = False

    def simulator(self, cfg: schema.TrainRoot, size_px: int, held_out: bool) -> Callable:
        """`(key, dose) -> (image, Truth)` of a piece of any of them; the dose is the movie's own."""
        samples = [part.simulator(cfg, size_px, held_out) for part in self.parts]
        length = max(jax.eval_shape(one, jax.random.key(0))[1].site.shape[0] for one in samples)

        def padded(sample):
            def one(key):
                image, truth = sample(key)
                return image, mixing.filled_up(truth, length)

            return one

        def example(key, dose=None):
            which = jax.random.randint(jax.random.fold_in(key, 0xC0), (), 0, len(samples))
            return jax.lax.switch(which, [padded(one) for one in samples], key)

        return example

    def dose_e_per_px(self, simulation: schema.SimulationConfig) -> float:
        """Dose of `simulation` at which its images are as noisy as these movies, in the geometric mean."""
        return float(np.exp(np.mean([np.log(part.dose_e_per_px(simulation)) for part in self.parts])))

    def report(self, run: runs.Run, tracker: Any) -> None:
        """Say what was labelled, and write the columns that are labelled as defects into the run folder."""
        lines = []
        for part in self.parts:
            for note in part.notes:
                LOG.info("labels: %s", note)
            for warning in part.labels.warnings:
                LOG.warning("%s", warning)
            names = part.material.state_names
            for t, column in np.argwhere(part.defects):
                y, x = part.columns.yx[t, column] / part.scale
                lines.append(
                    f"{part.name},{part.labels.indices[t]},{y:.3f},{x:.3f},{names[part.columns.state[t, column]]}"
                )
        runs.write_atomically(run.path / "labels.csv", "\n".join(["run,frame,y_px,x_px,state", *lines]) + "\n")
        tracker.summary({"labels_defects": len(lines), "labels_frames": sum(len(p.whole) for p in self.parts)})


def prepare(cfg: schema.TrainRoot, resumed: bool = False) -> tuple[schema.TrainRoot, Sources, Any]:
    """(config to train with, the corrected movies, weights to start from or None), as `movie.prepare`.

    Raises UserError for runs that hold no corrections, whose movie is gone, or whose network is not known.
    """
    if cfg.input is not None:
        raise UserError(f"input={cfg.input}: labels=corrections takes the movie of the corrected run; leave it out")
    looked = corrected_runs.stored(cfg) if resumed else corrected_runs.asked(cfg)
    if not resumed:
        here = Path(cfg.runs_dir).resolve()
        stated = {
            one.run.id if one.run.path.parent == here else str(one.run.path): corrected_runs.digest(one.run)
            for one in looked
        }
        cfg = dataclasses.replace(cfg, run=None, labels=dataclasses.replace(cfg.labels, corrected=stated))
        if cfg.training.init is None:
            cfg.training = dataclasses.replace(cfg.training, init=corrected_runs.network(looked, cfg.runs_dir))
    cfg, params, known = start.weights(cfg, resumed)
    known = crystal.from_config(cfg.material) if known is None else known
    if known.sites[0].floating:
        raise UserError(
            f"labels=corrections: {cfg.training.init} knows no crystal, only dark and bright defects; adapt it with "
            "labels=fourier input=<movie> training.init=<it>"
        )
    if cfg.model.frames > 1:
        raise UserError(
            f"labels=corrections: trains on single frames; {cfg.training.init} sees {cfg.model.frames} at once. Name a "
            "single-frame network of this crystal: training.init=<network>"
        )
    sources_ = Sources(tuple(_source(one, cfg, known) for one in looked))
    if not any(part.defects.any() for part in sources_.parts):
        raise UserError("labels=corrections: no corrected frame holds a defect on a column of the crystal")
    if resumed:
        return cfg, sources_, params
    size = float(np.exp(np.mean([np.log(part.pixel_size_nm) for part in sources_.parts])))
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, pixel_size_nm=size))
    validation = dataclasses.replace(cfg.training.validation)
    validation.doses_e_per_px = {movie.OWN_DOSE: sources_.dose_e_per_px(cfg.simulation), movie.HELD_OUT: 0.0}
    smallest = min(max(part.labels.frames.shape[1:]) for part in sources_.parts)
    largest = movie.SIZE_STEP * -(-smallest // movie.SIZE_STEP)
    validation.size_px = min(validation.size_px, largest)
    training = dataclasses.replace(cfg.training, validation=validation, size_px=min(cfg.training.size_px, largest))
    return dataclasses.replace(cfg, training=training), sources_, params


def _source(one: corrected_runs.Looked, cfg: schema.TrainRoot, known: crystal.Material) -> Corrected:
    """The looked-at frames of one run, labelled and split."""
    where, settings = f"run={one.run.id}", cfg.labels.fourier
    source = sources.reopen(one.found.attrs, one.run.defects_path)
    if source.movie is None:
        raise UserError(f"{where}: its movie is needed. {source.note or 'The table names none.'}")
    _check(one, known, where)
    whole = {i.frame for i in one.given.items if i.action == "checked"}
    some = {i.frame for i in one.given.items if i.action in ("add", "delete", "relabel")} - whole
    numbers = sorted(f for f in whole | some if f is not None)
    if not numbers:
        raise UserError(f"{where}: its corrections name no defect of any frame; there is nothing to learn from")
    usable, frames, invalid = [], [], []
    for f in [numbers[i] for i in np.unique(np.linspace(0, len(numbers) - 1, settings.n_frames).astype(int))]:
        try:
            image, bad = source.movie.checked(f)
        except FrameError as error:
            LOG.warning("left out: %s", error)
            continue
        usable.append(f)
        frames.append(image)
        invalid.append(np.zeros(image.shape, bool) if bad is None else bad)
    if not usable:
        raise UserError(f"{where}: none of its corrected frames can be read")
    drift = _drift(one.found)
    shift = None if drift is None else drift[usable] - drift[usable[0]]
    given = movie_frames.Given(np.stack(frames), np.array(usable), np.stack(invalid), shift)
    lattice = find_lattice(given.frames, where)
    pixel_nm, notes = movie_frames.pixel_size(source.movie, settings, lattice, known, where)
    labels, pixel_nm, scale = movie_frames.labelled(given, lattice, pixel_nm, cfg, where)
    named = [_said(one, int(f), int(f) in whole, known, drift, scale) for f in labels.indices]
    places, labels, registered = sites.crystal_columns(labels, known, pixel_nm, cfg.labels, cfg.simulation)
    columns, labels, lost = corrected.columns(labels, places, known, named, pixel_nm)
    registered = registered._replace(factor=corrected.light(labels, columns, registered))
    train, test, how = corrected.split(labels, columns, known, settings.held_out)
    own = np.array([int(f) in whole for f in labels.indices])
    notes += [f"{where}: {len(own)} corrected frames of {source.movie.source}, {own.sum()} of them checked as a whole"]
    notes += [f"{where}: corrected places that lie on no column of {known.name}: {lost}"] if lost else []
    out = Corrected(labels, columns, pixel_nm, train, test, registered, tuple(notes), scale, whole=own, name=one.run.id)
    counted = {n: int((columns.state[out.defects] == s).sum()) for s, n in enumerate(known.state_names)}
    told = ", ".join(f"{count} {name}" for name, count in counted.items() if count)
    return dataclasses.replace(out, notes=(*notes, f"{where}: {told or 'no defects'}; validation on {how}"))


def _check(one: corrected_runs.Looked, known: crystal.Material, where: str) -> None:
    kinds = {row.decode() for row in np.unique(one.table.rows["kind"])}
    if unknown := sorted(kinds - set(known.kind_names)):
        raise UserError(
            f"{where}: its table holds {', '.join(unknown)}, which the network's material {known.name} does not know "
            f"(it knows {', '.join(known.kind_names)}); name a network of that crystal: training.init=<network>"
        )
    sizes = one.found.attrs.get("pixel_size_yx_nm")
    if sizes is not None and abs(sizes[0] / sizes[1] - 1) > 1e-3:
        raise UserError(f"{where}: pixels of {sizes[0]:.4g} x {sizes[1]:.4g} nm; labels=corrections needs square ones")


def _drift(found: DefectTable) -> np.ndarray | None:
    """(n_frames, 2) how far the specimen has moved since the first frame, px; None where the table does not say."""
    frames = found.frames
    if not len(frames) or not np.isfinite(frames["drift_y_px"]).all():
        return None
    out = np.zeros((int(frames["frame"].max()) + 1, 2))
    out[frames["frame"]] = np.column_stack([frames["drift_y_px"], frames["drift_x_px"]])
    return out


def _said(
    one: corrected_runs.Looked, frame: int, whole: bool, known: crystal.Material, drift: np.ndarray | None, scale: float
) -> corrected.Said:
    """What was said of a frame, in px of the labelled frames (`scale` times those of the file)."""
    states = {kind.name.encode(): kind.state for kind in known.kinds}
    yx, state = [], []
    before, after = (t.rows[t.rows["frame"] == frame] for t in (one.found, one.table))
    pixel_nm = one.found.pixel_size_nm
    reach = REACH_PX if pixel_nm is None else corrected.REACH_NM / pixel_nm

    def near(rows, y, x):
        away = np.hypot(rows["y_px"] - y, rows["x_px"] - x)
        return rows[away.argmin()] if len(rows) and away.min() <= reach else None

    if whole:
        yx, state = [(r["y_px"], r["x_px"]) for r in after], [states[r["kind"]] for r in after]
    for item in one.given.items:
        if whole or item.frame != frame or item.action not in ("add", "delete", "relabel"):
            continue
        was, now = near(before, item.y_px, item.x_px), near(after, item.y_px, item.x_px)
        if was is not None and was["kind"] in states:  # what it was called it is not: that column is ideal
            ideal = known.ideal_states[known.site_of_state[states[was["kind"]]]]
            yx.append((was["y_px"], was["x_px"]))
            state.append(int(ideal))
        if now is not None:
            yx.append((now["y_px"], now["x_px"]))
            state.append(states[now["kind"]])
    moved = np.zeros(2) if drift is None else drift[frame]
    regions = [
        np.array([i.y_px, i.x_px, i.y_to_px, i.x_to_px]) + (np.tile(moved, 2) if i.frame is None else 0)
        for i in one.given.items
        if i.action == "exclude" and i.frame in (None, frame)
    ]
    return corrected.Said(
        np.array(yx, float).reshape(-1, 2) * scale,
        np.array(state, int),
        whole,
        np.array(regions, float).reshape(-1, 4) * scale,
    )
