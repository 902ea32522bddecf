"""The sites seen in a window of frames, as arrays over time: likelihoods and posteriors.

A heavy or missing neighbour changes how a column looks: by how much is taken off, since most columns beside one are
ideal.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from stemdefects.crystal.complexes import bond_table
from stemdefects.inference.columns import column_intensity
from stemdefects.inference.columns.site_columns import MIN_CENTRE, centred, frames, posterior
from stemdefects.inference.evidence import over_time, readings, state_levels
from stemdefects.inference.evidence.blank_sites import Blank
from stemdefects.inference.tables.partial_results import Block
from stemdefects.models.probability import emissions
from stemdefects.numerics import rows, state_sums

RARE = 1e-3  # prevalence below which only measured emissions count
READ_FROM = 2.0  # scatters to the nearest state: below, a site's lasting errors look like faint states that last
LEARN_FROM = 1000  # sites, to learn where the states lie
MIN_SITES = 8  # with the same surroundings, to say how an ideal column looks there


class Window:
    """Sites seen in frames [low, high), as arrays over time. shifts: (n_frames, 2) whole cells that a frame is shifted
    by; blanks: the blank sites of each frame of the movie."""

    def __init__(
        self, read: Callable[[int], Block], setup: Any, low: int, high: int, shifts: np.ndarray, blanks: Sequence[Blank]
    ):
        self.setup, self.low, self.high, self.shifts = setup, low, high, shifts
        size = setup.settings.block_frames
        blocks = range(low // size, -(-high // size))
        first = blocks.start * size
        self.frames = list(frames(read, blocks))[low - first : high - first]
        material = setup.model.material
        keys = [
            np.column_stack([f.columns["cell"] + shifts[low + t], f.columns["site"]]) for t, f in enumerate(self.frames)
        ]
        self.blank = [b._replace(keys=b.keys + np.append(shifts[low + t], 0)) for t, b in enumerate(blanks[low:high])]
        counts = [len(k) for k in keys]
        every = np.concatenate([*keys, *(b.keys for b in self.blank)]).astype(int).reshape(-1, 3)
        self.keys, index = rows.unique(every)
        self.index = np.split(index[: sum(counts)], np.cumsum(counts)[:-1])
        shape = (len(self.frames), len(self.keys))
        self.seen, self.hidden = np.zeros(shape, bool), np.zeros(shape, bool)
        self.lines: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        self.learned: dict[int, tuple[dict[int, float], np.ndarray]] = {}
        self.place = np.full((*shape, 2), np.nan, np.float32)
        self.sigma = np.full(shape, np.nan, np.float32)
        self.states = {
            g: emissions.ordered_states(g, material.site_of_state, s.ideal) for g, s in enumerate(material.sites)
        }
        for t, frame in enumerate(self.frames):
            i = self.index[t]
            self.seen[t, i] = True
            self.place[t, i, 0], self.place[t, i, 1] = frame.columns["y_px"], frame.columns["x_px"]
            self.sigma[t, i] = frame.columns["sigma_px"]
            if len(frame.hidden):
                lost = np.column_stack([frame.hidden["cell"] + shifts[low + t], frame.hidden["site"]])
                self.hidden[t] = _among(self.keys, lost)

    def fit(
        self,
        models: list[emissions.Emissions | None],
        prior: np.ndarray,
        read: list[readings.Reading | None],
        middles: Sequence[list],
    ) -> dict[int, over_time.Fit]:
        """Posteriors of the sites of each sublattice; states of `self.states`. read: per sublattice; middles: per
        frame, what `site_columns.centred` takes off. Keeps `lines`: per sublattice (T, n) readings and (T, n) light;
        `learned`: per sublattice where states lie on the readings, and in how many site frames each of `states` is."""
        material, pixel = self.setup.model.material, self.setup.calibration.pixel_size_nm
        fits: dict[int, over_time.Fit] = {}
        bulk = [centred(f.columns, material, pixel, of)[:2] for f, of in zip(self.frames, middles, strict=True)]
        for g in self.states:
            mine = np.flatnonzero(self.keys[:, 2] == g)
            if not len(mine) or len(self.states[g]) < 2:
                continue
            place = np.full(len(self.keys), -1)
            place[mine] = np.arange(len(mine))
            counts = self._neighbours(g, mine, fits)
            features = self._features(g, place, bulk, len(mine))
            reading = read[g]
            if reading is not None:
                self.lines[g] = self._line(g, reading, features)
            features -= counts @ _shifts(features, counts)
            around = np.minimum(counts.sum(-1), 2)
            emission = self._levels(g, models[g], features, bulk, counts, prior)
            on_line = None if emission is None or reading is None else self._read(g, emission, reading)
            if on_line is not None and np.nanmin(on_line.level[1:]) >= READ_FROM:
                emission = on_line
            elif on_line is not None:
                self._learn_levels(g, on_line, prior[self.states[g]], around, counts)
            if emission is None:
                emission = over_time.Given(self._network_says(g, place, features, bulk, prior))
            fits[g] = over_time.fit(emission, prior[self.states[g]], around, self.setup.evidence_weight)
            if emission is on_line:
                self._keep_levels(g, fits[g], counts)
        return fits

    def _features(self, g: int, place: np.ndarray, bulk: list, n: int) -> np.ndarray:
        """(T, n, F) log-ratios of the sublattice's columns less those of the frame's bulk; NaN where not seen."""
        features = np.full((len(self.frames), n, max(len(self.states[g]) - 1, 1)), np.nan, np.float32)
        for t, frame in enumerate(self.frames):
            if bulk[t][1][g] is not None:
                features[t, place[self.index[t][frame.columns["site"] == g]]] = bulk[t][0][g]
        return features

    def light(self, g: int) -> np.ndarray:
        """(T, n) light of a sublattice's columns (`column_intensity.measure`), NaN where not known."""
        mine = np.flatnonzero(self.keys[:, 2] == g)
        place = np.full(len(self.keys), -1)
        place[mine] = np.arange(len(mine))
        light = np.full((len(self.frames), len(mine)), np.nan, np.float32)
        for t, frame in enumerate(self.frames):
            here = frame.columns["site"] == g
            light[t, place[self.index[t][here]]] = frame.columns["light"][here]
        return light

    def by_light(self, g: int) -> tuple[np.ndarray, np.ndarray]:
        """(T, n) light, over an ideal column's, of a sublattice's sites that a frame calls and shows no column at, NaN
        elsewhere; and (T, n, 2) where they were called."""
        mine = np.flatnonzero(self.keys[:, 2] == g)
        light, place = (np.full((len(self.frames), len(mine), *k), np.nan, np.float32) for k in ((), (2,)))
        for t, blank in enumerate(self.blank):
            here = blank.keys[:, 2] == g
            if here.any():
                sites = rows.found(self.keys[mine], blank.keys[here])
                light[t, sites], place[t, sites] = blank.light[here], blank.place[here]
        return light, place

    def _line(self, g: int, read: readings.Reading, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(T, n) reading and (T, n) light of a sublattice's columns, each less its median in the frame."""
        light = self.light(g)
        found = readings.coordinates(read.plan, light, features)
        line, alone = read.line(found), read.network_line(found)
        for values in (line, alone, light):
            for row in values:
                known = np.isfinite(row)
                if known.any():
                    row -= np.median(row[known])
        return np.where(np.isnan(line), alone, line), light

    def _learn_levels(
        self, g: int, emission: state_levels.ReadLevels, prior: np.ndarray, around: np.ndarray, counts: np.ndarray
    ) -> None:
        """Where the states lie on the line, from a part of the sites; their states are not taken from it."""
        part = np.arange(0, around.shape[1], -(-around.shape[1] // LEARN_FROM))
        fit = over_time.fit(emission.of_sites(part), prior, around[:, part], self.setup.evidence_weight)
        self._keep_levels(g, fit, counts)

    def _keep_levels(self, g: int, fit: over_time.Fit, counts: np.ndarray) -> None:
        """What was learned; the readings are freed of what neighbours of other sublattices (counts) add to them."""
        found = fit.emission
        assert isinstance(found, state_levels.ReadLevels)
        level = {int(s): float(v) for s, v in zip(self.states[g], found.level, strict=True) if np.isfinite(v)}
        self.learned[g] = level, fit.posterior.sum((0, 1))
        if found.shift is not None:
            self.lines[g] = self.lines[g][0] - counts @ found.shift[1:].astype(np.float32), self.lines[g][1]

    def _read(self, g: int, found: state_levels.Levels, read: readings.Reading) -> state_levels.ReadLevels | None:
        """`found` on the reading's line; None where that does not know all its common states."""
        if not read.lit:
            return None
        states, line = self.states[g], self.lines[g][0]
        level = np.full(len(states), np.nan)
        for k in np.setdiff1d(np.arange(len(states)), found.rare):
            known = np.flatnonzero(read.plan.states == states[k])
            if not len(known):
                return None
            level[k] = read.level[known[0]]
        return state_levels.read(found, line, level)

    def _levels(
        self,
        g: int,
        found: emissions.Emissions | None,
        features: np.ndarray,
        bulk: list,
        counts: np.ndarray,
        prior: np.ndarray,
    ) -> state_levels.Levels | None:
        """Levels of the sublattice's states, which `self.states` then are; None where there are no emissions for it."""
        scatters = [scatter[g] for _, scatter in bulk if scatter[g] is not None]
        if found is None or not scatters:
            return None
        material = self.setup.model.material
        signal = material.intensities()[found.states]
        axis = np.searchsorted(self.states[g][1:], found.states)  # the ideal state is first, the others in order
        made = state_levels.of_movie(
            features,
            np.median(scatters, axis=0),
            counts,
            found,
            state_levels.States(axis, signal, prior[found.states] >= RARE),
            self._light_scatter(g),
        )
        if made is None:
            return None
        emission, use = made
        self.states[g] = found.states[use]
        return emission

    def _light_scatter(self, g: int) -> float | None:
        """Scatter of the light of a sublattice's columns in one frame, in units of an ideal column's; None: unknown."""
        scatters = []
        for frame in self.frames:
            light = frame.columns["light"][frame.columns["site"] == g].astype(float)
            if np.isfinite(light).sum() >= column_intensity.MIN_COLUMNS:
                scatters.append(column_intensity.scatter(light))
        return float(np.median(scatters)) if scatters else None

    def _network_says(
        self, g: int, place: np.ndarray, features: np.ndarray, bulk: list, prior: np.ndarray
    ) -> np.ndarray:
        """(T, n, S) log-likelihoods by the network's own posterior."""
        states, model = self.states[g], self.setup.model
        seen = np.zeros((*features.shape[:2], len(states)), np.float32)
        for t, frame in enumerate(self.frames):
            if bulk[t][1][g] is None:
                continue
            here = frame.columns["site"] == g
            sites = place[self.index[t][here]]
            prob = posterior(frame.columns["score"][here], frame.columns["site"][here], model)
            ratio = np.log(np.maximum(prob[:, states], 1e-12) / np.maximum(prior[states], 1e-9))
            log_likelihood = _modest(ratio - ratio[:, :1], features[t, sites], bulk[t][1][g])
            # of states it hardly ever saw the network's opinion is not worth adding up
            log_likelihood[:, prior[states] < RARE] = -over_time.WORST
            seen[t, sites] = log_likelihood
        return seen

    def _neighbours(self, g: int, mine: np.ndarray, fits: dict[int, over_time.Fit]) -> np.ndarray:
        """(T, n, J) int8: how many bonded neighbours, on sublattices that are known already, are in each of the J
        defective states that occur."""
        state = np.zeros((len(self.frames), len(self.keys) + 1), np.int8)  # 0: ideal; the last: no such site
        for other, found in fits.items():
            best, prob, _ = state_sums.strongest(found.posterior)
            called = np.where(prob > 0.5, best, 0)
            state[:, np.flatnonzero(self.keys[:, 2] == other)] = np.append(0, self.states[other][1:] + 1)[called]
        cell, around = self.keys[mine, :2], []
        for i, j, other in bond_table(self.setup.model.material)[g]:
            if other in fits:
                there = np.column_stack([np.add(cell, (i, j)), np.full(len(cell), other)])
                around.append(state[:, rows.found(self.keys, there)])
        occur = np.setdiff1d(np.unique(state[:, :-1]), 0)
        counts = np.zeros((len(state), len(mine), len(occur)), np.int8)
        for one in around:
            for j, s in enumerate(occur):
                counts[..., j] += one == s
        return counts[..., counts.any((0, 1))]

    @functools.cached_property
    def expected(self) -> tuple[np.ndarray, float]:
        """(T, N, 2) where each site should be, NaN in frames without lattice: on the frame's lattice, off by as much as
        it usually is; and how far columns lie from there."""
        basis = self.setup.model.material.basis
        expected = np.full(self.place.shape, np.nan, np.float32)
        for t, frame in enumerate(self.frames):
            if not np.isnan(frame.lattice).any():
                cell = self.keys[:, :2] - self.shifts[self.low + t]
                expected[t] = (cell + basis[self.keys[:, 2]]) @ frame.lattice[:2] + frame.lattice[2]
        offset = np.where(self.seen[..., None], self.place - expected, np.nan)
        count = np.maximum(self.seen.sum(0), 1)[:, None]
        expected += (np.nansum(offset, 0) / count)[None]
        rest = np.where(self.seen[..., None], self.place - expected, np.nan)
        return expected, float(np.sqrt(np.nanmean(rest**2))) if self.seen.any() else 0.0


def _shifts(features: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(J, F) by how much one neighbour in each state shifts the log-ratios of most columns, 0 where too few show it."""
    shifts = np.zeros((counts.shape[-1], features.shape[-1]), np.float32)
    alone = (counts.sum(-1) == 1) & np.isfinite(features[..., 0])
    for j in range(len(shifts)):
        here = alone & (counts[..., j] == 1)
        if here.sum() >= MIN_CENTRE and here.any(0).sum() >= MIN_SITES:
            shifts[j] = np.median(features[here], 0)
    return shifts


def _modest(ratio: np.ndarray, features: np.ndarray, scatter: np.ndarray) -> np.ndarray:
    """(n, K) log-likelihood ratios to the ideal state, taken down where the bulk of the columns speaks for a defect.

    Of Gaussians of equal width the ideal columns' log-ratio has the mean -variance / 2. A network that says more of all
    columns would, frame after frame, turn the whole crystal into defects. Never taken up.
    """
    natural = features - scatter**2 / 2
    return np.concatenate([ratio[:, :1], np.minimum(ratio[:, 1:], natural)], axis=1)


def _among(keys: np.ndarray, some: np.ndarray) -> np.ndarray:
    """(N,) bool: rows of `keys` (N, 3) that are among `some` (M, 3)."""
    both = np.concatenate([keys, some])
    low = both.min(0)
    number = np.ravel_multi_index((both - low).T, both.max(0) - low + 1)
    return np.isin(number[: len(keys)], number[len(keys) :])
