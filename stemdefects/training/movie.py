"""Training on labels made from the user's own movie (`labels=fourier input=<movie>`), and starting from a model.

What a movie gives looks to the trainer like what the simulator gives: `key -> (image, Truth)`. Without a known crystal
the network learns one floating site, `defect`, that may be `dark` or `bright` anywhere; starting from a model of a
crystal (`training.init`) the labels are put on that crystal's own columns.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects import schema
from stemdefects.crystal import material as crystal
from stemdefects.crystal.material import measured
from stemdefects.errors import UserError
from stemdefects.io import opening, runs
from stemdefects.labels.fourier import checks, figures, findings, sites
from stemdefects.labels.fourier import label as fourier
from stemdefects.labels.fourier.images import sampler
from stemdefects.labels.fourier.images.population import Registered
from stemdefects.labels.fourier.periodic.lattice import find_lattice
from stemdefects.messages import LOG
from stemdefects.training import movie_frames, start

HELD_OUT, OWN_DOSE = "held_out", start.OWN_DOSE  # validation sets: of the movie, and simulated like it
SIZE_STEP = 32  # px, sides of training images that every model takes
MUCH = 1e-3  # learning rate at which a trained network loses what it knows
TELLING, MORE_IMAGES = 50, 256  # labels held out; with fewer, so many images are made of scenes as the frames are
ENOUGH = 5  # defects in the held-out part, else whole frames are held out


@dataclasses.dataclass(frozen=True)
class Source:
    """A labelled movie. `train` and `test`: (N, H, W) bool, where labels serve training and validation; pixel_size_nm:
    of the labelled frames, which are at the model's sampling; columns: what is labelled; crystal: what they are columns
    of, None: labels are defects on one floating site; notes: lines for people."""

    labels: fourier.MovieLabels
    columns: sampler.Columns
    pixel_size_nm: float
    train: np.ndarray
    test: np.ndarray
    crystal: Registered | None
    notes: tuple[str, ...]
    scale: float = 1.0  # pixels of the labelled frames per pixel of the file

    @property
    def held_out(self) -> np.ndarray:
        """(N, L) bool: which labels of each frame are held out."""
        at = np.rint(self.labels.yx).astype(int)
        inside = np.asarray((at >= 0).all(2) & (at < self.test.shape[1:]).all(2))
        y, x = np.where(inside[..., None], at, 0).transpose(2, 0, 1)
        return self.test[np.arange(len(self.test))[:, None], y, x] & inside & self.labels.sure

    @property
    def few(self) -> bool:
        """Are there too few labels held out to tell how often the network is wrong?"""
        return self.floating and int(self.held_out.sum()) < TELLING

    def tested_on(self) -> str:
        """What the scores at the end rest on, in words."""
        n = int(self.held_out.sum())
        frames = int(self.test.any((1, 2)).sum())
        seen = " that training has seen too" if (self.test & self.train).any() else ""
        scenes = " and on scenes made of the labels" if self.few else ""
        return f"The scores rest on {n} label{'s' * (n != 1)} in {frames} frame{'s' * (frames != 1)}{seen}{scenes}."

    @property
    def floating(self) -> bool:
        """Whether labels are defects of no known crystal."""
        return self.crystal is None

    def simulator(self, cfg: schema.TrainRoot, size_px: int, held_out: bool) -> Callable:
        """`(key, dose) -> (image, Truth)` of training or of validation pieces; the dose is the movie's own."""
        settings = cfg.labels.fourier
        allowed, augment = self.test if held_out else self.train, settings.augment and not held_out
        use = sampler.Use(allowed, augment, self.crystal, held_out and self.few)
        sample = sampler.make_sampler(self.labels, self.columns, settings, size_px, self.pixel_size_nm, use)
        return lambda key, dose=None: sample(key)

    def dose_e_per_px(self, simulation: schema.SimulationConfig) -> float:
        """Dose of `simulation`, within its range, at which its images are as noisy as this movie of a known crystal."""
        assert self.crystal is not None
        labels, material = self.labels, self.crystal.material
        zero = -labels.read_variance / labels.gain if labels.gain > 0 else 0.0  # the detector's offset has no noise
        level = float(labels.clean.mean()) - max(zero, 0.0)
        variance = float(np.maximum(labels.gain * labels.clean + labels.read_variance, 1e-30).mean())
        # electrons per px that give as much noise; in the simulation pulse heights add to it, in the mean so much
        low, high = simulation.detector.pulse_spread
        electrons = level**2 / variance * (1 + (low**2 + low * high + high**2) / 3)
        voltage_kv = float(np.mean(material.voltages_kv))
        signal = material.intensities(voltage_kv)[material.ideal_states].sum() * material.cross_section_nm2(voltage_kv)
        least, most = simulation.detector.dose_e_per_px
        return float(np.clip(electrons * material.cell_area_nm2 / signal, least, most))

    def frequency(self, n_states: int) -> np.ndarray:
        """(S,) share of each state among the labels."""
        return np.bincount(self.columns.state, minlength=n_states) / max(len(self.columns.state), 1)

    def report(self, run: runs.Run, tracker: Any) -> None:
        """Print what was found, draw each step and write the labels as a table into the run folder."""
        labels = self.labels
        for note in self.notes:
            LOG.info("labels: %s", note)
        for warning in labels.warnings:
            LOG.warning("%s", warning)
        path = figures.draw(labels, self.test, run.path / "figures" / "labels.png", self.scale)
        tracker.image("labels", path)
        index = np.arange(len(labels.defects.z))
        seen = np.where(labels.frame < 0, 0, labels.frame)  # the first frame that has a place of it
        np.savetxt(
            run.path / "labels.csv",
            np.column_stack(
                [
                    labels.indices[seen],
                    labels.yx[seen, index] / self.scale,
                    labels.defects.z,
                    labels.level_of(),
                    labels.sure.mean(0),
                ]
            ),
            header="frame,y_px,x_px,significance,threshold,share_of_frames_sure",
            delimiter=",",
            fmt=["%d", *["%.3f"] * 5],
            comments="",
        )
        tracker.summary(
            {
                "labels_dark": int((labels.defects.z < 0).sum()),
                "labels_bright": int((labels.defects.z > 0).sum()),
                "labels_false_expected": float(labels.false.sum()),
                "labels_threshold": float(labels.level_of().min()),
                "labels_frames": len(labels.frames),
                **{f"labels_share_{name}": share for name, share in findings.shares(labels).items()},
                "labels_warnings": checks.codes(labels.warnings),
            }
        )


