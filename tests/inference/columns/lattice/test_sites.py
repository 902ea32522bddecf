import numpy as np
import pytest

from stemdefects.crystal import lattice as geometry
from stemdefects.crystal import material as materials
from stemdefects.crystal.bragg import rotation
from stemdefects.crystal.complexes import bond_table, complexes
from stemdefects.inference.columns.defects import Rules, find_defects
from stemdefects.inference.columns.lattice import column_lattice, sites
from stemdefects.inference.columns.lattice.sites import NOWHERE, view
from stemdefects.inference.network.engine import Columns, FrameOutput

PIXEL_NM = 0.03


@pytest.fixture(scope="module")
def ws2():
    return materials.load("ws2_mo")


@pytest.fixture(scope="module")
def crystal(ws2):
    return geometry.disc(ws2, 4.0)


def place(crystal, angle_deg, jitter_px=0.0, seed=0, distort_px=0.0):
    """Column positions (n, 2) in px: turned, optionally scattered and smoothly distorted as by a drifting scan."""
    rng = np.random.default_rng(seed)
    position = crystal.position_nm @ rotation(np.radians(angle_deg)) / PIXEL_NM + 150
    position = position + rng.normal(0, jitter_px, position.shape)
    return position + distort_px * np.stack([np.sin(position[:, 1] / 60), np.cos(position[:, 0] / 80)], 1)


def see(ws2, crystal, position, keep=None, angle_deg=0.0, guess_deg=0.0):
    keep = np.ones(len(position), bool) if keep is None else keep
    basis = np.array([s.position for s in ws2.sites])
    vectors = ws2.lattice_nm @ rotation(np.radians(angle_deg + guess_deg)) / PIXEL_NM
    weight = np.ones(keep.sum())
    return view(position[keep], crystal.site[keep], weight, vectors, basis, ws2.lattice_nm)


@pytest.mark.parametrize("angle", [0, 17, 45, -50, 100])
def test_cells_agree_with_the_crystal(ws2, crystal, angle):
    found = see(ws2, crystal, place(crystal, angle, 0.5, distort_px=6.0), angle_deg=angle)
    assert found.on_lattice.all() and not found.duplicate.any() and not len(found.missed)
    # the origin and the choice among three equivalent directions are free: the numbering must be one affine map
    design = np.concatenate([crystal.cell, np.ones((len(crystal.cell), 1))], 1)
    solved, *_ = np.linalg.lstsq(design, found.cell, rcond=None)
    whole = np.rint(solved)
    for site in (0, 1):
        mine = crystal.site == site
        offset = found.cell[mine] - crystal.cell[mine] @ whole[:2]
        assert (offset == offset[0]).all(), "one numbering for all columns of a sublattice"
    assert abs(np.linalg.det(whole[:2])) == pytest.approx(1)
    np.testing.assert_allclose(np.linalg.norm(found.vectors_px, axis=1), ws2.a_nm / PIXEL_NM, rtol=0.08)


@pytest.mark.parametrize("angle", [0, 17, -50])
def test_a_guess_turned_by_sixty_degrees_is_set_right(ws2, crystal, angle):
    """Bragg peaks cannot tell the two sublattices apart; the columns can."""
    position = place(crystal, angle, 0.3)
    for guess in (0, 60, 180):
        found = see(ws2, crystal, position, angle_deg=angle, guess_deg=guess)
        assert found.on_lattice.all() and found.residual_px < 1
        turned = np.degrees(np.arctan2(found.vectors_px[0, 0], found.vectors_px[0, 1]))
        assert (turned - angle) % 120 == pytest.approx(0, abs=0.5) or (turned - angle) % 120 == pytest.approx(
            120, abs=0.5
        )


def test_one_lattice_for_the_frame_numbers_cells_as_steps_between_neighbours_do(ws2, crystal):
    basis = np.array([s.position for s in ws2.sites])
    vectors = ws2.lattice_nm @ rotation(0.3) / PIXEL_NM
    position = place(crystal, np.degrees(0.3), 0.4)
    guess = vectors * 1.004  # a third of a cell off at the border
    rounded = sites._rounded(position, crystal.site, basis, guess)
    walked = sites._walk(position - basis[crystal.site] @ guess, guess)
    np.testing.assert_array_equal(rounded - rounded[0], walked - walked[0])
    assert sites._rounded(position, crystal.site, basis, vectors * 1.05) is None  # never wrong numbers
    bent = place(crystal, np.degrees(0.3), 0.4, distort_px=6.0)
    assert sites._rounded(bent, crystal.site, basis, vectors) is None


