"""The crystal of a table whose network learned from its movie, against crystals whose atoms are counted."""

import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import material as crystal
from stemdefects.crystal.material import measured

# (a1, a2, angle between them, unit cells per nm^2 worked out by hand): graphene, a square and an oblique lattice
LATTICES = [(0.246, 0.246, 60.0, 19.08), (0.39, 0.39, 90.0, 6.575), (0.33, 0.62, 92.0, 4.891)]


@pytest.mark.parametrize("a1, a2, between, per_nm2", LATTICES)
@pytest.mark.parametrize("px_nm", [0.011, 0.034])
def test_a_tables_crystal_has_the_lattice_of_its_frames_and_the_kinds_of_its_network(a1, a2, between, per_nm2, px_nm):
    usual = config.load_group("material", "ws2_mo")
    turn = np.deg2rad([17.0, 17.0 + between])
    vectors_px = np.array([[a1], [a2]]) * np.stack([np.sin(turn), np.cos(turn)], 1) / px_nm  # rows (y, x)
    attrs = {"material": "measured", "kinds": ["bright"], "pixel_size_nm": px_nm, "reference_px": vectors_px.tolist()}
    found = crystal.from_config(measured.of_table(attrs, usual))
    assert found.kind_names == ["bright"] and found.name == "measured"
    assert found.a_nm == pytest.approx(min(a1, a2))
    # sites counted in a disc of 40 nm, not a formula of the cell
    n = np.arange(-400, 401)
    sites = (n[:, None, None] * found.lattice_nm[0] + n[None, :, None] * found.lattice_nm[1]).reshape(-1, 2)
    assert (np.hypot(*sites.T) < 40).sum() / (np.pi * 40**2) == pytest.approx(per_nm2, rel=0.01)
    assert np.degrees(np.arctan2(*found.lattice_nm[0])) == pytest.approx(17.0)


def test_order_of_kinds_is_that_of_the_table_and_a_table_without_lattice_keeps_its_kinds():
    usual = config.load_group("material", "graphene_si")
    attrs = {"material": "measured", "kinds": ["bright", "dark"], "pixel_size_nm": 0.02, "reference_px": None}
    found = crystal.from_config(measured.of_table(attrs, usual))
    assert found.kind_names == ["bright", "dark"] and found.a_nm == pytest.approx(0.246, rel=0.01)


@pytest.mark.parametrize("attrs", [{}, {"material": "ws2_mo"}, {"material": "measured", "kinds": ["V_S", "Mo_W"]}])
def test_other_tables_have_the_crystal_that_is_given(attrs):
    usual = config.load_group("material", "ws2_mo")
    assert measured.of_table({"pixel_size_nm": 0.02, "reference_px": [[0, 9], [9, 0]], **attrs}, usual) is usual
