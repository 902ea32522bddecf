"""How much light the columns of a sublattice show in each state, fitted to the movie that shows them.

Over many frames a state that is faint in one of them adds up, and so does every error that stays. What a network says
of a column in one frame is a handful of log-ratios. The states of a sublattice differ by how much light a column has,
so these log-ratios nearly lie on a line: one number, the log-ratio of the faintest state to the ideal one, carries what
the frame knows, and the small rest is not noise but the network's own bend, which must not be added up. Along this line
the states stand at levels whose order and distances were measured on simulated images (`models.emissions`); how far
apart they are in this movie is one scale (signals differ between microscopes and samples), and every defective
neighbour shifts a column by some amount. Both are learned from the movie by expectation maximisation.

Rare states that shine in a way of their own (an adatom on a column) are told by their own log-ratio.
"""

from dataclasses import dataclass, replace

import numpy as np

from stemdefects.models.emissions import Emissions

LEVEL_ERROR = 0.25  # relative: what a level measured on other images may be off by
SCALE_ERROR = 0.05  # relative: what the scale may differ from the expected one
SCALE_RANGE = (0.5, 4.0)  # where nothing is expected
STARTS = (0.8, 1.6, 3.2)  # then; expectation maximisation finds the nearest optimum
PLAIN = 4.0  # scatters from the ideal state to the next: a frame tells them apart
NEIGHBOUR_FRAMES = 10.0  # site frames that "a neighbour shifts nothing" counts for
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

    line: np.ndarray
    own: np.ndarray
    counts: np.ndarray
    level: np.ndarray
    variance: float
    rare: np.ndarray
    own_level: np.ndarray
    own_variance: np.ndarray
    scale: float = 1.0
    shift: np.ndarray | None = None
    expected: float | None = None

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

    def log_likelihood(self) -> np.ndarray:
        """(T, N, K), up to what is the same for all states."""
        rest, variance = self._rest[..., None], self._variances
        log = -0.5 * ((rest - self.scale * self.level) ** 2 / variance + np.log(variance))
        # at equal variance, (x^2 - (x - level)^2) / 2 variance
        log[..., self.rare] = log[..., :1] + self.own_level * (self.own - 0.5 * self.own_level) / self.own_variance
        log[~np.isfinite(self.line)] = 0.0
        return log.astype(np.float32)

    def starts(self) -> list["Levels"]:
        """With the expected scale; one for each of the scales `STARTS` where it is not known."""
        return [replace(self, scale=scale) for scale in (STARTS if self.expected is None else (self.expected,))]

    def learned(self, posterior: np.ndarray) -> "Levels":
        """With the scale and shifts that suit the posterior best (one step of coordinate ascent each)."""
        common = self._common
        seen = np.isfinite(self.line)
        prob = posterior[seen][:, common].astype(float)
        level, variance = self.level[common], self._variances[common]
        rest = self._rest[seen].astype(float)
        # least squares of rest = scale * level
        precise = prob * level / variance
        scale = (precise * rest[:, None]).sum() / max((precise * level).sum(), 1e-9)
        possible = np.array(SCALE_RANGE)
        if self.expected is not None:
            possible = self.expected * np.array([1 - SCALE_ERROR, 1 + SCALE_ERROR])
        scale = float(np.clip(scale, *possible))
        design = np.column_stack([np.ones(len(rest)), self.counts[seen]])
        left = self.line[seen] * prob.sum(1) - prob @ (scale * level)
        strength = np.diag(np.append(0.0, np.full(design.shape[1] - 1, NEIGHBOUR_FRAMES)))
        weighted = design.T * prob.sum(1)
        shift = np.linalg.solve(weighted @ design + strength + 1e-9 * np.eye(len(strength)), design.T @ left)
        return replace(self, scale=scale, shift=shift)


def of_movie(
    features: np.ndarray, scatter: np.ndarray, counts: np.ndarray, found: Emissions, axis: np.ndarray,
    signal: np.ndarray, common: np.ndarray, light_scatter: float | None,
) -> tuple[Levels, np.ndarray] | None:  # fmt: skip
    """Levels before anything is learned from the movie, and which of the K states of `found` they tell apart.

    features: (T, N, F) log-ratios less those of the frame's bulk, NaN where not seen; scatter: (F,) of the bulk;
    counts: (T, N, J); found: emissions at this scatter, the ideal state first; axis, signal, common: (K,) the feature
    that is a state's log-ratio, its HAADF signal, and whether it is not rare. The line is the log-ratio of the faintest
    common state or, where all are brighter than the ideal one, the brightest. A rare state counts where its own
    log-ratio tells it from every other. None where the network tells all states apart in a single frame: then its own
    word does, and log-ratios that saturate have no scatter to go by.

    light_scatter: of the columns' light in one frame, in units of an ideal column's, None: not known. A network that
    uses all light there is tells two states apart as well as that light does: d' on the line is the light that is
    missing over its scatter. So the light says how far apart states are, and whether a faint column lacks half or all.
    """
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
        features[..., line], features[..., axis[own]], counts, level, deviation**2, rare,
        found.mean[own, axis[own]], found.covariance[0][axis[own], axis[own]], expected=expected,
    ), use  # fmt: skip
