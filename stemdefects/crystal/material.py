"""Materials: sites, column states, defect kinds and complexes, made from `configs/material/*.yaml`.

One idea serves everything: a column of the crystal has a state; a defect is a column whose state differs from the
ideal state of its site.
"""

from dataclasses import dataclass, field
from difflib import get_close_matches

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.tables.table import KIND_BYTES


@dataclass(frozen=True)
class Site:
    """A sublattice: its name, fractional position (a1, a2) in the cell, and the index of its ideal state.

    A `floating` site has no place in the cell: something may sit anywhere, and the ideal state is that nothing does.
    """

    name: str
    position: tuple[float, float]
    ideal: int
    floating: bool = False


@dataclass(frozen=True)
class State:
    """What a column can be: name, site index, atoms in it, and how its neighbours relax around it."""

    name: str
    site: int
    atoms: tuple[tuple[str, int], ...]
    spread: float  # relative half-range of the intensity beyond that of its species
    relax_nm: float  # first neighbours move this far, away from the column when positive


@dataclass(frozen=True)
class Kind:
    """A kind of point defect: the name in tables and the index of its state."""

    name: str
    state: int
    density: tuple[float, float] = (0.0, 0.0)  # usual range, fraction of the site's columns
    prevalence: float | None = None  # fraction of the site's columns in a realistic sample


@dataclass(frozen=True)
class Complex:
    """Neighbouring defects with a name: a centre state and the states of bonded columns."""

    name: str
    center: int
    neighbours: tuple[int, ...]
    probability: tuple[float, float] = (0.0, 0.0)  # usual range, of a centre having it


@dataclass(frozen=True)
class Species:
    """HAADF signal of one atom relative to the reference species, at each of the material's voltages."""

    name: str
    intensity: tuple[float, ...]
    spread: float
    ranges: tuple[tuple[float, float], ...] = ()  # drawn from instead of `intensity` in training images, log-uniform


@dataclass(frozen=True)
class Material:
    """A crystal as plain data; index order is that of the config. Lengths in nm, vectors as (y, x)."""

    name: str
    a_nm: float
    lattice_nm: np.ndarray = field(repr=False)  # (2, 2) rows a1, a2
    sites: tuple[Site, ...]
    states: tuple[State, ...]
    kinds: tuple[Kind, ...]
    complexes: tuple[Complex, ...]
    species: tuple[Species, ...]
    voltages_kv: tuple[float, ...]
    haadf_cross_section_nm2: tuple[float, ...]  # of the reference species, at each voltage
    phase_1T: tuple[int, int] | None = None  # site whose columns split, state of each half
    centre: tuple[int, ...] = ()  # kinds that catch moving defects
    headline: int | None = None  # kind whose motion is the first number of a report; None: there are no kinds

    @property
    def state_names(self) -> list[str]:
        """Names of all column states, in index order."""
        return [s.name for s in self.states]

    @property
    def site_names(self) -> list[str]:
        """Names of the sublattices, in index order."""
        return [s.name for s in self.sites]

    @property
    def kind_names(self) -> list[str]:
        """Names of the defect kinds, in index order."""
        return [k.name for k in self.kinds]

    @property
    def n_states(self) -> int:
        """Number of column states over all sites."""
        return len(self.states)

    @property
    def n_sites(self) -> int:
        """Number of sublattices."""
        return len(self.sites)

    @property
    def kind_of_state(self) -> np.ndarray:
        """(n_states,) int: kind index of a state, -1 for ideal states."""
        out = np.full(self.n_states, -1, np.int32)
        for i, kind in enumerate(self.kinds):
            out[kind.state] = i
        return out

    @property
    def site_of_state(self) -> np.ndarray:
        """(n_states,) int: site index of a state."""
        return np.array([s.site for s in self.states], np.int32)

    @property
    def basis(self) -> np.ndarray:
        """(n_sites, 2) position of each sublattice in the cell, in units of a1 and a2."""
        return np.array([s.position for s in self.sites], float)

    @property
    def ideal_states(self) -> np.ndarray:
        """(n_sites,) int: ideal state of each site."""
        return np.array([s.ideal for s in self.sites], np.int32)

    @property
    def nothing_states(self) -> np.ndarray:
        """(n_sites,) int: state that means "nothing is here" of floating sites, -1 for sites of the lattice."""
        return np.array([s.ideal if s.floating else -1 for s in self.sites], np.int32)

    @property
    def cell_area_nm2(self) -> float:
        """Area of the primitive cell."""
        return float(abs(np.linalg.det(self.lattice_nm)))

    @property
    def bond_nm(self) -> float:
        """Shortest distance in projection between columns of two sublattices; 0 where there is one sublattice."""
        own = [np.array(site.position) for site in self.sites if not site.floating]
        cells = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1]), -1).reshape(-1, 2)
        apart = [(b - a + cells) @ self.lattice_nm for n, a in enumerate(own) for b in own[n + 1 :]]
        return float(min((np.linalg.norm(d, axis=1).min() for d in apart), default=0.0))

    def state_index(self, name: str) -> int:
        """Index of the state called `name`; `UserError` with near names otherwise."""
        return _index(self.state_names, name, f"material {self.name}: state")

    def kind_index(self, name: str) -> int:
        """Index of the kind called `name`; `UserError` with near names otherwise."""
        return _index(self.kind_names, name, f"material {self.name}: defect kind")

    def species_counts(self) -> np.ndarray:
        """(n_states, n_species) number of atoms of each species in each state."""
        names = [s.name for s in self.species]
        out = np.zeros((self.n_states, len(names)), np.float32)
        for i, state in enumerate(self.states):
            for name, count in state.atoms:
                out[i, names.index(name)] += count
        return out

    def species_intensities(self, voltage_kv: float) -> np.ndarray:
        """(n_species,) signal per atom relative to the reference, interpolated linearly in voltage."""
        return np.array([np.interp(voltage_kv, self.voltages_kv, s.intensity) for s in self.species], np.float32)

    def intensities(self, voltage_kv: float | None = None) -> np.ndarray:
        """(n_states,) column HAADF signal relative to the reference species at a voltage (kV), None: the mean of those
        known."""
        voltage_kv = float(np.mean(self.voltages_kv)) if voltage_kv is None else voltage_kv
        return self.species_counts() @ self.species_intensities(voltage_kv)

    def cross_section_nm2(self, voltage_kv: float) -> float:
        """HAADF cross-section (nm2) of the reference species: signal integrated over the field is dose times it."""
        return float(np.interp(voltage_kv, self.voltages_kv, self.haadf_cross_section_nm2))


