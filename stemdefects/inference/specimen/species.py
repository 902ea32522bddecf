"""What is it? Columns whose light is that of no common state of the material, and which elements have such light.

The light of one atom is taken as Z^n. The exponent depends on the detector's angles and is fitted to the columns that
are known, with the multislice value as a prior; single elements lie off the law by some tenths (channelling, thermal
motion), which is part of every statement. So the answer is often "cannot tell": then the range is said.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from stemdefects.crystal.elements import ELEMENTS, EXPONENT, atomic_number
from stemdefects.crystal.material import Material
from stemdefects.inference.specimen import light_levels, prevalence

EXPONENT_SPREAD = 0.4  # inner detectors have 0.7 (FACTS of real WSe2: 1.37 and 0.72 for Se beside W)
OFF_LAW = 0.3  # of the logarithm of an element's light: Ti beside W and Se in real WSe2 lies off by 0.2 and 0.6
FAR = 2.5  # scatters from the levels of all common states: nothing named has this light
REACH = 2.0  # scatters around the middle of a group
LEAST, TIMES = 5, 4.0  # columns of a group, and how many times as many as the levels' tails leave there
MOST_GROUPS = 2  # per sublattice
TOLD = 0.8  # posterior from which on an element is named
CREDIBLE = 0.9  # of the elements that are said where none is told
SURPRISE = 5.0  # times its stated share: a rare kind that common asks for another explanation
NO_COLUMN = ("He", "Ne", "Ar", "Kr", "Xe", "Rn")  # gases that take no atom's place


class Law(NamedTuple):
    """log light of one atom = constant + exponent * log Z; mean (2,) and covariance (2, 2) of both, `n` columns'
    levels that they are fitted to."""

    mean: np.ndarray
    covariance: np.ndarray
    n: int

    @property
    def exponent(self) -> tuple[float, float]:
        """The exponent and its standard error."""
        return float(self.mean[1]), float(np.sqrt(self.covariance[1, 1]))

    def predicted(self, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Logarithm of the light of elements of atomic `number` (m,), and its standard deviation (m,)."""
        design = np.column_stack([np.ones(len(number)), np.log(number)])
        return design @ self.mean, np.sqrt(np.einsum("ij,jk,ik->i", design, self.covariance, design) + OFF_LAW**2)


class Unnamed(NamedTuple):
    """A group of columns of one sublattice. n: how many; level, error: their light, in units of the brightest ideal
    column; kind: the rare kind that has this light by the material's file, None: none has; elements: posterior of the
    elements that take an atom's place, most probable first."""

    site: str
    n: int
    level: float
    error: float
    kind: str | None
    elements: tuple[tuple[str, float], ...]

    @property
    def told(self) -> str | None:
        """The element, where the light tells it."""
        return self.elements[0][0] if self.elements and self.elements[0][1] >= TOLD else None

    def sentence(self) -> str:
        """For people."""
        light = f"{self.n} {self.site} columns have {self.level:.2f} of the brightest column's light"
        named = f", which {self.kind} has by the file, but too many" if self.kind else ", which no common state has"
        if self.told:
            return f"{light}{named}; by its light it is {self.told} ({self.elements[0][1]:.0%})"
        share = np.cumsum([p for _, p in self.elements])
        likely = [name for name, _ in self.elements[: int(np.searchsorted(share, CREDIBLE)) + 1]]
        likely.sort(key=atomic_number)
        which = ", ".join(likely) if len(likely) <= 4 else f"{len(likely)} elements from {likely[0]} to {likely[-1]}"
        return f"{light}{named}; cannot tell which element: {which or 'none that is allowed'}"

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict() | {"elements": [[name, round(p, 4)] for name, p in self.elements], "told": self.told}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Unnamed":
        pairs = tuple((str(name), float(p)) for name, p in plain["elements"])
        return cls(plain["site"], plain["n"], plain["level"], plain["error"], plain["kind"], pairs)


