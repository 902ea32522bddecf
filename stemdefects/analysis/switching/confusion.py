"""How often the detector says one state of a defect for another: the network's own confusion, for the chain at hand.

The network was scored on simulated images (`confusion.json` of the model; inference writes the matrix of the nearest
dose into the table). A chain's states are kinds, or a centre with vacancies on its bonds; their confusion follows from
that of the columns, taken as independent.
"""

import itertools
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.errors import UserError
from stemdefects.schema import TransitionsConfig

MODES = ("estimate", "model")
NEAR_DOSE = 2.0  # ratio of doses up to which a network's confusion is taken as that of the movie
SMOOTHING = 0.5  # counts spread over each row: what was never seen is rare, not impossible


@dataclass
class Confusions:
    """What is known of the detector: `model` (S, S) from the network's validation, `given` (S, S) from a file; `about`
    says in words where the one that is used comes from."""

    model: np.ndarray | None = None
    given: np.ndarray | None = None
    about: str = ""


def known(
    names: list[str], cfg: TransitionsConfig, attrs: dict, material: Material | None, notes: list[str]
) -> Confusions:
    """What `analysis.transitions.confusion` asks for, and the model's where the table has it.

    A table without what is asked for is said so in `notes`. Raises UserError for a file that cannot be used.
    """
    attribute, model = parse(attrs.get("confusion")), None
    if attribute is not None:
        try:
            model = of_chain(names, attribute, material, cfg.centre)
        except ValueError as error:
            notes.append(f"The table's confusion cannot be used: {error}.")
    if cfg.confusion not in MODES:
        return Confusions(model, read(cfg.confusion, names), f"from {Path(cfg.confusion).name}")
    if cfg.confusion == "estimate" and attribute is not None and not _of_this_dose(attribute):
        model = None  # another dose's: that it does not fit would say nothing
    if cfg.confusion == "model" and model is None:
        why = "the states are not the network's kinds" if attribute is not None else "the table does not hold it"
        notes.append(f"The network's own confusion was asked for, but {why}: it was estimated with the rates.")
    return Confusions(model, None, describe(attribute) if attribute is not None and model is not None else "")


def _of_this_dose(attribute: dict) -> bool:
    """Whether the movie's dose is known and near the one that the network was scored at."""
    dose, own = attribute.get("dose_e_per_px") or 0.0, attribute.get("movie_dose_e_per_px") or 0.0
    return bool(dose and own) and max(dose / own, own / dose) <= NEAR_DOSE


def columns(attribute: dict) -> tuple[list[str], np.ndarray]:
    """State names (S) and probability (S, S + 1) of saying each state, last: not found, given the true one."""
    counts = np.asarray(attribute["counts"], float)
    names = [str(n) for n in attribute["true"][:-1]]
    size = len(names)
    if counts.shape != (size + 1, size + 1):
        raise ValueError(f"confusion has {counts.shape} counts for {size} states")
    counts = counts[:size] + SMOOTHING / (size + 1)
    rare = counts.sum(1) < 1  # a state that validation never showed: taken as always right
    counts[rare] += np.eye(size, size + 1)[rare] * 100
    return names, counts / counts.sum(1, keepdims=True)


def of_chain(names: list[str], attribute: dict, material: Material | None, centre: str | None) -> np.ndarray | None:
    """(S, S) probability of each label given the state, for chain states `names`; None where they are not the
    material's kinds or complexes.

    Args:
        names: `V_S`, ... or `Mo_W`, `Mo_W+V_S@0`, `Mo_W+2V_S@1`, ...
        attribute: of the table, from `inference.columns.confusion.nearest`.
        material: `crystal.material.Material`.
        centre: kind at the middle of complexes.
    """
    if material is None or not attribute:
        return None
    states, probability = columns(attribute)
    if states != list(material.state_names):
        return None
    kinds = {kind.name: kind.state for kind in material.kinds}
    if all(name in kinds for name in names):
        index = [kinds[n] for n in names]
        return _rows(probability[np.ix_(index, index)])
    patterns = [p for name in names if (p := pattern(name, centre)) is not None]
    if len(patterns) < len(names) or centre not in kinds:
        return None
    vacancies = {kind for kind, _ in patterns if kind}
    if len(vacancies) > 1 or not vacancies <= set(kinds):
        return None
    state = kinds[next(iter(vacancies))] if vacancies else None
    if state is None:
        return None
    ideal = material.ideal_states[material.states[state].site]
    false, kept = probability[ideal, state], probability[state, state]
    table = np.zeros((len(names), len(names)))
    bits = [np.array(p) for _, p in patterns]
    for i, true in enumerate(bits):
        for seen in itertools.product((False, True), repeat=len(true)):
            said = np.array(seen)
            chance = np.where(true, np.where(said, kept, 1 - kept), np.where(said, false, 1 - false)).prod()
            if said.all():
                said = np.zeros_like(said)  # no complex of the material: the centre is labelled as alone
            j = next((k for k, other in enumerate(bits) if (other == said).all()), None)
            if j is not None:
                table[i, j] += chance
    return _rows(table)


