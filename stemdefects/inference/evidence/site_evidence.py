"""Gathers what all frames say of every lattice site, for the defect table (`io.tables.evidence`).

In the first pass over the frames: which sites there are, and how the columns of each sublattice are to be read
(`readings`). In the second: the readings, the light and the states' probabilities of every site, window by window, with
flags where nothing may be inferred from them. Memory does not grow with the frames.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from stemdefects.crystal.complexes import bond_table
from stemdefects.inference.columns.defects import REGIONS
from stemdefects.inference.columns.lattice.neighbours import first_ring
from stemdefects.inference.columns.site_columns import MIN_CENTRE, Frame
from stemdefects.inference.evidence import over_time, readings
from stemdefects.inference.evidence.blank_sites import Blank
from stemdefects.io.tables import evidence
from stemdefects.io.tables.evidence import AMORPHOUS, EDGE, HOLE, INVALID, LIGHT, LINE, NO_FRAME, PARTIAL, POLYMORPH
from stemdefects.numerics import robust, rows
from stemdefects.numerics.borders import from_border

EDGE_NM = 0.15  # from the border: down to there levels and scatter are those of the bulk, closer they are weak (docs)
SCALE_RANGE = (0.7, 1.25)  # of the learned levels: on movies of two simulators they were off by -20 to +6%
EXPECTED_RANGE = (0.6, 1.5)  # of levels that are only expected (a network that reads no light): off by up to a third
# flag of the evidence by region; 0: none
OF_REGION = {"lattice": 0, "hole": HOLE, "amorphous": AMORPHOUS, "1T": POLYMORPH}
FORGET_AT = 64  # frames whose sites are put together at once


class Writer(Protocol):
    """Where the evidence goes (`io.tables.evidence.EvidenceWriter`)."""

    def write(self, start: int, values: np.ndarray, flags: np.ndarray, scatter: np.ndarray) -> None: ...
    def finish(self, sites: np.ndarray, description: dict[str, Any]) -> None: ...


Start = Callable[[int, int, int, int], Writer]  # n_frames, n_sites, n_features, n_sublattices -> writer


class Gatherer:
    """Evidence of one movie. `readings`: per sublattice, None where its columns cannot be read; set by `settle`."""

    def __init__(self, setup: Any, prior: np.ndarray):
        self.setup, self.prior = setup, prior
        self._material = setup.model.material
        self._plans = [readings.plan(g, self._material, prior) for g in range(self._material.n_sites)]
        self._seen: list[list[readings.Seen]] = [[] for _ in self._plans]
        self._keys = np.zeros((0, 3), int)
        self._new: list[np.ndarray] = []
        self.readings: list[readings.Reading | None] = [None] * len(self._plans)
        self._writer: Writer | None = None

    def look(self, frame: Frame, blank: Blank, shift: np.ndarray, features: list, scatters: list) -> None:
        """First pass: a frame, its blank sites, the whole cells it is shifted by, and its log-ratios as
        `site_columns.centred` has them."""
        columns = frame.columns
        self._new.append(np.column_stack([columns["cell"] + shift, columns["site"]]))
        self._new.append(blank.keys + np.append(shift, 0))
        if len(self._new) >= FORGET_AT:
            self._put_together()
        for g, plan in enumerate(self._plans):
            if plan is None or scatters[g] is None:
                continue
            mine = np.flatnonzero(columns["site"] == g)
            found = readings.coordinates(plan, columns["light"][mine], features[g])
            score = columns["score"][mine]
            self._seen[g].append(readings.seen(plan, found, score, self.setup.model, self.prior, MIN_CENTRE))

    def _put_together(self) -> None:
        self._keys, _ = rows.unique(np.concatenate([self._keys, *self._new]).astype(int).reshape(-1, 3))
        self._new = []

    def settle(self, n_frames: int, drift_px: np.ndarray, start: Start | None) -> None:
        """Between the passes. drift_px: (n_frames, 2) in square pixels; start: makes the writer, None: none."""
        self._put_together()
        self.readings = [
            None if plan is None else readings.calibrated(plan, seen)
            for plan, seen in zip(self._plans, self._seen, strict=True)
        ]
        self._drift = drift_px
        n = len(self._keys)
        self._place, self._count = np.zeros((n, 2)), np.zeros(n)
        self._learned = [np.zeros((2, 0 if p is None else len(p.states))) for p in self._plans]
        self._scatter: list[list[float]] = [[] for _ in self._plans]
        self._features = [self._names(g) for g in range(len(self._plans))]
        self._width = max(map(len, self._features), default=0)
        if start is not None and n:
            self._writer = start(n_frames, n, self._width, len(self._plans))

    def _names(self, g: int) -> list[str]:
        """Features of a sublattice, in order."""
        material = self._material
        return [LINE, LIGHT, *(k.name for k in material.kinds if material.states[k.state].site == g)]

    def window(self, window: Any, fits: dict[int, over_time.Fit], start: int, stop: int) -> None:
        """Second pass: a `site_window.Window` with its fits; frames [start, stop) are taken."""
        if self._writer is None:
            return
        inner = slice(start - window.low, stop - window.low)
        where = self._rows_of(window.keys)
        expected, _ = window.expected
        values = np.full((stop - start, len(self._keys), self._width), np.nan, np.float16)
        flags = np.full((stop - start, len(self._keys)), NO_FRAME, np.uint8)
        flags[:, where] = self._flags(window, expected, inner) | np.where(window.hidden[inner], INVALID, 0)
        # sites that the window's frames do not show lie outside of them
        others = np.setdiff1d(np.arange(len(self._keys)), where)
        there = ~np.isnan(expected[inner, :1, 0]) if expected.shape[1] else np.zeros((stop - start, 1), bool)
        flags[:, others] = np.where(there, EDGE, NO_FRAME)
        scatter = np.full((stop - start, len(self._plans)), np.nan, np.float32)
        place = np.where(window.seen[..., None], window.place, np.nan)[inner]
        for g, names in enumerate(self._features):
            mine = np.flatnonzero(window.keys[:, 2] == g)
            if not len(mine):
                continue
            said = np.full((len(values), len(mine), self._width), np.nan, np.float32)
            if g in fits:
                for k, state in enumerate(window.states[g][1:]):
                    kind = self._material.kinds[self._material.kind_of_state[state]].name
                    said[..., names.index(kind)] = fits[g].posterior[inner][..., k + 1]
                    # a state that is not considered has no probability
                for name in set(names[2:]) - {
                    self._material.kinds[self._material.kind_of_state[s]].name for s in window.states[g][1:]
                }:
                    said[..., names.index(name)] = 0
            if g in window.lines and (reading := self.readings[g]) is not None:
                line, light = (part[inner] for part in window.lines[g])
                bare, where_bare = (part[inner] for part in window.by_light(g))
                known = np.isnan(line) & np.isfinite(bare) & reading.lit
                line = np.where(known, reading.light_line(bare), line)
                light = np.where(known, bare - 1, light)
                place[:, mine] = np.where(known[..., None], where_bare, place[:, mine])
                partial = np.isnan(light) & np.isfinite(line) & reading.lit
                flags[:, where[mine]] |= np.where(partial, PARTIAL, 0).astype(np.uint8)
                said[..., 0], said[..., 1] = line, light
                good = np.where(flags[:, where[mine]] == 0, line, np.nan)
                scatter[:, g] = [_spread(row) for row in good]
                self._learn(g, window, scatter[:, g])
            values[:, where[mine]] = said
        self._writer.write(start, values, flags, scatter)
        place = place - self._drift[start:stop, None]
        known = np.isfinite(place[..., 0])
        self._place[where] += np.where(known[..., None], place, 0).sum(0)
        self._count[where] += known.sum(0)

    def _rows_of(self, keys: np.ndarray) -> np.ndarray:
        """(n,) rows of `_keys`, which are sorted, that `keys` (n, 3) are."""
        low = self._keys.min(0)
        size = self._keys.max(0) - low + 1
        ours, theirs = (np.ravel_multi_index((k - low).T, size) for k in (self._keys, keys))
        return np.searchsorted(ours, theirs)

    def _flags(self, window: Any, expected: np.ndarray, inner: slice) -> np.ndarray:
        """(T, n) flags by where the sites should be, (T, n, 2) in square pixels."""
        setup = self.setup
        edge = EDGE_NM / setup.calibration.pixel_size_nm
        out = np.zeros(expected[inner].shape[:2], np.uint8)
        step = np.array(setup.engine.region_step_px, float)
        for t, place in enumerate(expected[inner]):
            if not len(place) or np.isnan(place).any():
                out[t] = NO_FRAME
                continue
            out[t] = np.where(from_border(place, setup.shape_px) < edge, EDGE, 0)
            regions = window.frames[t + inner.start].regions
            cell = (np.rint(place / (setup.aspect, 1)) // step).astype(int)
            inside = ((cell >= 0) & (cell < regions.shape)).all(1)
            name = np.array([OF_REGION[r] for r in REGIONS], np.uint8)
            seen = regions[tuple(cell[inside].T)]
            out[t, inside] |= np.where(seen < len(name), name[np.minimum(seen, len(name) - 1)], NO_FRAME)
        return out

    def _learn(self, g: int, window: Any, scatter: np.ndarray) -> None:
        """Adds up where the states lie on the line, and how far ideal columns scatter, (T,)."""
        self._scatter[g] += scatter[np.isfinite(scatter)].tolist()
        plan = self._plans[g]
        if g not in window.learned or plan is None:
            return
        levels, weights = window.learned[g]
        of_state = dict(zip(window.states[g].tolist(), weights.tolist(), strict=True))
        for j, state in enumerate(plan.states.tolist()):
            if state in levels:
                self._learned[g][:, j] += of_state[state], of_state[state] * levels[state]

    def finish(self) -> None:
        """Writes the sites and the description."""
        if self._writer is None:
            return
        sites = np.zeros(len(self._keys), evidence.SITE_DTYPE)
        sites["cell_1"], sites["cell_2"], sites["sublattice"] = self._keys.T
        with np.errstate(invalid="ignore"):
            mean = self._place / self._count[:, None] * self.setup.calibration.pixel_size_nm
        sites["y_nm"], sites["x_nm"] = mean.T
        material = self._material
        self._writer.finish(
            sites,
            {
                "material": material.name,
                "kinds": {k.name: material.state_names[k.state] for k in material.kinds},
                "centre": [material.kind_names[k] for k in material.centre],
                "headline": None if material.headline is None else material.kind_names[material.headline],
                "edge_nm": EDGE_NM,
                "frames_together": max(self.setup.model.frames, self.setup.settings.average_frames),
                "flags": {
                    "edge": EDGE,
                    "hole": HOLE,
                    "amorphous": AMORPHOUS,
                    "1T": POLYMORPH,
                    "no_frame": NO_FRAME,
                    "partial": PARTIAL,
                    "invalid": INVALID,
                },
                "sublattices": [self._describe(g) for g in range(len(self._plans))],
            },
        )

    def _describe(self, g: int) -> dict[str, Any]:
        """How a sublattice's features are read."""
        material, plan, read = self._material, self._plans[g], self.readings[g]
        site = material.sites[g]
        out: dict[str, Any] = {
            "name": site.name,
            "ideal": material.state_names[site.ideal],
            "floating": site.floating,
            "features": self._features[g],
            "ring": [] if site.floating else first_ring(material).tolist(),
            "bonds": [] if site.floating else bond_table(material)[g].tolist(),
        }
        if plan is None or read is None:
            return out | {"states": []}
        weight, total = self._learned[g]
        expected = read.level
        learned = np.divide(total, weight, out=expected.copy(), where=weight > 0)[1:]  # where none is, as expected
        scatter = float(np.median(self._scatter[g])) if self._scatter[g] else 1.0
        signal = material.intensities()
        return out | {
            "reads": "light and network" if read.lit else "network",
            "weights": dict(zip(readings.COORDINATES, read.weight.tolist(), strict=True)),
            "scatter": scatter,
            "states": [
                {
                    "state": material.state_names[state],
                    "kind": material.kinds[material.kind_of_state[state]].name,
                    "signal": float(signal[state] / signal[site.ideal]),
                    "expected_level": float(expected[j + 1]),
                    "level": float(learned[j]),
                    "site_frames": float(weight[j + 1]),
                }
                for j, state in enumerate(plan.states[1:])
            ],
            "scale_range": list(SCALE_RANGE if weight[1:].any() else EXPECTED_RANGE),
        }


def _spread(values: np.ndarray) -> float:
    known = values[np.isfinite(values)].astype(float)
    return robust.scatter(known) if len(known) >= MIN_CENTRE else np.nan
