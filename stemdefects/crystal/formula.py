"""A material from a chemical formula, or from a list of elements: `W0.95Ti0.05Se2` is WSe2 as its file says, with Ti on
the metal's sublattice.

Of the materials that are known, the one whose ideal columns are the formula's main elements gives lattice, sites and
common defects. What else the formula names takes the place of atoms of the sublattice whose sum it completes, and
states and kinds for it are added; what it does not name goes. Signals of added elements follow Z^1.55 (HAADF; what it
is for this detector, inference learns from the frames).
"""

import copy
import re
from collections.abc import Iterator, Sequence

from stemdefects import config
from stemdefects.crystal import elements
from stemdefects.crystal.elements import EXPONENT, atomic_number, group
from stemdefects.errors import UserError
from stemdefects.schema import KindConfig, MaterialConfig, SpeciesConfig, StateConfig

WHOLE = 0.03  # of an atom: how well a sublattice's sum must come out
SPREAD = 0.3  # of an added element's signal
DOPED = 0.01  # of the columns, where nobody says how many; inference learns it from the frames
DENSITY = 0.10  # largest share of columns in training images


def parsed(formula: str) -> dict[str, float]:
    """Number of atoms of each element, in the order they stand. UserError for what is no formula, or no element."""
    parts = re.findall(r"([A-Z][a-z]?)(\d*\.?\d*)", formula)
    if not parts or "".join(a + b for a, b in parts) != formula:
        raise UserError(f"formula={formula}: cannot be read; write elements and numbers, e.g. W0.95Ti0.05Se2")
    amounts: dict[str, float] = {}
    elements.check((element for element, _ in parts), f"formula={formula}")
    for element, number in parts:
        amounts[element] = amounts.get(element, 0.0) + (float(number) if number else 1.0)
    if min(amounts.values()) <= 0:
        raise UserError(f"formula={formula}: every element needs a positive number")
    return amounts


def material(formula: str) -> MaterialConfig:
    """The material of `formula`; its name is the formula. Raises UserError where no known material has its main
    elements in the same proportion, or the rest completes no sublattice."""
    amounts = parsed(formula)
    tried = []
    for name, base, ideal in _known(set(amounts)):
        found = _shared_out(amounts, ideal)
        if found is not None:
            foreign = sum(sum(others.values()) for others in found.values())
            tried.append((foreign, len(base.species), name, base, found))
    if not tried:
        raise UserError(
            f"formula={formula}: no known material has its main elements in this proportion (there are: "
            f"{', '.join(config.group_names('material'))}); write a material file (docs/materials.md) and give "
            "inference.material=<file>"
        )
    *_, base, found = min(tried, key=lambda one: one[:3])
    return _made(formula, base, found, set(amounts))


def of_species(names: Sequence[str]) -> MaterialConfig:
    """The material of the elements that may be there, the crystal's own first: `[W, Se, Ti]` is WSe2 with Ti.

    The others take the place of the atoms that stand nearest in the periodic table's columns, on both sublattices where
    two are as near. Raises UserError for what is no element, or where no known material is made of some of them.
    """
    shown = f"species=[{','.join(names)}]"
    elements.check(names, shown)
    tried = []
    for name, base, ideal in _known(set(names)):
        hosts = {site: element for site, (element, _) in ideal.items()}
        last = sorted((names.index(element) for element in {*hosts.values()}), reverse=True)
        tried.append((last, len(base.species), name, base, hosts))
    if not tried:
        raise UserError(
            f"{shown}: no known material is made of some of them (there are: "
            f"{', '.join(config.group_names('material'))}); name the crystal's own elements first, or give "
            "inference.material=<name or file> as well"
        )
    *_, base, hosts = min(tried, key=lambda one: one[:3])
    found: dict[str, dict[str, float]] = {site: {} for site in hosts}
    for element in dict.fromkeys(names):
        if element not in hosts.values():
            far = {site: abs(group(element) - group(host)) for site, host in hosts.items()}
            for site in (site for site in far if far[site] == min(far.values())):
                found[site][element] = DOPED
    return _made("+".join(dict.fromkeys(names)), base, found, set(names))


def _known(named: set[str]) -> Iterator[tuple[str, MaterialConfig, dict[str, tuple[str, int]]]]:
    """Known materials whose ideal columns are each of one element, of `named` all: name, config, and per site the
    element and its number of atoms in a column."""
    for name in config.group_names("material"):
        base = config.load_group("material", name)
        ideal = {site: base.states[spec.ideal].atoms for site, spec in base.sites.items()}
        if all(len(atoms) == 1 and set(atoms) <= named for atoms in ideal.values()):
            yield name, base, {site: next(iter(atoms.items())) for site, atoms in ideal.items()}