def prepare(cfg: schema.TrainRoot, resumed: bool = False) -> tuple[schema.TrainRoot, Source | None, Any]:
    """(config to train with, the labelled movie or None, weights to start from or None).

    The config is changed where the movie or the model decides: material, model, prior, validation sets. Raises
    UserError when a movie is asked for and not given, or cannot be labelled.
    """
    movie_wanted = cfg.labels.source == "movie"
    if cfg.input is not None and not movie_wanted and cfg.training.init is None and not resumed:
        raise UserError(
            f"input={cfg.input} is used with labels=fourier, which makes labels from it, or with training=adapt "
            f"training.init=<network>, which adapts a network to how it was taken (labels={cfg.labels.name} alone "
            "needs no frames)"
        )
    asked = cfg.material
    if movie_wanted and cfg.input is None:
        raise UserError(f"labels={cfg.labels.name} makes labels from a movie; say input=<movie or image file>")
    cfg, params, known = start.weights(cfg, resumed)
    if movie_wanted and cfg.model.frames > 1:
        of = f" (of training.init={cfg.training.init})" if cfg.training.init else ""
        raise UserError(
            f"labels={cfg.labels.name}: trains on single frames; model.frames={cfg.model.frames}{of} must be 1"
        )
    if not movie_wanted:
        return cfg if resumed or cfg.input is None else start.like_frames(cfg, asked), None, params
    if resumed:
        known = crystal.from_config(cfg.material)
    names = None
    if known is not None and known.sites[0].floating:  # what a network has learned to tell stays
        names, known = known.kind_names, None
    source, cell_nm = _source(cfg, known, names)
    if resumed:
        return cfg, source, params
    # inference then leaves the movie as it is
    cfg = dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, pixel_size_nm=source.pixel_size_nm))
    validation = dataclasses.replace(cfg.training.validation)
    if known is None:
        signs = names or sampler.signs(source.labels)
        cfg.material = measured.card(cell_nm, signs)
        shown = source.labels.sure.sum(0)
        counts = np.bincount(source.columns.state, shown, minlength=len(signs) + 1)[1:] + 1.0
        share = counts / counts.sum() * 0.999
        cfg.labels = dataclasses.replace(cfg.labels, prior=dict(zip(signs, share.tolist(), strict=True)))
        validation.doses_e_per_px = {HELD_OUT: 0.0}
    else:
        validation.doses_e_per_px = {OWN_DOSE: source.dose_e_per_px(cfg.simulation), HELD_OUT: 0.0}
    if source.few:  # an atom in a frame: what else is called in a hundred such frames decides about the threshold
        validation.images = max(validation.images, MORE_IMAGES)
    # pieces larger than the frame would be mostly mirror images of it
    largest = SIZE_STEP * -(-max(source.labels.frames.shape[1:]) // SIZE_STEP)
    validation.size_px = min(validation.size_px, largest)
    size_px = min(cfg.training.size_px, largest)
    loss = cfg.training.loss
    if known is None:  # a crystal has a column in every cell, defects alone are few and their heat map nearly empty
        loss = dataclasses.replace(loss, presence=loss.presence * cfg.labels.fourier.presence)
    cfg.training = dataclasses.replace(cfg.training, validation=validation, size_px=size_px, loss=loss)
    return cfg, source, params


def _source(
    cfg: schema.TrainRoot, known: crystal.Material | None, names: Sequence[str] | None
) -> tuple[Source, np.ndarray]:
    """Read, resample, label and split the movie; and the (2, 2) lattice vectors in nm. names: signs of defects that a
    network tells already."""
    settings = cfg.labels.fourier
    movie = opening.read(str(cfg.input), settings.signal)
    where = Path(str(cfg.input)).name
    frames, indices, warnings, invalid = fourier.read_frames(movie, settings)
    lattice = find_lattice(frames, where)
    pixel_nm, notes = movie_frames.pixel_size(movie, settings, lattice, known, where)
    given = movie_frames.Given(frames, indices, invalid)
    labels, pixel_nm, used = movie_frames.labelled(given, lattice, pixel_nm, cfg, where)
    labels = dataclasses.replace(labels, warnings=(*warnings, *labels.warnings))
    if not len(labels.defects.z):  # what was seen is shown all the same
        path = figures.draw(
            labels, np.zeros(labels.frames.shape, bool), Path(cfg.runs_dir) / f"{Path(where).stem}_labels.png", used
        )
        for note in (*findings.of_regions(labels), *findings.of_grains(labels, pixel_nm), f"drawn in {path}"):
            LOG.info("labels: %s", note)
        findings.needed(labels, settings, where)
    if known is None:
        missing = set(sampler.signs(labels)) - set(names or sampler.signs(labels))
        if missing:
            raise UserError(
                f"{where} shows {' and '.join(sorted(missing))} defects, which the model of training.init="
                f"{cfg.training.init} was never shown; train without training.init"
            )
        columns, registered = sampler.defect_columns(labels, names), None
    else:
        columns, labels, registered = sites.crystal_columns(labels, known, pixel_nm, cfg.labels, cfg.simulation)
    train, test, how = split(labels, settings.held_out)
    notes += [
        f"lattice of {lattice.spacing_px:.2f} px of the file ({len(labels.lattice.peaks)} Bragg peaks) in "
        f"{len(labels.frames)} frame(s) of {where}",
        *findings.of_regions(labels),
        *findings.of_grains(labels, pixel_nm),
        *findings.counted(labels.defects.z, labels.frame, labels.false),
        f"all beyond {labels.level_of().min():.1f} times the noise; validation on {how}",
    ]
    if cfg.training.init is not None and cfg.training.learning_rate > MUCH:
        notes.append(
            f"training.learning_rate={cfg.training.learning_rate:g} is high for a trained network; see training=adapt"
        )
    source = Source(labels, columns, pixel_nm, train, test, registered, tuple(notes), used)
    return source, labels.lattice.vectors_px * pixel_nm


def split(labels: fourier.MovieLabels, held_out: float) -> tuple[np.ndarray, np.ndarray, str]:
    """(N, H, W) masks of training and validation, and in words how they were parted.

    The right-hand part of every frame is held out; where it would hold fewer than `ENOUGH` defects, the last frames
    are; a single frame with few defects serves both, which is said.
    """
    if not 0 < held_out < 0.9:
        raise UserError(f"labels.fourier.held_out={held_out}: must lie between 0 and 0.9")
    n, height, width = labels.frames.shape
    gap = 0.5 * labels.lattice.spacing_px
    edge = width * (1 - held_out)
    x = labels.defects.yx[:, 1]
    place = np.broadcast_to(np.arange(width), (n, height, width))
    if (x > edge + gap).sum() >= ENOUGH and (x < edge - gap).sum() >= ENOUGH:
        return place < edge - gap, place >= edge + gap, f"the right {held_out:.0%} of the frames"
    whole = np.ones((n, height, width), bool)
    if n > 1:
        last = max(1, round(held_out * n))
        late = np.arange(n)[:, None, None] >= n - last
        return whole & ~late, whole & late, f"the last {last} of {n} frames (too few defects to hold out a part)"
    return whole, whole, "the same frame (too few defects to hold any out: scores are optimistic)"
