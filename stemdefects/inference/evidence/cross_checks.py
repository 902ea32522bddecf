"""Do single frames and the light of the columns agree with the states that all frames together give?

Over many frames an error that stays adds up as a defect that stays does: a moire, a film, another crystal than the
network's. Four checks that do not rest on the sum: a kind's columns have, in the median, about the light that the kind
has; ideal columns do not differ from each other, for good, as much as the kind differs from them; where the evidence of
a single frame is strong, single frames call what all together do; and what single frames are sure of is not denied.

At low dose single frames see next to nothing of what all frames show, and rightly so: how much they should see follows
from where the columns lie on the reading, in units of what ideal columns scatter there, and from the prevalence and the
threshold that calls of single frames rest on.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.special import ndtr

from stemdefects.inference.evidence import blank_sites, over_time
from stemdefects.io.tables.contradictions import Code, Contradiction
from stemdefects.models.probability.prevalence import COMMON
from stemdefects.numerics import robust, state_sums
from stemdefects.numerics.nearest import nearest

IDEAL, CALLED = 0.9, 0.5  # posteriors from which a column counts as ideal, as defective
MIN_SITES = 3  # with a kind: of one or two nothing is concluded
MIN_CALLS = 20  # of a kind in single frames
MIN_FRAMES = 4  # in which a site is ideal, to say how its mean differs from others'
# of the light that a kind lacks; on movies that are right .57 to 1.25 (two simulators, 400 to 4,000 e/px), on a moire
# .42, on another crystal 1.6 to 6.5: the scale of the light rests on how bright the sublattices are in this movie
LIGHT_RANGE = (0.5, 1.5)
MAX_LASTING = 0.5  # of what a kind differs by; on movies that are right to .33, on a moire 1.1
LEAST_CHANGE = 0.05  # of an ideal column's light, less cannot be judged
TO_BE_SEEN = 0.3  # share that single frames should see: below, it rests on the tail of a distribution
SEEN = 0.5  # of that share; on movies that are right .8 and more
WRONG = 2.0  # times as many calls of single frames as their probabilities say
ERRORS = 2.0  # standard errors beyond a limit
# shares of the expected change of light, 0.02 wide: noise of faint states reaches far beyond 0 and 1
BINS = np.linspace(-4, 8, 601)


class Sublattice(NamedTuple):
    """One sublattice in some frames. posterior: (T, n, K) of `states` (K,), the ideal one first; light: (T, n) more or
    less than an ideal column's, in units of it, NaN where not known; line: (T, n) reading, or None; single: (T, n)
    state that the frame itself calls, -1: none; wrong: (T, n) its probability to be wrong; seen: (T, n) bool."""

    posterior: np.ndarray
    states: np.ndarray
    light: np.ndarray
    line: np.ndarray | None
    single: np.ndarray
    wrong: np.ndarray
    seen: np.ndarray


class _Kind:
    """Sums over windows for one state."""

    def __init__(self) -> None:
        self.n = self.sites = self.read = self.calls = self.denied = 0
        self.seen = self.expected = self.wrong = 0.0
        self.light = np.zeros(len(BINS) - 1)


class CrossChecks:
    """Gathers window after window. signal: (S,) HAADF signal of the states; ideal: (S,) that of their site's ideal
    state; prior: (S,) prevalence and threshold: (S,) least posterior of the calls of single frames."""

    def __init__(self, signal: np.ndarray, ideal: np.ndarray, prior: np.ndarray, threshold: np.ndarray):
        with np.errstate(divide="ignore", invalid="ignore"):
            self._change = np.asarray(signal / ideal - 1, float)
        odds = np.clip(prior, 1e-9, 0.999), np.clip(threshold, 1e-3, 0.999)
        self._bar = np.log((1 - odds[0]) / odds[0]) + np.log(odds[1] / (1 - odds[1]))
        self._common = np.asarray(prior) >= COMMON
        self._kinds: dict[int, _Kind] = {}
        self._lasting: dict[int, list[float]] = {}  # of the sublattice of a state, window by window

    def add(self, part: Sublattice) -> None:
        """Frames [T] of one sublattice."""
        ideal = part.seen & (part.posterior[..., 0] > IDEAL)
        which, prob, _ = state_sums.strongest(part.posterior[..., 1:])
        best = np.where(part.seen & (prob > CALLED), 1 + which, 0)
        lasting = _lasting(np.where(ideal, part.light, np.nan))
        centre = scatter = np.nan
        if part.line is not None:
            known = part.line[ideal & np.isfinite(part.line)].astype(float)
            if len(known) > 2:
                centre, scatter = float(np.median(known)), robust.scatter(known)
        for k, state in enumerate(part.states.tolist()):
            if k == 0:
                continue
            sums, called = self._kinds.setdefault(state, _Kind()), best == k
            self._lasting.setdefault(state, []).append(lasting)
            sums.n += int(called.sum())
            sums.sites += int(called.any(0).sum())
            self._light(sums, part.light[called], state)
            if scatter > 0:
                self._by_single_frames(sums, part, called, centre, scatter, state)
            mine = part.seen & (part.single == state) & (ideal | (best > 0))
            sums.calls += int(mine.sum())
            sums.denied += int((mine & (best != k)).sum())
            sums.wrong += float(part.wrong[mine].sum())

    def _light(self, sums: _Kind, light: np.ndarray, state: int) -> None:
        known = light[np.isfinite(light)]
        if len(known) and abs(self._change[state]) >= LEAST_CHANGE:
            share = np.clip(known / self._change[state], BINS[0], BINS[-1])
            sums.light += np.histogram(share, BINS)[0]

    def _by_single_frames(
        self, sums: _Kind, part: Sublattice, called: np.ndarray, centre: float, scatter: float, state: int
    ) -> None:
        """Of two Gaussians `apart` scatters from each other, a column is called where its log-likelihood ratio is above
        the bar: at (apart / 2 + bar / apart)."""
        assert part.line is not None  # there is a scatter
        called = called & np.isfinite(part.line)
        if not called.any():
            return
        apart = max((float(np.median(part.line[called])) - centre) / scatter, 1e-3)
        share = float(ndtr(apart / 2 - self._bar[state] / apart))
        sums.read += int(called.sum())
        sums.expected += share * called.sum()
        sums.seen += (part.single[called] >= 0).sum()

    def contradictions(self, name_of: dict[int, str]) -> list[Contradiction]:
        """What contradicts the states over time. name_of: kind of each state."""
        out = []
        for state, sums in self._kinds.items():
            kind, change = name_of[state], float(self._change[state])
            about = (kind, sums.n, sums.sites)
            if sums.sites >= MIN_SITES:
                middle, error = _median(sums.light, sums.sites)
                low, high = LIGHT_RANGE
                if middle + ERRORS * error < low or middle - ERRORS * error > high:
                    out.append(Contradiction(Code.LIGHT, *about, middle * change, change))
                lasting = float(np.nanmedian(known)) if np.isfinite(known := self._lasting[state]).any() else 0.0
                if np.isfinite(change) and abs(change) >= LEAST_CHANGE and lasting > MAX_LASTING * abs(change):
                    out.append(Contradiction(Code.LASTING, *about, lasting, abs(change)))
            if sums.sites >= MIN_SITES and sums.read:
                expected, seen = sums.expected / sums.read, sums.seen / sums.read
                error = np.sqrt(expected * (1 - expected) / sums.sites)
                if expected >= TO_BE_SEEN and seen < SEEN * expected - ERRORS * error:
                    out.append(Contradiction(Code.UNSEEN, *about, float(seen), float(expected)))
            if self._common[state] and sums.calls >= MIN_CALLS and sums.denied > 0.5 * sums.calls:
                if sums.denied > WRONG * sums.wrong + ERRORS * np.sqrt(sums.calls):
                    out.append(Contradiction(Code.DENIED, kind, sums.calls, sums.sites, sums.denied, sums.wrong))
        return out


def _lasting(light: np.ndarray) -> float:
    """Standard deviation from site to site of what ideal columns (T, n) have more or less in all frames alike, without
    what is left of the frames' own scatter; NaN for too few."""
    known = np.isfinite(light)
    count = known.sum(0)
    use = count >= MIN_FRAMES
    if use.sum() < MIN_CALLS:
        return np.nan
    light, count = np.where(known, light, 0)[:, use].astype(float), count[use]
    mean = light.sum(0) / count
    within = (known[:, use] * (light - mean) ** 2).sum(0) / (count - 1)
    over = robust.scatter(mean) ** 2 - float(np.median(within / count))
    return float(np.sqrt(max(over, 0.0)))


