"""How much light the columns of a sublattice show in each state, fitted to the movie that shows them.

Over many frames a state that is faint in one of them adds up, and so does every error that stays. What a network says
of a column in one frame is a handful of log-ratios. The states of a sublattice differ by how much light a column has,
so these log-ratios nearly lie on a line: one number, the log-ratio of the faintest state to the ideal one, carries what
the frame knows, and the small rest is not noise but the network's own bend, which must not be added up. Along this line
the states stand at levels whose order and distances were measured on simulated images
(`models.probability.emissions`); how far apart they are in this movie is one scale (signals differ between microscopes
and samples), and every defective neighbour shifts a column by some amount. Both are learned from the movie by
expectation maximisation.

Rare states that shine in a way of their own (an adatom on a column) are told by their own log-ratio.

Where the columns' light is known too, `readings` puts network and light on one line (`ReadLevels`): each state's level
is then learned by itself, and so is a persistent offset of every site (film, displacement, what is next to it), without
which errors that stay would be taken for faint vacancies that stay.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real, Shaped

from stemdefects.inference.evidence.over_time import PerState
from stemdefects.models.probability.emissions import Emissions
from stemdefects.numerics import robust, state_sums

LEVEL_ERROR = 0.25  # relative: what a level measured on other images may be off by
SCALE_ERROR = 0.05  # relative: what the scale may differ from the expected one
SCALE_RANGE = (0.5, 4.0)  # where nothing is expected
STARTS = (0.8, 1.6, 3.2)  # then; expectation maximisation finds the nearest optimum
PLAIN = 4.0  # scatters from the ideal state to the next: a frame tells them apart
NEIGHBOUR_FRAMES = 10.0  # site frames that "a neighbour shifts nothing" counts for
READ_ERROR = 0.2  # relative: what the level that a reading expects may be off by
READ_RANGE = (0.7, 1.45)  # of the expected level
OWN_ERROR = 0.1  # relative: what a level may be off by beyond what all are (single S is .47 to .53 of two)
SPREAD_OF_STATE = 0.1  # relative: how much columns in one state differ
FRAMES_AT_ONCE = 5.0  # frames whose errors count for one, when a level is learned
LEAST_OFFSET = 0.14  # scatters: least standard deviation of the sites' offsets
LARGEST_OFFSET = 2.0  # standard deviations of the offsets: what is more is a state
CLEAR = 3.0  # scatters between a rare state and all others along its own log-ratio


@dataclass(frozen=True)
class Levels:
    """An emission (`over_time.Emission`) of one sublattice, K states, the ideal one first.

    line: (T, N) log-ratio of the faintest state less that of the frame's bulk, NaN where a column was not seen; own:
    (T, N, R) the log-ratios of the rare states, by themselves; counts: (T, N, J) defective neighbours by their state;
    level: (K,) on the line, NaN for rare states; variance: of the bulk on the line; own_level, own_variance: (R,);
    rare: (R,) which of the K states; expected: what scale the light of the columns asks for, None: not known. Learned:
    scale, and shift (1 + J,): of the bulk, and by each neighbour.
    """

    line: Float[np.ndarray, "frames sites"]
    own: Float[np.ndarray, "frames sites rare"]
    counts: Real[np.ndarray, "frames sites neighbours"]
    level: Float[np.ndarray, " states"]
    variance: float
    rare: Int[np.ndarray, " rare"]
    own_level: Float[np.ndarray, " rare"]
    own_variance: Float[np.ndarray, " rare"]
    scale: float = 1.0
    shift: Float[np.ndarray, " 1+neighbours"] | None = None
    expected: float | None = None

    @property
    def levels(self) -> Float[np.ndarray, " states"]:
        """(K,) where the states lie on the line, NaN for rare ones."""
        return self.scale * self.level

    @property
    def _common(self) -> np.ndarray:
        return np.setdiff1d(np.arange(len(self.level)), self.rare)

    @property
    def _rest(self) -> np.ndarray:
        """(T, N) the line less what bulk and neighbours shift it by."""
        if self.shift is None:
            return self.line
        return self.line - self.shift[0] - self.counts @ self.shift[1:]

    @property
    def _variances(self) -> np.ndarray:
        return self.variance + (LEVEL_ERROR * self.scale * self.level) ** 2

    def log_likelihood(self) -> PerState:
        """(T, N, K), up to what is the same for all states."""
        rest, variance = self._rest.astype(float), self._variances
        log = state_sums.log_densities(rest.ravel(), self.scale * self.level, variance).reshape(*rest.shape, -1)
        if len(self.rare):
            # at equal variance, (x^2 - (x - level)^2) / 2 variance
            own = self.own_level * (self.own - 0.5 * self.own_level) / self.own_variance
            usual = -0.5 * ((rest - self.scale * self.level[0]) ** 2 / variance[0] + np.log(variance[0]))
            log[..., self.rare] = np.where(np.isfinite(self.line)[..., None], usual[..., None] + own, 0.0)
        return log

    def starts(self) -> list["Levels"]:
        """With the expected scale; one for each of the scales `STARTS` where it is not known."""
        return [replace(self, scale=scale) for scale in (STARTS if self.expected is None else (self.expected,))]

    def learned(self, posterior: PerState) -> "Levels":
        """With the scale and shifts that suit the posterior best (one step of coordinate ascent each)."""
        common = self._common
        levels = self.level[common], self._variances[common]
        found = state_sums.moments(posterior, common, self.line, self._rest, self.counts, levels)
        # least squares of rest = scale * level
        scale = found.scale[0] / max(found.scale[1], 1e-9)
        possible = np.array(SCALE_RANGE)
        if self.expected is not None:
            possible = self.expected * np.array([1 - SCALE_ERROR, 1 + SCALE_ERROR])
        scale = float(np.clip(scale, *possible))
        strength = np.diag(np.append(0.0, np.full(len(found.line) - 1, NEIGHBOUR_FRAMES)))
        strength += 1e-9 * np.eye(len(strength))
        shift = np.linalg.solve(found.gram + strength, found.line - scale * found.level)
        return replace(self, scale=scale, shift=shift)


class States(NamedTuple):
    """K states of a sublattice, the ideal one first: the feature that is a state's log-ratio, its HAADF signal, and
    whether it is not rare."""

    axis: Int[np.ndarray, " states"]
    signal: Float[np.ndarray, " states"]
    common: Bool[np.ndarray, " states"]


def of_movie(
    features: Float[np.ndarray, "frames sites ratios"],
    scatter: Float[np.ndarray, " ratios"],
    counts: Real[np.ndarray, "frames sites neighbours"],
    found: Emissions,
    states: States,
    light_scatter: float | None,
) -> tuple[Levels, Int[np.ndarray, " told"]] | None:
    """Levels before anything is learned from the movie, and which of the K states of `found` they tell apart.

    features: (T, N, F) log-ratios less those of the frame's bulk, NaN where not seen; scatter: (F,) of the bulk;
    counts: (T, N, J); found: emissions at this scatter, the ideal state first. The line is the log-ratio of the
    faintest common state or, where all are brighter than the ideal one, the brightest. A rare state counts where its
    own log-ratio tells it from every other. None where the network tells all states apart in a single frame: then its
    own word does, and log-ratios that saturate have no scatter to go by.

    light_scatter: of the columns' light in one frame, in units of an ideal column's, None: not known. A network that
    uses all light there is tells two states apart as well as that light does: d' on the line is the light that is
    missing over its scatter. So the light says how far apart states are, and whether a faint column lacks half or all.
    """
    axis, signal, common = states
    others = np.flatnonzero(common)
    others = others[others > 0]
    if not len(others):
        others = np.arange(1, len(signal))
    end = others[signal[others].argmin()]
    if signal[end] >= signal[0]:
        end = others[signal[others].argmax()]
    line = axis[end]
    use, own = [0, *others], []
    for k in np.setdiff1d(np.arange(1, len(signal)), others):
        away = found.mean[k, axis[k]] - found.mean[use, axis[k]]
        if (away > CLEAR * np.sqrt(found.covariance[0][axis[k], axis[k]])).all():
            own.append(k)
    rare = len(use) + np.arange(len(own))
    use = np.array([*use, *own])
    level = found.mean[use, line] - found.mean[0, line]
    level[rare] = np.nan
    deviation = float(scatter[line])
    nearest = others[np.abs(found.mean[others, line] - found.mean[0, line]).argmin()]
    away = abs(found.mean[nearest, line] - found.mean[0, line])
    if away > PLAIN * deviation:
        return None
    expected = None
    if light_scatter:
        expected = abs(signal[nearest] / signal[0] - 1) / light_scatter * deviation / max(away, 1e-6)
    return Levels(
        line=features[..., line],
        own=features[..., axis[own]],
        counts=counts,
        level=level,
        variance=deviation**2,
        rare=rare,
        own_level=found.mean[own, axis[own]],
        own_variance=found.covariance[0][axis[own], axis[own]],
        expected=expected,
    ), use


@dataclass(frozen=True)
class ReadLevels(Levels):
    """Levels on a reading. expected_level: (K,) as `readings` says, NaN for rare states; offset: (N,) of each site;
    offset_variance: of these over the sites."""

    expected_level: np.ndarray = field(default_factory=lambda: np.zeros(0))
    offset: np.ndarray | float = 0.0
    offset_variance: float = LEAST_OFFSET**2

    @property
    def _rest(self) -> np.ndarray:
        return super()._rest - self.offset

    @property
    def _variances(self) -> np.ndarray:
        return self.variance * (1 + (SPREAD_OF_STATE * self.level) ** 2)

    def starts(self) -> list["Levels"]:
        return [self]

    def of_sites(self, part: Shaped[np.ndarray, " part"]) -> "ReadLevels":
        """The same for a part of the sites."""
        offset = self.offset[part] if isinstance(self.offset, np.ndarray) and self.offset.ndim else self.offset
        return replace(self, line=self.line[:, part], own=self.own[:, part], counts=self.counts[:, part], offset=offset)

    def learned(self, posterior: PerState) -> "ReadLevels":
        """With the neighbours' shifts, then the offsets, then each level by itself, that suit the posterior best."""
        common, seen = self._common, np.isfinite(self.line)
        prob = np.where(seen[..., None], posterior[..., common], 0).astype(np.float32)
        ideal, line = prob[..., 0], np.where(seen, self.line, 0)  # a site shows its shift and offset where it is ideal
        shift = np.zeros(1 + self.counts.shape[-1])
        if self.counts.shape[-1]:
            design, weight = self.counts[seen].astype(float), ideal[seen].astype(float)
            strength = NEIGHBOUR_FRAMES * np.eye(design.shape[1])
            weighted = design.T * weight
            shift[1:] = np.linalg.solve(weighted @ design + strength, weighted @ line[seen])
        rest = np.where(seen, line - self.counts @ shift[1:], 0)
        offset = (ideal * rest).sum(0) / (ideal.sum(0) + self.variance / self.offset_variance)
        limit = LARGEST_OFFSET * np.sqrt(self.offset_variance)
        offset = np.clip(offset, -limit, limit)
        left = rest - offset
        level = self._levels_of(prob, left, common[1:])
        return replace(self, level=level, offset=offset.astype(np.float32), shift=shift)

    def _levels_of(self, prob: np.ndarray, left: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Each state's level: what is wrong with the expected ones is mostly wrong with all alike, so that a state that
        the movie does not hold stays in its place, and does not take over half of another.

        prob: (T, N, 1 + states), left: (T, N) of the line.
        """
        level, expected = self.level.copy(), self.expected_level[states]
        count = prob[..., 1:].sum((0, 1))
        mean = (prob[..., 1:] * left[..., None]).sum((0, 1)) / np.maximum(count, 1e-9)
        precise = count * expected**2 / FRAMES_AT_ONCE / self.variance  # of a level over the expected one
        before, total = READ_ERROR**-2, precise.sum()
        scale = (before + total * (count * mean / expected).sum() / max(count.sum(), 1e-9)) / (before + total)
        scale = np.clip(scale, *READ_RANGE)
        own = (scale * OWN_ERROR**-2 + precise * mean / expected) / (OWN_ERROR**-2 + precise)
        level[states] = expected * np.clip(own, scale * (1 - OWN_ERROR), scale * (1 + OWN_ERROR))
        return level


def read(
    by_network: Levels, line: Float[np.ndarray, "frames sites"], level: Float[np.ndarray, " states"]
) -> ReadLevels:
    """`by_network` with its line replaced by a reading. line: (T, N), NaN where not seen; level: (K,) where its common
    states are expected, in units of `line`.

    The offsets begin with the sites' means, as if no site were ever defective: the other order sticks.
    """
    known = np.isfinite(line)
    count = np.maximum(known.sum(0), 1)
    variance = _bulk_variance(line[known])
    mean = np.where(known, line, 0).sum(0) / count
    often = known.sum(0) > 0.3 * max(known.sum(0).max(initial=0), 1)
    over = _bulk_variance(mean[often] * np.sqrt(count[often])) - 1.05 * variance if often.sum() > 20 else 0.0
    typical = float(np.median(count[often])) if often.any() else 1.0
    offset_variance = max(over / typical, LEAST_OFFSET**2 * variance)
    offset = mean * count / (count + variance / offset_variance)
    limit = LARGEST_OFFSET * np.sqrt(offset_variance)
    return ReadLevels(
        line=line,
        own=by_network.own,
        counts=by_network.counts,
        level=level,
        variance=variance,
        rare=by_network.rare,
        own_level=by_network.own_level,
        own_variance=by_network.own_variance,
        expected=1.0,
        expected_level=level.copy(),
        offset=np.clip(offset, -limit, limit).astype(np.float32),
        offset_variance=float(offset_variance),
    )


def _bulk_variance(values: np.ndarray) -> float:
    return max(robust.scatter(values) ** 2, 1e-9) if len(values) else 1.0
