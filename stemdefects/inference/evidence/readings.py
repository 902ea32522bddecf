"""One number that says how far a column is from ideal: its reading, network and light together.

What a network says of a column and how much light the column has are readings of the same thing, each with errors of
its own: the network has seen uneven films and misplaced columns, but its log-ratios bend and end where it is certain;
light is linear without end, but every film shifts it. Three coordinates are averaged, each in units of its scatter over
the ideal columns: the light that is missing, and the network's log-ratios of two states, the one nearest to ideal and
the one farthest from it. On movies of two simulators (docs/inference.md, benchmarks/evidence.py) the average tells one
vacancy from none as well as the better of them or better, and two vacancies from one at every dose.

Where the states lie on the reading is known before any defect is seen. The light's levels are the light that is missing
over its scatter. The network's follow from what it says of ideal columns: of two Gaussians of equal width the
log-likelihood ratio has means -d/2 and +d/2, so the farthest state lies twice as far as the bulk's own median says, in
whatever units the network is wrong.
"""

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int

from stemdefects.models.probability import emissions
from stemdefects.numerics import medians, robust

COORDINATES = ("light", "near", "far")
SATURATED = 2.0  # scatters from the network's largest log-ratio: closer, and the bulk has no scatter to go by
# of the nearest state's log-ratio: its own level over what the bulk says, and the farthest state's over it: medians of
# ten movies of two simulators, 400 to 4,000 e/px
NEAR_LEVEL, NEAR_BEND = 1.2, 1.6
LEAST_LEVEL = 0.3  # scatters: a network that cannot tell states apart says nothing of where they are
RARE = 1e-3  # prevalence below which a state does not count


class Plan(NamedTuple):
    """How a sublattice is read. states: (K,) ideal first, the common others by how far they are from it; deficit: (K,)
    light that is missing, in units of an ideal column's, negative for brighter ones; sign: 1 where the states are
    fainter than ideal, -1 brighter; axis: (2,) which log-ratios (of `emissions.ordered_states`) are near and far."""

    site: int
    states: Int[np.ndarray, " states"]
    deficit: Float[np.ndarray, " states"]
    sign: int
    axis: tuple[int, int]


def plan(site: int, material: Any, prior: Float[np.ndarray, " all"]) -> Plan | None:
    """How to read a sublattice, prior: (S,) prevalence; None where no common state has more or less light."""
    if material.sites[site].floating:
        return None
    ordered = emissions.ordered_states(site, material.site_of_state, material.sites[site].ideal)
    signal = material.intensities()
    if not signal[ordered[0]] > 0:
        return None
    deficit = 1 - signal[ordered] / signal[ordered[0]]
    common = np.flatnonzero((prior[ordered] >= RARE) & (np.arange(len(ordered)) > 0) & (deficit != 0))
    if not len(common):
        return None
    sign = 1 if (deficit[common] > 0).any() else -1
    side = common[sign * deficit[common] > 0]
    side = side[np.argsort(sign * deficit[side], kind="stable")]
    use = np.append(0, side)
    return Plan(site, ordered[use], deficit[use], sign, (int(side[0]) - 1, int(side[-1]) - 1))


def coordinates(
    plan: Plan, light: Float[np.ndarray, "*columns"], features: Float[np.ndarray, "*columns ratios"]
) -> Float32[np.ndarray, "*columns 3"]:
    """(..., 3) `COORDINATES` of columns, NaN where not known. light: (...) from `column_intensity.measure`; features:
    (..., F) log-ratios less those of the frame's ideal columns."""
    near, far = plan.axis
    missing = -plan.sign * np.asarray(light, np.float32)
    return np.stack([missing, features[..., near], features[..., far]], -1).astype(np.float32)


class Seen(NamedTuple):
    """What the bulk of a sublattice's columns in one frame shows. scatter: (3,) of the coordinates, NaN: not known;
    said: (2,) by how much the network's log-likelihood speaks for ideal rather than the near and the far state;
    room: (2,) scatters of these log-ratios from where they end."""

    scatter: Float[np.ndarray, " 3"]
    said: Float[np.ndarray, " 2"]
    room: Float[np.ndarray, " 2"]


