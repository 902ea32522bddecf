"""Grains in the analysis: densities inside and along the line where they meet."""

from types import SimpleNamespace

import numpy as np
import pytest

from stemdefects.analysis.crystallography import grains_stage
from stemdefects.io.tables import table


def inputs(n_grains, turns=(27.8,)):
    frames = table.empty_frames(6)
    frames["n_grains"], frames["boundary_nm"], frames["fraction_lattice"] = n_grains, 8.0, 0.5
    frames["n_at_boundary"], frames["n_defects"] = 4, 24
    found = SimpleNamespace(attrs={"grains_turn_deg": list(turns)}, frames=table.dataframe(frames))
    return SimpleNamespace(found=found, field_nm2=100.0)


def test_defects_inside_and_along_the_boundary():
    result = grains_stage.run(inputs([2, 2, 2, 2, 2, 1]), None, 0)
    values = {e.quantity: (e.value, e.unit, e.n) for e in result.estimates}
    assert values["misorientation of grains"] == (27.8, "degrees", 5)
    assert values["length of the grain boundary"] == (8.0, "nm", 5)
    assert values["defects along the grain boundary"] == (pytest.approx(0.5), "1/nm", 5)
    assert values["defects inside the grains"] == (pytest.approx(20 / 50), "1/nm^2", 5)


def test_one_grain_has_nothing_to_say():
    assert grains_stage.run(inputs(np.ones(6)), None, 0).section is None
    assert grains_stage.run(inputs([2] * 6, ()), None, 0).section is None
