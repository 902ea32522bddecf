"""What the frames so far say, as it is shown and published: counts, D, the cross-section, and when it is known."""

from typing import Any

import numpy as np

from stemdefects.analysis.estimates import number
from stemdefects.inference.columns.site_columns import Frame
from stemdefects.io.movie import QUALITY
from stemdefects.live import estimates
from stemdefects.live.causal import LAG, CausalFilter, Seen
from stemdefects.live.estimates import Forecast, Interval
from stemdefects.live.events import Events, Tally
from stemdefects.models.probability.prevalence import state_prior
from stemdefects.report.frames import style
from stemdefects.report.style import Colours
from stemdefects.schema import LiveConfig

MOST_POINTS = 600  # of the curves on the page; beyond, every other is left out


class Account:
    """Takes the results of frame after frame (setup: `setup.Setup`, live: when what is to be known)."""

    def __init__(self, setup: Any, live: LiveConfig):
        self.setup, self.live = setup, live
        self.material = setup.model.material
        self.frame_time_s: float | None = setup.frame_time_s
        self.dose_e_per_nm2 = None
        if setup.dose.e_per_px is not None:
            self.dose_e_per_nm2 = setup.dose.e_per_px / (setup.calibration.pixel_size_nm**2 * setup.aspect)
        taught = setup.rules.specimen
        self._prior = state_prior(setup.model.config.labels, self.material) if taught is None else taught.prior
        self._filter = CausalFilter(setup, np.asarray(self._prior, float))
        self._events: Events | None = None
        self._fields = 1
        self.counts: dict[str, Interval] = {}
        self.points: list[list[Any]] = []
        self._every = 1
        self.n_frames, self.skipped = 0, 0
        self.calls: list[dict[str, Any]] = []

    @property
    def tally(self) -> Tally:
        return Tally() if self._events is None else self._events.tally

    @property
    def headline(self) -> str | None:
        """The kind whose loss and motion are counted."""
        return None if self.material.headline is None else self.material.kind_names[self.material.headline]

    def add(self, frame: Frame) -> str | None:
        """The next frame; what has to be told of it."""
        number_, self.n_frames = int(frame.row["frame"]), self.n_frames + 1
        self.calls = [
            {
                "kind": row["kind"].decode(),
                "y_px": round(float(row["y_px"]), 2),
                "x_px": round(float(row["x_px"]), 2),
                "y_nm": round(float(row["y_nm"]), 4),
                "x_nm": round(float(row["x_nm"]), 4),
                "score": round(float(row["score"]), 3),
            }
            for row in frame.rows
        ]
        if frame.row["quality"]:
            self.skipped += 1
            return f"frame {number_} is left out: {QUALITY[int(frame.row['quality'])]}"
        sites = self._filter.add(frame) if self.setup.reference_px is not None else None
        told = None
        if self._filter.fields != self._fields:
            self._fields, self._events = self._filter.fields, None
            told = f"frame {number_} shows another field than those before: counting begins anew"
        if sites is None:
            return told
        self.counts = estimates.counts(
            (one.now for one in sites.values()), self.material.kind_of_state, self.material.kind_names
        )
        self._follow(number_, sites)
        self._remember(number_)
        return told

    def _follow(self, number_: int, sites: dict[int, Seen]) -> None:
        if self.material.headline is None:
            return
        of_headline = self.material.states[self.material.kinds[self.material.headline].state].site
        if of_headline not in sites:
            return
        if self._events is None:
            self._events = Events(self.material, sites[of_headline].now.plan.states, self.setup.lattice_nm)
        if (before := sites[of_headline].before) is not None:
            self._events.add(number_ - LAG, before)

    def _remember(self, number_: int) -> None:
        if number_ % self._every:
            return
        self.points.append([number_, {kind: [round(v, 2) for v in found] for kind, found in self.counts.items()}])
        if len(self.points) > MOST_POINTS:
            self._every *= 2
            self.points = [point for point in self.points if point[0] % self._every == 0]

    def cross_section_barn(self, second: bool = False) -> Interval | None:
        """Of the loss of the first (second) atom of a site, per atom."""
        if self._events is None:
            return None
        found = estimates.cross_section_barn(self.tally, self._events.n_atoms, self.dose_e_per_nm2, second)
        return None if found is None else found.widened(self.setup.dose.relative_sigma or 0.0)

    def diffusion(self) -> Interval | None:
        """D of the headline kind, in nm2/s or, where nobody states a time, nm2 per frame."""
        return estimates.diffusion(self.tally, self.frame_time_s)

    def forecast(self) -> Forecast:
        """When the quantity that the user chose is known as well as he asks for."""
        events = self.tally.hops if self.live.quantity == "diffusion" else self.tally.first
        return estimates.forecast(events, self.tally.frames, self.live.precision)

    def line(self) -> dict[str, Any]:
        """Numbers so far, for a script."""
        found = self.forecast()
        tally = self.tally
        return {
            "counts": {kind: _rounded(one) for kind, one in self.counts.items()},
            "cross_section_barn": _rounded(self.cross_section_barn()),
            "cross_section_second_barn": _rounded(self.cross_section_barn(second=True)),
            "D_nm2_per_s" if self.frame_time_s else "D_nm2_per_frame": _rounded(self.diffusion()),
            "events": {"lost": tally.first, "lost_second": tally.second, "filled": tally.filled, "hops": tally.hops},
            "dose_e_per_nm2": None if self.dose_e_per_nm2 is None else self.dose_e_per_nm2 * self.n_frames,
            "forecast": {
                "quantity": self.live.quantity,
                "precision": found.wanted,
                "now": found.now if np.isfinite(found.now) else None,
                "frames": None if found.frames is None else [round(v) if v < np.inf else None for v in found.frames],
                "dose_e_per_nm2": None
                if found.frames is None or self.dose_e_per_nm2 is None
                else found.frames.value * self.dose_e_per_nm2,
            },
            "sentence": self.sentence(),
        }

    def sentence(self) -> str:
        """The forecast in words."""
        kind, found = self.headline or "defects", self.forecast()
        what = f"D of {kind}" if self.live.quantity == "diffusion" else f"{kind} cross-section"
        if self.live.quantity == "cross_section" and self.dose_e_per_nm2 is None:
            what = f"{kind} rate of loss per frame"
        aim = f"{found.wanted:.0%}"
        if found.frames is None:
            return f"{what}: nothing seen yet, so nobody can say when it will be known to {aim}"
        if found.frames.value <= 0:
            return f"{what} known to {aim}: it is known to {found.now:.0%}"
        low, high = found.frames.low, found.frames.high
        dose = "" if self.dose_e_per_nm2 is None else f", {number(found.frames.value * self.dose_e_per_nm2)} e/nm^2"
        span = f"{low:.0f} to {high:.0f}" if np.isfinite(high) else f"at least {low:.0f}"
        return f"{what} known to {aim}: in {found.frames.value:.0f} more frames ({span}{dose}); now {found.now:.0%}"

    def cards(self) -> list[list[str]]:
        """[title, value, what is said below it] for the page."""
        kind, tally = self.headline or "", self.tally
        unit = "nm^2/s" if self.frame_time_s else "nm^2 per frame"
        dose = "no dose is stated: inference.dose_e_per_px, or current_pA and dwell_us"
        cards = [[f"{name} in the field", _text(one), "by all frames so far"] for name, one in self.counts.items()]
        for second, word, n in ((False, "first atom", tally.first), (True, "second atom", tally.second)):
            found = self.cross_section_barn(second)
            said = f"{n} lost" if self.dose_e_per_nm2 else dose
            cards.append([f"Cross-section of loss, {word}", _text(found, "barn"), said])
        cards.append([f"D of {kind}", _text(self.diffusion(), unit), f"{tally.hops} hops; quick ones are missed"])
        if self.dose_e_per_nm2 is not None:
            total = self.dose_e_per_nm2 * self.n_frames
            cards.append(["Dose so far", f"{number(total)} e/nm^2", f"{number(self.dose_e_per_nm2)} in a frame"])
        return cards

    def looks(self) -> dict[str, tuple[str, str]]:
        """Colour and shape of each kind, as in all pictures of frames."""
        return style(self.material.kind_names)

    def curves(self) -> dict[str, str]:
        """Colour of each kind as in the figures of a report."""
        return dict(Colours(self.material.kind_names))


def _rounded(found: Interval | None) -> list[float | None] | None:
    return None if found is None else [float(f"{v:.5g}") if np.isfinite(v) else None for v in found]


def _text(found: Interval | None, unit: str = "") -> str:
    """A value with its interval, or the limit below which it lies."""
    if found is None:
        return "not known yet"
    if found.value == 0:
        return f"below {number(found.high)} {unit}".strip()
    if not np.isfinite(found.high):
        return f"at least {number(found.low)} {unit}".strip()
    return f"{number(found.value)} [{number(found.low)}, {number(found.high)}] {unit}".strip()
