"""The module behind a model config, and what it computes: `build` and `apply_function`."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from stemdefects import config, extensions, schema
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError

OWN_ARCHITECTURE = "unet"


class Architecture(Protocol):
    """What `model.architecture` chooses: a network whose module gives `unet.Outputs` of frames (B, H, W, T)."""

    def __call__(self, cfg: schema.ModelConfig, material: crystal.Material, dtype: Any) -> Any: ...


def divisor(cfg: schema.ModelConfig) -> int:
    """Height and width of the network's input are multiples of this."""
    return cfg.stem * 2 ** (len(cfg.filters) - 1)


def build(
    cfg: schema.ModelConfig, material: crystal.Material, dtype: Any = None, signals: tuple[float, ...] | None = None
) -> Any:
    """The Flax module of a model config: a U-Net, or what the package behind `model.architecture` makes of
    `(cfg, material, dtype)`, a module from normalised frames (B, H, W, T) to `unet.Outputs`. signals: what a network
    with `told_signals` is told, None: those of `material`.

    Raises UserError for a config that makes no network.
    """
    import jax.numpy as jnp

    from stemdefects.models.unet import UNet

    def bad(key, text):
        return UserError(f"model.{key} (model={cfg.name}): {text}")

    config.check(cfg)
    if not cfg.filters or min(cfg.filters) < 4 or any(f % 4 for f in cfg.filters):
        raise bad("filters", f"needs multiples of 4, got {cfg.filters}")
    if len(cfg.depths) != len(cfg.filters) or min(cfg.depths) < 1:
        raise bad("depths", f"needs one number >= 1 per level ({len(cfg.filters)}), got {cfg.depths}")
    if cfg.stride > cfg.stem:
        raise bad("stem", f"must be at least the stride; got {cfg.stem} and {cfg.stride}")
    if cfg.frames % 2 == 0:
        raise bad("frames", f"needs an odd number of frames, got {cfg.frames}")
    dtype = jnp.float32 if dtype is None else dtype
    if cfg.architecture != OWN_ARCHITECTURE:
        make: Architecture = extensions.load(
            extensions.MODELS, cfg.architecture, "model.architecture", [OWN_ARCHITECTURE]
        )
        return make(cfg, material, dtype)
    return UNet(
        n_sites=material.n_sites,
        n_states=material.n_states,
        filters=tuple(cfg.filters),
        depths=tuple(cfg.depths),
        stem=cfg.stem,
        stride=cfg.stride,
        norm=cfg.norm,
        dtype=dtype,
        n_frames=cfg.frames,
        signals=(log_signals(material) if signals is None else signals) if cfg.told_signals else (),
    )


def log_signals(material: crystal.Material) -> tuple[float, ...]:
    """Logarithm of the signal of one atom of each species over the reference one's, the mean of the known voltages."""
    known = material.species_intensities(float(np.mean(material.voltages_kv)))
    return tuple(float(value) for value in np.log(np.maximum(known, 1e-3)))


def apply_function(
    cfg: schema.ModelConfig,
    training: schema.TrainingConfig,
    material: crystal.Material,
    signals: tuple[float, ...] | None = None,
) -> Callable:
    """(params, frames) -> `Outputs`, for one network or an ensemble (`training.ensemble` members stacked in params).
    signals: as in `build`."""
    from stemdefects.models.ensemble import apply_members
    from stemdefects.models.probability.states import site_mask

    apply = build(cfg, material, signals=signals).apply
    if training.ensemble == 1:
        return apply
    return apply_members(apply, site_mask(material.site_of_state, material.n_sites))
