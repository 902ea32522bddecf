"""Two grains in a frame: their lattices, the line where they meet, and calls inside and along it."""

import numpy as np
import pytest

from stemdefects.crystal import material as crystal
from stemdefects.crystal.material.measured import card as measured_material
from stemdefects.inference.columns.defects import Rules, find_defects
from stemdefects.inference.network import bragg_map
from stemdefects.inference.network.engine import Columns, FrameOutput
from stemdefects.inference.specimen import grains

VECTORS = np.array([[1.9, 9.82], [9.45, 3.26]])
SHAPE = (240, 260)
TURN = np.radians(21.0)
NM = 0.03


def turned(vectors, angle):
    c, s = np.cos(angle), np.sin(angle)
    return vectors @ np.array([[c, s], [-s, c]])


def frame(border_px=None, hole=False, seed=0):
    """Counts of a crystal that is another grain to the right of `border_px`, at half a pixel's slope."""
    rng = np.random.default_rng(seed)
    index = np.stack(np.meshgrid(np.arange(-60, 60), np.arange(-60, 60)), -1).reshape(-1, 2)
    image = np.full(SHAPE, 1.0)
    for number, vectors in enumerate((VECTORS, turned(VECTORS, TURN))):
        yx = index @ vectors + 130.0
        right = yx[:, 1] > (np.inf if border_px is None else border_px + 0.5 * yx[:, 0])
        yx = yx[right == (number == 1)]
        if hole:
            yx = yx[np.linalg.norm(yx - 130.0, axis=1) > 45]
        rows, columns = (np.exp(-0.5 * ((np.arange(n)[:, None] - yx[:, k]) / 1.6) ** 2) for k, n in enumerate(SHAPE))
        image += 10 * rows @ columns.T
    return rng.poisson(image).astype(np.float32)


@pytest.mark.parametrize("border_px", [40.0, 90.0, 150.0])
def test_a_second_grain_its_turn_and_where_it_begins(border_px):
    image = frame(border_px)
    own = VECTORS if border_px > 60 else turned(VECTORS, TURN)  # whichever calibration has found
    further = grains.others(image[None], own, VECTORS * NM)
    assert len(further) == 1
    (turn,) = grains.turns_deg(np.concatenate([own[None], further]))
    assert abs(turn) == pytest.approx(21.0, abs=0.5)
    made = bragg_map.windows(SHAPE, np.concatenate([own[None], further]), VECTORS * NM)
    found = bragg_map.of_frame(image, made)
    assert found.clear and (found.grains.max(0) > bragg_map.ABSENT).all()
    np.testing.assert_allclose(found.vectors_px, own, atol=0.05)
    y = np.linspace(20, 180, 9)
    on_line = np.column_stack([y, border_px + 0.5 * y])
    beside = on_line + np.array([[0.0, -18.0]])
    met = grains.meeting(found, SHAPE, np.concatenate([own[None], further]))
    assert met.n_grains == 2
    # over the border's crossing of the frame, which the right edge may cut
    height = min(SHAPE[0], (SHAPE[1] - border_px) / 0.5)
    assert met.length_px == pytest.approx(height * np.hypot(1, 0.5), rel=0.12)
    assert met.along(on_line).sum() >= 7 and not met.along(beside).any()


@pytest.mark.parametrize("hole", [False, True])
def test_one_grain_is_one_with_a_hole_in_it_too(hole):
    assert not len(grains.others(frame(hole=hole)[None], VECTORS, VECTORS * NM))


def test_what_is_called_in_a_second_grain_stands_and_has_no_site_of_the_first():
    image = frame(90.0)
    places = np.array([[60.0, 60.0], [60.0, 200.0], [100.0, 220.0]])
    material = crystal.from_config(measured_material(VECTORS * NM, ["bright"]))
    columns = Columns(
        *places.astype(np.float32).T,
        np.full(3, 0.3, np.float32),
        np.zeros(3, int),
        np.tile(np.float32([0.1, 0.9]), (3, 1)),
        np.full(3, 0.9),
        np.zeros(3),
    )
    called = []
    for cells in (VECTORS, np.stack([VECTORS, turned(VECTORS, TURN)])):
        lattice = bragg_map.of_frame(image, bragg_map.windows(SHAPE, cells, VECTORS * NM))
        output = FrameOutput(columns, np.array([1.0, 0, 0, 0]), image, 1.0, lattice)
        called.append(find_defects(output, material, Rules(), VECTORS, NM))
    assert [len(found.rows) for found in called] == [1, 3]
    assert called[1].sites.on_lattice.tolist() == [True, False, False]
    met = grains.meeting(lattice, SHAPE, cells)
    assert len(grains.told(called[1], met, lattice).rows) == 3
    on_line = columns._replace(y_px=np.float32([60, 60, 100]), x_px=np.float32([120, 200, 220]))
    found = find_defects(output._replace(columns=on_line), material, Rules(), VECTORS, NM)
    told = grains.told(found, met, lattice)
    assert told.rows["x_px"].tolist() == [200, 220] and len(told.patches) == len(told.called) == 2
    assert not told.sites.on_lattice.any()


def test_frames_too_noisy_by_themselves_show_their_boundary_with_their_neighbours():
    rng = np.random.default_rng(1)
    cells = np.stack([VECTORS, turned(VECTORS, TURN)])
    made = bragg_map.windows(SHAPE, cells, VECTORS * NM)
    image = frame(90.0)
    noisy = [bragg_map.of_frame(image + rng.normal(0, 5 * image.std(), SHAPE), made) for _ in range(9)]
    assert not any(one.clear for one in noisy)
    shown = grains.around([*noisy, None])
    assert shown[9] is None
    true, alone, together = (
        grains.meeting(one, SHAPE, cells) for one in (bragg_map.of_frame(image, made), noisy[4], shown[4])
    )
    assert together.length_px == pytest.approx(true.length_px, rel=0.1)
    assert (together.band == true.band).mean() > max(0.95, (alone.band == true.band).mean())
