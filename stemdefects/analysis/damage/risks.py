"""Rates of competing processes from events and exposures of sampled histories, per time and per dose.

Given a complete history, events of a process are Poisson with rate times exposure, whatever the other processes do; its
rate's posterior is a Gamma (reference prior, shape 1/2). Histories are drawn from their posterior, and so the answer is
the mean of these Gammas. Zero is judged apart: where histories without a single event are not excluded against even
odds, the interval holds 0, and where they are likelier than not the answer is 0 with the upper limit that the exposure
sets (the classical one, 3.0 events over the exposure).
"""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.damage.histories import Process, Tally
from stemdefects.analysis.damage.knock_on import BARN_NM2
from stemdefects.analysis.kinetics.lattice import Rate
from stemdefects.analysis.kinetics.posterior.convergence import effective_samples, r_hat
from stemdefects.analysis.kinetics.quantities import Code
from stemdefects.analysis.kinetics.result import Kinetics
from stemdefects.analysis.kinetics.sampling import DEFAULTS

SHAPE = 0.5  # of the reference prior of a Poisson rate (Jeffreys)
DRAWS = 20000  # an interval's ends to 1% of their distance
LEAST_FRAMES = (
    10  # of one atom's exposure: with less, the limit would say no more than that it is not in every third frame
)
LEAST_EVENTS = 0.5  # in the mean history, for a rate that is more than a limit


class Risk(NamedTuple):
    """A process, or several together: what they begin from, and how many atoms of a site can do it."""

    name: str
    parts: tuple[Process, ...]
    per_site: int | None  # atoms of a site that can do it; None: those of an ideal column
    rates: tuple[Rate, ...]  # of the sampler: their draws say whether there was none at all
    beam: bool = True  # False: hopping does it too, so that it has a rate and no cross-section


P = Process
ARRIVAL = "arrival by hopping"
RISKS = (
    Risk("first atom", (P.FIRST, P.FIRST_BESIDE), None, (Rate.APPEAR,)),
    Risk("first atom, isolated", (P.FIRST,), None, (Rate.APPEAR,)),
    Risk("first atom, beside a vacancy", (P.FIRST_BESIDE,), None, (Rate.APPEAR,)),
    Risk("second atom", (P.SECOND, P.SECOND_BESIDE), 1, (Rate.DOUBLE,)),
    Risk("second atom, isolated", (P.SECOND,), 1, (Rate.DOUBLE,)),
    Risk("second atom, beside a vacancy", (P.SECOND_BESIDE,), 1, (Rate.DOUBLE,)),
    Risk("filling", (P.FILL_ONE, P.FILL_TWO), 1, (Rate.VANISH, Rate.HALVE)),
    Risk("first atom, or a catch, at a centre", (P.FIRST_CENTRE,), None, (Rate.ATTACH, Rate.ATTACH_MORE), False),
    Risk("second atom at a centre", (P.SECOND_CENTRE,), 1, (Rate.DOUBLE,)),
    Risk("filling, or a release, at a centre", (P.FILL_CENTRE,), 1, (Rate.DETACH, Rate.DETACH_MORE), False),
    Risk(ARRIVAL, (P.ARRIVE,), 1, (Rate.HOP, Rate.RELEASE), False),
)
HEADLINES = ("first atom", "second atom")


class Found(NamedTuple):
    """Posterior of one rate per atom (per site for arrivals)."""

    name: str
    rate_per_s: tuple[float, float, float]  # median and 95% interval; (0, 0, upper limit) where there is none
    draws_per_s: np.ndarray  # (D,)
    events: float  # mean number in the histories
    exposure_s: float  # atom-seconds, mean
    none: float  # posterior probability that nothing happened, against even odds
    code: Code
    beam: bool = True  # as `Risk` says

    def per_dose(self, flux: float, relative_sigma: float, rng: np.random.Generator) -> tuple[float, float, float]:
        """Cross-section in barn with its interval; flux: e per nm2 and s, known to `relative_sigma`."""
        if not np.isfinite(self.rate_per_s).all():
            return np.nan, np.nan, np.nan
        error = np.exp(relative_sigma * rng.standard_normal(len(self.draws_per_s)))
        return summary(
            self.draws_per_s / flux / BARN_NM2 * error, Code.NONE if self.rate_per_s[0] == 0 else Code.OK, self.none
        )


