"""Lattice tables against brute force, and materials from config."""

import copy

import numpy as np
import pytest

from stemdefects import config
from stemdefects.crystal import lattice, material
from stemdefects.errors import UserError

NAMES = config.group_names("material")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mirrored", [False, True])
def test_neighbours_are_those_that_brute_force_finds(name, mirrored):
    stuff = material.load(name)
    disc = lattice.disc(stuff, 2.0, mirrored)
    distance = np.linalg.norm(disc.position_nm[:, None] - disc.position_nm[None], axis=2)
    same = disc.site[:, None] == disc.site[None]
    np.fill_diagonal(distance, np.inf)
    inner = np.linalg.norm(disc.position_nm, axis=1) < 1.0
    bond, hop = distance[inner][:, :][~same[inner]].min(), distance[same].min()
    assert hop == pytest.approx(stuff.a_nm)
    assert bond == pytest.approx(stuff.a_nm / np.sqrt(3))
    for slot in np.flatnonzero(inner):
        assert set(disc.bonds[slot]) == set(np.flatnonzero((distance[slot] < 1.01 * bond) & ~same[slot]))
        assert set(disc.hops[slot]) == set(np.flatnonzero((distance[slot] < 1.01 * hop) & same[slot]))
        for table, count in ((disc.bonds, 3), (disc.hops, 6)):
            vectors = disc.position_nm[table[slot]] - disc.position_nm[slot]
            angles = np.mod(np.arctan2(vectors[:, 0], vectors[:, 1]) + 1e-6, 2 * np.pi)
            assert len(angles) == count
            assert (np.diff(angles) > 0).all()  # by increasing angle


def test_edges_have_no_neighbours_outside_and_bonds_are_seen_from_both_ends():
    disc = lattice.disc(material.load("ws2_mo"), 1.5)
    back = lattice.reverse_bonds(disc)
    assert (disc.bonds < 0).any()
    for n, k in np.argwhere(disc.bonds >= 0):
        assert disc.bonds[disc.bonds[n, k], back[n, k]] == n
        assert lattice.orientation(disc, n, disc.bonds[n, k]) == k
    assert lattice.orientation(disc, 0, 0) == -1


def test_a_rectangle_holds_every_cell_of_the_turned_field():
    stuff = material.load("ws2_mo")
    angle = 0.4
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    cells = lattice.rectangle(stuff, turn, np.array([-2.0, -1.0]), np.array([2.0, 3.0]), (0.1, -0.05))
    place = (cells @ stuff.lattice_nm + [0.1, -0.05]) @ turn.T
    assert (place >= [-2.0, -1.0]).all() and (place <= [2.0, 3.0]).all()
    assert len(cells) == pytest.approx(16.0 / stuff.cell_area_nm2, rel=0.05)


def test_nearest_column_of_a_position():
    disc = lattice.disc(material.load("ws2_mo"), 2.0)
    found = lattice.nearest(disc, disc.position_nm[[5, 9]] + 0.02, 0.1)
    assert found.tolist() == [5, 9]
    assert lattice.nearest(disc, np.array([[50.0, 50.0]]), 0.1).tolist() == [-1]


@pytest.mark.parametrize("name", NAMES)
def test_materials_are_whole(name):
    stuff = material.load(name)
    kinds = stuff.kind_of_state
    assert (kinds[stuff.ideal_states] == -1).all()
    assert sorted(kinds[kinds >= 0]) == list(range(len(stuff.kinds)))
    for voltage in (60.0, 72.0, 100.0):
        signal = stuff.intensities(voltage)
        assert (signal >= 0).all() and signal.max() > 0
        vacant = [i for i, s in enumerate(stuff.states) if not s.atoms]
        assert (signal[vacant] == 0).all()
    assert stuff.cross_section_nm2(60.0) >= stuff.cross_section_nm2(100.0) > 0


def test_ws2_has_the_published_lattice_and_signals():
    stuff = material.load("ws2_mo")
    assert stuff.a_nm == pytest.approx(0.3154, abs=3e-4)
    signal = dict(zip(stuff.state_names, stuff.intensities(80.0), strict=True))
    assert 0.40 < signal["Mo"] / signal["W"] < 0.46
    assert 0.15 < signal["S2"] / signal["W"] < 0.19
    assert signal["S"] == pytest.approx(0.5 * signal["S2"])


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda c: setattr(c, "a_nm", -1.0), "material.a_nm"),
        (lambda c: setattr(c.states["S"], "site", "oxygen"), "material.states.S.site"),
        (lambda c: c.states["S"].atoms.update({"Xx": 1}), "material.states.S.atoms"),
        (lambda c: setattr(c.sites["metal"], "ideal", "S2"), "material.sites.metal.ideal"),
        (lambda c: setattr(c.kinds["V_S"], "state", "nothing"), "material.kinds.V_S.state"),
        (lambda c: setattr(c.kinds["V_S"], "state", "S2"), "material.kinds.V_S"),
        (lambda c: setattr(c.kinds["V_S"], "density", [0.5, 2.0]), "material.kinds.V_S.density"),
        (lambda c: c.kinds.pop("V_S"), "material.kinds"),
        (lambda c: setattr(c.species["W"], "intensity", [1.0]), "material.species.W.intensity"),
        (lambda c: setattr(c.complexes["Mo_W+V_S"], "neighbours", ["W"]), "material.complexes.Mo_W"),
        (lambda c: setattr(c, "lattice_vectors_a", [[0.0, 1.0], [0.0, 2.0]]), "material.lattice_vectors_a"),
        (lambda c: setattr(c, "voltages_kv", [60.0, 60.0, 100.0]), "material.voltages_kv"),
    ],
)
def test_impossible_materials_are_refused_by_name(change, key):
    cfg = copy.deepcopy(config.load_group("material", "ws2_mo"))
    change(cfg)
    with pytest.raises(UserError, match=key.replace("+", r"\+")):
        material.from_config(cfg)


def test_unknown_names_list_what_exists():
    with pytest.raises(UserError, match="V_S2"):
        material.load("ws2_mo").kind_index("V_S3")
    with pytest.raises(UserError, match="ws2_mo"):
        material.load("ws3")


def test_reduction_ends_at_the_shortest_pair_whatever_the_rounding():
    from stemdefects.crystal.lattice import reduce

    rng = np.random.default_rng(0)
    turns = rng.uniform(0, 2 * np.pi, 500)
    for k, turn in enumerate(turns):
        a = np.array([np.sin(turn), np.cos(turn)])
        b = np.array([np.sin(turn + np.pi / 3), np.cos(turn + np.pi / 3)]) * (1 + (k % 5 - 2) * 1e-16)
        i = int(rng.integers(-9, 10))
        short = reduce(np.array([a, b + i * a]) * 10.0 ** (k % 7 - 3)) / 10.0 ** (k % 7 - 3)
        assert np.hypot(*short.T) == pytest.approx(1) and abs(np.linalg.det(short)) == pytest.approx(np.sqrt(3) / 2)
    for flat in ([[1, 2], [2, 4]], [[0, 0], [1, 1]], [[np.nan, 0], [0, 1]], [[1, 0], [1, 1e-12]]):
        assert reduce(np.array(flat, float)).shape == (2, 2)
