"""What is trained: the network, the images it sees and the answers it should give, made from a config."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from stemdefects import config, schema
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.labels import simulated
from stemdefects.models import architecture, ensemble, symmetry
from stemdefects.models.probability import states
from stemdefects.models.probability.prevalence import state_prior
from stemdefects.simulation import conditions, images
from stemdefects.training.update import mixing, step


@dataclasses.dataclass(frozen=True)
class Task:
    """A network and its endless supply of images."""

    material: crystal.Material
    model: Any  # Flax module that trains
    exact_model: Any  # the same in float32: the one validated and shipped
    exact_apply: Callable  # (params, frames) -> Outputs of the network or the ensemble, float32
    example: Callable  # (key, dose or None) -> (frames (H, W, T), Targets, Truth)
    mask: np.ndarray  # (G, S)
    prior: np.ndarray  # (S,) realistic prevalence
    class_weight: np.ndarray  # (S,) of the loss
    n_frames: int
    n_members: int
    validation_example: Callable  # like `example`, of the images that validation is done on
    draw: Callable | None = None  # (step key, keys) -> a batch, where not every image is an `example`
    params: Any = None  # weights to start from; None: random ones
    corrected: Any = None  # movies that a person corrected (`training.corrections.Sources`), to be scored on
    tested_on: str = ""  # what the scores rest on, in words; "": as many images as one likes

    def init(self, key: jax.Array) -> Any:
        """Weights to start from."""
        if self.params is not None:
            return self.params
        image = jnp.zeros((1, self.model.divisor, self.model.divisor, self.n_frames))

        def one(key):
            return self.exact_model.init(key, image)

        return one(key) if self.n_members == 1 else ensemble.init_members(one, self.n_members)(key)


def from_config(cfg: schema.TrainRoot, source: Any = None, params: Any = None) -> Task:
    """Everything a training needs. Raises UserError for values that do not fit, naming the key.

    source: a labelled movie (`training.movie.Source`) to learn from, instead of simulation or beside it; params:
    weights to start from.
    """
    check(cfg)
    material = crystal.from_config(cfg.material)
    exact = architecture.build(cfg.model, material)
    size = cfg.training.size_px
    if size % exact.divisor:
        raise UserError(f"training.size_px={size}: model={cfg.model.name} needs a multiple of {exact.divisor}")
    validation_size = cfg.training.validation.size_px
    if validation_size % exact.divisor:
        raise UserError(
            f"training.validation.size_px={validation_size}: model={cfg.model.name} needs a multiple of {exact.divisor}"
        )
    half = cfg.training.precision == "bfloat16" or (
        cfg.training.precision == "auto" and jax.default_backend() in ("gpu", "tpu")
    )

    def of_movie(px: int, held_out: bool) -> Callable:
        return labelled(cfg, material, source.simulator(cfg, px, held_out=held_out))

    draw = None
    if source is not None and source.floating:
        example, validation_example = of_movie(size, False), of_movie(validation_size, True)
        frequency = source.frequency(material.n_states)
    else:
        example, validation_example = make_example(cfg, material, size), make_example(cfg, material, validation_size)
        frequency = expected_frequency(material, cfg.simulation)
        if source is not None:
            near = mixing.at_dose(example, source.dose_e_per_px(cfg.simulation))
            draw = mixing.mixed_draw(near, of_movie(size, False), cfg.labels.fourier.mix)
            validation_example = mixing.either(validation_example, of_movie(validation_size, True))
    return Task(
        material=material,
        model=architecture.build(cfg.model, material, jnp.bfloat16) if half else exact,
        exact_model=exact,
        exact_apply=architecture.apply_function(cfg.model, cfg.training, material),
        example=example,
        mask=states.site_mask(material.site_of_state, material.n_sites),
        prior=state_prior(cfg.labels, material),
        class_weight=states.balance_weights(frequency, material.site_of_state, cfg.training.loss.balance),
        n_frames=cfg.model.frames,
        n_members=cfg.training.ensemble,
        validation_example=validation_example,
        draw=draw,
        params=params,
        corrected=source if cfg.labels.source == "corrections" else None,
        tested_on="" if source is None or cfg.labels.source != "movie" else source.tested_on(),
    )


def check(cfg: schema.TrainRoot) -> None:
    """Raise UserError for training values that make no sense; drops the doses that are not asked for (null)."""
    training = cfg.training
    for group in ("model", "training", "labels"):
        config.check(getattr(cfg, group))
    if training.ensemble > 1 and training.init is not None:
        raise UserError(
            f"training.ensemble={training.ensemble}: its members differ only in their initial weights, so "
            f"training.init={training.init} would make them all the same; leave one out"
        )
    validation = training.validation
    validation.doses_e_per_px = {n: d for n, d in validation.doses_e_per_px.items() if d is not None}
    if not validation.doses_e_per_px:
        raise UserError("training.validation.doses_e_per_px is empty: name at least one dose, e.g. {typical: 400}")


def doubts(cfg: schema.TrainRoot) -> list[str]:
    """What this training can't teach, each in one line with the way out."""
    low, high = min(turns := cfg.simulation.view.rotation_deg), max(turns)
    if cfg.labels.of_movie or not symmetry.alike(crystal.from_config(cfg.material)) or high - low < symmetry.UNTOLD_DEG:
        return []
    return [
        f"simulation.view.rotation_deg=[{low:g},{high:g}]: the sublattices of {cfg.material.name} are alike and "
        f"differ in the direction of their bonds only; over {symmetry.UNTOLD_DEG:g} degrees or more nothing tells them "
        "apart. Train on fewer, such as [10,50]: inference transposes frames that lie outside"
    ]


def make_example(cfg: schema.TrainRoot, material: crystal.Material, size_px: int) -> Callable:
    """(key, dose or None) -> (frames (H, W, T), `Targets`, `Truth`) of the config's simulation and material."""
    size = (size_px, size_px)
    if cfg.model.frames > 1:
        simulator = images.make_clip_simulator(material, cfg.simulation, size_px=size, n_frames=cfg.model.frames)
    else:
        simulator = images.make_simulator(material, cfg.simulation, size_px=size)
    return labelled(cfg, material, simulator)


def labelled(cfg: schema.TrainRoot, material: crystal.Material, simulator: Callable) -> Callable:
    """The example function of `simulator`: normalised frames, targets, truth."""
    return step.make_example(
        simulator,
        n_sites=material.n_sites,
        stride=cfg.model.stride,
        heat_sigma_px=cfg.labels.heat_sigma_px,
        targets=simulated.targets,
        told=cfg.model.told_signals,
    )


def expected_frequency(material: crystal.Material, simulation: schema.SimulationConfig) -> np.ndarray:
    """(S,) fraction of its site's columns in each state that `simulation` aims at; complexes and lines add a little.

    Only the weights of the loss are made from it; the posterior is corrected by what training really showed.
    """
    frequency = np.zeros(material.n_states)
    for kind, (low, high) in zip(material.kinds, conditions.kind_ranges(material, simulation), strict=True):
        frequency[kind.state] = (high - low) / np.log(high / low) if high > low > 0 else 0.5 * (low + high)
    for index, site in enumerate(material.sites):
        frequency[site.ideal] = max(1.0 - frequency[material.site_of_state == index].sum(), 0.05)
    return frequency
