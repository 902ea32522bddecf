"""Quantities from the posterior draws, with the tests of 'none' and the limits that exposure sets."""

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import Rate, Sites
from stemdefects.analysis.kinetics.posterior import counted, gamma_rates
from stemdefects.analysis.kinetics.priors import Priors

if TYPE_CHECKING:
    from stemdefects.analysis.kinetics.sampler.chain import Data


MOVES = [Rate.HOP, Rate.CATCH, Rate.RELEASE, Rate.TURN, Rate.TURN_MORE, Rate.CLUSTER]  # of single vacancies
WAYS = 6  # from a site to its neighbours
REDRAWN = 20  # rates of each history for the ends of an interval
NAMES = {
    Rate.HOP: "hop rate",
    Rate.CATCH: "catch rate",
    Rate.RELEASE: "release rate",
    Rate.TURN: "turn rate",
    Rate.TURN_MORE: "turn rate beside others",
    Rate.CLUSTER: "hop rate at touching centres",
    Rate.ATTACH: "attach rate",
    Rate.ATTACH_MORE: "attach rate beside others",
    Rate.DETACH: "detach rate",
    Rate.DETACH_MORE: "detach rate beside others",
    Rate.APPEAR: "appear rate",
    Rate.VANISH: "vanish rate",
    Rate.DOUBLE: "doubling rate",
    Rate.HALVE: "halving rate",
    Rate.HOP_TWO: "hop rate of doubles",
}


UNKNOWN = (np.nan, np.nan, np.nan)  # value and interval of what cannot be told


class Code(Enum):
    """What an answer is worth."""

    OK = "ok"
    NONE = "none"  # the data favour that there is nothing: value 0, high end from the exposure
    CANNOT_TELL = "cannot tell"  # the prior would be the answer
    LOWER_LIMIT = "lower limit"  # too fast for the frames
    NOT_CONVERGED = "not converged"


ANSWERS = (Code.OK, Code.NONE, Code.LOWER_LIMIT)  # codes that a headline may have


class Quantity(NamedTuple):
    """Median of the posterior and its 95% interval."""

    name: str
    value: float
    low: float
    high: float
    unit: str
    code: Code
    none: float  # posterior probability of zero against a prior of 1/2; NaN: not asked
    events: float  # mean number of events in the sampled histories; NaN: not a rate
    widened: float = 1.0  # by how much its interval was widened because few effective samples stand behind it

    def wider(self, factor: float) -> "Quantity":
        """With an interval as much wider on either side, by ratios where it does not reach 0.

        What is positive is spread like the logarithm of a normal: so wide an interval stays positive.
        """
        if not (np.isfinite(self.low) and np.isfinite(self.high)) or factor <= 1.0:
            return self
        if self.low > 0:
            low = self.value * (self.low / self.value) ** factor
            high = self.value * (self.high / self.value) ** factor
        else:
            low, high = self.low, self.value + (self.high - self.value) * factor
        return self._replace(low=float(low), high=float(high), widened=factor)


def probability_of_none(sums: np.ndarray, place: Sites, prior: Priors, span_s: float) -> float:
    """Posterior probability of no vacancy off centres at any time, prior 1/2: Bayes factor from how often a history of
    the full model is empty, after and before the data."""
    from stemdefects.analysis.kinetics.sampler import rates

    n_free = int(np.sum(place.kind != 1))
    if not n_free:
        return np.nan
    held = sums[..., rates.TIME_SINGLE] + sums[..., rates.TIME_STILL] + sums[..., rates.TIME_DOUBLE]
    after = float(np.mean(held == 0))
    rng = np.random.default_rng(0)
    m = 20000  # prior draws: the probability's own error is below 2%
    rho, two = (rng.beta(a, b, m) for a, b in prior.density[:2])
    appear = rng.gamma(prior.shape[Rate.APPEAR], 1 / prior.scale[Rate.APPEAR], m)
    hop = rng.gamma(prior.shape[Rate.HOP], 1 / prior.scale[Rate.HOP], m)
    comings = (appear * n_free + hop * rho * place.missing.sum()) * span_s
    before = float(np.mean(np.exp(n_free * np.log1p(-rho) + len(place.kind) * np.log1p(-two) - comings)))
    factor = after / max(before, 1e-300)
    return factor / (1 + factor)


def rate_none(events: np.ndarray, exposure: np.ndarray, shape: float, scale: float) -> float:
    """Posterior probability that a rate is 0, prior 1/2: a history without an event is as likely at rate 0 as under the
    Gamma prior, times what the prior says of no event in its exposure."""
    factor = float(np.mean(np.where(events == 0, ((scale + exposure) / scale) ** shape, 0.0)))
    return factor / (1 + factor)


