"""The state of every lattice site by all frames so far: the forward half of what the table says of it at the end.

Sites keep their state from frame to frame or, with a small probability, draw a new one
(`inference.evidence.over_time`). A frame says of a site what its reading does (`inference.evidence.readings`): Gaussian
about the level of each state, with the scatter of the frame's ideal columns. Levels are those expected, moved by what
the sites so far have shown.
"""

from collections import deque
from typing import Any, NamedTuple

import numpy as np

from stemdefects.inference.columns.site_columns import MIN_CENTRE, Frame, centred, posterior
from stemdefects.inference.evidence import over_time, readings
from stemdefects.inference.evidence.field.registration import FrameSites, Registrar
from stemdefects.inference.evidence.site_evidence import EDGE_NM, SCALE_RANGE
from stemdefects.io.tables import quality_flags
from stemdefects.numerics import forward_backward, robust
from stemdefects.numerics.borders import from_border

CHANGE = 0.01  # probability of a new draw in a frame, as `over_time.fit` expects it before it has seen any
PRIOR_SITES = 50.0  # sites that what is stated counts for, as in `over_time.fit`, and as many site frames of `CHANGE`
MEMORY = 50  # frames over which the probability of a new draw is averaged
LEVEL_WEIGHT = 100.0  # site frames that the expected levels count for
REMEMBERED = 64  # frames whose bulk says how columns are read
LAG = 12  # frames after which a frame is looked back at: 10 nats for a vacancy at d' = 1.3 in one frame
LOST_AFTER = 8  # frames of another field, one after another, after which counting starts anew


class Sites(NamedTuple):
    """The sites of one sublattice at a frame. cell: (N, 2) on the first frame's numbering; chances: (N, K) of the
    states `plan.states`; seen: (N,) bool, in this frame and not at its border; age: (N,) frames in which each was."""

    plan: readings.Plan
    cell: np.ndarray
    chances: np.ndarray
    seen: np.ndarray
    age: np.ndarray


class Seen(NamedTuple):
    """All sites after a frame, `now` by all frames so far, and `before`: the frame `LAG` frames ago by all up to now,
    None until there is one, and for other sublattices than that of the headline kind."""

    now: Sites
    before: Sites | None


class _Step(NamedTuple):
    """A frame of a sublattice that is to be looked back at: likelihoods and chances (n, K), seen (n,), ages (n,)."""

    likely: np.ndarray
    chances: np.ndarray
    seen: np.ndarray
    age: np.ndarray


class _Sublattice:
    """Chances of the sites of a sublattice, which become more as the field moves."""

    def __init__(self, plan: readings.Plan, prior: np.ndarray):
        self.plan = plan
        self.stated = prior[plan.states] / prior[plan.states].sum()
        self.prior, self.change = self.stated, CHANGE
        self._moved, self._could_move = CHANGE * PRIOR_SITES, PRIOR_SITES
        self.bulk: list[readings.Seen] = []
        self._keys, self._rows = np.zeros(0, np.int64), np.zeros(0, int)  # sorted, and which row each is
        self.cell, self.age = np.zeros((0, 2), int), np.zeros(0, int)
        self.chances = np.zeros((0, len(plan.states)))
        self._learned = np.zeros((2, len(plan.states)))
        self._steps: deque[_Step] = deque(maxlen=LAG + 1)

    def rows(self, cell: np.ndarray) -> np.ndarray:
        """(n,) row of each cell (n, 2); new ones begin with the prior."""
        keys = (cell[:, 0].astype(np.int64) << 32) + cell[:, 1]
        new = np.setdiff1d(keys, self._keys)
        if len(new):
            n, first = len(self.age), {key: i for i, key in enumerate(keys.tolist())}
            self.cell = np.concatenate([self.cell, cell[[first[key] for key in new.tolist()]]])
            self.age = np.concatenate([self.age, np.zeros(len(new), int)])
            self.chances = np.concatenate([self.chances, np.tile(self.prior, (len(new), 1))])
            every = np.concatenate([self._keys, new])
            order = np.argsort(every)
            self._keys, self._rows = every[order], np.append(self._rows, n + np.arange(len(new)))[order]
        return self._rows[np.searchsorted(self._keys, keys)]

    def step(self, rows: np.ndarray, log_likelihood: np.ndarray) -> None:
        """All sites one frame on; log_likelihood (n, K) of what is seen of `rows`."""
        likely = np.ones_like(self.chances)
        likely[rows] = over_time.likelihood(log_likelihood)
        ahead = (1 - self.change) * self.chances + self.change * self.prior
        (self.chances,), _ = forward_backward.forward(1, lambda t: likely, ahead, lambda t, chances: chances)
        self.age[rows] += 1
        seen = np.zeros(len(self.age), bool)
        seen[rows] = True
        self._steps.append(_Step(likely, self.chances, seen, self.age.copy()))
        total = PRIOR_SITES * self.stated + self.chances[seen].sum(0)  # as expectation maximisation has it
        self.prior = total / total.sum()

    def now(self) -> Sites:
        last = self._steps[-1]
        return Sites(self.plan, self.cell, last.chances, last.seen, last.age)

    def before(self) -> Sites | None:
        """The frame `LAG` frames ago, by all frames up to now; sites that came since are left out."""
        if len(self._steps) <= LAG:
            return None
        first = self._steps[0]
        n, steps = len(first.age), list(self._steps)

        def back(t: int, weighted: np.ndarray) -> np.ndarray:
            return (1 - self.change) * weighted + self.change * (self.prior * weighted).sum(-1, keepdims=True)

        *_, second, smooth = forward_backward.backward(
            [s.chances[:n] for s in steps], lambda t: steps[t].likely[:n], back
        )
        self._learn_change(first.chances, second.ahead, steps[1].seen[:n])
        return Sites(self.plan, self.cell[:n], smooth.posterior, first.seen, first.age)

    def _learn_change(self, before: np.ndarray, weighted: np.ndarray, seen: np.ndarray) -> None:
        """Probability of a new draw, from chances (n, K) of a frame and weights (n, K) of all that is seen after it."""
        same = before * weighted
        kept = (1 - self.change) * same.sum(-1)
        fresh = self.change * (self.prior * weighted).sum(-1)
        moved = (fresh - self.change * (self.prior * same).sum(-1)) / np.maximum(kept + fresh, 1e-30)
        visible = max(1 - float((self.prior**2).sum()), 1e-6)  # a new draw is seen where it gives another state
        fade = 1 - 1 / MEMORY
        self._moved = fade * self._moved + float(moved[seen].sum()) / visible
        self._could_move = fade * self._could_move + float(seen.sum())
        self.change = float(np.clip(self._moved / self._could_move, 1e-6, 0.5))

    def says(self, read: readings.Reading, line: np.ndarray) -> np.ndarray:
        """(n, K) log-likelihoods of readings (n,), NaN: zeros."""
        scatter = robust.scatter(line) if np.isfinite(line).sum() >= MIN_CENTRE else 1.0
        weight, total = self._learned
        level = (LEVEL_WEIGHT * read.level + total) / (LEVEL_WEIGHT + weight)
        level = np.clip(level, SCALE_RANGE[0] * read.level, SCALE_RANGE[1] * read.level)
        off = (line[:, None] - level) / max(scatter, 1e-6)
        return np.where(np.isfinite(off), -0.5 * off**2, 0.0)

    def learn(self, rows: np.ndarray, line: np.ndarray) -> None:
        """Where the states lie, from sites whose chances are known now."""
        known = np.isfinite(line)
        weight = self.chances[rows[known]]
        self._learned += weight.sum(0), (weight * line[known, None]).sum(0)


