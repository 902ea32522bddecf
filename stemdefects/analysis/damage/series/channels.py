"""What happens per electron and what happens per second, told apart by runs at several dose rates.

The rate of a process is cross-section x dose rate, plus a rate that is there without the beam (or does not grow with
it). Both are at least 0; what dose rates have in common as an error scales the cross-section alone.
"""

from collections.abc import Sequence

import numpy as np

from stemdefects.analysis.damage.knock_on import BARN_NM2
from stemdefects.analysis.damage.series.points import Point, log_likelihood
from stemdefects.analysis.damage.series.profiles import (
    TWO_SIDED,
    Fit,
    Parameter,
    correlation,
    described,
    deviance,
    envelope,
    profile_of,
    widened,
)
from stemdefects.analysis.notes import Code, Note

N_GRID = 241  # steps of each parameter: an interval's ends to a few percent of their distance
LEAST_SHARE = 1e-4  # of the largest value that a run allows: smaller ones are 0 to every run
BAND_POINTS = 60  # a band as smooth as a picture shows
PER_ELECTRON, PER_TIME = "cross-section per electron", "rate at any dose rate"


def channels(points: Sequence[Point], shared_sigma: float = 0.0) -> Fit:
    """Cross-section (barn) and rate without the beam (1/s) from rates (1/s) against dose rate.

    points: `x` in e/nm2/s, exposures in s. shared_sigma: relative error of the dose that all runs have in common.
    """
    flux = np.array([p.x for p in points])
    most = np.array([(p.events + 3) / p.exposure for p in points])  # of each run, were it all of one channel
    sigma = _grid(float((most / flux).min()) * 4)
    rate = _grid(float(most.min()) * 4)
    rates = sigma[:, None, None] * flux + rate[:, None] + 1e-12 * most.max()
    surface = log_likelihood(points, rates)
    best = float(surface.max())
    by_sigma, by_rate = surface.max(1), surface.max(0)
    one = profile_of(
        PER_ELECTRON, sigma / BARN_NM2, by_sigma, "barn", open_low=by_sigma[0] > best - TWO_SIDED, floor=0.0
    )
    other = profile_of(PER_TIME, rate, by_rate, "1/s", open_low=by_rate[0] > best - TWO_SIDED, floor=0.0)
    weight = np.exp(surface - best) * np.gradient(sigma)[:, None] * np.gradient(rate)
    return Fit(
        (_scaled(one, shared_sigma), other),
        correlation(sigma, rate, weight),
        deviance(points, best, 2),
        _band(flux, sigma, rate, surface - best),
        tuple(_cannot(one, other) + described(points, best, 2)),
    )


def _grid(top: float) -> np.ndarray:
    return np.concatenate([[0.0], np.geomspace(LEAST_SHARE * top, top, N_GRID)])


def _scaled(one: Parameter, shared_sigma: float) -> Parameter:
    """With the common error of the dose in its limits."""

    def wider(end: float | None) -> float | None:
        if end is None or not one.value or end <= 0:
            return end
        return float(np.exp(widened(np.log(one.value), np.log(end), shared_sigma)))

    return one._replace(low=wider(one.low), high=wider(one.high))


def _cannot(one: Parameter, other: Parameter) -> list[Note]:
    out = []
    if one.low == 0.0 and other.low == 0.0:
        why = "Whether it happens per electron or per second is not told: dose rates farther apart would tell."
        return [Note(why, Code.JOINT_LIMIT)]
    if other.low == 0.0:
        why = "The runs need nothing but the beam: what happens without it has an upper limit only."
        out.append(Note(why, Code.JOINT_LIMIT))
    if one.low == 0.0:
        why = "A dependence on the dose rate is not shown: the cross-section has an upper limit only."
        out.append(Note(why, Code.JOINT_LIMIT))
    return out


def _band(flux: np.ndarray, sigma: np.ndarray, rate: np.ndarray, fall: np.ndarray) -> np.ndarray:
    """(4, K): dose rates, the best line, the least and the greatest of all lines that the data allow."""
    x = np.linspace(0.0, 1.1 * flux.max(), BAND_POINTS)
    i, j = np.unravel_index(fall.argmax(), fall.shape)
    allowed = fall > -TWO_SIDED
    some = np.flatnonzero(allowed.any(1))
    low, high = envelope(sigma[some][:, None] * x, 1.0, rate, allowed[some])
    return np.stack([x, sigma[i] * x + rate[j], low, high])