def test_missed_columns_are_found_and_edges_are_not(ws2, crystal):
    position = place(crystal, 12, 0.4)
    inner = np.flatnonzero(np.linalg.norm(crystal.position_nm, axis=1) < 2.5)
    gone = np.random.default_rng(1).choice(inner, 6, replace=False)
    distance = np.linalg.norm(crystal.position_nm[gone][:, None] - crystal.position_nm[gone][None], axis=2)
    assert (distance + np.eye(6) > 0.5).all(), "the test wants lone gaps"
    keep = np.ones(len(position), bool)
    keep[gone] = False
    found = see(ws2, crystal, position, keep, 12)
    assert len(found.missed) == 6 and found.n_sites == len(position)
    nearest = np.linalg.norm(found.missed_px[:, None] - position[gone][None], axis=2)
    assert (nearest.min(0) < 0.6).all() and (nearest.min(1) < 0.6).all()
    assert (found.missed[np.argmin(nearest, 0), 2] == crystal.site[gone]).all()


def test_two_columns_on_one_site_and_columns_off_the_lattice(ws2, crystal):
    position = place(crystal, 5, 0.2)
    extra = np.array([position[10] + 1.0, [20.0, 290.0]])  # a double, and one far outside
    site = np.append(crystal.site, [crystal.site[10], 0])
    weight = np.append(np.ones(len(position)), [0.6, 1.0])
    basis = np.array([s.position for s in ws2.sites])
    vectors = ws2.lattice_nm @ rotation(np.radians(5)) / PIXEL_NM
    found = view(np.concatenate([position, extra]), site, weight, vectors, basis, ws2.lattice_nm)
    assert np.flatnonzero(found.duplicate).tolist() == [len(position)]
    assert found.cell[-1, 0] == NOWHERE and found.on_lattice[:-1].all()


def test_noise_is_no_lattice(ws2):
    position = np.random.default_rng(0).uniform(0, 300, (60, 2))
    found = view(position, np.zeros(60, int), np.ones(60), ws2.lattice_nm / PIXEL_NM, np.zeros((2, 2)), ws2.lattice_nm)
    assert found is None or found.on_lattice.mean() < 0.5
    assert view(position[:3], np.zeros(3, int), np.ones(3), ws2.lattice_nm, np.zeros((2, 2)), ws2.lattice_nm) is None


def planted(ws2, crystal):
    """States with complexes of each orientation, two-vacancy complexes, and defects that are none; and the truth."""
    state = ws2.ideal_states[crystal.site].copy()
    mo, s, empty = (ws2.state_index(n) for n in ("Mo", "S", "V_chalcogen"))
    inner = np.flatnonzero((crystal.site == 0) & (np.linalg.norm(crystal.position_nm, axis=1) < 3.2))
    spread = []
    for n in inner:  # centres far enough apart not to share vacancies
        if all(np.linalg.norm(crystal.position_nm[n] - crystal.position_nm[m]) > 0.9 for m in spread):
            spread.append(n)
    truth = {}
    for i, n in enumerate(spread):
        bonds = crystal.bonds[n]
        state[n] = mo
        if i % 4 == 3:  # a lone dopant, or one beside something the material does not list
            state[bonds[0]] = empty if i % 8 == 3 else state[bonds[0]]
        elif i % 2:
            left = i % 3
            state[np.delete(bonds, left)] = s
            truth[n] = left
        else:
            state[bonds[i % 3]] = s
            truth[n] = i % 3
    return state, truth


def test_complexes_have_the_orientation_of_the_crystal(ws2, crystal):
    state, truth = planted(ws2, crystal)
    defective = np.flatnonzero(state != ws2.ideal_states[crystal.site])
    number, orientation = complexes(crystal.cell[defective], crystal.site[defective], state[defective], ws2)
    centres = {
        int(n): int(o)
        for n, o, s in zip(defective, orientation, crystal.site[defective], strict=True)
        if s == 0 and o >= 0
    }
    assert centres == truth and len(set(truth.values())) == 3 and len(truth) > 6
    assert number.max() + 1 == len(truth)
    for k in range(number.max() + 1):
        members = defective[number == k]
        assert len(members) in (2, 3) and len(set(orientation[number == k])) == 1


def test_bonds_are_in_the_order_of_the_crystal(ws2, crystal):
    tables = bond_table(ws2)
    for n in np.flatnonzero(np.linalg.norm(crystal.position_nm, axis=1) < 1):
        expected = crystal.bonds[n]
        steps = tables[crystal.site[n]]
        np.testing.assert_array_equal(crystal.cell[expected], crystal.cell[n] + steps[:, :2])
        np.testing.assert_array_equal(crystal.site[expected], steps[:, 2])


