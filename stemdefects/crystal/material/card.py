"""From a material's config to the crystal: what does not exist or fit is told by the key that says it."""

from typing import Any

import numpy as np

from stemdefects.config import check_range, load_group
from stemdefects.crystal.material.crystal import Material
from stemdefects.crystal.material.parts import Complex, Kind, Site, Species, State, named
from stemdefects.errors import UserError
from stemdefects.io.tables.table import KIND_BYTES
from stemdefects.schema import MaterialConfig


def load(name: str) -> Material:
    """The material of `configs/material/<name>.yaml`; `UserError` when there is none."""
    return from_config(load_group("material", name))


def from_config(cfg: MaterialConfig) -> Material:
    """Make a `Material` from a `schema.MaterialConfig`.

    Raises `UserError`, naming the config key, for sites, states, species or voltages that do not exist or fit.
    """
    if not cfg.a_nm > 0:
        raise _bad(cfg, "a_nm", f"the lattice constant must be positive, got {cfg.a_nm}")
    vectors = np.asarray(cfg.lattice_vectors_a, float)
    if vectors.shape != (2, 2) or abs(np.linalg.det(vectors)) < 1e-3:
        raise _bad(cfg, "lattice_vectors_a", "needs two independent vectors [[y, x], [y, x]] in units of a_nm")
    voltages = tuple(float(v) for v in cfg.voltages_kv)
    if not voltages or any(v <= 0 for v in voltages) or list(voltages) != sorted(set(voltages)):
        raise _bad(cfg, "voltages_kv", f"needs increasing positive voltages, got {list(voltages)}")
    if len(cfg.haadf_cross_section_nm2) != len(voltages) or min(cfg.haadf_cross_section_nm2) <= 0:
        raise _bad(cfg, "haadf_cross_section_nm2", f"needs one positive value per voltage ({len(voltages)})")
    species = _species(cfg)
    if not cfg.sites:
        raise _bad(cfg, "sites", "needs at least one site")
    states = _states(cfg)
    sites = _sites(cfg, states)
    kinds = _kinds(cfg, states, {site.ideal for site in sites})
    complexes = _complexes(cfg, states)
    polymorph = _polymorph(cfg, states)
    centre, headline = _roles(cfg, kinds, complexes)
    return Material(
        name=cfg.name,
        a_nm=float(cfg.a_nm),
        lattice_nm=vectors * float(cfg.a_nm),
        sites=tuple(sites),
        states=tuple(states),
        kinds=tuple(kinds),
        complexes=tuple(complexes),
        species=tuple(species),
        voltages_kv=voltages,
        haadf_cross_section_nm2=tuple(float(c) for c in cfg.haadf_cross_section_nm2),
        phase_1T=polymorph,
        centre=centre,
        headline=headline,
    )


def _where(cfg: MaterialConfig, key: str) -> str:
    return f"material.{key} (material={cfg.name})"


def _bad(cfg: MaterialConfig, key: str, text: str) -> UserError:
    return UserError(f"{_where(cfg, key)}: {text}")


def _species(cfg: MaterialConfig) -> list[Species]:
    n_voltages = len(cfg.voltages_kv)
    found = []
    for name, spec in cfg.species.items():
        if len(spec.intensity) != n_voltages or min(spec.intensity) < 0:
            raise _bad(cfg, f"species.{name}.intensity", f"needs one value >= 0 per voltage ({n_voltages})")
        if not 0 <= spec.spread < 1:
            raise _bad(cfg, f"species.{name}.spread", f"must lie in [0, 1), got {spec.spread}")
        ranges = tuple(_range(f"material.species.{name}.ranges", one, 1e-6) for one in spec.ranges)
        found.append(Species(name, tuple(float(i) for i in spec.intensity), float(spec.spread), ranges))
    return found


def _range(key: str, value: Any, least: float, most: float = np.inf) -> tuple[float, float]:
    check_range(key, value, least, most)
    return float(value[0]), float(value[1])


def _states(cfg: MaterialConfig) -> list[State]:
    site_names, species_names = list(cfg.sites), list(cfg.species)
    found = []
    for name, spec in cfg.states.items():
        if spec.site not in site_names:
            known = ", ".join(site_names)
            raise _bad(cfg, f"states.{name}.site", f"site {spec.site!r} does not exist; known: {known}")
        for atom, count in spec.atoms.items():
            if atom not in species_names:
                known = ", ".join(species_names)
                raise _bad(cfg, f"states.{name}.atoms", f"species {atom!r} does not exist; known: {known}")
            if count < 0:
                raise _bad(cfg, f"states.{name}.atoms", f"negative number of {atom} atoms")
        if not 0 <= spec.spread < 1:
            raise _bad(cfg, f"states.{name}.spread", f"must lie in [0, 1), got {spec.spread}")
        if abs(spec.relax_nm) > 0.3 * cfg.a_nm:
            raise _bad(cfg, f"states.{name}.relax_nm", f"{spec.relax_nm} nm is more than 0.3 lattice constants")
        atoms = tuple((str(k), int(v)) for k, v in spec.atoms.items())
        found.append(State(name, site_names.index(spec.site), atoms, float(spec.spread), float(spec.relax_nm)))
    return found


