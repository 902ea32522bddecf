"""How bright the columns of a sublattice are, learned from the frames: the levels of its states, and its alloy.

The light of a sublattice's columns (`site_light`) is a mixture with one level per state. Where the levels lie and how
common they are is learned by expectation maximisation; the material's signals are a wide prior, for detector angles and
voltage move them. First its bulk is looked at: more than one level that too many columns have, and that no state of the
material explains, is a sublattice of two kinds of columns, an alloy. Each column is then judged against the level it
belongs to, and what the levels are is a composition, no defect.
"""

from typing import Any, NamedTuple

import numpy as np
from scipy import special

from stemdefects.crystal.material import Material
from stemdefects.inference.columns import column_intensity
from stemdefects.inference.specimen import prevalence
from stemdefects.models import other_crystal

PRIOR_COLUMNS = 200.0  # what the file's word on how common a state is counts
SIGNAL_PRIOR = 0.5  # relative width of what is believed of a species' signal: inner detectors double some (FACTS)
FRACTION_PRIOR = 0.1  # of an ideal column's light: states with fewer or more atoms of the ideal column's own
UNKNOWN = 1e-3  # share of columns that are nothing the material names
HELD = 2.5  # of these widths: a state of the ideal column's own atoms whose level would lie farther off is not it
BULK_SHARE = 0.15  # of a sublattice's columns, for a level of its bulk
APART = 2.5  # scatters between two levels of the bulk
RANGE = (-0.5, 3.0)  # of the light, in units of the brightest ideal column
IN_BULK = 2.0  # scatters: a column this near to a level of the bulk is no vacancy
SETTLED = 1e-10  # of the brightest ideal column's light: what a round of expectation maximisation changes at its end
ROUNDS = 60  # of expectation maximisation at most: levels some scatters apart settle sooner
WIDE = 2.5  # how much farther a column in the tail of a level scatters
FARTHEST = 6.0  # scatters: columns farther out are of another state, or nothing at all
TAIL = (0.02, 0.4)  # share of columns in the tail: what is believed without evidence, and at most


class Levels(NamedTuple):
    """What the frames say of the light of n_sites sublattices and S states, in units of the brightest ideal column.

    level: (S,); scatter: (G,) of the columns in a level, NaN where not learned; tail: (G,) share of the columns that
    scatter `WIDE` times as far (dirt, misplaced ones); share: (S,) of a sublattice's columns;
    bulk: (G, K, 2) level and share of the kinds of columns of the bulk, NaN where there are fewer, more than one row:
    an alloy; n: (G,) columns they are learned from.
    """

    level: np.ndarray
    scatter: np.ndarray
    tail: np.ndarray
    share: np.ndarray
    bulk: np.ndarray
    n: np.ndarray

    @property
    def alloyed(self) -> np.ndarray:
        """(G,) bool."""
        return np.asarray(np.isfinite(self.bulk[:, 1:, 0]).any(1))

    def to_plain(self) -> dict[str, list]:
        """For JSON; NaN as None."""
        return {k: plain(v) for k, v in self._asdict().items()}

    @classmethod
    def from_plain(cls, plain: dict[str, list]) -> "Levels":
        return cls(*(np.array(plain[name], float) for name in cls._fields))


N_BULK = 3  # kinds of columns at most in a bulk: an alloy of two elements in columns of two atoms has three


def plain(values: np.ndarray) -> list:
    """`values` as lists for JSON; NaN, which it has not, as None."""
    known = np.array(values, object)
    known[np.isnan(values)] = None
    return known.tolist()