def pattern(name: str, centre: str | None, n_bonds: int = 3) -> tuple[str, tuple[bool, ...]] | None:
    """Vacancy kind and which bonds lead to one, from a state's name; None for other names."""
    if not centre:
        return None
    if name == centre:
        return "", (False,) * n_bonds
    found = re.fullmatch(re.escape(centre) + r"\+(\d?)(.+)@(\d)", name)
    if not found or int(found[3]) >= n_bonds:
        return None
    many, place = int(found[1] or 1), int(found[3])
    if many not in (1, n_bonds - 1):
        return None
    # one vacancy: the bond that leads to it; all but one: the bond that is left
    return found[2], tuple((k == place) == (many == 1) for k in range(n_bonds))


def _rows(table: np.ndarray) -> np.ndarray:
    """Rows that add up to 1: what is not a label of the chain is a missing observation."""
    table = table + 1e-9
    return table / table.sum(1, keepdims=True)


def read(path: str | Path, names: list[str]) -> np.ndarray:
    """(S, S) confusion of the chain states `names` from a CSV with columns state, label, probability.

    It is what an analysis writes as confusion.csv. Raises UserError when the file is missing or lacks a state.
    """
    import pandas as pd

    path = Path(path)
    key = f"analysis.transitions.confusion={path}"
    if not path.is_file():
        raise UserError(
            f"{key}: no such file; there are estimate, model, or a CSV with columns state, label, probability"
        )
    if path.suffix == ".json":
        raise UserError(f"{key}: a model's confusion is used by analysis.transitions.confusion=model; give a CSV here")
    try:
        given = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise UserError(f"{key}: cannot be read ({str(error).splitlines()[0][:100]})") from None
    if not {"state", "label", "probability"} <= set(given):
        raise UserError(f"{key}: needs columns state, label, probability; it has {', '.join(map(str, given.columns))}")
    if "method" in given and given["method"].nunique() > 1:
        given = given[given["method"] == given["method"].iloc[0]]
    missing = [n for n in names if n not in set(given["state"])]
    if missing:
        raise UserError(f"{key}: has no row for state {missing[0]}; the states are {', '.join(names)}")
    table = given.pivot_table(index="state", columns="label", values="probability", aggfunc="mean")
    table = table.reindex(index=names, columns=names).fillna(0.0).to_numpy(float)
    if (table < 0).any() or (table.sum(1) <= 0).any():
        raise UserError(f"{key}: probabilities must be positive and each state needs a label")
    return _rows(table)


def describe(attribute: dict) -> str:
    """Where the model's confusion comes from, in words."""
    dose, own = attribute.get("dose_e_per_px"), attribute.get("movie_dose_e_per_px")
    at = f"at {dose:g} e/px" if dose else f"on its set {attribute.get('set')}"
    if attribute.get("decision", "most probable") == "most probable":
        at += ", which counts the most probable state and not what the table's thresholds call"
    if own:
        return f"the network's own, {at} (the movie has {own:g})"
    return f"the network's own, {at} (the movie's dose is not known)"


def parse(attribute: Any) -> dict | None:
    """The table's attribute as a dict with counts, whatever it was stored as; None when there is none."""
    if isinstance(attribute, str):
        try:
            attribute = json.loads(attribute)
        except ValueError:
            return None
    return attribute if isinstance(attribute, dict) and attribute.get("counts") else None
