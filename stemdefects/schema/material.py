"""What a crystal is: lattice, sites, column states, defect kinds."""

from dataclasses import dataclass, field

from omegaconf import MISSING

from stemdefects.schema.values import range_of


@dataclass
class SiteConfig:
    """A sublattice: fractional position in the cell and the name of its ideal state."""

    position: list[float] = MISSING
    ideal: str = MISSING
    floating: bool = False  # no place in the cell: a defect anywhere; the ideal state means that nothing is there


@dataclass
class SpeciesConfig:
    """HAADF signal of one atom relative to the reference species, at each of the material's voltages."""

    intensity: list[float] = MISSING
    spread: float = 0.0  # relative half-range drawn per image
    # what `intensity` itself may be, whatever the voltage: drawn per image from these, log-uniform. For crystals that
    # stand for many
    ranges: list[list[float]] = field(default_factory=list)


@dataclass
class StateConfig:
    """What a column can be."""

    site: str = MISSING
    atoms: dict[str, int] = field(default_factory=dict)  # species: number; none: vacant
    spread: float = 0.0  # relative half-range of its signal beyond that of its species
    relax_nm: float = 0.0  # first neighbours move this far, away from it when positive


@dataclass
class KindConfig:
    """A defect kind: the state it stands for, and how common it is in training images and in real samples."""

    state: str = MISSING
    density: list[float] = range_of(0.0, 0.0)  # fraction of the site's columns, range
    prevalence: float | None = None  # the same in a realistic sample; null: `labels.prior` must say it


@dataclass
class ComplexConfig:
    """Neighbouring defects that have a name together."""

    center: str = MISSING  # state of the centre column
    neighbours: list[str] = MISSING  # states of bonded columns
    probability: list[float] = range_of(0.0, 0.0)  # of a centre having it, range


@dataclass
class PolymorphConfig:
    """The 1T phase: of each column of `site` one half goes to the inverted position; `state` is what is left."""

    site: str = MISSING
    state: str = MISSING


@dataclass
class MaterialConfig:
    """A crystal: lattice, sites, column states, defect kinds. See docs/materials.md."""

    name: str = MISSING
    a_nm: float = MISSING
    lattice_vectors_a: list[list[float]] = MISSING  # rows a1, a2 as (y, x), in units of a_nm
    sites: dict[str, SiteConfig] = MISSING
    voltages_kv: list[float] = MISSING
    haadf_cross_section_nm2: list[float] = MISSING  # of one atom of the reference species, at each voltage
    species: dict[str, SpeciesConfig] = MISSING
    states: dict[str, StateConfig] = MISSING
    kinds: dict[str, KindConfig] = MISSING
    complexes: dict[str, ComplexConfig] = field(default_factory=dict)
    centre: list[str] | None = None  # kinds that catch moving defects; null: those at the centre of a complex
    headline: str | None = None  # kind whose motion is the first number of a report; null: the first that is no centre
    phase_1T: PolymorphConfig | None = None