def _shared_out(amounts: dict[str, float], ideal: dict[str, tuple[str, int]]) -> dict[str, dict[str, float]] | None:
    """Per site the elements that take the place of its own, as fractions of its atoms; None where sums do not come out.

    ideal: per site the element and its number of atoms in a column.
    """
    hosts = {element for element, _ in ideal.values()}
    extra = {e: n for e, n in amounts.items() if e not in hosts}
    if len(hosts) < len(ideal):  # sublattices that are alike share what there is
        whole = sum(n for _, n in ideal.values())
        scale = whole / sum(amounts.values())
        return {site: {e: n * scale / whole for e, n in extra.items()} for site in ideal}
    missing = {site: n - amounts[element] for site, (element, n) in ideal.items()}
    chosen: dict[str, dict[str, float]] = {site: {} for site in ideal}
    for element, number in sorted(extra.items(), key=lambda item: -item[1]):
        site = max(missing, key=lambda name: missing[name])
        if missing[site] < number - WHOLE:
            return None
        chosen[site][element] = number / ideal[site][1]
        missing[site] -= number
    if any(abs(rest) > WHOLE for rest in missing.values()):
        return None
    return chosen


def _made(name: str, base: MaterialConfig, found: dict[str, dict[str, float]], named: set[str]) -> MaterialConfig:
    """`base` with states and kinds for what takes the place of its atoms (`_shared_out`), without elements that are not
    `named`."""
    out = copy.deepcopy(base)
    out.name = name
    _without(out, set(out.species) - named)
    for site, others in found.items():
        ((host, number),) = out.states[out.sites[site].ideal].atoms.items()
        for element, share in others.items():
            if element not in out.species:
                factor = (atomic_number(element) / atomic_number(host)) ** EXPONENT
                signal = [value * factor for value in out.species[host].intensity]
                out.species[element] = SpeciesConfig(intensity=signal, spread=SPREAD)
            for replaced in range(1, number + 1):
                _add(out, site, host, element, replaced, number, share)
    return out


def _without(out: MaterialConfig, species: set[str]) -> None:
    """Take states that hold atoms of `species` out of the material, and the kinds and complexes made of them."""
    gone = {name for name, state in out.states.items() if species & set(state.atoms)}
    out.species = {name: one for name, one in out.species.items() if name not in species}
    out.states = {name: state for name, state in out.states.items() if name not in gone}
    lost = {name for name, kind in out.kinds.items() if kind.state in gone}
    out.kinds = {name: kind for name, kind in out.kinds.items() if name not in lost}
    out.complexes = {n: c for n, c in out.complexes.items() if not gone & {c.center, *c.neighbours}}
    out.centre = None if out.centre is None else [name for name in out.centre if name not in lost]
    out.headline = None if out.headline in lost else out.headline


def _add(out: MaterialConfig, site: str, host: str, element: str, replaced: int, number: int, share: float) -> None:
    """A state in which `replaced` of `number` atoms of a column are of another element, and its kind."""
    atoms = {element: replaced} | ({host: number - replaced} if replaced < number else {})
    if any(s.site == site and dict(s.atoms) == atoms for s in out.states.values()):
        known = next(n for n, s in out.states.items() if s.site == site and dict(s.atoms) == atoms)
        kind = next(k for k in out.kinds.values() if k.state == known)
        kind.prevalence = _prevalence(share, replaced, number)
        return
    label = f"{element}{replaced if replaced > 1 else ''}"
    state = f"{label}_on_{site}"
    out.states[state] = StateConfig(site=site, atoms=atoms)
    name = f"{label}_{host}{number if replaced == number > 1 else ''}"
    if name in out.kinds:  # vanadium on Mo is not the vacancy V_Mo; sublattices that are alike
        name = next(n for n in (f"{label}_on_{host}", f"{label}_on_{site}") if n not in out.kinds)
    prevalence = _prevalence(share, replaced, number)
    out.kinds[name] = KindConfig(state=state, density=[0.0, max(DENSITY, 1.5 * prevalence)], prevalence=prevalence)


def _prevalence(share: float, replaced: int, number: int) -> float:
    """Fraction of columns with `replaced` of `number` atoms exchanged, where each is with probability `share`."""
    ways = {(1, 1): 1, (1, 2): 2, (2, 2): 1}.get((replaced, number), 1)
    return float(min(max(ways * share**replaced * (1 - share) ** (number - replaced), 1e-4), 0.9))
