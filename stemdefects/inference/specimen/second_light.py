"""The light of the columns on a second detector of the same scan.

Its levels are learned from the columns that the first detector tells apart; the material's file says only where to look
for those of which there are none, and how bright states of the ideal column's own atoms are. Noise of the two is
independent, film and dirt are not: what the first detector's light says of the second's in ideal columns is taken off.
"""

from typing import Any, NamedTuple

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.inference.columns import column_intensity
from stemdefects.inference.specimen import light_levels

SURE = 0.9  # posterior by the first detector, of the ideal columns that teach
LEAST = 5.0  # columns of a state that teach its level
ROUNDS = 5  # of expectation maximisation: the first detector has told most of it
FAINT = 0.2  # of the brightest ideal column: what is believed of faint elements' light is no surer than of these
ANYWHERE = 0.01  # share of columns whose second light is anything
CLIP = 3.0  # scatters, where the correlation is taken


class Second(NamedTuple):
    """level: (S,) light of the states on it, in units of the same sublattice as on the first; width: (S,) how well that
    is known; scatter: (G,) of ideal columns, NaN where nothing is known; slope: (G,) what one unit of the first light's
    deviation adds to it."""

    level: np.ndarray
    width: np.ndarray
    scatter: np.ndarray
    slope: np.ndarray

    def to_plain(self) -> dict[str, list]:
        """For JSON; NaN as None."""
        return {name: light_levels.plain(value) for name, value in self._asdict().items()}

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Second":
        return cls(*(np.array(plain[name], float) for name in cls._fields))


def learn(
    first: np.ndarray,
    second: np.ndarray,
    site: np.ndarray,
    prob: np.ndarray,
    levels: light_levels.Levels,
    material: Material,
) -> Second:
    """first, second: (n,) light of columns on both detectors, NaN unknown; prob: (n, S) what the first one and the
    network say of them; levels: of the first."""
    signal, ideal_of = material.intensities(), material.ideal_states[material.site_of_state]
    counts = material.species_counts()
    level, width = np.full(material.n_states, np.nan), np.full(material.n_states, np.inf)
    scatter, slope = np.full(material.n_sites, np.nan), np.zeros(material.n_sites)
    known = np.isfinite(first) & np.isfinite(second)
    for g, place in enumerate(material.sites):
        ideal = known & (site == g) & (prob[:, place.ideal] > SURE)
        if place.floating or levels.alloyed[g] or ideal.sum() < column_intensity.MIN_COLUMNS:
            continue
        middle = [float(np.median(light[ideal])) for light in (first, second)]
        off = [light[ideal] - m for light, m in zip((first, second), middle, strict=True)]
        spread = [column_intensity.scatter(o) for o in off]
        a, b = (np.clip(o / s, -CLIP, CLIP) for o, s in zip(off, spread, strict=True))
        together = float(np.clip(np.mean(a * b) / np.sqrt(np.mean(a**2) * np.mean(b**2)), -0.95, 0.95))
        slope[g] = together * spread[1] / spread[0]
        scatter[g] = spread[1] * np.sqrt(1 - together**2)
        states = np.flatnonzero(material.site_of_state == g)
        usual = signal[states] / np.maximum(signal[ideal_of[states]], 1e-9) * middle[1]
        own = (counts[states][:, counts[place.ideal] == 0] == 0).all(1)
        by_signal = light_levels.SIGNAL_PRIOR * np.maximum(usual, FAINT)
        loose = np.where(own, light_levels.FRACTION_PRIOR * middle[1], by_signal)
        level[states], width[states] = usual, loose
        mine = known & (site == g)
        x, said = second[mine], prob[mine][:, states]
        weight = said
        for _ in range(ROUNDS):
            total = weight.sum(0)
            mean = (weight * x[:, None]).sum(0) / np.maximum(total, 1e-9)
            enough = total >= LEAST
            level[states] = np.where(enough, mean, usual)
            width[states] = np.where(enough, scatter[g] / np.sqrt(np.maximum(total, 1.0)), loose)
            found = Second(level, width, scatter, slope)
            weight = heard(prob[mine], likelihood(first[mine], x, site[mine], levels, found, material))[:, states]
    return Second(level, width, scatter, slope)


def likelihood(
    first: np.ndarray,
    second: np.ndarray,
    site: np.ndarray,
    levels: light_levels.Levels,
    taught: Second,
    material: Material,
) -> np.ndarray:
    """(n, S) likelihood of the states by the second detector's light, given the first's; 1 where it says nothing."""
    out = np.ones((len(site), material.n_states))
    for g in np.flatnonzero(np.isfinite(taught.scatter)):
        mine = np.flatnonzero((site == g) & np.isfinite(first) & np.isfinite(second))
        states = np.flatnonzero(material.site_of_state == g)
        # a first light far from a state's level says that it is none, not where its second light would be
        reach = CLIP * levels.scatter[g]
        off = np.clip(first[mine, None] - levels.level[states], -reach, reach)
        expected = taught.level[states] + taught.slope[g] * off
        width = np.hypot(taught.scatter[g], taught.width[states])
        tail = levels.tail[g]  # dirt and misplaced columns are so on both
        z = ((second[mine, None] - expected) / width) ** 2
        density = (1 - tail) * np.exp(-0.5 * z) + tail / light_levels.WIDE * np.exp(-0.5 * z / light_levels.WIDE**2)
        density /= np.sqrt(2 * np.pi) * width
        low, high = light_levels.RANGE
        out[np.ix_(mine, states)] = (1 - ANYWHERE) * density + ANYWHERE / (high - low)
    return out


def heard(prob: np.ndarray, said: np.ndarray) -> np.ndarray:
    """(n, S) posterior `prob` with the likelihood `said` (n, S) of another detector."""
    together = prob * said
    return (together / np.maximum(together.sum(1, keepdims=True), 1e-30)).astype(prob.dtype)
