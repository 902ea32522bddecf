"""HyperSpy: markers on a signal, and signals as movies."""

from typing import Any

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.movie import Movie
from stemdefects.io.readers.conventions.units import is_time, to_nm, to_s
from stemdefects.needed import needed

COLOURS = ("#E69F00", "#56B4E9", "#F0E442", "#D55E00", "#CC79A7", "#009E73", "#0072B2", "#FFFFFF")
SIZE = 12  # points on the screen


def to_markers(table: Any, signal: Any = None) -> list[Any]:
    """One `hs.plot.markers.Points` per kind, for `signal.add_marker(markers)`. signal: whose axes they are drawn in;
    None: axes in px. Each frame of a movie has its own."""
    plot = needed("hyperspy.api", "to_hyperspy_markers()").plot
    scale, offset = np.ones(2), np.zeros(2)
    if signal is not None:
        axes = signal.axes_manager.signal_axes  # x, y
        scale, offset = np.array([a.scale for a in axes]), np.array([a.offset for a in axes])
    rows, out = table.rows, []
    movie = table.n_frames > 1
    for number, kind in enumerate(np.unique(rows["kind"])):
        mine = rows[rows["kind"] == kind]
        at = np.column_stack([mine["x_px"], mine["y_px"]]) * scale + offset
        offsets: Any = at
        if movie:
            offsets = np.empty(table.n_frames, object)
            for frame in range(table.n_frames):
                offsets[frame] = at[mine["frame"] == frame]
        out.append(
            plot.markers.Points(
                offsets=offsets,
                sizes=SIZE,
                facecolors="none",
                edgecolors=COLOURS[number % len(COLOURS)],
                linewidths=1.5,
            )
        )
    return out


def is_signal(thing: Any) -> bool:
    """A HyperSpy signal, by what it has."""
    return hasattr(thing, "axes_manager") and hasattr(thing, "data")


def from_signal(signal: Any) -> Movie:
    """The movie of a HyperSpy signal: its signal axes are y and x, its navigation axis time or frames; scales by their
    units. Raises UserError for other shapes."""
    axes = signal.axes_manager
    if axes.signal_dimension != 2 or axes.navigation_dimension > 1:
        raise UserError(
            f"signal {signal.metadata.General.title or ''!r}: has {axes.navigation_dimension} navigation and "
            f"{axes.signal_dimension} signal axes; an image or a stack of images is needed (signal.transpose(2))"
        )
    x, y = axes.signal_axes
    size = (to_nm(y.scale, y.units), to_nm(x.scale, x.units))
    step = None
    if axes.navigation_dimension and is_time(axes.navigation_axes[0].units):
        step = to_s(axes.navigation_axes[0].scale, axes.navigation_axes[0].units)
    known = None if None in size else (float(size[0] or 0), float(size[1] or 0))
    return Movie(signal.data, known, step, source=signal.metadata.General.title or "HyperSpy signal")
