"""What the frames teach of the specimen before any of them is judged: how bright its columns are, how common its
defects, and whether a sublattice is an alloy. A material's file says what can be there, and is believed as much as some
columns.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from stemdefects.crystal.material import Material
from stemdefects.inference.specimen import composition, light_levels, local_scatter, prevalence, second_light, species
from stemdefects.models.probability import claimed

TOLD = 3.0  # scatters of the light between a state and the ideal one, for single frames to say how common it is
SEEN = 3.0  # columns expected at the limit of detection: none is then seen in 5% of such fields
ABOVE = 3.29  # standard errors at it: 5% of false alarms, 5% missed (Currie, Anal. Chem. 40, 586 (1968))
AROUND = 4.0  # neighbours that what is usual in the frames counts, of how often the network misses a column here
NOBODY_KNOWS = 2.0  # columns that are counted beforehand, of how often the network shows none (a uniform prior)
FAR = 8.0  # scatters beyond two levels, where nothing is left to integrate
BINS = 70  # of the histograms of light, over `light_levels.RANGE`
N_FRAMES = 4  # looked at before the others; single images say it of themselves


class Specimen(NamedTuple):
    """levels: light of the states; prior: (S,) how common they are; low, high: (S,) 95% interval of it, NaN where the
    file's word stands: rare states, and those that single frames cannot tell from the ideal one; stated: (S,) what the
    file says; limit: (S,) share below which single frames could not tell the state from none by its light, NaN unknown;
    histogram: (G, BINS) columns by their light; by_light: the network knows another crystal, and has no opinion of the
    states; unnamed: groups of columns whose light no common state has, and what they may be; alike: sentences of the
    elements asked for that the light cannot tell from each other; second: of a second detector;
    other_crystal: the network was trained on others than this one; compositions: of alloyed sublattices; unseen:
    (S,) how often the network shows no column where there is one in this state, None: nobody knows; width_nm: see
    `seen_width`, NaN unknown; claim: (G, 2) see `claimed.claims`, None: not known; least: (S,) posterior of
    states to be called, NaN: as the network has it."""

    levels: light_levels.Levels
    prior: np.ndarray
    low: np.ndarray
    high: np.ndarray
    stated: np.ndarray
    limit: np.ndarray
    histogram: np.ndarray
    by_light: bool
    unnamed: tuple[species.Unnamed, ...] = ()
    alike: tuple[str, ...] = ()
    second: second_light.Second | None = None
    other_crystal: bool = False
    compositions: tuple[composition.Composition, ...] = ()
    unseen: np.ndarray | None = None
    width_nm: float = np.nan
    claim: np.ndarray | None = None
    least: np.ndarray | None = None

    def to_plain(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "levels": self.levels.to_plain(),
            "by_light": self.by_light,
            "unnamed": [one.to_plain() for one in self.unnamed],
            "alike": list(self.alike),
            "other_crystal": self.other_crystal,
            "second": None if self.second is None else self.second.to_plain(),
            "compositions": [one.to_plain() for one in self.compositions],
            "unseen": None if self.unseen is None else light_levels.plain(self.unseen),
            "claim": None if self.claim is None else light_levels.plain(self.claim),
            "least": None if self.least is None else light_levels.plain(self.least),
            "width_nm": None if np.isnan(self.width_nm) else float(self.width_nm),
            **{name: light_levels.plain(getattr(self, name)) for name in _ARRAYS},
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Specimen":
        """Back from `to_plain`."""
        prior, low, high, stated, limit, histogram = (np.array(plain[name], float) for name in _ARRAYS)
        unnamed = tuple(species.Unnamed.from_plain(one) for one in plain.get("unnamed", []))
        levels, kept = light_levels.Levels.from_plain(plain["levels"]), plain.get("second")
        second = None if kept is None else second_light.Second.from_plain(kept)
        return cls(
            levels=levels,
            prior=prior,
            low=low,
            high=high,
            stated=stated,
            limit=limit,
            histogram=histogram,
            by_light=plain["by_light"],
            unnamed=unnamed,
            alike=tuple(plain.get("alike", [])),
            second=second,
            other_crystal=plain.get("other_crystal", False),
            compositions=tuple(composition.Composition.from_plain(one) for one in plain.get("compositions", [])),
            unseen=None if plain.get("unseen") is None else np.array(plain["unseen"], float),
            claim=None if plain.get("claim") is None else np.array(plain["claim"], float),
            least=None if plain.get("least") is None else np.array(plain["least"], float),
            width_nm=np.nan if plain.get("width_nm") is None else plain["width_nm"],
        )


_ARRAYS = ("prior", "low", "high", "stated", "limit", "histogram")


def per_cm2(share: float, material: Material) -> float:
    """Density of a state with this share of its sublattice, which has one place in the cell."""
    return share / material.cell_area_nm2 * 1e14


def untaught(material: Material, stated: np.ndarray, by_light: bool, other_crystal: bool = False) -> Specimen:
    """What is known before any frame was looked at: the file's word, and nothing of the light."""
    nothing = np.zeros(0)
    levels, unknown = light_levels.learn(nothing, nothing.astype(int), material, stated), np.full(len(stated), np.nan)
    histogram = np.zeros((material.n_sites, BINS))
    return Specimen(levels, stated, unknown, unknown, stated, unknown, histogram, by_light, other_crystal=other_crystal)