def _median(histogram: np.ndarray, sites: int) -> tuple[float, float]:
    """Of what is counted in `BINS`: the median and its standard error, the columns of a site counted once; NaN where
    nothing is counted."""
    total = histogram.sum()
    if not total:
        return np.nan, np.nan
    low, middle, high = np.interp([0.25, 0.5, 0.75], np.append(0, np.cumsum(histogram)) / total, BINS)
    return float(middle), float(1.25 * (high - low) / 1.349 / np.sqrt(max(sites, 1)))


def of_window(window: Any, fits: dict[int, over_time.Fit], start: int, stop: int) -> Iterator[Sublattice]:
    """The `Sublattice`s of frames [start, stop) of a `site_window.Window` with its fits."""
    inner = slice(start - window.low, stop - window.low)
    single, wrong = _single_calls(window, inner)
    for g, fit in fits.items():
        mine = np.flatnonzero(window.keys[:, 2] == g)
        seen = window.seen[inner][:, mine] & ~window.hidden[inner][:, mine]
        light = window.light(g)[inner]
        posterior = fit.posterior[inner]
        ideal = np.where(seen & (posterior[..., 0] > IDEAL), light, np.nan)
        known = np.isfinite(ideal).any(1)
        middle = np.zeros(len(light), np.float32)
        middle[known] = np.nanmedian(ideal[known], 1)
        line = window.lines[g][0][inner] if g in window.lines else None
        yield Sublattice(
            posterior, window.states[g], light - middle[:, None], line, single[:, mine], wrong[:, mine], seen
        )


def _single_calls(window: Any, inner: slice) -> tuple[np.ndarray, np.ndarray]:
    """(T, N) state that a frame by itself calls at each site, -1: none, and (T, N) the probability that it is
    wrong; of the frames `inner` of the window."""
    material = window.setup.model.material
    state_of = {k.name.encode(): k.state for k in material.kinds}
    single = np.full(window.seen[inner].shape, -1, np.int16)
    wrong = np.zeros(single.shape, np.float32)
    for t, frame in enumerate(window.frames[inner]):
        if not len(frame.rows) or not len(frame.columns):
            continue
        places = np.column_stack([frame.columns["y_px"], frame.columns["x_px"]])
        called = np.column_stack([frame.rows["y_px"] * window.setup.aspect, frame.rows["x_px"]])
        away, which = (found[:, 0] for found in nearest(places, called, 1))
        same = away < blank_sites.SAME_PX
        sites = window.index[t + inner.start][which[same]]
        single[t, sites] = [state_of[kind] for kind in frame.rows["kind"][same].tolist()]
        wrong[t, sites] = 1 - frame.rows["kind_prob"][same]
    return single, wrong