def learn(
    ratio: np.ndarray, site: np.ndarray, material: Material, prior: np.ndarray, first: np.ndarray | None = None
) -> Levels:
    """Levels from the light of columns of some frames. ratio: (n,) from `site_light`, NaN unknown; site: (n,); prior:
    (S,) how common the states are by the material's file; first: (n,) bool, columns of the first frame: what is not
    there yet, the beam made, and is no alloy; None: all are of one frame."""
    first = np.ones(len(site), bool) if first is None else first
    signal = material.intensities()
    unit = signal[material.ideal_states].max()
    level, share = signal / unit, prior.astype(float).copy()
    scatter, tail = np.full(material.n_sites, np.nan), np.full(material.n_sites, TAIL[0])
    bulk = np.full((material.n_sites, N_BULK, 2), np.nan)
    n = np.zeros(material.n_sites)
    for g, place in enumerate(material.sites):
        mine = (site == g) & (ratio > RANGE[0]) & (ratio < RANGE[1])
        x, early = ratio[mine], ratio[mine & first]
        if place.floating or len(x) < column_intensity.MIN_COLUMNS:
            continue
        n[g] = len(x)
        found, scatter[g] = _bulk(x)
        states = np.flatnonzero(material.site_of_state == g)
        ideal = int(np.argmin(np.abs(np.log(np.maximum(found[:, 0], 1e-3) / max(level[place.ideal], 1e-3)))))
        begun = prevalence.shares(bell(early[:, None], found[:, 0], (scatter[g], 0.0))) if len(early) else found[:, 1]
        share_of = np.minimum(found[:, 1], begun)
        kinds = [
            prevalence.explained(found[k, 0] / found[ideal, 0], share_of[k], g, material) for k in range(len(found))
        ]
        others = [k for k in range(len(found)) if k != ideal and not kinds[k]]
        kept = [ideal, *others]
        bulk[g, : len(kept)] = found[kept]
        factor = found[ideal, 0] / level[place.ideal]
        level[states] = np.where(_same_species(states, place.ideal, material), level[states] * factor, level[states])
        if not others:
            bulk[g, 0, 1] = np.nan
            common = [k.state for k in material.kinds if k.state in states and prior[k.state] >= prevalence.RARE]
            nearest = max((level[k] for k in common if level[k] < found[ideal, 0]), default=-np.inf)
            tail[g] = _tail(
                x - found[ideal, 0], scatter[g], min((found[ideal, 0] - nearest) / 2, FARTHEST * scatter[g])
            )
            shape = scatter[g], tail[g]
            level[states], share[states] = _states(x, states, level, shape, prior, place.ideal, material)
            bulk[g, 0] = level[place.ideal], share[place.ideal]
    return Levels(level, scatter, tail, share, bulk, n)


def posterior(
    ratio: np.ndarray, site: np.ndarray, levels: Levels, material: Material, wider: np.ndarray | None = None
) -> np.ndarray:
    """(n, S) posterior of the states by light alone; 0 everywhere for what is none of them, and where the light says
    nothing. ratio: (n,) and site: (n,) as in `learn`; wider: (n,) see `local_scatter`, None or NaN: not known."""
    prob = np.zeros((len(site), material.n_states), np.float32)
    for g, place in enumerate(material.sites):
        mine = np.flatnonzero((site == g) & np.isfinite(ratio))
        if not len(mine) or not np.isfinite(levels.scatter[g]):
            continue
        x, width = ratio[mine, None], (levels.scatter[g], levels.tail[g])
        if wider is not None:  # what scatters more in places makes up the tail of the whole
            here, usual = wider[mine, None], np.isnan(wider[mine, None])
            width = np.where(usual, width[0], here * width[0]), np.where(usual, width[1], TAIL[0])
        states = np.flatnonzero(material.site_of_state == g)
        bulk = levels.bulk[g][np.isfinite(levels.bulk[g, :, 0])]
        part = bulk[:, 1] / bulk[:, 1].sum()
        likelihood = np.empty((len(mine), len(states)))
        relative = levels.level[states] / max(levels.level[place.ideal], 1e-9)
        own = _same_species(states, place.ideal, material)
        for i, state in enumerate(states):
            if state == place.ideal:
                likelihood[:, i] = bell(x, bulk[:, 0], width) @ part
            elif own[i]:  # of the column's own kind, whichever that is
                likelihood[:, i] = bell(x, relative[i] * bulk[:, 0], width) @ part
            else:
                likelihood[:, i] = bell(x, levels.level[state], width)[:, 0]
        weighted = likelihood * levels.share[states]
        total = weighted.sum(1) + UNKNOWN / (RANGE[1] - RANGE[0])
        found = weighted / total[:, None]
        if len(bulk) > 1:
            within = (np.abs(x - bulk[:, 0]) < IN_BULK * levels.scatter[g]).any(1)
            defects = states != place.ideal
            found[np.ix_(within, np.flatnonzero(defects))] = 0
            found[within, np.flatnonzero(~defects)[0]] = 1
        prob[np.ix_(mine, states)] = found
    return prob


