"""From a table's evidence to the arrays of the lattice model."""

import numpy as np
import pytest

from stemdefects.analysis.kinetics.evidence import Evidence
from stemdefects.analysis.kinetics.reading import Missing, read
from stemdefects.crystal.material import MEASURED
from stemdefects.io.tables import evidence as stored
from stemdefects.io.tables.table import DefectTable, empty, empty_frames

RING = [[0, 1], [1, 0], [1, -1], [0, -1], [-1, 0], [-1, 1]]
SIDE, FRAMES = 5, 6


def made(**changes):
    """A table of SIDE x SIDE cells with a site `a` (dopants `D`) and a site `b` (vacancies `V`, `V2`) each."""
    cells = np.array([(i, j) for i in range(SIDE) for j in range(SIDE)])
    sites = np.zeros(2 * len(cells), stored.SITE_DTYPE)
    sites["sublattice"] = np.repeat([0, 1], len(cells))
    sites["cell_1"], sites["cell_2"] = np.tile(cells, (2, 1)).T
    sites["y_nm"], sites["x_nm"] = 0.3 * np.tile(cells, (2, 1)).T
    rng = np.random.default_rng(0)
    values = rng.normal(size=(FRAMES, len(sites), 4)).astype(np.float16)
    values[:, : len(cells), 2] = 0
    values[:, 7, 2] = 0.9  # a dopant at cell (1, 2)
    flags = np.zeros((FRAMES, len(sites)), np.uint8)
    state = {"state": "", "signal": 0.5, "expected_level": 2.0, "site_frames": 9.0}
    description = {
        "headline": "V",
        "centre": ["D"],
        "frames_together": 1,
        "sublattices": [
            {
                "name": "a",
                "features": ["line", "light", "D"],
                "states": [],
                "ring": RING,
                "bonds": [[0, 0, 1], [-1, 0, 1], [0, -1, 1]],
            },
            {
                "name": "b",
                "features": ["line", "light", "V", "V2"],
                "ring": RING,
                "scale_range": [0.8, 1.25],
                "bonds": [[0, 0, 0], [1, 0, 0], [0, 1, 0]],
                "states": [state | {"kind": "V", "level": 2.1}, state | {"kind": "V2", "level": 4.0}],
            },
        ],
    }
    scatter = np.full((FRAMES, 2), 0.9, np.float32)
    found = stored.Evidence(sites, description | changes, values, flags, scatter)
    frames = empty_frames(FRAMES)
    frames["time_s"] = 2.0 * np.arange(FRAMES)
    return DefectTable(empty(0), frames, attrs={}, evidence=found)


def test_sites_know_their_neighbours_and_the_centres_beside_them():
    found = read(made())
    assert isinstance(found, Evidence)
    assert found.line.shape == (FRAMES, SIDE**2) and found.line.dtype == np.float32
    middle = 2 * SIDE + 2
    assert sorted(found.neighbours[middle]) == sorted((2 + i) * SIDE + 2 + j for i, j in RING)
    assert not found.edge[middle] and found.edge[0] and (found.neighbours[0] >= 0).sum() == 2
    assert found.bonds[middle].tolist() == [middle, middle + SIDE, middle + 1]
    assert found.bonds[-1].tolist() == [SIDE**2 - 1, -1, -1]
    assert np.flatnonzero(found.centre > 0.5).tolist() == [7]
    assert found.level.tolist() == [2.1, 4.0] and (found.scale_low, found.scale_high) == (0.8, 1.25)
    assert found.times_s.tolist() == [0, 2, 4, 6, 8, 10] and found.scatter == pytest.approx(0.9)


def test_nothing_is_said_where_nothing_may_be_inferred():
    made_table = made()
    first = SIDE**2
    evidence = made_table.evidence
    evidence.flags[:, first] = stored.EDGE  # never: left out
    evidence.flags[2, first + 6] = stored.HOLE
    evidence.flags[3, first + 6] = stored.PARTIAL
    evidence.values[4, first + 6] = np.nan
    evidence.flags[5], evidence.scatter[5] = stored.NO_FRAME, np.nan
    found = read(made_table)
    assert found.line.shape[1] == SIDE**2 - 1
    site = 5
    assert found.yx_nm[site] == pytest.approx([0.3, 0.3])
    assert np.isnan(found.line[2:, site]).all() and np.isfinite(found.line[:2, site]).all()
    assert found.allowed[:, site].tolist() == [True, True, False, True, True, False]
    assert not found.allowed[5].any() and found.scatter[5] == pytest.approx(0.9)
    assert found.neighbours[site].min() >= 0 and found.neighbours[0].min() == -1 and found.edge[0]


def test_frames_that_were_looked_at_together_say_less_each():
    assert read(made(frames_together=9)).scatter == pytest.approx(2.7)


def test_why_there_is_no_input_is_a_code():
    def code(table, **change):
        for name, value in change.items():
            setattr(table, name, value)
        return read(table)

    assert code(made(), evidence=None) is Missing.NO_EVIDENCE
    learned = made()
    assert code(learned, evidence=None, attrs=learned.attrs | {"material": MEASURED}) is Missing.LEARNED
    assert read(made(headline=None)) is Missing.NO_HEADLINE
    assert read(made(headline="D")) is Missing.NOT_READ
    timeless = made()
    timeless.frames["time_s"] = np.nan
    assert read(timeless) is Missing.NO_TIME
    timeless.attrs["frame_time_s"] = 3.0
    assert read(timeless).times_s[-1] == 15
    dark = made()
    dark.evidence.flags[1:] = stored.NO_FRAME
    assert read(dark) is Missing.FEW_FRAMES
    small = made()
    small.evidence.flags[:, SIDE**2 + 3 :] = stored.EDGE
    assert read(small) is Missing.FEW_SITES
    assert "\n" not in str(Missing.NO_EVIDENCE) and len({str(m) for m in Missing}) == len(Missing)
