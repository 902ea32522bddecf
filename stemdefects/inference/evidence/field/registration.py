"""One numbering of lattice sites for a whole movie, and the drift that goes with it.

Each frame numbers its own cells, so two frames differ by a whole lattice vector that the lattice itself cannot tell.
The defects can: of all possible vectors the one is taken under which the states seen in the frame are most probable,
given what was seen on the same sites before. The fraction of a lattice vector comes from the fitted columns.
"""

from typing import NamedTuple

import numpy as np

from stemdefects.inference.evidence.field import fields, loops

MARGIN = 8  # cells by which the map of sites grows at least
FORGET = 0.02  # per frame: what a site was seen to be fades towards the prior
JUMP_NM = 0.4  # steps beyond this need evidence: the penalty is quadratic
# columns least like the ideal crystal, which tell one step from another; and steps that all columns are asked about
N_TELLING, N_FINAL = 300, 6


class FrameSites(NamedTuple):
    """Columns of one frame on its own lattice numbering. vectors_px: (2, 2) rows a1, a2; origin_px: (2,)."""

    cell: np.ndarray  # (n, 2) int
    site: np.ndarray  # (n,) int
    prob: np.ndarray  # (n, S) posterior of the states
    vectors_px: np.ndarray
    origin_px: np.ndarray


class Look(NamedTuple):
    """A frame beside what was seen before: its best shift (2,) int, log-odds that its columns were expected (`gain`),
    and that they would be if they had been seen before (`telling`)."""

    shift: np.ndarray
    gain: float
    telling: float


class Registrar:
    """Takes the frames of a movie in order and puts each onto the numbering of the first.

    prior: (S,) prevalence of each state within its site; site_of_state: (S,); max_step_nm: largest drift from one frame
    to the next.
    """

    def __init__(self, prior: np.ndarray, site_of_state: np.ndarray, pixel_size_nm: float, max_step_nm: float = 2.0):
        self._prior = np.asarray(prior, np.float32)
        self._own = np.asarray(site_of_state)[None] == np.arange(max(site_of_state) + 1)[:, None]  # (G, S)
        self._pixel, self._reach = pixel_size_nm, max_step_nm
        self._belief: np.ndarray | None = None  # (n0, n1, G, S)
        self._low = np.zeros(2, int)
        self._start: np.ndarray | None = None  # origin in the first frame
        self._last: np.ndarray | None = None
        self.kinship = fields.Kinship()

    def add(self, frame: FrameSites, looked: Look | None = None) -> tuple[np.ndarray, np.ndarray]:
        """(2,) int to add to the frame's cells, and (2,) drift in px (y, x) since the first frame. looked: what `look`
        has just said of it, where that is known."""
        shift, gain, telling = looked or self.look(frame)
        if self._start is None:
            self._start = self._last = frame.origin_px.copy()
        self.kinship.add(gain, telling, self._phase(frame))
        origin = frame.origin_px - shift @ frame.vectors_px
        self._last = origin
        cell = frame.cell + shift
        belief = self._grown(cell.min(0), cell.max(0))
        cell, site = (np.ascontiguousarray(part, int) for part in (cell - self._low, frame.site))
        loops.learned(belief, self._base, cell, site, self._likelihood(frame), FORGET)
        return shift, origin - self._start

    def look(self, frame: FrameSites) -> Look:
        """Where the frame fits best, and how well; nothing is learned from it."""
        likelihood = self._likelihood(frame)
        shift = np.zeros(2, int) if self._start is None else self._best_shift(frame, likelihood)
        return Look(shift, *self._recognised(frame.cell + shift, frame, likelihood))

    def strange(self, frame: FrameSites, looked: Look | None = None) -> bool:
        """Is the frame one that tells its field, and not this one?"""
        _, gain, telling = looked or self.look(frame)
        return self._start is not None and telling > fields.TELLING and gain < fields.ALIKE * telling

    def _likelihood(self, frame: FrameSites) -> np.ndarray:
        return frame.prob.astype(np.float32) / np.maximum(self._prior, 1e-9)

    def _recognised(self, cell: np.ndarray, frame: FrameSites, likelihood: np.ndarray) -> tuple[float, float]:
        """Log-odds that the frame's columns were expected, and would be if they had been seen before."""
        if self._belief is None:
            return 0.0, 0.0
        cell, site = (np.ascontiguousarray(part, int) for part in (cell - self._low, frame.site))
        seen = np.ascontiguousarray(frame.prob, np.float32), np.ascontiguousarray(likelihood, np.float32)
        known, telling = loops.recognised(self._belief, self._base, cell, site, seen, fields.TRUST)
        return float(known), float(telling)

    @staticmethod
    def _phase(frame: FrameSites) -> np.ndarray:
        return frame.origin_px @ np.linalg.inv(frame.vectors_px)

    def _best_shift(self, frame: FrameSites, likelihood: np.ndarray) -> np.ndarray:
        inverse = np.linalg.inv(frame.vectors_px)
        centre = np.rint((frame.origin_px - self._last) @ inverse).astype(int)
        reach_px = self._reach / self._pixel
        n = int(np.ceil(reach_px / np.linalg.norm(frame.vectors_px, axis=1).min())) + 1
        steps = np.array([(i, j) for i in range(-n, n + 1) for j in range(-n, n + 1)]) + centre
        moved = frame.origin_px - steps @ frame.vectors_px - self._last
        distance = np.linalg.norm(moved, axis=1)
        order = np.argsort(distance, kind="stable")
        order = order[distance[order] <= max(reach_px, 1.01 * distance.min())]
        penalty = 0.5 * (distance[order] * self._pixel / JUMP_NM) ** 2
        # the columns that differ most from the crystal choose a few candidates, all columns choose among these
        unlike = frame.prob @ (1 - self._prior)
        most = max(len(unlike) - N_TELLING, 0)
        telling = np.sort(np.argpartition(unlike, most)[most:]) if most else np.arange(len(unlike))
        part = frame.cell[telling], frame.site[telling], likelihood[telling]
        rough = self._evidence(*part, steps[order]) - penalty
        final = np.unique(np.append(np.argsort(-rough, kind="stable")[:N_FINAL], 0))
        scores = self._evidence(frame.cell, frame.site, likelihood, steps[order[final]]) - penalty[final]
        return steps[order[final[int(np.argmax(scores))]]]

    def _evidence(self, cell: np.ndarray, site: np.ndarray, likelihood: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """(m,) log-likelihood of n columns moved by each of `steps` (m, 2) cells, where these are known sites."""
        assert self._belief is not None  # a frame was learned before
        cell, site, steps = (np.ascontiguousarray(part, int) for part in (cell - self._low, site, steps))
        return loops.expected(self._belief, cell, site, likelihood, steps)

    def _grown(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """What is believed of the sites, with room for the cells from `low` to `high`."""
        self._base = np.where(self._own, self._prior[None], 0).astype(np.float32)  # (G, S)
        if self._belief is None:
            self._low = low - MARGIN
            self._belief = np.tile(self._base, (*(high - low + 1 + 2 * MARGIN), 1, 1))
            return self._belief
        before = np.maximum(self._low - low, 0)
        after = np.maximum(high - self._low - np.array(self._belief.shape[:2]) + 1, 0)
        before, after = (np.where(n > 0, n + MARGIN, 0) for n in (before, after))
        if before.any() or after.any():
            larger = np.tile(self._base, (*(np.array(self._belief.shape[:2]) + before + after), 1, 1))
            (a, b), (c, d) = before, self._belief.shape[:2]
            larger[a : a + c, b : b + d] = self._belief
            self._belief, self._low = larger, self._low - before
        return self._belief