def learn(founds: Sequence[Any], material: Material, before: Specimen, allowed: Sequence[str] = ()) -> Specimen:
    """What the frames `founds` (`defects.FrameDefects`, judged by `before`) say; allowed: see `species.unnamed`."""
    if not founds:
        return before
    ratio = np.concatenate([f.ratio for f in founds])
    site = np.concatenate([f.columns.site for f in founds]).astype(int)
    promised = np.concatenate([f.promised for f in founds])
    # a place without a column counts as far as its surroundings are whole, see `defects`
    use = ~promised | np.concatenate([f.whole for f in founds])
    first = np.arange(len(ratio)) < len(founds[0].ratio)
    levels = light_levels.learn(np.where(use, ratio, np.nan), site, material, before.stated, first)
    prior, low, high = before.stated.copy(), before.low.copy(), before.high.copy()
    seen, heard = np.concatenate([f.prob for f in founds]), np.concatenate([np.isfinite(f.light) for f in founds])
    wider = [
        local_scatter.of_places(f.ratio, f.columns.site, f.sites.cell, f.promised, levels, material)
        if f.sites is not None
        else np.full(len(f.ratio), np.nan)
        for f in founds
    ]
    light = light_levels.posterior(ratio, site, levels, material, np.concatenate(wider))
    on = np.concatenate([f.sites.on_lattice & f.inner for f in founds if f.sites is not None])
    claim = None if before.by_light else claimed.claims(seen, site, heard & on & ~promised, before.stated, material)
    by_light = before.by_light | levels.alloyed | light_levels.foreign(levels, material)
    if claim is not None:
        claim[by_light] = np.nan
    worth = claimed.calibrated(seen, site, heard & ~promised, claim, before.stated, material)
    least = np.full(material.n_states, np.nan)
    unseen, sigma = np.ones(material.n_states), _share_sigma(levels, material)
    for g, place in enumerate(material.sites):
        states = np.flatnonzero(material.site_of_state == g)
        if place.floating or len(states) < 2:
            continue
        said = light if by_light[g] else np.where(promised[:, None], light, seen)
        assumed = np.where(promised[:, None] | (said is light), levels.share, before.stated)[:, states]
        mine = (site == g) & on & use & (said[:, states].sum(1) > 0)
        unseen[states] = _unseen(said[mine][:, states], promised[mine], states, place.ideal, material)
        odds = np.log(np.maximum(said[mine][:, states], 1e-12) / np.maximum(assumed[mine], 1e-12))
        odds[promised[mine]] += np.log(unseen[states])
        apart = levels.level[states] / levels.scatter[g]
        which = apart, states == place.ideal, before.stated[states]
        kept, untold = _untold(*which, sigma[states]), _untold(*which)
        found = prevalence.learn(odds, before.stated[states], kept, untold)
        prior[states], low[states], high[states] = found
        if claim is not None and np.isfinite(claim[g, 0]):
            odds += np.log(np.maximum(worth[mine], 1e-12) / np.maximum(seen[mine], 1e-12))[:, states]
            again = prevalence.learn(odds, before.stated[states], kept, untold)
            nearest = states == claimed.nearest(g, before.stated, material)
            prior[states], low[states], high[states] = (
                np.where(nearest, *both) for both in zip(again, found, strict=True)
            )
            # those beyond the nearest are hardly told from it: the file's word, as far as their interval goes
            beyond = states[np.isfinite(high[states]) & ~nearest]
            prior[beyond] = np.maximum(prior[beyond], np.minimum(before.stated[beyond], high[beyond]))
            prior[place.ideal] += 1 - prior[states].sum()
            weight = np.exp(odds - odds.max(1, keepdims=True)) * prior[states]
            least[states[nearest]] = claimed.threshold((weight / weight.sum(1, keepdims=True))[:, nearest][:, 0])
    counts = [np.histogram(ratio[(site == g) & use], BINS, light_levels.RANGE)[0] for g in range(material.n_sites)]
    limit = _limit(sigma, levels, material, len(founds))
    known = np.nan_to_num(low) > 0
    light_only = np.where(use & ~promised, ratio, np.nan)
    return before._replace(
        levels=levels,
        prior=prior,
        low=low,
        high=high,
        limit=limit,
        histogram=np.array(counts, float),
        unnamed=species.unnamed(light_only, site, levels, material, before.stated, known, allowed),
        alike=tuple(species.alike(levels, material, known, allowed)),
        compositions=composition.learn(founds, levels, material),
        unseen=unseen,
        claim=claim,
        least=least,
        width_nm=float(np.median([f.width_nm for f in founds if np.isfinite(f.width_nm)] or [np.nan])),
        second=_second(
            founds, np.where(use, ratio, np.nan), site, light if before.by_light else seen, levels, material
        ),
    )