def _interval(draws) -> tuple[float, float, float]:
    low, value, high = np.quantile(draws, [0.025, 0.5, 0.975])
    return float(value), float(low), float(high)


class _Asked(NamedTuple):
    """A rate in the sampled histories. events, exposure: `(chains, draws)`; shape, scale: of its prior."""

    events: np.ndarray
    exposure: np.ndarray
    shape: float
    scale: float

    def redrawn(self, factor: float | np.ndarray = 1.0, least_shape: float = 0.0) -> np.ndarray:
        """`(chains, draws, REDRAWN)` of the rate, times a factor for each draw, from the Gamma posterior of every
        history: from one draw each, a few hundred in all, the ends of an interval would be uncertain by a tenth of it
        (Gelfand & Smith, J. Am. Stat. Assoc. 85, 398 (1990))."""
        rng = np.random.default_rng(3)
        shape = (max(self.shape, least_shape) + self.events)[..., None]
        drawn = rng.gamma(np.repeat(shape, REDRAWN, -1)) / (self.scale + self.exposure)[..., None]
        return np.broadcast_to(np.asarray(factor), self.events.shape)[..., None] * drawn

    def limit(self, factor: float | np.ndarray = 1.0) -> float:
        """95% of the rate, times a factor for each draw, in histories without an event, where most are such: what could
        be had nothing happened. Where all vacancies rest, a few histories hold one that the noise makes, which hops as
        fast as the prior lets it. Shape 1: no event in an exposure T then gives 3.0 / T, as it does without a prior."""
        quiet = self.events == 0
        drawn = self.redrawn(factor, least_shape=1.0)
        return float(np.quantile(drawn[quiet] if quiet.mean() >= 0.5 else drawn, 0.95))


def _judged(
    name: str,
    asked: _Asked,
    unit: str,
    none: float,
    converged: bool,
    least: float = 3.0,
    factor: float | np.ndarray = 1.0,
) -> Quantity:
    """A rate's quantity (times `factor`, of each draw) with its code: from the prior alone, zero, or as it is."""
    events, exposure, scale = asked.events, asked.exposure, asked.scale
    value, low, high = _interval(asked.redrawn(factor))
    code = Code.OK if converged else Code.NOT_CONVERGED
    if np.median(exposure) < least * scale:
        return Quantity(name, *UNKNOWN, unit, Code.CANNOT_TELL, none, float(np.mean(events)))
    if np.mean(events == 0) > 0.025:
        low = 0.0
    if none > 0.5 or np.median(events) == 0:
        value, low, high = 0.0, 0.0, asked.limit(factor)
        code = Code.NONE if converged else code
    return Quantity(name, value, low, high, unit, code, none, float(np.mean(events)))


class Posterior(NamedTuple):
    """What is kept of the chains, `(chains, draws, ...)`. mobile: share of vacancy time off centres that is mobile;
    none: probability that there was no vacancy; converged: whether the chains agree on everything."""

    draws: np.ndarray
    sums: np.ndarray
    events: np.ndarray
    exposure: np.ndarray
    counts: np.ndarray
    mobile: np.ndarray
    none: float
    converged: bool

    @property
    def code(self) -> Code:
        """Of what the data tell."""
        return Code.OK if self.converged else Code.NOT_CONVERGED