def seen(
    plan: Plan,
    found: Float[np.ndarray, "columns 3"],
    score: Float[np.ndarray, "columns all"],
    model: Any,
    prior: Float[np.ndarray, " all"],
    least: int,
) -> Seen:
    """found: (n, 3) coordinates; score: (n, S) as packed by `site_columns`; least: columns to know a scatter."""
    scatter = np.full(3, np.nan)
    for k in range(3):
        known = found[:, k].astype(float)
        if np.count_nonzero(np.isfinite(known)) >= least:
            scatter[k] = robust.scatter(known)  # leaves out what is NaN
    ends = [plan.states[1], plan.states[-1]]
    raw = medians.of_columns(score[:, ends].astype(float))
    temperature = np.broadcast_to(np.asarray(model.calibration.temperature, float), prior.shape)[ends]
    shift = np.asarray(model.calibration.log_prior_shift, float)
    shift = np.broadcast_to(shift, prior.shape)
    given = np.log(np.maximum(prior, 1e-9))
    ideal = plan.states[0]
    said = raw / temperature + (shift[ends] - shift[ideal]) - (given[ends] - given[ideal])
    room = (emissions.CLIP - np.abs(raw)) / np.maximum(scatter[1:], 1e-6)
    # in units of the packed log-ratios, as the scatter
    return Seen(scatter, -said * temperature, room)


class Reading(NamedTuple):
    """The reading of a sublattice in one movie. weight: (3,) of the coordinates, so that ideal columns scatter by about
    1; level: (K,) where the states of the plan are expected, ideal at 0; network_level: how much of the farthest one's
    the network's coordinates bring."""

    plan: Plan
    weight: Float[np.ndarray, " 3"]
    level: Float[np.ndarray, " states"]
    network_level: float

    @property
    def lit(self) -> bool:
        """Does the light count?"""
        return bool(self.weight[0] > 0)

    def line(self, found: Float[np.ndarray, "*columns 3"]) -> Float32[np.ndarray, "*columns"]:
        """(...) reading of columns with the coordinates (..., 3); NaN where one that counts is missing."""
        counts = self.weight > 0
        return (found[..., counts] @ self.weight[counts]).astype(np.float32)

    def light_line(self, light: Float[np.ndarray, "*columns"]) -> Float32[np.ndarray, "*columns"]:
        """(...) the same by the light alone, over an ideal column's: between the states' levels as between their light;
        for places where the network shows no column."""
        missing = self.plan.sign * (1 - light)
        return np.interp(missing, self.plan.sign * self.plan.deficit, self.level).astype(np.float32)

    def network_line(self, found: Float[np.ndarray, "*columns 3"]) -> Float32[np.ndarray, "*columns"]:
        """(...) the same by the network alone, for columns without light; NaN where the network does not count."""
        if not (self.weight[1:] > 0).all():
            return np.full(found.shape[:-1], np.nan, np.float32)
        part = self.weight[1:] * self.level[-1] / max(float(self.network_level), 1e-6)
        return (found[..., 1:] @ part).astype(np.float32)


def calibrated(plan: Plan, bulk: list[Seen], pooled_scatter: float = 1.0) -> Reading | None:
    """The reading of a movie whose frames show `bulk`; None where neither network nor light can be read.

    pooled_scatter: of a reading whose coordinates have scatter 1 each; below 1, since their errors differ.
    """
    if not bulk:
        return None
    with np.errstate(all="ignore"):
        scatter = np.array([_median([b.scatter[k] for b in bulk]) for k in range(3)])
        said, room = (np.array([_median([b[i][k] for b in bulk]) for k in range(2)]) for i in (1, 2))
    lit = np.isfinite(scatter[0]) and scatter[0] > 0
    network = np.isfinite(scatter[1:]).all() and (scatter[1:] > 0).all() and (room > SATURATED).all()
    if not (lit or network):
        return None
    share = {(True, True): (1, 1, 1), (True, False): (3, 0, 0), (False, True): (0, 1.5, 1.5)}[bool(lit), bool(network)]
    share = np.array(share) / 3
    relative = plan.deficit / plan.deficit[-1]  # of the farthest state's missing light
    levels = np.zeros((3, len(plan.states)))
    if lit:
        levels[0] = np.abs(plan.deficit) / scatter[0]
    if network:
        far = max(2 * said[1] / scatter[2], LEAST_LEVEL)
        near = NEAR_LEVEL * relative[1] * far
        if len(plan.states) > 2:  # the nearest state's own log-ratio says it too
            near = np.sqrt(near * max(NEAR_LEVEL * 2 * said[0] / scatter[1], LEAST_LEVEL))
        levels[2] = relative * far
        bend = np.interp(relative, [0, relative[1], 1], [0, 1, NEAR_BEND]) if len(plan.states) > 2 else relative
        levels[1] = near * bend
    weight = np.where(share > 0, share / np.where(scatter > 0, scatter, 1), 0.0) / pooled_scatter
    level, network_level = share @ levels, float(share[1:] @ levels[1:, -1])
    return Reading(plan, np.nan_to_num(weight), level / pooled_scatter, network_level / pooled_scatter)


def _median(values: list[float]) -> float:
    known = np.array(values, float)
    known = known[np.isfinite(known)]
    return float(np.median(known)) if len(known) else np.nan