def _unseen(said: np.ndarray, promised: np.ndarray, states: np.ndarray, ideal: int, material: Material) -> np.ndarray:
    """(k,) see `Specimen.unseen`, of the `states` (k,) of a sublattice. said: (n, k) posterior of its columns;
    promised: (n,) bool, the network shows none there.

    A network misses hardly any ideal column of even crystal, and many where film hides them; of places without an atom
    nobody knows beforehand, for some networks show them as columns.
    """
    without, found = said[promised].sum(0), said[~promised].sum(0)
    usual = (without[states == ideal].sum() + 0.5) / (without[states == ideal].sum() + found[states == ideal].sum() + 1)
    empty = material.species_counts()[states].sum(1) == 0
    before = np.where(empty, 0.5, usual)
    return (without + NOBODY_KNOWS * before) / (without + found + NOBODY_KNOWS)


def _second(
    founds: Sequence[Any],
    ratio: np.ndarray,
    site: np.ndarray,
    prob: np.ndarray,
    levels: light_levels.Levels,
    material: Material,
) -> second_light.Second | None:
    """What the frames say of a second detector; None where there is none. prob: (n, S) of the columns' states."""
    second = np.concatenate([f.second for f in founds])
    if not np.isfinite(second).any():
        return None
    return second_light.learn(ratio, second, site, prob, levels, material)


