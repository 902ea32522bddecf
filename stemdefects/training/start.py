"""Weights to start from (`training.init`): of a network that ships, of a run, or of a model folder."""

import dataclasses
from typing import Any

import jax

from stemdefects import schema
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.messages import LOG
from stemdefects.models import artifact, shipped, transfer


def weights(cfg: schema.TrainRoot, resumed: bool) -> tuple[schema.TrainRoot, Any, crystal.Material | None]:
    """(config, weights or None, material of the network they come from or None).

    Training on a movie takes model, material and prior from that network. Training on simulation keeps its own config,
    which must then fit: the same network (one frame may become several) and a crystal of the same build. A resumed run
    has its weights in its checkpoints. Raises UserError with both values for what does not fit.
    """
    if cfg.training.init is None or resumed:
        return cfg, None, None
    name, model = str(cfg.training.init), parent(cfg)
    members = model.config.training.ensemble
    if members > 1:
        raise UserError(
            f"training.init={name}: that network is an ensemble of {members} members, this training is of "
            f"{cfg.training.ensemble}; start from a single network"
        )
    params, note = jax.device_get(model.params), ""
    if cfg.labels.of_movie:
        cfg = dataclasses.replace(cfg, model=model.config.model, material=model.config.material)
        if not model.material.sites[0].floating:
            own = model.config.labels
            cfg.labels = dataclasses.replace(
                cfg.labels, prior=own.prior, other_prior=own.other_prior, heat_sigma_px=own.heat_sigma_px
            )
    else:
        material = crystal.from_config(cfg.material)
        states = transfer.fit_material(model.material, material, name)
        params = transfer.fit_model(params, model.config.model, cfg.model, name, material)
        note = f"; its states stand for others here: {states}" if states else ""
        if cfg.model.frames > model.frames:
            note += f"; its first layer is spread over {cfg.model.frames} frames"
    LOG.info("starting from model %s (%s, %s)%s", model.id, model.material.name, model.config.model.name, note)
    return cfg, params, model.material


def parent(cfg: schema.TrainRoot) -> artifact.LoadedModel:
    """The network that `training.init` names. Raises UserError where there is none."""
    return artifact.load(shipped.locate(str(cfg.training.init), cfg.runs_dir, key="training.init"))
