"""A network that is shown another crystal than it was trained on, of the same build: what it then still knows.

Where the columns are, and of which sublattice, it sees in any crystal with the same lattice and places of the
sublattices. What a column is it knows of its own crystal alone: of the states of another one it has no opinion, and
their intensities must say (`inference/specimen/light_levels.py`). A network that was told its crystals' signals in
training knows all crystals of its build (`models/told.py`).
"""

import dataclasses
from typing import Any

import numpy as np

from stemdefects import config, extensions
from stemdefects.crystal import formula
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.models import artifact, shipped, symmetry
from stemdefects.models import told as telling
from stemdefects.models.probability.prevalence import state_prior
from stemdefects.schema import InferenceConfig, MaterialConfig

MOST_APART = 0.7  # in the logarithm of the sublattices' proportion: beyond it a network takes one for the other
SAME_SHAPE = 0.02  # of the lattice constant: how well lattice and places must agree


def asked_for(model: artifact.LoadedModel, settings: InferenceConfig) -> artifact.LoadedModel:
    """`model` as it is, or for the crystal that `inference.material` names; UserError where that must be said."""
    material = _stated(settings)
    if material is None and model.config.model.told_signals:
        raise UserError(
            f"model {model.id} serves every crystal of its build: say which one the frames show: "
            "inference.material=<name or YAML file> or formula="
        )
    return model if material is None else shown(model, material)


def chosen(settings: InferenceConfig) -> str:
    """`model=auto`: of the networks that ship the name of the one for the stated crystal: its own network; else one
    that is told its signals and knows its states; else that of the crystal most like it, its sublattices' signals in
    the nearest proportion. Raises UserError where none is built alike."""
    stated = _stated(settings)
    if stated is None:
        raise UserError(
            "model=auto: say which crystal the frames show: inference.material=<name or YAML file> or formula="
        )
    material = crystal.from_config(stated)
    known, told = {}, {}
    for name in shipped.names():
        stored = _stored(name)
        of = crystal.from_config(config.to_object(stored["material"], MaterialConfig))
        (told if stored["model"].get("told_signals") else known)[name] = of
    own_network = [
        n for n, own in known.items() if (own.name, own.state_names) == (material.name, material.state_names)
    ]
    if own_network:
        return min(own_network, key=len)
    serving = [n for n, own in told.items() if same_build(own, material) and telling.serves(own, material)]
    if serving:
        return serving[0]
    same = {
        name: own
        for name, own in known.items()
        if same_build(own, material) and _alike(own, material) and symmetry.alike(own) <= symmetry.alike(material)
    }
    if not same:
        raise UserError(
            f"model=auto: no network that ships knows a crystal like {material.name}, of the same build and with "
            "about the same brightness ratio of its sublattices; train one "
            "(`python train.py material=...`), or let the movie teach one (`python train.py labels=fourier input=...`)"
        )
    return min(same, key=lambda name: (np.abs(_contrast(same[name]) - _contrast(material)).max(), len(name)))


def _stated(settings: InferenceConfig) -> MaterialConfig | None:
    """The material of `inference.formula`, or of `inference.species` with `inference.material=auto`; or the one that
    `inference.material` names: of `configs/material/`, of a package, or a YAML file."""
    name = settings.material
    if settings.formula is not None:
        if name not in (None, shipped.AUTO):
            raise UserError(f"inference.material={name} and formula={settings.formula} are both given; leave one out")
        return formula.material(settings.formula)
    if name == shipped.AUTO and settings.species:
        return formula.of_species(settings.species)
    if name == shipped.AUTO:
        raise UserError(
            "inference.material=auto: for which crystal? Give formula=<such as W0.95Ti0.05Se2>, or inference.species= "
            "with a list of the elements that may be there, the crystal's own first"
        )
    if name is None:
        return None
    if config.config_dir().joinpath("material", f"{name}.yaml").exists() or extensions.material_file(name):
        return config.load_group("material", name)
    raise UserError(
        f"inference.material={name}: no such material; there are: {', '.join(config.group_names('material'))}, "
        "or the path of a YAML file (docs/materials.md)"
    )


def same_build(a: crystal.Material, b: crystal.Material) -> bool:
    """Have both the same lattice, but for its size, and sublattices in the same places?"""
    if a.n_sites != b.n_sites or [s.floating for s in a.sites] != [s.floating for s in b.sites]:
        return False
    shapes = np.abs(a.lattice_nm / a.a_nm - b.lattice_nm / b.a_nm).max()
    places = a.basis - b.basis
    fixed = [not s.floating for s in a.sites]
    return bool(shapes < SAME_SHAPE and np.abs((places - np.rint(places))[fixed]).max(initial=0) < SAME_SHAPE)


def shown(model: artifact.LoadedModel, material: MaterialConfig) -> artifact.LoadedModel:
    """`model` for a crystal of `material`: places and sublattices its own, the states those of `material`.

    Raises UserError where the crystals are not built alike. Of the model's own material the
    network knows the states.
    """
    target = crystal.from_config(material)
    if (target.name, target.state_names) == (model.material.name, model.material.state_names):
        return model
    if model.config.model.told_signals and same_build(model.material, target):
        return telling.shown_as(model, material)
    if not same_build(model.material, target):
        raise UserError(
            f"inference.material={target.name}: its lattice or sublattices are not those of {model.material.name}, "
            f"which model {model.id} was trained on; train one for it, or let the movie teach one "
            "(`python train.py labels=fourier input=...`)"
        )
    if not _alike(model.material, target):
        raise UserError(
            f"inference.material={target.name}: the brightness ratio of its sublattices is not that "
            f"of {model.material.name}, which model {model.id} was trained on; it would mistake one for the other. "
            "Train one for it, or let the movie teach one (`python train.py labels=fourier input=...`)"
        )
    if symmetry.alike(model.material) and not symmetry.alike(target):
        raise UserError(
            f"inference.material={target.name}: its sublattices differ in light, and model {model.id} tells them apart "
            f"by the direction of the bonds alone, as in {model.material.name}; train one for it, or let the movie "
            "teach one (`python train.py labels=fourier input=...`)"
        )
    labels = dataclasses.replace(model.config.labels, prior={})
    state_prior(labels, target)  # a kind whose prevalence nobody states is told now
    calibration = artifact.Calibration(log_prior_shift=np.zeros(target.n_states, np.float32))
    return dataclasses.replace(
        model,
        config=dataclasses.replace(model.config, material=material, labels=labels),
        material=target,
        calibration=calibration,
        confusion={},
        emissions={},
        trained=model,
        by_light=True,
    )


def no_opinion(site: np.ndarray, model: artifact.LoadedModel) -> np.ndarray:
    """(n, S) posterior of the states of columns on the sublattices `site` (n,) of which nobody said anything yet: how
    common the files say they are."""
    own = model.material.site_of_state[None] == np.asarray(site)[:, None]
    return np.where(own, state_prior(model.config.labels, model.material), 0.0).astype(np.float32)


def _alike(a: crystal.Material, b: crystal.Material) -> bool:
    """Are the sublattices of both about as bright beside each other?"""
    return bool(np.abs(_contrast(a) - _contrast(b)).max(initial=0) < MOST_APART)


def _contrast(material: crystal.Material) -> np.ndarray:
    """Logarithm of each sublattice's signal over the first one's; floating ones left out."""
    signal = [material.intensities()[s.ideal] for s in material.sites if not s.floating]
    return np.log(np.maximum(signal, 1e-6) / max(signal[0], 1e-6))


def _stored(name: str) -> Any:
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.load(shipped.folder() / name / "config.yaml"), resolve=True)