class Agreed(NamedTuple):
    """What chains must reach for an answer to be quoted."""

    r_hat: float = DEFAULTS.r_hat
    effective: float = DEFAULTS.effective


def find(
    tallied: Tally, answer: Kinetics, n_atoms: int, rng: np.random.Generator, agreed: Agreed | None = None
) -> list[Found]:
    """The posterior of every process.

    Args:
        tallied: events and exposures of the sampled histories.
        answer: the lattice model's result, whose draws and prior say how likely it is that nothing happened.
        n_atoms: atoms of an ideal column.
        rng: of the draws.
        agreed: when the chains count as agreeing.
    """
    return [_posterior(risk, tallied, answer, n_atoms, rng, agreed or Agreed()) for risk in RISKS]


def _posterior(risk: Risk, tallied: Tally, answer: Kinetics, n_atoms: int, rng, agreed: Agreed) -> Found:
    parts = list(risk.parts)
    n = tallied.events[:, parts].sum(1)
    site_s = tallied.exposure_s[:, parts].sum(1)
    per_site = n_atoms if risk.per_site is None else risk.per_site
    atom_s = per_site * site_s
    mean_t = float(atom_s.mean()) if len(n) else 0.0
    if mean_t < LEAST_FRAMES * float(np.median(np.diff(answer.times_s))):
        nothing = (np.nan, np.nan, np.nan)
        return Found(
            name=risk.name,
            rate_per_s=nothing,
            draws_per_s=np.zeros(0),
            events=float(n.mean()) if len(n) else 0.0,
            exposure_s=mean_t,
            none=np.nan,
            code=Code.CANNOT_TELL,
            beam=risk.beam,
        )
    none = probability_of_none(n, risk, answer)
    draws, code = mixture(n, atom_s, none, rng)
    three = summary(draws, code, none)  # a limit stays one where chains do not agree yet
    if answer.code == Code.NOT_CONVERGED and not _agree(risk, answer, agreed):
        code = Code.NOT_CONVERGED
    return Found(risk.name, three, draws, float(n.mean()), mean_t, none, code, risk.beam)


def mixture(n: np.ndarray, exposure: np.ndarray, none: float, rng: np.random.Generator) -> tuple[np.ndarray, Code]:
    """Draws `(DRAWS,)` of a rate from events and exposures `(H,)` of histories, and what they are worth.

    A history in which the process had no time at all says nothing of its rate and is left out.
    """
    usable = exposure > 1e-9 * exposure.max()
    n, exposure = n[usable], exposure[usable]
    chosen = rng.integers(0, len(n), DRAWS)
    if none > 0.5 or n.mean() < LEAST_EVENTS:  # an upper limit: the classical one, by shape 1
        return rng.gamma(n[chosen] + 1.0) / exposure[chosen], Code.NONE
    return rng.gamma(n[chosen] + SHAPE) / exposure[chosen], Code.OK


def summary(draws: np.ndarray, code: Code, none: float) -> tuple[float, float, float]:
    """Value and interval of a rate: 0 and the one-sided 95% limit of what may not be there."""
    if code == Code.NONE:
        return 0.0, 0.0, float(np.quantile(draws, 0.95))
    low, value, high = np.quantile(draws, [0.025, 0.5, 0.975])
    return float(value), 0.0 if none > 0.025 else float(low), float(high)


def probability_of_none(n: np.ndarray, risk: Risk, answer: Kinetics) -> float:
    """Posterior probability that a process never happened, against even odds before.

    The Bayes factor from how often a history has no event of the sampler's processes that hold this one, after the
    data and before; at least the share of the sampled histories without an event.
    """
    share, prior = float(np.mean(n == 0)), answer.prior
    assert prior is not None  # histories were sampled
    k = [int(rate) for rate in risk.rates]
    after = float(np.mean((answer.events[..., k] == 0).all(-1)))
    exposure = answer.exposure[..., k].mean((0, 1))
    before = float(np.prod((prior.scale[k] / (prior.scale[k] + exposure)) ** prior.shape[k]))
    factor = after / max(before, 1e-300)
    return max(factor / (1 + factor), share)


def _agree(risk: Risk, answer: Kinetics, agreed: Agreed) -> bool:
    """Whether the chains agree on how often this happened."""
    series = answer.events[..., [int(rate) for rate in risk.rates]].sum(-1)
    return bool(r_hat(series) <= agreed.r_hat and effective_samples(series) >= agreed.effective)