def _untold(level: np.ndarray, ideal: np.ndarray, stated: np.ndarray, sigma: np.ndarray | float = np.inf) -> np.ndarray:
    """(n,) bool: states that single frames cannot tell from the ideal one, or from a common state of which that is so;
    but for those of which all columns together tell how many there are. level: (n,) in scatters; ideal: (n,) bool;
    stated: (n,) shares; sigma: (n,) how well all columns together tell them."""
    near = ~(np.abs(level[:, None] - level) >= TOLD)
    untold = near[:, ideal].any(1) & ~ideal & ~(sigma <= stated)
    return untold | (near[:, untold & (stated >= prevalence.RARE)].any(1) & ~ideal)


def _share_sigma(levels: light_levels.Levels, material: Material) -> np.ndarray:
    """(S,) standard deviation of what the light of all columns says of a small share of a state among ideal columns;
    NaN for these, and where nothing is known.

    Of n columns whose light has the density f or, in the state, g, the information on a small share is n times the
    integral of (g - f)^2 / f, tails included.
    """
    sigma = np.full(material.n_states, np.nan)
    for g, place in enumerate(material.sites):
        if not np.isfinite(levels.scatter[g]) or levels.alloyed[g]:
            continue
        states = np.flatnonzero(material.site_of_state == g)
        apart = np.abs(levels.level[states] - levels.level[place.ideal]) / levels.scatter[g]
        x = np.linspace(-FAR, apart.max() + FAR, 4000)
        f, shape = light_levels.bell(x, 0.0, (1.0, levels.tail[g])), (1.0, levels.tail[g])
        squares = [np.trapezoid(light_levels.bell(x, d, shape) ** 2 / f, x) - 1 for d in apart]
        found = 1 / np.sqrt(np.maximum(levels.n[g] * np.array(squares), 1e-12))
        sigma[states] = np.where(states == place.ideal, np.nan, found)
    return sigma


def _limit(sigma: np.ndarray, levels: light_levels.Levels, material: Material, n_frames: int) -> np.ndarray:
    """(S,) shares at the limit of detection, by the light of single frames; see `Specimen`. Where light tells a state
    from the ideal one it is the number of columns in a frame that counts."""
    least = SEEN * n_frames / np.maximum(levels.n[material.site_of_state], 1)
    return np.minimum(np.maximum(least, ABOVE * sigma), 1.0)


def not_shown(
    prob: np.ndarray, site: np.ndarray, neighbours: np.ndarray, taught: Specimen, material: Material
) -> np.ndarray:
    """(n, S) posterior `prob` by light alone of places where the network shows no column, heard together with that.

    site: (n,) sublattice; neighbours: (n, 2) how many columns of it there are around each place, and how many of these
    the network does not show either. A network that sees nothing in a part of the image, says nothing of any place in
    it: how often it misses a column there is learned from the neighbours, beginning with the usual (`AROUND`). What is
    no state of the material (the rest of each row) is shown as often as not."""
    if taught.unseen is None:
        return prob
    usual = taught.unseen[material.ideal_states[site]]
    missed = (neighbours[:, 1] + AROUND * usual) / (neighbours[:, 0] + AROUND)
    empty = material.species_counts().sum(1) == 0
    each = np.where(empty, np.maximum(taught.unseen, missed[:, None]), missed[:, None])
    weight, rest = prob * each, (1 - prob.sum(1, keepdims=True)).clip(0)
    return (weight / np.maximum(weight.sum(1, keepdims=True) + 0.5 * rest, 1e-30)).astype(prob.dtype)


def reweighted(prob: np.ndarray, assumed: np.ndarray, believed: np.ndarray) -> np.ndarray:
    """(n, S) posterior `prob` that assumed how common the states are, (S,), for what is believed of it now, (S,).

    Bayes' rule, within the states that have any probability: Saerens et al., Neural Comput. 14, 21 (2002).
    """
    weight = prob * (believed / np.maximum(assumed, 1e-12))
    total = weight @ np.ones(weight.shape[1])  # a sum over an axis of a few takes longer
    return (weight / np.maximum(total, 1e-30)[:, None]).astype(prob.dtype)
