"""Numbers with intervals from what was counted so far, and how much longer it takes until one is known well enough."""

from collections.abc import Iterable
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import stats

from stemdefects.analysis.damage.knock_on import BARN_NM2
from stemdefects.analysis.damage.risks import SHAPE
from stemdefects.live.causal import Sites
from stemdefects.live.events import Tally

LIMIT_EVENTS = 3.0  # upper 95% limit of a Poisson mean when nothing was seen
MOST_EVENTS = 10**7  # where a search for the events needed ends: a precision of 0.1% takes 4e6


class Interval(NamedTuple):
    """A value with its 95% interval; with no events 0, and the upper limit."""

    value: float
    low: float
    high: float

    def scaled(self, by: float) -> "Interval":
        return Interval(*(part * by for part in self))

    def widened(self, relative_sigma: float) -> "Interval":
        """With the error of a factor that is known to `relative_sigma`, log-normal and independent."""
        if self.value <= 0 or self.low <= 0:
            return Interval(self.value, self.low, self.high * float(np.exp(1.64 * relative_sigma)))
        by = (np.hypot(np.log(self.value / end), 1.96 * relative_sigma) for end in (self.low, self.high))
        down, up = (float(np.exp(part)) for part in by)
        return Interval(self.value, self.value / down, self.value * up)


def rate(events: float, exposure: float) -> Interval | None:
    """Events per exposure: Poisson, reference prior (`damage.risks`); None without exposure."""
    if not exposure > 0:
        return None
    if events <= 0:
        return Interval(0.0, 0.0, LIMIT_EVENTS / exposure)
    low, value, high = stats.gamma.ppf([0.025, 0.5, 0.975], events + SHAPE) / exposure
    return Interval(float(value), float(low), float(high))


@cache
def precision(events: float) -> float:
    """Half the 95% interval of a Poisson rate over its value; infinite without events."""
    found = rate(events, 1.0)
    return np.inf if events <= 0 or found is None else (found.high - found.low) / 2 / found.value


@cache
def events_for(wanted: float) -> int:
    """Least events with which a rate is known to the precision `wanted`."""
    low, high = 0, 1
    while precision(high) > wanted and high < MOST_EVENTS:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if precision(middle) <= wanted else (middle, high)
    return high


class Forecast(NamedTuple):
    """When a rate will be known to the precision `wanted`. now: what it is known to; frames: how many more it takes,
    with an interval, 0: it is known; None: nothing was seen yet."""

    wanted: float
    now: float
    frames: Interval | None


def forecast(events: float, n_frames: int, wanted: float) -> Forecast:
    """The forecast after `n_frames` with `events` of a process that goes on as it did."""
    now = precision(events)
    if now <= wanted:
        return Forecast(wanted, now, Interval(0.0, 0.0, 0.0))
    each = rate(events, n_frames)
    if each is None or each.value <= 0:
        return Forecast(wanted, now, None)
    left = max(events_for(wanted) - events, 1)
    return Forecast(wanted, now, Interval(left / each.value, left / each.high, left / each.low))


def counts(sites: Iterable[Sites], kind_of_state: np.ndarray, kinds: list[str]) -> dict[str, Interval]:
    """Number of each kind in a frame by all frames so far: sum of the chances of the sites in view, and their spread,
    were sites independent."""
    found = {}
    for part in sites:
        for k, state in enumerate(part.plan.states[1:], 1):
            chance = part.chances[part.seen, k]
            mean, sigma = float(chance.sum()), float(np.sqrt((chance * (1 - chance)).sum()))
            kind = kinds[kind_of_state[state]]
            found[kind] = Interval(mean, max(mean - 1.96 * sigma, 0.0), mean + 1.96 * sigma)
    return found


def cross_section_barn(
    tally: Tally, n_atoms: int, dose_e_per_nm2: float | None, second: bool = False
) -> Interval | None:
    """Cross-section in barn of the loss of an atom from a whole column, or (`second`) of another from one that lacks
    one, per atom; None where the dose is not known, or nothing could happen yet. dose: of one frame."""
    if not dose_e_per_nm2:
        return None
    events, atoms = (tally.second, tally.lacking) if second else (tally.first, tally.whole * n_atoms)
    found = rate(events, atoms)
    return None if found is None else found.scaled(1 / dose_e_per_nm2 / BARN_NM2)


def diffusion(tally: Tally, frame_time_s: float | None) -> Interval | None:
    """D in nm2/s (in nm2 per frame where the time of one is not known) by counted hops; None before there is a
    vacancy. Hops that follow each other closely count as one (15-56% fewer on simulated movies), so once any were seen
    only the lower end is known: `high` is infinite."""
    found = rate(tally.hops, tally.vacancies)
    if found is None:
        return None
    mean_square = tally.area_nm2 / tally.hops if tally.hops else tally.step_nm2
    found = found.scaled(mean_square / 4 / (frame_time_s or 1.0))
    return found._replace(high=np.inf) if tally.hops else found
