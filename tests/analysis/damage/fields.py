"""Small fields of a sublattice and histories written down by hand."""

import numpy as np

from stemdefects.analysis.kinetics import Code, Evidence, Kinetics
from stemdefects.analysis.kinetics.lattice import Sites, sites

WAYS = [(0, 1), (1, 0), (1, -1), (0, -1), (-1, 0), (-1, 1)]


def field(side: int) -> Sites:
    """A rhombus of `side` by `side` sites without centres."""
    cells = [(i, j) for i in range(side) for j in range(side)]
    number = {cell: k for k, cell in enumerate(cells)}
    near = np.array([[number.get((i + u, j + v), -1) for u, v in WAYS] for i, j in cells])
    yx = 0.3 * (np.array(cells) @ np.array([[np.sqrt(0.75), 0.5], [0, 1.0]]))
    line = np.zeros((3, len(cells)))
    return sites(
        Evidence(
            yx,
            near,
            np.full((len(cells), 3), -1),
            np.zeros(1),
            line,
            np.float64(1.0),
            np.array([-3.0, -6.0]),
            0.8,
            1.15,
            np.arange(3.0),
            np.ones(line.shape, bool),
            np.zeros(len(cells), bool),
        )
    )


def write_down(place: Sites, events: list, start: list = ()) -> tuple:
    """(start, times, events) of a history; events are (time, from, to, layer)."""
    layers = np.zeros(len(place.kind), np.int8)
    layers[list(start)] = 1
    times = np.array([e[0] for e in events], float)
    return layers, times, np.array([e[1:] for e in events], np.int32).reshape(-1, 3)


def answer_of(place: Sites, held: list, span: float = 40.0) -> Kinetics:
    """A result of the lattice model with these histories and no draws of anything but their events."""
    none, shape = np.zeros((1, 10, 15)), (41, len(place.kind), 2)
    times = np.linspace(0, span, shape[0])
    light, share, counts = np.zeros((1, 10, 4)), np.zeros((1, 10)), np.zeros((1, 10, 41, 3))
    return Kinetics(
        Code.OK,
        none,
        none,
        none + 1.0,
        light,
        share,
        counts,
        np.zeros(shape),
        np.zeros((8, 8, 3)),
        np.zeros((8, 8)),
        held,
        [],
        {},
        0.0,
        place,
        times,
        [],
        6,
    )
