"""What a crystal is made of: sublattices, states of their columns, kinds and complexes of defects, species."""

from dataclasses import dataclass
from difflib import get_close_matches

from stemdefects.errors import UserError


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


def named(names: list[str], name: str, what: str) -> int:
    """Index of `name` in `names`; `UserError` with near names otherwise. what: what it is a name of."""
    if name in names:
        return names.index(name)
    near = get_close_matches(name, names, n=3, cutoff=0.4)
    hint = f"did you mean {', '.join(near)}? " if near else ""
    raise UserError(f"{what} {name!r} does not exist; {hint}known: {', '.join(names)}")
