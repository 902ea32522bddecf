"""Weights of one network as the start of another: more frames, or a crystal of the same build."""

import dataclasses
from typing import Any

import jax
import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.schema import ModelConfig

STEM = "Conv_0"  # the first convolution, the only one that sees frames


def spread_over_frames(params: Any, n_frames: int) -> Any:
    """Weights of a single-frame network for `n_frames` frames: on equal frames the answer is the single-frame one.

    The first kernel (3, 3, block * block, F) is copied to each frame and divided by their number. `space_to_depth`
    keeps the frames of one pixel together: channel = pixel of the block * n_frames + frame.
    """
    inner = dict(params["params"])
    kernel = np.asarray(inner[STEM]["kernel"])
    inner[STEM] = {**inner[STEM], "kernel": np.repeat(kernel / n_frames, n_frames, axis=2)}
    return {**params, "params": inner}


def fit_model(params: Any, was: ModelConfig, wanted: ModelConfig, where: str, material: Material | None = None) -> Any:
    """`params` of a network `was` for one that is `wanted`: the same, with one frame made several, or told the signals
    of its crystal, `material`.

    where: what the user gave, for the message. Raises UserError naming the first key that differs and both values.
    """
    for field in dataclasses.fields(ModelConfig):
        before, now = getattr(was, field.name), getattr(wanted, field.name)
        if field.name == "name" or before == now or (field.name == "frames" and before == 1):
            continue
        if field.name == "told_signals" and now:
            continue
        plain = str(before).replace(" ", "")  # as it is typed
        raise UserError(
            f"training.init={where}: model.{field.name} is {before} in that network and {now} here; "
            f"say model={was.name} model.{field.name}={plain}, or leave training.init out"
        )
    if wanted.told_signals and not was.told_signals and material is not None:
        params = untold(params, wanted, material)
    return spread_over_frames(params, wanted.frames) if wanted.frames > was.frames else params


def untold(params: Any, wanted: ModelConfig, material: Material) -> Any:
    """`params` with the layers of a network that is told its crystal's signals, which change nothing at first."""
    from stemdefects.models import architecture

    module = architecture.build(dataclasses.replace(wanted, frames=1), material)
    fresh = module.init(jax.random.key(0), np.zeros((1, module.divisor, module.divisor, 1), np.float32))
    return {**params, "params": {**jax.device_get(fresh["params"]), **params["params"]}}


def fit_material(was: Material, wanted: Material, where: str) -> str:
    """What the states of `was` become in `wanted`, in words; empty when they are the same.

    Crystals correspond when they have the same sites, and state by state the same site and the same number of atoms:
    then a head that told one apart is a start for telling the other. Raises UserError with both values otherwise.
    """

    def refuse(what: str, before: Any, now: Any) -> UserError:
        return UserError(
            f"training.init={where}: {what} {before} in that network ({was.name}) and {now} here ({wanted.name}); "
            f"start from a network of a crystal of the same build, or leave training.init out"
        )

    sites = [[(s.name, s.floating) for s in m.sites] for m in (was, wanted)]
    if sites[0] != sites[1]:
        raise refuse("the sites are", [name for name, _ in sites[0]], [name for name, _ in sites[1]])
    if was.n_states != wanted.n_states:
        raise refuse("there are", f"{was.n_states} column states", f"{wanted.n_states}")
    for i, (a, b) in enumerate(zip(was.states, wanted.states, strict=True)):
        n = [sum(number for _, number in state.atoms) for state in (a, b)]
        if a.site != b.site or n[0] != n[1] or (i in was.ideal_states) != (i in wanted.ideal_states):
            raise refuse(f"column state {i} is", f"{a.name} of {n[0]} atoms", f"{b.name} of {n[1]} atoms")
    pairs = zip(was.state_names, wanted.state_names, strict=True)
    return ", ".join(f"{a} -> {b}" for a, b in pairs if a != b)
