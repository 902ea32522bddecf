"""What a training starts from (`training.init`): weights of a network that ships, of a run, or of a model folder; and
with `input=` the images of a simulation that was made to look like the user's frames."""

import dataclasses
from pathlib import Path
from typing import Any

import jax

from stemdefects import schema
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.io import opening
from stemdefects.labels.imaging import measured
from stemdefects.labels.imaging.around import around
from stemdefects.messages import LOG
from stemdefects.models import artifact, shipped, transfer
from stemdefects.models import told as telling

OWN_DOSE = "own_dose"  # validation set: simulated like the user's frames


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
    if cfg.labels.of_movie or cfg.input is not None:
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


def like_frames(cfg: schema.TrainRoot, asked: schema.MaterialConfig) -> schema.TrainRoot:
    """`cfg` of a training that adapts `training.init` to the frames of `input`: simulation and signals of the crystal
    as they were measured of these, validation at their own dose. What was found is logged.

    asked: the crystal that was asked for; it counts where the network serves many. Raises UserError where no frame
    shows the crystal.
    """
    network = crystal.from_config(cfg.material)
    if cfg.model.told_signals:
        shown = crystal.from_config(asked)
        if not telling.serves(network, shown):
            raise UserError(
                f"training.init={cfg.training.init} serves crystals of another build than material={shown.name}; say "
                "which crystal the frames show (material=<name or YAML file>)"
            )
        # its size, and what it scatters
        cfg.material = dataclasses.replace(
            cfg.material,
            a_nm=shown.a_nm,
            haadf_cross_section_nm2=[float(shown.cross_section_nm2(v)) for v in network.voltages_kv],
        )
    else:
        shown = network
    movie = opening.read(str(cfg.input), cfg.inference.signal or cfg.labels.fourier.signal)
    where = Path(str(cfg.input)).name
    found, lost = measured.of_movie(movie, shown, cfg.simulation, where)
    for line in lost:
        LOG.warning("%s", line)
    made = around(found, cfg.simulation, cfg.material, network, shown, where)
    LOG.info("%s: %d frame(s) of %s as %s", cfg.training.init, len(found), where, shown.name)
    for line in made.notes:
        LOG.info("frames: %s", line)
    for line in made.warnings:
        LOG.warning("%s: %s", where, line)
    validation = cfg.training.validation
    if made.dose_e_per_px is not None:
        validation = dataclasses.replace(validation, doses_e_per_px={OWN_DOSE: made.dose_e_per_px})
    training = dataclasses.replace(cfg.training, validation=validation)
    return dataclasses.replace(cfg, simulation=made.simulation, material=made.material, training=training)