def law(levels: light_levels.Levels, material: Material, known: np.ndarray) -> Law | None:
    """The exponent of Z by the levels of ideal columns and of the states `known` (S,) bool from the frames; None where
    the material's species are no elements, or no column is known."""
    use = known.copy()
    use[material.ideal_states] |= np.isfinite(levels.scatter)
    rows = []
    for index in np.flatnonzero(use):
        atoms = material.states[index].atoms
        if len(atoms) == 1 and atoms[0][0] in ELEMENTS and levels.level[index] > 0:
            rows.append((np.log(atomic_number(atoms[0][0])), np.log(levels.level[index] / atoms[0][1])))
    if not rows:
        return None
    number, light = np.array(rows).T
    design = np.column_stack([np.ones(len(number)), number])
    # a constant that may be anything, an exponent about the usual one
    precision = design.T @ design / OFF_LAW**2 + np.diag([1e-6, EXPONENT_SPREAD**-2])
    covariance = np.linalg.inv(precision)
    mean = covariance @ (design.T @ light / OFF_LAW**2 + [0.0, EXPONENT / EXPONENT_SPREAD**2])
    return Law(mean, covariance, len(rows))


def unnamed(
    ratio: np.ndarray,
    site: np.ndarray,
    levels: light_levels.Levels,
    material: Material,
    stated: np.ndarray,
    known: np.ndarray,
    allowed: Sequence[str] = (),
) -> tuple[Unnamed, ...]:
    """Groups of columns whose light no common state has. ratio, site: (n,) light and sublattice of columns of some
    frames; stated: (S,) how common the states are by the material's file; known: as in `law`; allowed: elements that
    there may be, none named: all."""
    fitted = law(levels, material, known)
    if fitted is None:
        return ()
    out, sample = [], Sample(levels, material, stated, fitted, tuple(allowed))
    for g, place in enumerate(material.sites):
        if place.floating or not np.isfinite(levels.scatter[g]) or levels.alloyed[g]:
            continue
        x = ratio[(site == g) & np.isfinite(ratio)]
        states = np.flatnonzero(material.site_of_state == g)
        common = np.array([s for s in states if s == place.ideal or stated[s] >= prevalence.RARE])
        out += _groups(x, g, common, sample)
    return tuple(out)


class Sample(NamedTuple):
    """What is known before unnamed columns are looked for; see `unnamed`."""

    levels: light_levels.Levels
    material: Material
    stated: np.ndarray
    law: Law
    allowed: tuple[str, ...]


def _groups(x: np.ndarray, g: int, common: np.ndarray, sample: Sample) -> list[Unnamed]:
    """See `unnamed`, of the sublattice g whose columns have the light x (n,)."""
    levels = sample.levels
    scatter, n = float(levels.scatter[g]), len(x)
    named, out = levels.level[common], []
    left = np.sort(x[(np.abs(x[:, None] - named) > FAR * scatter).all(1)])
    for _ in range(MOST_GROUPS):
        if len(left) < LEAST:
            break
        inside = np.searchsorted(left, left + 2 * REACH * scatter, "right") - np.arange(len(left))
        first = int(np.argmax(inside))
        mine = left[first : first + inside[first]]
        middle = float(np.median(mine))
        around = np.linspace(middle - REACH * scatter, middle + REACH * scatter, 41)
        shape = (scatter, float(levels.tail[g]))
        density = (light_levels.bell(around[:, None], named, shape) * levels.share[common]).sum(1)
        expected = n * float(np.trapezoid(density, around)) + n * light_levels.UNKNOWN
        left = np.delete(left, np.arange(first, first + inside[first]))
        if len(mine) < max(LEAST, TIMES * expected):
            continue
        error = float(scatter / np.sqrt(len(mine)))
        kind = _rare(middle, len(mine) / n, g, common, sample)
        elements = _elements(middle, error, g, sample)
        out.append(Unnamed(sample.material.sites[g].name, len(mine), middle, error, kind, elements))
    return out


