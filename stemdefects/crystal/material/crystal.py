"""A crystal as plain data, and what follows from it."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from stemdefects.crystal.material.parts import Complex, Kind, Site, Species, State, named

MEASURED = "measured"  # name of a crystal of which only the lattice is known, learned from a movie


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
        return named(self.state_names, name, f"material {self.name}: state")

    def kind_index(self, name: str) -> int:
        """Index of the kind called `name`; `UserError` with near names otherwise."""
        return named(self.kind_names, name, f"material {self.name}: defect kind")

    def species_counts(self) -> np.ndarray:
        """(n_states, n_species) number of atoms of each species in each state."""
        return self._counts.copy()

    @cached_property
    def _counts(self) -> np.ndarray:
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
        if voltage_kv is None:
            return self._usual_intensities.copy()
        return self._counts @ self.species_intensities(voltage_kv)

    @cached_property
    def _usual_intensities(self) -> np.ndarray:
        return self.intensities(float(np.mean(self.voltages_kv)))

    def cross_section_nm2(self, voltage_kv: float) -> float:
        """HAADF cross-section (nm2) of the reference species: signal integrated over the field is dose times it."""
        return float(np.interp(voltage_kv, self.voltages_kv, self.haadf_cross_section_nm2))