def _index(names: list[str], name: str, what: str) -> int:
    if name in names:
        return names.index(name)
    near = get_close_matches(name, names, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise UserError(f"{what} {name!r} does not exist; {hint}known: {', '.join(names)}")


def check_range(key: str, value, low: float = -np.inf, high: float = np.inf) -> tuple[float, float]:
    """`value` as (lower, upper); `UserError` naming `key` unless it is two increasing numbers within [low, high]."""
    if len(value) != 2 or not np.all(np.isfinite(value)) or value[0] > value[1]:
        raise UserError(f"{key}: needs a range [lower, upper], got {list(value)}")
    if value[0] < low or value[1] > high:
        raise UserError(f"{key}: {list(value)} reaches outside {low:g}..{high:g}")
    return float(value[0]), float(value[1])


def from_config(cfg) -> Material:
    """Make a `Material` from a `schema.MaterialConfig`.

    Raises `UserError`, naming the config key, for sites, states, species or voltages that do not exist or fit.
    """
    where = f"material.{{}} (material={cfg.name})"

    def bad(key, text):
        return UserError(f"{where.format(key)}: {text}")

    if not cfg.a_nm > 0:
        raise bad("a_nm", f"the lattice constant must be positive, got {cfg.a_nm}")
    vectors = np.asarray(cfg.lattice_vectors_a, float)
    if vectors.shape != (2, 2) or abs(np.linalg.det(vectors)) < 1e-3:
        raise bad("lattice_vectors_a", "needs two independent vectors [[y, x], [y, x]] in units of a_nm")
    voltages = tuple(float(v) for v in cfg.voltages_kv)
    if not voltages or any(v <= 0 for v in voltages) or list(voltages) != sorted(set(voltages)):
        raise bad("voltages_kv", f"needs increasing positive voltages, got {list(voltages)}")
    if len(cfg.haadf_cross_section_nm2) != len(voltages) or min(cfg.haadf_cross_section_nm2) <= 0:
        raise bad("haadf_cross_section_nm2", f"needs one positive value per voltage ({len(voltages)})")
    species = []
    for name, spec in cfg.species.items():
        if len(spec.intensity) != len(voltages) or min(spec.intensity) < 0:
            raise bad(f"species.{name}.intensity", f"needs one value >= 0 per voltage ({len(voltages)})")
        if not 0 <= spec.spread < 1:
            raise bad(f"species.{name}.spread", f"must lie in [0, 1), got {spec.spread}")
        ranges = tuple(check_range(f"material.species.{name}.ranges", one, 1e-6) for one in spec.ranges)
        species.append(Species(name, tuple(float(i) for i in spec.intensity), float(spec.spread), ranges))
    species_names = [s.name for s in species]
    site_names = list(cfg.sites)
    if not site_names:
        raise bad("sites", "needs at least one site")
    states = []
    for name, spec in cfg.states.items():
        if spec.site not in site_names:
            raise bad(f"states.{name}.site", f"site {spec.site!r} does not exist; known: {', '.join(site_names)}")
        for atom, count in spec.atoms.items():
            if atom not in species_names:
                known = ", ".join(species_names)
                raise bad(f"states.{name}.atoms", f"species {atom!r} does not exist; known: {known}")
            if count < 0:
                raise bad(f"states.{name}.atoms", f"negative number of {atom} atoms")
        if not 0 <= spec.spread < 1:
            raise bad(f"states.{name}.spread", f"must lie in [0, 1), got {spec.spread}")
        if abs(spec.relax_nm) > 0.3 * cfg.a_nm:
            raise bad(f"states.{name}.relax_nm", f"{spec.relax_nm} nm is more than 0.3 lattice constants")
        atoms = tuple((str(k), int(v)) for k, v in spec.atoms.items())
        states.append(State(name, site_names.index(spec.site), atoms, float(spec.spread), float(spec.relax_nm)))
    state_names = [s.name for s in states]

    def state_of(key, name, site=None):
        if name not in state_names:
            raise bad(key, f"state {name!r} does not exist; known: {', '.join(state_names)}")
        index = state_names.index(name)
        if site is not None and states[index].site != site:
            raise bad(key, f"state {name!r} belongs to site {site_names[states[index].site]!r}")
        return index

    sites = []
    for i, (name, spec) in enumerate(cfg.sites.items()):
        if len(spec.position) != 2:
            raise bad(f"sites.{name}.position", "needs two fractional coordinates")
        ideal = state_of(f"sites.{name}.ideal", spec.ideal, i)
        sites.append(Site(name, (float(spec.position[0]), float(spec.position[1])), ideal, bool(spec.floating)))
    ideal = {s.ideal for s in sites}
    kinds = []
    for name, spec in cfg.kinds.items():
        state = spec.state
        index = state_of(f"kinds.{name}.state", state)
        if index in ideal:
            raise bad(f"kinds.{name}", f"state {state!r} is the ideal state of its site, not a defect")
        if index in {k.state for k in kinds}:
            raise bad(f"kinds.{name}", f"state {state!r} has a kind already")
        if len(name.encode()) > KIND_BYTES:
            raise bad(f"kinds.{name}", f"names have at most {KIND_BYTES} bytes")
        density = check_range(f"material.kinds.{name}.density", spec.density, 0.0, 1.0)
        if spec.prevalence is not None and not 0 < spec.prevalence < 1:
            raise bad(f"kinds.{name}.prevalence", f"must lie between 0 and 1, got {spec.prevalence}")
        kinds.append(Kind(name, index, density, spec.prevalence))
    missing = [s.name for i, s in enumerate(states) if i not in ideal and i not in {k.state for k in kinds}]
    if missing:
        raise bad("kinds", f"states without a kind: {', '.join(missing)}")
    complexes = []
    for name, spec in cfg.complexes.items():
        center = state_of(f"complexes.{name}.center", spec.center)
        neighbours = tuple(state_of(f"complexes.{name}.neighbours", s) for s in spec.neighbours)
        if not neighbours or any(states[n].site == states[center].site for n in neighbours):
            raise bad(f"complexes.{name}.neighbours", "needs states of another site than the centre's")
        probability = check_range(f"material.complexes.{name}.probability", spec.probability, 0.0, 1.0)
        complexes.append(Complex(name, center, neighbours, probability))
    polymorph = None
    if cfg.phase_1T is not None:
        if cfg.phase_1T.site not in site_names:
            raise bad("phase_1T.site", f"site {cfg.phase_1T.site!r} does not exist; known: {', '.join(site_names)}")
        site = site_names.index(cfg.phase_1T.site)
        polymorph = (site, state_of("phase_1T.state", cfg.phase_1T.state, site))
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


def _roles(cfg, kinds: list[Kind], complexes: list[Complex]) -> tuple[tuple[int, ...], int | None]:
    """Kinds that are centres, and the one of the headline; `UserError` for kinds that do not exist or are both."""
    names = [k.name for k in kinds]
    where = f"material.{{}} (material={cfg.name})"
    if cfg.centre is None:
        states = {c.center for c in complexes}
        centre = tuple(i for i, kind in enumerate(kinds) if kind.state in states)
    else:
        centre = tuple(_index(names, name, f"{where.format('centre')}: defect kind") for name in cfg.centre)
    if cfg.headline is None:
        return centre, next((i for i in range(len(kinds)) if i not in centre), 0 if kinds else None)
    headline = _index(names, cfg.headline, f"{where.format('headline')}: defect kind")
    if headline in centre:
        raise UserError(f"{where.format('headline')}: {cfg.headline} is a centre; the headline is of a kind that moves")
    return centre, headline


def load(name: str) -> Material:
    """The material of `configs/material/<name>.yaml`; `UserError` when there is none."""
    from stemdefects.config import load_group

    return from_config(load_group("material", name))