def _rare(level: float, share: float, g: int, common: np.ndarray, sample: Sample) -> str | None:
    """The rare kind of sublattice g whose light by the file is this `level`."""
    material, scatter = sample.material, float(sample.levels.scatter[g])
    signal = material.intensities()
    unit = signal[material.ideal_states].max()
    for kind in material.kinds:
        mine = material.states[kind.state].site == g and kind.state not in common
        near = abs(signal[kind.state] / unit - level) < max(2 * scatter, prevalence.EXPLAINED)
        if mine and near and share > SURPRISE * sample.stated[kind.state]:
            return kind.name
    return None


def _elements(level: float, error: float, g: int, sample: Sample) -> tuple[tuple[str, float], ...]:
    """Posterior of the elements of which one atom or more take the place of those of an ideal column."""
    levels, material, allowed = sample.levels, sample.material, sample.allowed
    ideal = material.sites[g].ideal
    ((host, number),) = material.states[ideal].atoms
    one = float(levels.level[ideal]) / number
    named = {name for s in np.flatnonzero(material.site_of_state == g) for name, _ in material.states[s].atoms}
    names = [e for e in (allowed or ELEMENTS) if e != host and e not in NO_COLUMN and (allowed or e not in named)]
    names = [e for e in names if 2 < atomic_number(e) <= 92]
    if not names:
        return ()
    middle, spread = sample.law.predicted(np.array([atomic_number(e) for e in names]))
    weight = np.zeros(len(names))
    for replaced in range(1, number + 1):
        rest = level - (number - replaced) * one
        if rest <= 0:
            continue
        width = np.hypot(spread, error / rest)
        weight += np.exp(-0.5 * ((np.log(rest / replaced) - middle) / width) ** 2) / (width * rest)
    if weight.sum() <= 0:
        return ()
    weight /= weight.sum()
    order = np.argsort(-weight)
    return tuple((names[i], float(weight[i])) for i in order if weight[i] > 1e-3)


def mates(levels: light_levels.Levels, material: Material) -> np.ndarray:
    """(S, S) bool: states with one atom of another element each in the ideal column's place, whose light single columns
    cannot tell from each other; every state is its own mate."""
    counts, ideal = material.species_counts(), material.ideal_states[material.site_of_state]
    other = (counts.sum(1) == counts[ideal].sum(1)) & (counts * counts[ideal] == 0).all(1)
    scatter = levels.scatter[material.site_of_state]
    near = np.abs(levels.level[:, None] - levels.level) < light_levels.APART * scatter
    same = (material.site_of_state[:, None] == material.site_of_state) & other[:, None] & other
    return (near & same) | np.eye(material.n_states, dtype=bool)


def alike(levels: light_levels.Levels, material: Material, known: np.ndarray, allowed: Sequence[str]) -> list[str]:
    """Sentences of the `allowed` elements whose single atoms, in the place of one of an ideal column, have light that
    single columns of these frames cannot tell from each other."""
    fitted = law(levels, material, known)
    out = []
    if fitted is None or len(allowed) < 2:
        return out
    for g, place in enumerate(material.sites):
        atoms = material.states[place.ideal].atoms
        if place.floating or not np.isfinite(levels.scatter[g]) or len(atoms) != 1:
            continue
        host = float(levels.level[place.ideal]) / atoms[0][1]
        reference = fitted.predicted(np.array([atomic_number(atoms[0][0])]))[0][0]
        middle, _ = fitted.predicted(np.array([atomic_number(e) for e in allowed]))
        light = host * np.exp(middle - reference)
        pairs = [
            f"{a} and {b} ({light[i]:.2f}, {light[i + 1 + j]:.2f})"
            for i, a in enumerate(allowed)
            for j, b in enumerate(allowed[i + 1 :])
            if abs(light[i] - light[i + 1 + j]) < light_levels.APART * levels.scatter[g]
        ]
        if pairs:
            out.append(
                f"{place.name} columns scatter by {levels.scatter[g]:.2f}: their light cannot tell {', '.join(pairs)}"
            )
    return out
