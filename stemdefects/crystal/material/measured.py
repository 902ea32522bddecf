"""Crystals of which only the lattice is known: what networks that learned from a movie find their defects on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from stemdefects.crystal.material.crystal import MEASURED
from stemdefects.schema import KindConfig, MaterialConfig, SiteConfig, SpeciesConfig, StateConfig


def card(vectors_nm: np.ndarray, signs: Sequence[str] = ("dark", "bright")) -> MaterialConfig:
    """A crystal of which only the lattice is known, (2, 2) rows (y, x) in nm, with one floating site for defects of
    these `signs`."""
    a_nm = float(np.linalg.norm(vectors_nm, axis=1).min())
    state = {"crystal": {"column": 1}, **{name: {"dark": {}, "bright": {"column": 2}}[name] for name in signs}}
    return MaterialConfig(
        name=MEASURED,
        a_nm=a_nm,
        lattice_vectors_a=(np.asarray(vectors_nm) / a_nm).tolist(),
        sites={"defect": SiteConfig([0.0, 0.0], "crystal", floating=True)},
        voltages_kv=[100.0],
        haadf_cross_section_nm2=[1e-4],
        species={"column": SpeciesConfig([1.0])},
        states={name: StateConfig("defect", atoms) for name, atoms in state.items()},
        kinds={name: KindConfig(name) for name in signs},
    )


def of_table(attrs: Mapping[str, Any], otherwise: MaterialConfig) -> MaterialConfig:
    """The crystal that the attributes of a defect table tell of, where a network that learned from a movie made it:
    its lattice, as it was calibrated (where it was not, that of `otherwise`), and the network's kinds. `otherwise`
    where the table names no such crystal."""
    kinds = [str(kind) for kind in attrs.get("kinds", ("dark", "bright"))]
    if attrs.get("material") != MEASURED or not set(kinds) <= {"dark", "bright"}:
        return otherwise
    vectors, sampling = attrs.get("reference_px"), attrs.get("pixel_size_nm")
    if vectors is None or not sampling:
        return card(otherwise.a_nm * np.asarray(otherwise.lattice_vectors_a, float), kinds)
    return card(np.asarray(vectors, float) * float(sampling), kinds)
