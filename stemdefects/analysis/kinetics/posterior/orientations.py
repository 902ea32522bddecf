"""Are the orientations of a centre's one vacancy alike? Rates of each by itself against one for all, from histories.

A vacancy beside a centre sits on one of three bonds that the ideal lattice makes alike; a strained, tilted or unevenly
lit specimen does not. Only centres with at most one vacancy are counted.
"""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.lattice import Rate, Sites
from stemdefects.analysis.kinetics.posterior import gamma_rates
from stemdefects.analysis.kinetics.priors import Priors
from stemdefects.analysis.kinetics.result import Kinetics

if TYPE_CHECKING:
    import pandas as pd


# from and to which bond, None: no vacancy
CHANGES: tuple[tuple[int | None, int | None], ...] = (
    *((None, k) for k in range(3)),
    *((k, None) for k in range(3)),
    *((i, j) for i in range(3) for j in range(3) if i != j),
)
RATE_OF = [Rate.ATTACH] * 3 + [Rate.DETACH] * 3 + [Rate.TURN] * 6


class Counted(NamedTuple):
    """In every history: how often each of `CHANGES` happened, and how long it could have."""

    events: np.ndarray  # (histories, 12)
    exposure_s: np.ndarray  # (histories, 12)


def count(answer: Kinetics) -> Counted:
    """Changes of centres that hold at most one vacancy before and after, and their exposures."""
    n = len(answer.histories)
    out = Counted(np.zeros((n, 12)), np.zeros((n, 12)))
    for h, history in enumerate(answer.histories):
        for centre in range(len(answer.sites.bonds)):
            _add(history, centre, answer.sites, answer.times_s, out.events[h], out.exposure_s[h])
    return out


def _add(history, centre: int, sites: Sites, times_s, events, exposure) -> None:
    start, time, moves = history
    bonds = sites.bonds[centre]
    held = [int(start[b] > 0) for b in bonds]
    a, b = (np.where(np.isin(moves[:, q], bonds), moves[:, q], -1) for q in range(2))
    mine = np.flatnonzero(((a >= 0) | (b >= 0)) & (moves[:, 0] != moves[:, 1]))
    now = times_s[0]
    where = {int(site): k for k, site in enumerate(bonds)}
    for e in [*mine, None]:
        until = times_s[-1] if e is None else time[e]
        if sum(held) == 0:
            exposure[:3] += until - now
        elif sum(held) == 1:
            k = held.index(1)
            exposure[[c for c, (i, _) in enumerate(CHANGES) if i == k]] += until - now
        now = until
        if e is None:
            return
        i, j = where.get(int(a[e])), where.get(int(b[e]))
        # from or to the lattice is catch and release: rates of their own
        nowhere = moves[e, 0] < 0 or moves[e, 1] < 0 or (i is not None and j is not None)
        if nowhere and sum(held) == int(i is not None):
            events[CHANGES.index((i, j))] += 1
        if i is not None:
            held[i] = 0
        if j is not None:
            held[j] = 1


def probability_of_difference(found: Counted, prior: Priors) -> float:
    """Posterior probability that the orientations have rates of their own, prior 1/2; NaN without any there."""
    leave = found.exposure_s[:, [k for k, r in enumerate(RATE_OF) if r == Rate.DETACH]].sum(1)
    if not len(leave) or np.median(leave) < gamma_rates.LEAST * prior.scale[Rate.DETACH]:
        return float("nan")
    factor = np.zeros(len(leave))
    for rate in (Rate.ATTACH, Rate.DETACH, Rate.TURN):
        use = [k for k, r in enumerate(RATE_OF) if r == rate]
        factor += gamma_rates.log_factor(
            found.events[:, use], found.exposure_s[:, use], prior.shape[rate], prior.scale[rate]
        )
    return gamma_rates.probability(factor)


def table(found: Counted, prior: Priors, names: dict[int | None, str]) -> "pd.DataFrame":
    """Each change of a centre with one vacancy at most: rate by itself with its interval, events, exposure."""
    import pandas as pd

    rng = np.random.default_rng(0)
    rows = []
    for k, (i, j) in enumerate(CHANGES):
        rate = RATE_OF[k]
        value, low, high = gamma_rates.interval(
            found.events[:, k], found.exposure_s[:, k], prior.shape[rate], prior.scale[rate], rng
        )
        rows.append(
            {
                "from": names[i],
                "to": names[j],
                "rate_per_s": value,
                "low": low,
                "high": high,
                "events": found.events[:, k].mean(),
                "exposure_s": found.exposure_s[:, k].mean(),
            }
        )
    return pd.DataFrame(rows)
