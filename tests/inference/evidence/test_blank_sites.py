"""Places that are called though the network shows no column there become sites with a reading of their light."""

import numpy as np
import pytest

from stemdefects.crystal import material as crystal
from stemdefects.inference.columns.site_columns import Frame, column_dtype
from stemdefects.inference.evidence import blank_sites, readings
from stemdefects.io.tables import table_columns


def frame(material, blank_cell=(3, 4)):
    """A frame of all sites of a lattice but one, which is called a double vacancy with .1 of the light; another call,
    on a column, is a single one."""
    lattice = np.array([[0.0, 10.5], [9.1, 5.25], [20.0, 15.0]])
    cells = np.stack(np.meshgrid(range(8), range(8), indexing="ij"), -1).reshape(-1, 2)
    kinds = {k.name: material.states[k.state].site for k in material.kinds}
    g = kinds["V_S2"]
    place = (cells + material.basis[g]) @ lattice[:2] + lattice[2]
    shown = (cells != blank_cell).any(1)
    columns = np.zeros(shown.sum(), column_dtype(material.n_states))
    columns["cell"], columns["site"] = cells[shown], g
    columns["y_px"], columns["x_px"] = place[shown].T
    rows = np.zeros(2, table_columns.DEFECT_DTYPE)
    at = [np.flatnonzero((cells == c).all(1))[0] for c in (blank_cell, (1, 1))]
    rows["y_px"], rows["x_px"] = (place[at] + [[0.4, -0.3], [0, 0]]).T
    rows["kind"], rows["light"] = [b"V_S2", b"V_S"], [0.1, 0.5]
    frame = np.zeros(1, table_columns.FRAME_DTYPE)[0]
    return Frame(columns, lattice, frame, np.zeros(0), np.zeros((1, 1)), rows, rows[:0]), g


def test_a_called_place_without_a_column_is_a_site_with_its_light():
    material = crystal.load("ws2_mo")
    shown, g = frame(material)
    found = blank_sites.of_frame(shown, material, 1.0)
    assert found.keys.tolist() == [[3, 4, g]] and found.light.tolist() == pytest.approx([0.1])
    np.testing.assert_allclose(found.place[0], [shown.rows["y_px"][0], shown.rows["x_px"][0]], atol=1e-3)
    nowhere = shown._replace(lattice=np.full((3, 2), np.nan))
    assert len(blank_sites.of_frame(nowhere, material, 1.0).keys) == 0
    assert len(blank_sites.of_frame(shown._replace(rows=shown.rows[1:]), material, 1.0).keys) == 0


def test_light_alone_is_read_between_the_levels():
    material = crystal.load("ws2_mo")
    prior = np.full(material.n_states, 0.05)
    g = next(material.states[k.state].site for k in material.kinds if k.name == "V_S2")
    plan = readings.plan(g, material, prior)
    read = readings.Reading(plan, np.array([1.0, 1.0, 1.0]), np.arange(len(plan.states)) * 4.0, 5.0)
    np.testing.assert_allclose(read.light_line(1 - plan.deficit), read.level, atol=1e-5)
    assert np.isnan(read.light_line(np.array([np.nan]))).all()
    assert read.light_line(np.array([-0.5]))[0] == pytest.approx(read.level[-1])  # darker than empty is empty
