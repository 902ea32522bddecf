"""Which detections of a table are one defect, with the table's own times and the frames that were looked at."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from stemdefects.analysis import seeds
from stemdefects.analysis.data import looked
from stemdefects.analysis.data.detections import Detections
from stemdefects.analysis.estimates import number
from stemdefects.analysis.motion import diffusion
from stemdefects.analysis.notes import Code, Note
from stemdefects.analysis.stage import Progress
from stemdefects.analysis.tracking import gates, linking, tracks
from stemdefects.schema import LinkingConfig

STILL = 1 / 3  # of the gate: a pause is bridged when all move less than this (rms) in it, so that the gate loses no one
ENOUGH = 10  # tracks of a kind whose motion decides whether a pause can be bridged


@dataclass
class Followed:
    """Tracks of a table: `links` as in `linking.link`, by the movie's frame numbers, within `gate`; `longest` time
    that a link spans; `seconds` (time units) in which tracks could begin and end; `notes`."""

    links: linking.Links
    gate: float
    longest: float = np.inf
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


class Follower:
    """Links detections by any gate; memory counts frames that were looked at, and no link spans a pause in which all
    may have moved beyond the gate.

    Args:
        corrected: (n, 2) drift-corrected positions of the rows.
        sites: (n,) sublattice of each row or None.
    """

    def __init__(self, found: Detections, corrected: np.ndarray, sites: np.ndarray | None, cfg: LinkingConfig):
        self.found, self.corrected, self.cfg = found, corrected, cfg
        self.sites = sites if cfg.same_site_only else None
        self.one_sublattice = sites is not None  # of each kind
        self.looked = looked.looked(found)
        self.longest = linking.longest_step(self.looked.times, cfg.memory)

    def link(self, gate: float, progress: Progress | None = None) -> linking.Links:
        """Links within `gate`; frames in events and cuts are the movie's."""
        cfg, rows = self.cfg, self.found.rows
        place = self.looked.place[rows["frame"]]
        points = linking.Points(place, self.corrected, rows["kind"], self.sites, self.looked.times)
        links = linking.link(
            points, linking.Rules(gate, cfg.memory, cfg.kind_cost, cfg.gap_cost, self.longest), progress
        )
        links.events["frame"] = self.looked.frames[links.events["frame"]]
        return linking.Links(links.track, links.events, self.looked.frames[links.cuts])

    def relinked(self, followed: Followed, joined: np.ndarray, parted: np.ndarray) -> Followed:
        """The same with a person's word: `joined` (k, 2) rows are of one defect, at `parted` (k,) a track begins."""
        frame, old = self.found.rows["frame"], followed.links
        track = linking.relinked(old.track, frame, joined, parted)
        place = self.looked.place
        events = linking.events_of(
            place[frame], self.corrected, track, followed.gate, place[old.cuts], len(self.looked.frames)
        )
        events["frame"] = self.looked.frames[events["frame"]]
        return replace(followed, links=linking.Links(track, events, old.cuts))

    def tracks(self, links: linking.Links) -> tracks.Tracks:
        """The linked detections in drift-corrected positions and true times."""
        rows = self.found.rows
        times = self.found.times[rows["frame"]] if len(rows) else np.empty(0)
        return tracks.build(links.track, rows["frame"], times, self.corrected, rows["sigma_nm"])

    def follow(self, a: float, gate: float | None = None, seed: int = 0, progress: Progress | None = None) -> Followed:
        """Links within `gate`, over pauses too where what moves is too slow to leave the gate in them.

        a: lattice constant; gate: None: as wide as the hops of the fastest kind ask for (`gates.reach`).
        """
        links = self.link(gate or gates.REACHES[0] * a, progress)
        kinds = self._kinds(self.tracks(links))
        if gate is None:
            gate = a * self._reach(kinds, a)
            links = links if gate == gates.REACHES[0] * a else self.link(gate, progress)
        if not len(links.cuts):
            return self._said(links, gate)
        bridge = linking.longest_step(self.looked.times, self.cfg.memory, STILL * gate, self._fastest(kinds, seed))
        step = np.diff(self.looked.times)
        if ((step > self.longest) & (step <= bridge)).any():
            self.longest = bridge
            links = self.link(gate, progress)
        return self._said(links, gate)

    def _kinds(self, some: tracks.Tracks) -> dict[str, tracks.Tracks]:
        """Tracks by kind, of those kinds that have enough for their motion to be told."""
        kinds = tracks.majority(some, self.found.kinds)
        enough = [k for k in np.unique(kinds) if ((kinds == k) & (some.lengths >= 3)).sum() >= ENOUGH]
        return {str(kind): some.select(kinds == kind) for kind in enough}

    def _reach(self, kinds: dict[str, tracks.Tracks], a: float) -> float:
        area = float(np.prod(np.ptp(self.corrected, axis=0))) if len(self.corrected) else 0.0
        n, interval = len(self.looked.frames), self.looked.usual
        return max((gates.reach(some, n, interval, a, area) for some in kinds.values()), default=gates.REACHES[0])

    def _fastest(self, kinds: dict[str, tracks.Tracks], seed: int) -> float:
        """Upper end of the interval of D of the kind that may move fastest; infinity when none can be told."""
        ends = np.array(
            [
                diffusion.cve(some.select(some.lengths >= 3), 200, seeds.stream(seed, "pauses", kind)).high
                for kind, some in kinds.items()
            ]
        )
        return float(ends.max()) if len(ends) and np.isfinite(ends).all() else np.inf

    def _said(self, links: linking.Links, gate: float) -> Followed:
        step, unit = np.diff(self.looked.times), self.found.time_unit
        out = Followed(links, gate, self.longest, float(step[step <= self.longest].sum()))
        long = step > (self.cfg.memory + 2) * self.looked.usual
        if len(links.cuts):
            said = (
                f"All tracks end at {len(links.cuts)} pause(s) of more than {number(self.longest)} {unit} "
                f"(the longest {number(float(step.max()))} {unit}): defects may have moved beyond the linking gate in "
                "them. Motion and switching are measured between the pauses."
            )
            out.notes.append(Note(said, Code.TRACKS_CUT))
        if (long & (step <= self.longest)).any():
            said = (
                f"Tracks go on over pauses of up to {number(float(step[step <= self.longest].max()))} {unit}: "
                "no kind moves fast enough to leave the linking gate in them."
            )
            out.notes.append(Note(said, Code.PAUSES_BRIDGED))
        return out
