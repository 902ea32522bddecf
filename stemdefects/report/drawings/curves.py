"""Curves that are read by points, as data of the page: `assets/curves.js` draws them over their pictures.

The library is uPlot (MIT), 50 kB inlined: it draws series with bands, reads them at the cursor and zooms, and nothing
else; larger ones would double the page.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from stemdefects.report.drawings.motion import msd_band
from stemdefects.report.drawings.population import running
from stemdefects.report.style import COLOURS

DIGITS = 5  # of a number on the page: finer than a screen


class Line(NamedTuple):
    """One series of a curve. y: (n,) values; low, high: (n,) ends of its band or None; points: drawn without a line."""

    name: str
    colour: str
    y: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None
    points: bool = False


class Curve(NamedTuple):
    """Series over one axis. x: (n,), increasing."""

    x: np.ndarray
    x_label: str
    y_label: str
    lines: list[Line]

    def to_plain(self) -> dict[str, Any]:
        """For JSON: rounded, with None for what is not finite."""
        series = [
            {"name": one.name, "colour": one.colour, "points": one.points, "y": _rounded(one.y)}
            | ({} if one.low is None or one.high is None else {"low": _rounded(one.low), "high": _rounded(one.high)})
            for one in self.lines
        ]
        return {"x": _rounded(self.x), "x_label": self.x_label, "y_label": self.y_label, "series": series}


def _rounded(values: np.ndarray) -> list[float | None]:
    return [float(f"{v:.{DIGITS}g}") if np.isfinite(v) else None for v in np.asarray(values, float)]


def counts(data: Any, colours: Mapping[str, str]) -> Curve | None:
    """Defects per frame: what each frame has, and the running mean with its scatter."""
    c = data["counts"]
    good = ~c.skipped
    if not len(c.kinds) or good.sum() < 2:
        return None
    lines = []
    for kind, values in zip(c.kinds, c.counts.T, strict=True):
        mean, half = running(values[good])
        lines.append(Line(f"{kind}, running mean", colours[kind], mean, np.maximum(mean - half, 0), mean + half))
        lines.append(Line(kind, colours[kind], values[good], points=True))
    return Curve(c.times[good], f"time ({data['time_unit']})", "defects per frame", lines)


def posterior_counts(data: Any, colours: Mapping[str, str]) -> Curve | None:
    """Vacancies per frame by the lattice model, median and 95% band."""
    bands = data["bands"].items()
    lines = [Line(kind, colours[kind], median, low, high) for kind, (low, median, high) in bands]
    return Curve(data["times_s"], "time (s)", "per frame", lines) if len(data["times_s"]) > 1 else None


def drift(data: Any, colours: Mapping[str, str]) -> Curve | None:
    """Drift along y and x against time, with 95% bands."""
    yx, half = data["yx"], 1.96 * np.nan_to_num(data["sigma"])
    if len(data["times"]) < 2:
        return None
    lines = [Line(name, COLOURS[k], yx[:, k], yx[:, k] - half, yx[:, k] + half) for k, name in enumerate("yx")]
    return Curve(data["times"], f"time ({data['time_unit']})", f"drift ({data['unit']})", lines)


def msd(data: Any, colours: Mapping[str, str]) -> Curve | None:
    """Mean squared displacement against lag with its 95% band, and the line of the covariance estimate."""
    found = data["methods"].get("msd")
    if found is None or "curve" not in found.extra:
        return None
    times, curve, low, high = msd_band(found.extra)
    cve = data["methods"]["cve"]
    lines = [Line(data["kind"], COLOURS[0], curve, low, high)]
    if np.isfinite(cve.D):
        lines.append(Line("covariance estimate", COLOURS[1], 4 * cve.D * times + 4 * cve.sigma**2))
    return Curve(times, f"lag ({data['units']['time']})", f"MSD ({data['units']['length']}²)", lines)


# by the name in `StageResult.figures`, as `registry`
CURVES: dict[str, Callable[[Any, Mapping[str, str]], Curve | None]] = {
    "counts": counts,
    "kinetics_counts": posterior_counts,
    "drift": drift,
    "msd": msd,
}


def of(figures: Mapping[str, Any], colours: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The curves of an analysis' figures as plain data, by figure name."""
    made = {name: CURVES[name](data, colours) for name, data in figures.items() if name in CURVES}
    return {name: curve.to_plain() for name, curve in made.items() if curve is not None}
