"""Columns of the other sublattices that the beam takes: when each was lost, from its light in all frames.

A column is there, or is lost at some time and stays away. Over the times that are possible, the likelihood of its light
is summed; all columns share one rate of loss and one share of columns that are missing from the start. Nothing moves on
these sublattices, so that a loss needs no other explanation.
"""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.damage.risks import DRAWS, LEAST_EVENTS, SHAPE, Found, summary
from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.kinetics.quantities import Code
from stemdefects.io.tables import evidence as stored

NAME = "column"  # of which sublattice comes before it
METHOD = "change points of the light"
EMPTY_SIGNAL = 0.05  # of an ideal column: a state with less has no atoms
LEAST_SEEN = 0.5  # of the frames, for a column to be judged
MOST_PER_FRAME = 6.0  # log-likelihood ratio that one frame may give: a lone frame (dirt, a jump) takes no column


class Columns(NamedTuple):
    """Of n columns in T frames: `ratio` (T, n) log-likelihood of lost over there, `times_s` (T,)."""

    ratio: np.ndarray
    times_s: np.ndarray


def measure(found: Detections, rng: np.random.Generator) -> list[Found]:
    """The rate of loss of every other sublattice whose empty columns the evidence knows."""
    table = found.evidence
    if table is None or found.frame_time_s is None:
        return []
    headline, out = table.description["headline"], []
    times = found.frame_table()["time_s"].astype(float)
    if len(times) < 3 or not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        return []
    used = found.observed[found.frame_table()["frame"]]
    for g, own in enumerate(table.description["sublattices"]):
        if headline in own["features"] or own.get("floating"):
            continue
        empty = next((s for s in own["states"] if abs(s["signal"]) < EMPTY_SIGNAL and np.isfinite(s["level"])), None)
        if empty is not None:
            columns = _read(found, g, own, empty, times, used)
            if columns.ratio.shape[1] >= 3:
                out.append(loss(columns, f"{own['name']} {NAME}", rng))
    return out


def _read(found: Detections, g: int, own: dict, empty: dict, times, used) -> Columns:
    table = found.evidence
    sites = table.site_indices(g)
    line = table.feature(stored.LINE, sites).astype(float)
    line[(table.flag(sites) != 0) | ~used[:, None]] = np.nan
    scatter = table.scatters()[:, g].astype(float)
    scatter = np.where(np.isfinite(scatter) & (scatter > 0), scatter, np.nanmedian(scatter))
    level = float(empty["level"])
    ratio = (line * level - 0.5 * level**2) / scatter[:, None] ** 2 / table.description["frames_together"]
    others = [s["kind"] for s in own["states"] if s["kind"] != empty["kind"] and s["kind"] in own["features"]]
    strange = (
        sum(np.nan_to_num(table.feature(kind, sites)).mean(0) for kind in others) if others else np.zeros(len(sites))
    )
    keep = (np.isfinite(line).mean(0) >= LEAST_SEEN) & (strange < 0.5)
    return Columns(np.clip(np.nan_to_num(ratio[:, keep]), -MOST_PER_FRAME, MOST_PER_FRAME), times)


def loss(columns: Columns, name: str, rng: np.random.Generator) -> Found:
    """Posterior of the rate of loss per column."""
    ratio, times = columns
    since = times - times[0]
    span = float(since[-1])
    after = np.cumsum(ratio[::-1], 0)[::-1]  # (T, n) of being away from frame f on
    top = np.maximum(after.max(0), 0.0)
    away, there = np.exp(after - top), np.exp(-top)
    rates = np.geomspace(1e-3 / (span * ratio.shape[1]), 5 / span, 400)
    lost = np.array([np.exp(-r * since[:-1]) - np.exp(-r * since[1:]) for r in rates]) @ away[1:]  # (R, n)
    within = lost + np.exp(-rates * span)[:, None] * there

    def judged(missing: float) -> tuple[np.ndarray, np.ndarray]:
        """(R, n) likelihood of each column's light, and the posterior of the rates, at a share that is missing."""
        whole = missing * away[0] + (1 - missing) * within
        log = np.log(whole).sum(1) + SHAPE * np.log(rates)  # prior rate^-1/2 on a grid even in its logarithm
        weight = np.exp(log - log.max())
        return whole, weight / weight.sum()

    missing = 0.01
    for _ in range(20):  # the share that is missing from the start, at the rate that suits
        whole, weight = judged(missing)
        missing = float(np.clip((weight @ (missing * away[0] / whole)).mean(), 1e-5, 0.5))
    whole, weight = judged(missing)
    gone = weight @ ((1 - missing) * lost / whole)  # (n,) probability that a column was lost in the movie
    begun = weight @ (missing * away[0] / whole)
    events, exposure = float(gone.sum()), float(((1 - begun - 0.5 * gone) * span).sum())
    none = float(np.prod(1 - np.minimum(gone, 1 - 1e-12)))
    if events < LEAST_EVENTS:
        code, draws = Code.NONE, rng.gamma(1.0, size=DRAWS) / exposure
    else:
        code = Code.OK
        step = np.log(rates[1] / rates[0])
        draws = rates[rng.choice(len(rates), DRAWS, p=weight)] * np.exp(step * (rng.random(DRAWS) - 0.5))
    return Found(name, summary(draws, code, none), draws, events, exposure, none, code)