def foreign(levels: Levels, material: Material) -> np.ndarray:
    """(G,) bool: sublattices whose ideal columns are so bright or so faint beside the brightest ones that no network of
    `material` has seen them so: what it says of their states is of another crystal, their light that of this one."""
    signal = material.intensities()[material.ideal_states]
    stated, found = signal / signal.max(), levels.level[material.ideal_states]
    known = np.isfinite(levels.scatter) & (stated > 0) & (found > 0)
    off = np.abs(np.log(np.where(known, found, 1.0) / np.where(known, stated, 1.0)))
    return off > other_crystal.MOST_APART


def of_bulk(ratio: np.ndarray, site: np.ndarray, levels: Levels) -> np.ndarray:
    """(n,) which level of its sublattice's bulk each column belongs to, -1 where its light says nothing."""
    kind = np.full(len(site), -1)
    for g in range(len(levels.scatter)):
        bulk = levels.bulk[g][np.isfinite(levels.bulk[g, :, 0])]
        mine = (site == g) & np.isfinite(ratio)
        if len(bulk) and np.isfinite(levels.scatter[g]):
            kind[mine] = (bell(ratio[mine, None], bulk[:, 0], (levels.scatter[g], 0.0)) * bulk[:, 1]).argmax(1)
    return kind


def brighter(ratio: np.ndarray, site: np.ndarray, levels: Levels) -> float:
    """Share of the columns of the first alloyed sublattice that are of the brightest kind; NaN where there is none."""
    for g in np.flatnonzero(levels.alloyed):
        kind = of_bulk(ratio, site, levels)[(site == g) & np.isfinite(ratio)]
        return float((kind == np.nanargmax(levels.bulk[g, :, 0])).mean()) if len(kind) else np.nan
    return np.nan


def relative(ratio: np.ndarray, site: np.ndarray, levels: Levels, material: Material) -> np.ndarray:
    """(n,) light over that of an ideal column of the kind of its bulk that each column belongs to; NaN unknown."""
    own = levels.level[material.ideal_states][site]
    if levels.alloyed.any():
        bulk = of_bulk(ratio, site, levels)
        kinds = levels.bulk[site, np.maximum(bulk, 0), 0]
        own = np.where((bulk >= 0) & levels.alloyed[site], kinds, own)
    return ratio / np.where(own > 0, own, np.nan)


def _states(
    x: np.ndarray,
    states: np.ndarray,
    level: np.ndarray,
    shape: tuple[float, float],
    prior: np.ndarray,
    ideal: int,
    material: Material,
) -> tuple[np.ndarray, np.ndarray]:
    """Levels and shares of the `states` of a sublattice from the light x (n,) of its columns; shape: see `_bell`."""
    start, bright = level[states].astype(float), level[ideal]
    own = _same_species(states, ideal, material)
    width = np.where(own, FRACTION_PRIOR * bright, np.maximum(SIGNAL_PRIOR * start, FRACTION_PRIOR * bright))
    width[material.species_counts()[states].sum(1) == 0] = 0.5 * FRACTION_PRIOR * bright
    width[states == ideal] = np.inf
    mean, counted = start.copy(), PRIOR_COLUMNS * prior[states]
    part = prior[states].astype(float)
    for _ in range(ROUNDS):
        weighted = part * bell(x[:, None], mean, shape)
        said = weighted / (weighted.sum(1) + UNKNOWN / (RANGE[1] - RANGE[0]))[:, None]
        total = said.sum(0)
        belief = np.where(np.isinf(width), 0.0, (shape[0] / width) ** 2)
        mean = (said.T @ x + belief * start) / np.maximum(total + belief, 1e-9)
        part = (total + counted) / (total + counted).sum()
    # a state that nobody is in drifts into the flank of the bulk: its level is then the file's
    drifted = (np.abs(mean - bright) < APART * shape[0]) & (np.abs(start - bright) >= APART * shape[0])
    # nothing is dark and one atom of two has half their light: columns elsewhere are something else (`species`)
    drifted |= own & np.isfinite(width) & (np.abs(mean - start) > HELD * width)
    return np.where(drifted, start, mean), np.where(drifted, np.minimum(part, prior[states]), part)