class CausalFilter:
    """Takes the frames of a movie in order. prior: (S,) how common the states are. drift_nm: (2,) of the last frame;
    fields: how many fields were begun with; reads: sublattices that can be read (`setup`: `setup.Setup`)."""

    def __init__(self, setup: Any, prior: np.ndarray):
        self.setup, self.prior, self.fields = setup, prior, 0
        self.drift_nm = np.zeros(2)
        material = setup.model.material
        of_headline = None if material.headline is None else material.kinds[material.headline].state
        self._looked_back = None if of_headline is None else material.states[of_headline].site
        self._begin()

    def _begin(self) -> None:
        material = self.setup.model.material
        self.fields += 1
        self._strange = 0
        self._registrar = Registrar(
            self.prior,
            material.site_of_state,
            self.setup.calibration.pixel_size_nm,
            self.setup.settings.over_time.max_step_nm,
        )
        plans = [readings.plan(g, material, self.prior) for g in range(material.n_sites)]
        self._parts = {g: _Sublattice(plan, self.prior) for g, plan in enumerate(plans) if plan is not None}

    def add(self, frame: Frame) -> dict[int, Seen] | None:
        """The sites by sublattice with this frame; None where it says nothing: no lattice, or another field."""
        columns, model = frame.columns, self.setup.model
        material, pixel = model.material, self.setup.calibration.pixel_size_nm
        if not len(columns) or frame.row["doubt"] & quality_flags.OTHER_FIELD:
            return None
        site = columns["site"].astype(int)
        placed = FrameSites(
            columns["cell"].astype(int),
            site,
            posterior(columns["score"], site, model),
            frame.lattice[:2],
            frame.lattice[2],
        )
        looked = self._registrar.look(placed)
        if self._registrar.strange(placed, looked):
            self._strange += 1
            if self._strange <= LOST_AFTER:
                return None
            self._begin()
            looked = self._registrar.look(placed)
        self._strange = 0
        shift, drift_px = self._registrar.add(placed, looked)
        self.drift_nm = drift_px * pixel
        features, scatters, _ = centred(columns, material, pixel)
        inside = _inside(columns, self.setup.shape_px, EDGE_NM / pixel)
        out = {}
        for g, part in self._parts.items():
            here = site == g
            if scatters[g] is None:
                continue
            mine, kept = columns[here], inside[here]
            found = readings.coordinates(part.plan, mine["light"], features[g])
            part.bulk = [
                *part.bulk[1 - REMEMBERED :],
                readings.seen(part.plan, found, mine["score"], model, self.prior, MIN_CENTRE),
            ]
            read = readings.calibrated(part.plan, part.bulk)
            if read is None:
                continue
            line = read.line(found)
            line = np.where(np.isnan(line), read.network_line(found), line)
            line = line - np.nanmedian(line) if np.isfinite(line).any() else line
            rows = part.rows(mine["cell"][kept] + shift)
            part.step(rows, part.says(read, line[kept]))
            part.learn(rows, line[kept])
            out[g] = Seen(part.now(), part.before() if g == self._looked_back else None)
        return out


def _inside(columns: np.ndarray, shape_px: tuple[float, float], edge_px: float) -> np.ndarray:
    """(n,) bool: not at the border of the frame, where the network sees half of what is around."""
    return from_border(np.column_stack([columns["y_px"], columns["x_px"]]), shape_px) >= edge_px
