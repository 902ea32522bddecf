"""The hop rate by window of time and by place: from the sampled histories of one model with one rate for all.

A history's hops and its vacancies' time beside open ways are sorted by when and where they are; a Gamma posterior of
each part's rate, mixed over the histories, carries what they do not know. The histories were drawn with one rate for
all parts, which draws the parts together where the light says little.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stemdefects.analysis.kinetics.evidence import Evidence
from stemdefects.analysis.kinetics.lattice import BOND, CLUSTER, FREE, SINGLE, Rate, Sites
from stemdefects.analysis.kinetics.posterior import gamma_rates
from stemdefects.analysis.kinetics.priors import Priors
from stemdefects.analysis.kinetics.result import Kinetics

if TYPE_CHECKING:
    import pandas as pd


FRAMES = 20  # of a window, at least: fewer hold too few hops
WINDOWS = 6  # at most: more is not read from one picture
PLACES = ("free", "beside centres", "beside holes")


class Parts(NamedTuple):
    """Hops and their exposure (s, of one open way) in every history, window and place."""

    hops: np.ndarray  # (histories, windows, places)
    exposure_s: np.ndarray  # (histories, windows, places)
    edges_s: np.ndarray  # (windows + 1,)


def places(evidence: Evidence, sites: Sites) -> np.ndarray:
    """(n,) number in `PLACES` of each site: next to one of a centre's, or to one where a hole was seen; else free."""
    beside = lambda mask: (np.append(mask, False)[sites.near]).any(1)  # noqa: E731  near is -1 where there is none
    out = np.zeros(len(sites.kind), int)
    out[beside(np.isin(sites.kind, (BOND, CLUSTER)))] = 1
    if evidence.hole is not None:
        holed = np.zeros(len(evidence.yx_nm) + 1, bool)
        holed[:-1] = evidence.hole.any(0)
        out[holed[evidence.neighbours[sites.original]].any(1)] = 2
    return out


def edges(times_s: np.ndarray) -> np.ndarray:
    """(windows + 1,) s: windows of equal length, of `FRAMES` frames or more."""
    n = int(np.clip(len(times_s) // FRAMES, 1, WINDOWS))
    return np.linspace(times_s[0], times_s[-1], n + 1)


def parts(answer: Kinetics, place: np.ndarray, edges_s: np.ndarray) -> Parts:
    """Sort hops and exposures of all histories. place: (n,) number of each site's part."""
    shape = (len(answer.histories), len(edges_s) - 1, int(place.max(initial=0)) + 1)
    hops, exposure = np.zeros(shape), np.zeros(shape)
    for h, history in enumerate(answer.histories):
        hops[h], exposure[h] = _of_history(history, answer.sites, place, edges_s, shape[1:])
    return Parts(hops, exposure, edges_s)


def _of_history(history, sites: Sites, place, edges_s, shape) -> tuple[np.ndarray, np.ndarray]:
    start, time, events = history
    layer = start.copy()
    hops, exposure = np.zeros(shape), np.zeros(shape)
    mobile = sites.way_out == Rate.HOP
    over = sites.missing * (sites.kind == FREE)
    now, w = edges_s[0], 0
    for k in range(len(time) + shape[0]):  # every event, and every edge but the first
        e = k - w
        until = min(time[e] if e < len(time) else np.inf, edges_s[w + 1])
        here = np.flatnonzero(layer == SINGLE)
        ways = (mobile[here] & (layer[sites.near[here]] == 0)).sum(1) + over[here]
        exposure[w] += np.bincount(place[here], ways, shape[1]) * (until - now)
        now = until
        if until == edges_s[w + 1]:
            w += 1
            if w == shape[0]:
                break
            continue
        a, b, to = events[e]
        if a >= 0 and b >= 0 and a != b and layer[a] == SINGLE and (mobile[a] & (sites.near[a] == b)).any():
            hops[w, place[a]] += 1
        if a >= 0:
            layer[a] = 0
        if b >= 0:
            layer[b] = to
    return hops, exposure


def table(found: Parts, prior: Priors, sites: Sites, names: Sequence[str] = PLACES) -> "pd.DataFrame":
    """D in every window, in every place, and of all (DataFrame); NaN where the prior would be the answer.

    D of a walker on a hexagonal lattice is 3/2 hop^2 times the rate of a hop to one of six neighbours.
    """
    import pandas as pd

    rng = np.random.default_rng(0)
    area, n = 1.5 * sites.hop_nm**2, len(found.edges_s) - 1
    rows = [(w, None) for w in range(n) if n > 1] + [(None, p) for p in range(found.hops.shape[2])]
    out = []
    for window, place in rows:
        at = (slice(None), slice(None) if window is None else window, slice(None) if place is None else place)
        hops, exposure = (x[at].reshape(len(x), -1).sum(1) for x in (found.hops, found.exposure_s))
        rate = gamma_rates.interval(hops, exposure, prior.shape[Rate.HOP], prior.scale[Rate.HOP], rng)
        value, low, high = (area * r for r in rate)
        if np.median(hops) == 0 and np.isfinite(value):
            low, value = 0.0, 0.0
        first, last = (0, n - 1) if window is None else (window, window)
        out.append(
            {
                "from_s": found.edges_s[first],
                "to_s": found.edges_s[last + 1],
                "place": "all" if place is None else names[place],
                "D_nm2_per_s": value,
                "low": low,
                "high": high,
                "hops": hops.mean(),
                "vacancy_s": exposure.mean() / 6,
            }
        )
    return pd.DataFrame(out)


def probability_of_change(found: Parts, prior: Priors, axis: int) -> float:
    """Posterior probability that the rate differs between windows (axis 1) or places (2), prior 1/2; NaN where fewer
    than two of them have exposure enough."""
    other = 3 - axis
    hops, exposure = found.hops.sum(other), found.exposure_s.sum(other)
    there = exposure.mean(0) >= gamma_rates.LEAST * prior.scale[Rate.HOP]
    if there.sum() < 2:
        return float("nan")
    a, b = prior.shape[Rate.HOP], prior.scale[Rate.HOP]
    return gamma_rates.probability(gamma_rates.log_factor(hops[:, there], exposure[:, there], a, b))