def _tail(deviation: np.ndarray, scatter: float, reach: float) -> float:
    """Share of columns in the tail of a level, by the columns brighter than it, and by those less than `reach` darker,
    half the way to the nearest common state: hardly any is of another state. The likeliest of a grid."""
    use = (deviation > -reach) & (deviation < FARTHEST * scatter)
    if use.sum() < column_intensity.MIN_COLUMNS:
        return TAIL[0]
    edges = np.array([FARTHEST, -reach / scatter])
    shares = np.linspace(*TAIL, 77)
    fits = []
    for part in shares:
        inside = (1 - part) * np.diff(special.ndtr(edges[::-1])) + part * np.diff(special.ndtr(edges[::-1] / WIDE))
        fits.append(np.log(bell(deviation[use], 0.0, (scatter, part)) / inside).sum())
    return float(shares[int(np.argmax(fits))])


def _bulk(x: np.ndarray) -> tuple[np.ndarray, float]:
    """(K, 2) level and share of the kinds of columns that make up the bulk of x (n,), and their common scatter: a
    mixture of Gaussians of equal width, so many as the Bayesian information criterion asks for."""
    best = None
    for k in range(1, N_BULK + 1):
        mean, part, scatter, fit = _mixture(x, k)
        criterion = 2 * k * np.log(len(x)) - 2 * fit
        apart = np.diff(np.sort(mean)).min(initial=np.inf) / scatter
        if part.min() < BULK_SHARE or apart < APART:
            continue
        if best is None or criterion < best[0]:
            best = criterion, mean, part, scatter
    if best is None:
        middle = float(np.median(x))
        return np.array([[middle, 1.0]]), column_intensity.scatter(x - middle)
    _, mean, part, scatter = best
    if len(mean) == 1:
        mean, scatter = np.array([np.median(x)]), column_intensity.scatter(x - np.median(x))
    order = np.argsort(-part)
    return np.column_stack([mean, part])[order], scatter


def _mixture(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray, float, float]:
    """Means, shares, common width and log-likelihood of k Gaussians and a few columns anywhere."""
    mean = np.quantile(x, (np.arange(k) + 0.5) / k)
    part, scatter = np.full(k, 1 / k), column_intensity.scatter(x - np.median(x)) / k
    anywhere, total = 0.03 / (RANGE[1] - RANGE[0]), np.ones(len(x))
    for _ in range(ROUNDS * 2):
        # a row per Gaussian: sums over a last axis of one to three take five times as long
        weighted = 0.97 * part[:, None] * bell(x, mean[:, None], (scatter, 0.0))
        total = weighted.sum(0) + anywhere
        said = weighted / total
        n = np.maximum(said.sum(1), 1e-9)
        before = np.array([*mean, *part, scatter])
        mean, part = said @ x / n, n / n.sum()
        scatter = float(np.sqrt((said * (x - mean[:, None]) ** 2).sum() / n.sum())) + 1e-6
        if np.abs(np.array([*mean, *part, scatter]) - before).max() < SETTLED:
            break
    return mean, part, scatter, float(np.log(total).sum())


def _same_species(states: np.ndarray, ideal: int, material: Material) -> np.ndarray:
    """(n,) bool: states made of atoms of the ideal column alone, more or fewer."""
    counts = material.species_counts()
    return (counts[states][:, counts[ideal] == 0] == 0).all(1)


def bell(x: np.ndarray, mean: np.ndarray | float, shape: tuple[Any, Any]) -> np.ndarray:
    """Density of light x around a level; shape: its scatter, and the share of columns that scatter `WIDE` times it."""
    width, tail = shape
    z = ((x - mean) / width) ** 2
    if np.ndim(tail) == 0 and not tail:
        return np.exp(-0.5 * z) / (np.sqrt(2 * np.pi) * width)
    return ((1 - tail) * np.exp(-0.5 * z) + tail / WIDE * np.exp(-0.5 * z / WIDE**2)) / (np.sqrt(2 * np.pi) * width)
