"""A network that is told the signals of its crystal's species, shown one crystal of the many it was trained for.

Its own material stands for them all: each of its states is a role, such as one atom of another element on the first
sublattice. States of a crystal with the same role are what the network knows; its answers are put in their order, and
said at how common they are there.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.models import architecture, artifact
from stemdefects.models.probability.prevalence import state_prior
from stemdefects.schema import MaterialConfig

UNKNOWN = -1  # where a number of a state would be
OFF = 1.02  # factor: a signal so far outside what it was trained for is still known
OTHER = "other"  # role of an element that is in no ideal column

Role = tuple[int, tuple[tuple[str, int], ...]]


def roles(material: crystal.Material) -> list[Role]:
    """Of each state its site, and how many atoms it has of each sublattice's own element and of others."""
    own = _own_species(material)
    out = []
    for state in material.states:
        counts: dict[str, int] = {}
        for species, number in state.atoms:
            counts[own.get(species, OTHER)] = counts.get(own.get(species, OTHER), 0) + number
        out.append((state.site, tuple(sorted(counts.items()))))
    return out


def known_states(network: crystal.Material, shown: crystal.Material) -> np.ndarray:
    """(S,) the state of `network` that has the role of each state of `shown`; `UNKNOWN` where it has none of that role,
    or several states of `shown` have it."""
    theirs, asked = roles(network), roles(shown)
    return np.array([theirs.index(r) if r in theirs and asked.count(r) == 1 else UNKNOWN for r in asked])


def serves(network: crystal.Material, shown: crystal.Material) -> bool:
    """Does `network` know the ideal columns of `shown`, and how bright they are beside each other?"""
    return _refusal(network, shown) is None


def signals(network: crystal.Material, shown: crystal.Material) -> tuple[float, ...]:
    """What the network is told of `shown`: per species of `network` the logarithm of the signal of one atom over the
    reference's. An element that `shown` does not have is as in its own file, one beyond what it saw the nearest."""
    own, theirs = _own_species(network), _own_species(shown)
    found = dict(zip([s.name for s in shown.species], architecture.log_signals(shown), strict=True))
    by_role: dict[str, float] = {}
    for name, value in found.items():
        by_role.setdefault(theirs.get(name, OTHER), value)
    reference = by_role[own[network.species[0].name]]
    out = []
    for species, usual in zip(network.species, architecture.log_signals(network), strict=True):
        role = own.get(species.name, OTHER)
        value = by_role[role] - reference if role in by_role else usual
        ends = np.log(species.ranges).ravel()
        inside = not len(ends) or ((ends[::2] <= value) & (value <= ends[1::2])).any()
        out.append(value if inside else float(ends[np.abs(ends - value).argmin()]))
    return tuple(out)


def shown_as(model: artifact.LoadedModel, material: MaterialConfig, by_light: bool = False) -> artifact.LoadedModel:
    """`model` for a crystal of `material`. Where that has states of no role that the network knows (an alloy, a second
    dopant), and where this is asked for, the light of the columns must say what they are (`by_light`).

    Raises UserError where the network does not know the crystal's ideal columns, or nobody could tell them apart.
    """
    target, own = crystal.from_config(material), model.material
    if (reason := _refusal(own, target)) is not None:
        raise UserError(f"inference.material={target.name}: {reason}")
    labels = dataclasses.replace(model.config.labels, prior={})
    prior, known = state_prior(labels, target), known_states(own, target)
    cfg = dataclasses.replace(model.config, material=material, labels=labels)
    apply = architecture.apply_function(model.config.model, model.config.training, own, signals(own, target))
    told = dataclasses.replace(model, apply_fn=apply)
    common: dict[str, Any] = {"config": cfg, "material": target, "confusion": {}, "emissions": {}, "trained": told}
    if by_light or (known == UNKNOWN).any():
        nothing = artifact.Calibration(log_prior_shift=np.zeros(target.n_states, np.float32))
        return dataclasses.replace(told, calibration=nothing, by_light=True, **common)
    before = state_prior(model.config.labels, own)[known]
    shift = np.asarray(model.calibration.log_prior_shift)[known] + np.log(np.maximum(prior, 1e-9) / before)
    calibration = dataclasses.replace(
        model.calibration,
        log_prior_shift=shift.astype(np.float32),
        thresholds=_thresholds(model.calibration.thresholds, own, target, known),
    )

    def in_order(params: Any, frames: Any) -> Any:
        answer = apply(params, frames)
        spread = None if answer.spread is None else answer.spread[..., known]
        return answer._replace(state=answer.state[..., known], spread=spread)

    return dataclasses.replace(told, calibration=calibration, apply_fn=in_order, **common)


def _own_species(material: crystal.Material) -> dict[str, str]:
    """Species of the ideal columns: the name of their sublattice's number."""
    own: dict[str, str] = {}
    for number, site in enumerate(material.sites):
        for species, _ in material.states[site.ideal].atoms:
            own.setdefault(species, str(number))
    return own


def _refusal(network: crystal.Material, shown: crystal.Material) -> str | None:
    """Why the network is none for this crystal; None: it is one."""
    known = known_states(network, shown)
    if (known[shown.ideal_states] != network.ideal_states).any():
        return f"its columns are not built like those of {network.name}, which this network was trained on"
    own, theirs = _own_species(network), _own_species(shown)
    found = dict(zip([s.name for s in shown.species], architecture.log_signals(shown), strict=True))
    reference = next(found[name] for name, role in theirs.items() if role == own[network.species[0].name])
    for species in network.species:
        role = own.get(species.name)
        if role is None or not species.ranges:
            continue
        value = np.exp(next(found[name] - reference for name, r in theirs.items() if r == role))
        if not any(low / OFF <= value <= high * OFF for low, high in species.ranges):
            between = min(one[0] for one in species.ranges) < value < max(one[1] for one in species.ranges)
            why = (
                "nobody can tell its sublattices apart by their light" if between else "outside what it was trained on"
            )
            names = " and ".join(network.sites[n].name for n in range(network.n_sites))
            return f"of its {names} columns one has {_told(species, network, shown)} of the other's light: {why}"
    return None


def _told(species: crystal.Species, network: crystal.Material, shown: crystal.Material) -> str:
    """Light of the ideal column of this species over the first sublattice's ideal one."""
    site = int(_own_species(network)[species.name])
    ideal = shown.intensities()[shown.ideal_states]
    return f"{ideal[site] / ideal[0]:.2f}"


def _thresholds(
    stated: dict[str, float], network: crystal.Material, shown: crystal.Material, known: Sequence[int] | np.ndarray
) -> dict[str, float]:
    """The thresholds of `network` under the names of the kinds of `shown`."""
    names = {kind.state: kind.name for kind in network.kinds}
    out = {"defect": stated["defect"]} if "defect" in stated else {}
    for kind in shown.kinds:
        name = names.get(int(known[kind.state]))
        if name in stated:
            out[kind.name] = stated[name]
    return out