def _state(cfg: MaterialConfig, states: list[State], key: str, name: str, site: int | None = None) -> int:
    """Index of the state called `name` in the setting `key`, which must belong to `site` where one is given."""
    names = [state.name for state in states]
    if name not in names:
        raise _bad(cfg, key, f"state {name!r} does not exist; known: {', '.join(names)}")
    index = names.index(name)
    if site is not None and states[index].site != site:
        raise _bad(cfg, key, f"state {name!r} belongs to site {list(cfg.sites)[states[index].site]!r}")
    return index


def _sites(cfg: MaterialConfig, states: list[State]) -> list[Site]:
    found = []
    for i, (name, spec) in enumerate(cfg.sites.items()):
        if len(spec.position) != 2:
            raise _bad(cfg, f"sites.{name}.position", "needs two fractional coordinates")
        ideal = _state(cfg, states, f"sites.{name}.ideal", spec.ideal, i)
        found.append(Site(name, (float(spec.position[0]), float(spec.position[1])), ideal, bool(spec.floating)))
    return found


def _kinds(cfg: MaterialConfig, states: list[State], ideal: set[int]) -> list[Kind]:
    found: list[Kind] = []
    for name, spec in cfg.kinds.items():
        index = _state(cfg, states, f"kinds.{name}.state", spec.state)
        if index in ideal:
            raise _bad(cfg, f"kinds.{name}", f"state {spec.state!r} is the ideal state of its site, not a defect")
        if index in {kind.state for kind in found}:
            raise _bad(cfg, f"kinds.{name}", f"state {spec.state!r} has a kind already")
        if len(name.encode()) > KIND_BYTES:
            raise _bad(cfg, f"kinds.{name}", f"names have at most {KIND_BYTES} bytes")
        density = _range(f"material.kinds.{name}.density", spec.density, 0.0, 1.0)
        if spec.prevalence is not None and not 0 < spec.prevalence < 1:
            raise _bad(cfg, f"kinds.{name}.prevalence", f"must lie between 0 and 1, got {spec.prevalence}")
        found.append(Kind(name, index, density, spec.prevalence))
    with_kind = ideal | {kind.state for kind in found}
    missing = [state.name for i, state in enumerate(states) if i not in with_kind]
    if missing:
        raise _bad(cfg, "kinds", f"states without a kind: {', '.join(missing)}")
    return found


def _complexes(cfg: MaterialConfig, states: list[State]) -> list[Complex]:
    found = []
    for name, spec in cfg.complexes.items():
        center = _state(cfg, states, f"complexes.{name}.center", spec.center)
        neighbours = tuple(_state(cfg, states, f"complexes.{name}.neighbours", one) for one in spec.neighbours)
        if not neighbours or any(states[n].site == states[center].site for n in neighbours):
            raise _bad(cfg, f"complexes.{name}.neighbours", "needs states of another site than the centre's")
        probability = _range(f"material.complexes.{name}.probability", spec.probability, 0.0, 1.0)
        found.append(Complex(name, center, neighbours, probability))
    return found


def _polymorph(cfg: MaterialConfig, states: list[State]) -> tuple[int, int] | None:
    """Site whose columns split in the 1T phase, and the state of each half."""
    if cfg.phase_1T is None:
        return None
    names = list(cfg.sites)
    if cfg.phase_1T.site not in names:
        raise _bad(cfg, "phase_1T.site", f"site {cfg.phase_1T.site!r} does not exist; known: {', '.join(names)}")
    site = names.index(cfg.phase_1T.site)
    return site, _state(cfg, states, "phase_1T.state", cfg.phase_1T.state, site)


def _roles(cfg: MaterialConfig, kinds: list[Kind], complexes: list[Complex]) -> tuple[tuple[int, ...], int | None]:
    """Kinds that are centres, and the one of the headline; `UserError` for kinds that do not exist or are both."""
    names = [kind.name for kind in kinds]
    if cfg.centre is None:
        states = {one.center for one in complexes}
        centre = tuple(i for i, kind in enumerate(kinds) if kind.state in states)
    else:
        centre = tuple(named(names, name, f"{_where(cfg, 'centre')}: defect kind") for name in cfg.centre)
    if cfg.headline is None:
        return centre, next((i for i in range(len(kinds)) if i not in centre), 0 if kinds else None)
    headline = named(names, cfg.headline, f"{_where(cfg, 'headline')}: defect kind")
    if headline in centre:
        raise _bad(cfg, "headline", f"{cfg.headline} is a centre; the headline is of a kind that moves")
    return centre, headline