def estimates(answer: Posterior, place: Sites, prior: Priors, data: "Data", blur: counted.Blur) -> list[Quantity]:
    """All quantities of one posterior."""
    from stemdefects.analysis.kinetics.sampler import rates

    said = []
    draws, sums, events, exposure = answer.draws, answer.sums, answer.events, answer.exposure
    none, converged = answer.none, answer.converged
    area = place.hop_nm**2 * WAYS / 4  # D of a walker on a lattice: rate x ways x hop^2 / 4
    empty = none > 0.5
    hop_none = rate_none(events[..., 0], exposure[..., 0], prior.shape[0], prior.scale[0])
    for rate, name in NAMES.items():
        k = int(rate)
        if rate in (Rate.HOP_TWO, Rate.HALVE) and not np.isfinite(data.level[1]):
            continue
        asked = rate_none(events[..., k], exposure[..., k], prior.shape[k], prior.scale[k])
        # a site's exposure to births is large before anything is seen: the prior there is on the movie's total
        least = 0.0 if rate == Rate.APPEAR else 3.0
        of = _Asked(events[..., k], exposure[..., k], prior.shape[k], prior.scale[k])
        q = _judged(name, of, "1/s", asked, converged, least)
        if empty and rate in (Rate.HOP, Rate.VANISH, Rate.DOUBLE):
            q = Quantity(name, *UNKNOWN, "1/s", Code.CANNOT_TELL, asked, float(np.mean(events[..., k])))
        said.append(q)
    hop = said[0]
    of = _Asked(events[..., 0], exposure[..., 0], prior.shape[0], prior.scale[0])
    for name, factor in (("D", area * answer.mobile), ("D of mobile ones", area)):
        q = _judged(name, of, "nm^2/s", hop_none, converged, factor=factor)
        if np.isnan(hop.value):
            q = q._replace(value=np.nan, low=np.nan, high=np.nan, code=Code.CANNOT_TELL)
        said.append(q)
    off = sums[..., rates.TIME_SINGLE] + sums[..., rates.TIME_STILL]
    happened = sums[..., Rate.HOP] + sums[..., rates.COUNT_OUT]
    real = np.where(off > 0, place.hop_nm**2 * happened / (4 * np.maximum(off, 1e-12)), 0.0)
    bad = np.isnan(hop.value)
    three, code = (UNKNOWN, Code.CANNOT_TELL) if bad else (_interval(real), said[-1].code)
    said.append(Quantity("D of the hops that happened", *three, "nm^2/s", code, hop_none, float(happened.mean())))
    said += _directions(answer, place, prior, bad)
    still = sums[..., rates.TIME_STILL] / np.maximum(off, 1e-12)
    three, code = (UNKNOWN, Code.CANNOT_TELL) if empty else (_interval(still), answer.code)
    said.append(Quantity("immobile share", *three, "1", code, float(1 - np.mean(draws[..., 23])), np.nan))
    said += count_quantities(answer.counts, none, data, converged, blur, events[..., MOVES].sum(-1))
    bound, left = sums[..., rates.TIME_BOUND], events[..., [Rate.DETACH, Rate.DETACH_MORE, Rate.RELEASE]].sum(-1)
    if len(place.bonds) and np.median(left) > 0:
        rng = np.random.default_rng(1)
        three = _interval(bound / rng.gamma(left + 1.0))
        said.append(Quantity("residence at a centre", *three, "s", answer.code, np.nan, float(left.mean())))
    return said


def _directions(answer: Posterior, place: Sites, prior: Priors, bad: bool) -> list[Quantity]:
    """Ratio of the principal values of D from hops by direction."""
    from stemdefects.analysis.kinetics.sampler import rates

    rng, sums = np.random.default_rng(2), answer.sums
    n = sums[..., rates.AXIS_COUNT : rates.AXIS_COUNT + 3]
    t = sums[..., rates.AXIS_EXPOSURE : rates.AXIS_EXPOSURE + 3]
    k = rng.gamma(n + prior.shape[0]) / (t + prior.scale[0])
    u = place.axes
    tensor = np.einsum("...k,ki,kj->...ij", k, u, u)
    low, high = np.moveaxis(np.linalg.eigvalsh(tensor), -1, 0)
    name, hops = "anisotropy of D", float(n.sum(-1).mean())
    if bad or np.median(n.sum(-1)) < 10:
        return [Quantity(name, *UNKNOWN, "1", Code.CANNOT_TELL, np.nan, hops)]
    # equal rates against three of their own
    own = gamma_rates.probability(gamma_rates.log_factor(n, t, 1.0, prior.scale[0]))
    return [Quantity(name, *_interval(high / np.maximum(low, 1e-300)), "1", answer.code, 1 - own, hops)]


def count_quantities(
    counts: np.ndarray, none: float, data: "Data", converged: bool, blur: counted.Blur, hops: np.ndarray
) -> list[Quantity]:
    """Mean numbers per frame in which anything was seen, by kind. hops: (chains, draws), all of single vacancies."""
    seen = (data.weight > 0).any(1)
    rng = np.random.default_rng(4)
    code = Code.OK if converged else Code.NOT_CONVERGED
    said = []
    for name, kinds in (("single off centres", [0]), ("single at centres", [1]), ("single", [0, 1]), ("double", [2])):
        mean = counted.blurred(counts[..., seen, :], kinds, blur, hops, rng)
        value, low, high = _interval(mean)
        if 0 in kinds and none > 0.025:  # part of the posterior is an empty field
            low = 0.0 if kinds == [0] else float(np.quantile(counts[..., seen, 1].mean(-1), 0.025))
            if none > 0.5:
                value = float(np.median(counts[..., seen, :][..., [k for k in kinds if k]].sum(-1)))
        own = Code.NONE if none > 0.5 and kinds == [0] else code
        empty = none if 0 in kinds else float(np.mean(mean == 0))
        said.append(Quantity(f"{name} per frame", value, low, high, "1", own, empty, np.nan))
    return said