@pytest.mark.parametrize("angle", [0, 40, -55])
def test_from_columns_to_rows(ws2, crystal, angle):
    """Columns with known states and scattered positions become the right rows, patches and orientations."""
    state, truth = planted(ws2, crystal)
    position = place(crystal, angle, 0.3)
    rng = np.random.default_rng(0)
    prob = np.full((len(state), ws2.n_states), 0.0)
    prob[np.arange(len(state)), ws2.ideal_states[crystal.site]] = 0.1
    prob[np.arange(len(state)), state] += 0.9
    order = rng.permutation(len(state))
    image = rng.normal(size=(300, 300)).astype(np.float32)
    region = np.zeros(len(state), int)
    hole = np.flatnonzero(state != ws2.ideal_states[crystal.site])[0]
    region[hole] = 1
    inside = ((position > 5) & (position < 294)).all(1)[order]
    columns = Columns(
        position[:, 0], position[:, 1], np.full(len(state), 0.2), crystal.site, prob, np.ones(len(state)), region
    ).take(order[inside])
    output = FrameOutput(columns, np.array([1.0, 0, 0, 0]), image, 1.0)
    vectors = ws2.lattice_nm @ rotation(np.radians(angle)) / PIXEL_NM
    found = find_defects(output, ws2, Rules({"defect": 0.5}), vectors, PIXEL_NM)
    expected = [i for i in order[inside] if state[i] != ws2.ideal_states[crystal.site[i]] and i != hole]
    assert len(found.rows) == len(expected) == len(found.patches)
    names = {k.state: k.name for k in ws2.kinds}
    for row, i in zip(found.rows, expected, strict=True):
        assert row["kind"].decode() == names[state[i]] and row["score"] == pytest.approx(0.9, abs=1e-6)
        assert (row["y_px"], row["x_px"]) == pytest.approx(tuple(position[i]), abs=1e-4)
        if i in truth and hole not in crystal.bonds[i]:
            assert row["orientation"] == truth[i], "the crystal's own numbering of bonds, turned with it"
    centre = np.rint(position[expected[0]]).astype(int)
    patch = found.patches[0].astype(float)
    box = image[centre[0] - 14 : centre[0] + 15, centre[1] - 14 : centre[1] + 15]
    assert np.corrcoef(patch[2:31, 2:31].ravel(), box.ravel())[0, 1] > 0.2 or patch.std() > 0.3


def test_no_columns_at_all(ws2):
    none = Columns(*(np.zeros(0),) * 3, np.zeros(0, int), np.zeros((0, ws2.n_states)), np.zeros(0), np.zeros(0, int))
    output = FrameOutput(none, np.array([0, 1.0, 0, 0]), np.zeros((64, 64), np.float32), 1.0)
    found = find_defects(output, ws2, Rules(), ws2.lattice_nm / PIXEL_NM, PIXEL_NM)
    assert len(found.rows) == 0 and found.patches.shape == (0, 32, 32) and found.sites is None


@pytest.mark.parametrize("angle, scale", [(25, 1.0), (100, 1.15), (-40, 0.87)])
def test_a_frame_of_another_field_has_its_own_lattice(ws2, crystal, angle, scale):
    """As in a folder of images: turned and scaled against the lattice of the movie, some columns missing."""
    position = (place(crystal, angle, 0.5, distort_px=4.0) - 150) * scale + 150
    keep = np.random.default_rng(0).random(len(position)) > 0.05
    position, site = position[keep], crystal.site[keep]
    expected = ws2.lattice_nm / PIXEL_NM
    basis = np.array([s.position for s in ws2.sites])
    own = column_lattice.fit(position, site, expected)
    assert abs(np.linalg.det(own)) == pytest.approx(abs(np.linalg.det(expected)) * scale**2, rel=0.03)
    found = view(position, site, np.ones(len(site)), own, basis, expected)
    assert found.on_lattice.all() and found.residual_px < 0.25 * ws2.a_nm / PIXEL_NM
    turned = np.degrees(np.arctan2(found.vectors_px[0, 0], found.vectors_px[0, 1]))
    assert (turned - angle + 5) % 120 == pytest.approx(5, abs=2.5)
    scattered = np.random.default_rng(1).uniform(0, 300, (400, 2))
    assert column_lattice.fit(scattered, np.zeros(400, int), expected) is None


def test_a_field_with_the_sublattices_exchanged_is_seen_though_its_lattice_is_the_movies(ws2, crystal):
    """Turned by 60 degrees the Bragg peaks are the same; the movie's word on the sublattices does not hold then."""
    expected = ws2.lattice_nm @ rotation(0.2) / PIXEL_NM
    for angle in (0.2, 0.2 + np.pi / 3):
        position = place(crystal, np.degrees(angle), 0.3)
        n = len(position)
        prob = np.zeros((n, ws2.n_states), np.float32)
        prob[np.arange(n), ws2.ideal_states[crystal.site]] = 1
        columns = Columns(*position.T, np.full(n, 0.3), crystal.site, prob, np.ones(n), np.zeros(n, int))
        output = FrameOutput(columns, np.array([1.0, 0, 0, 0]), np.zeros((300, 300), np.float32), 1.0)
        found = find_defects(output, ws2, Rules(), expected, PIXEL_NM, told_apart=True)
        assert found.sites.on_lattice.all() and found.sites.residual_px < 1
