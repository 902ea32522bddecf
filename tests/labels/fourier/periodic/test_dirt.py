"""Dirt on the crystal of a movie: where it is, what it leaves usable, and what it says of the drift."""

import numpy as np
import pytest
from scipy import ndimage

from stemdefects.labels.fourier import findings
from stemdefects.labels.fourier import label as fourier
from stemdefects.labels.fourier.points.certainty import AMORPHOUS, LATTICE
from stemdefects.schema import FourierConfig

PX_NM, SIGMA_NM, COUNTS, BACKGROUND = 0.02, 0.05, 20.0, 5.0
CELL_NM = 0.246


def movie(rng, dirt, n=180, frames=5, drift_px=(0.3, -0.2), ws2=False):
    """(frames, drift (n, 2), atom (n, 2), mask of the first frame). dirt: (y, x, radius in nm, times the crystal's
    brightness, softness in nm); an atom twice as bright as the others changes place in every frame."""
    turn = np.deg2rad(rng.uniform(0, 60))
    vectors = CELL_NM * np.array([[1, 0], [0.5, np.sqrt(0.75)]])
    vectors = vectors @ np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    steps = np.stack(np.meshgrid(*[np.arange(-40, 41)] * 2), -1).reshape(-1, 2)
    a = steps @ vectors + n * PX_NM / 2
    b = a + vectors.sum(0) / 3
    yx = np.concatenate([a, b])
    light = np.concatenate([np.ones(len(a)), np.full(len(b), 0.4 if ws2 else 1.0)])
    shown = ((yx > -1.5) & (yx < n * PX_NM + 1.5)).all(1)
    yx, light = yx[shown], light[shown]
    heavy = light == 1
    usual = BACKGROUND + COUNTS * 2 * np.pi * SIGMA_NM**2 * 2 * light.mean() / abs(np.linalg.det(vectors))
    y0, x0, radius, times, soft = dirt
    rough = np.array([y0, x0]) + rng.uniform(-radius, radius, (40, 2))
    centre = np.full(2, n * PX_NM / 2)
    away = np.linalg.norm(yx - centre, axis=1)
    places = np.flatnonzero(heavy & (np.hypot(yx[:, 0] - y0, yx[:, 1] - x0) > radius + 0.35) & (away < 0.4 * n * PX_NM))
    path = rng.choice(places, frames, replace=False)
    grid = np.arange(n) * PX_NM
    out, atom, drift = [], [], np.arange(frames)[:, None] * np.array(drift_px)
    for here, d in zip(path, drift * PX_NM, strict=True):
        bright = light.copy()
        bright[here] = 2.2
        rows, columns = (np.exp(-0.5 * ((grid[:, None] - (yx + d)[:, k]) / SIGMA_NM) ** 2) for k in (0, 1))
        image = BACKGROUND + COUNTS * (rows * bright) @ columns.T
        cover = 1 / (1 + np.exp((np.hypot(grid[:, None] - y0 - d[0], grid[None] - x0 - d[1]) - radius) / soft))
        rows, columns = (np.exp(-0.5 * ((grid[:, None] - (rough + d)[:, k]) / 0.12) ** 2) for k in (0, 1))
        image += cover * usual * (times - 1) * (0.8 + 0.2 * np.minimum(rows @ columns.T, 2))
        out.append(rng.poisson(image))
        atom.append((yx[here] + d) / PX_NM)
    mask = np.hypot(grid[:, None] - y0, grid[None] - x0) < radius
    return np.array(out, np.float32), drift, np.array(atom), mask


CASES = {
    "bright": ((0.8, 2.7, 0.6, 4.0, 0.05), False),
    "very bright, at the edge": ((0.0, 1.6, 0.8, 8.0, 0.05), False),
    "soft": ((2.6, 2.5, 0.6, 3.0, 0.15), False),
    "dim": ((2.6, 0.9, 0.6, 1.4, 0.06), False),
    "on two sorts of columns": ((1.0, 1.0, 0.7, 3.0, 0.06), True),
}


@pytest.mark.parametrize("name", CASES)
def test_dirt_ends_where_it_ends_and_the_rest_is_labelled(name):
    dirt, ws2 = CASES[name]
    frames, drift, atom, mask = movie(np.random.default_rng(len(name)), dirt, ws2=ws2)
    labels = fourier.label(frames, FourierConfig())
    assert np.abs(labels.shift_px - drift).max() < 0.4
    assert labels.warnings == ()
    spacing = labels.lattice.spacing_px
    outside, inside = ndimage.distance_transform_edt(~mask), ndimage.distance_transform_edt(mask)
    found = labels.regions[0] == AMORPHOUS
    assert found.any() and outside[found].max() < spacing and inside[~found].max() < spacing
    assert (labels.regions[0][outside > 1.5 * spacing] == LATTICE).mean() > 0.9
    for t, true in enumerate(atom):
        called = labels.yx[t][labels.sure[t]]
        assert len(called) == 1 and np.linalg.norm(called[0] - true) < 1.0


def test_smooth_light_is_no_dirt_and_a_heavy_atom_none():
    rng = np.random.default_rng(3)
    frames, *_ = movie(rng, (10.0, 10.0, 0.1, 2.0, 0.05))
    uneven = 1 + 0.25 * np.linspace(-1, 1, frames.shape[1])[:, None]
    labels = fourier.label(rng.poisson(frames * uneven).astype(np.float32), FourierConfig())
    assert labels.covered is None and not (labels.regions == AMORPHOUS).any()


def test_how_much_of_the_frames_is_dirt_and_left_out_is_said():
    frames, _, _, mask = movie(np.random.default_rng(6), CASES["bright"][0])
    labels = fourier.label(frames, FourierConfig())
    found = findings.shares(labels)
    assert found["dirt"] == pytest.approx(mask.mean(), rel=0.3)  # half a spacing around a disc of five
    assert found["hole"] == 0 and sum(found.values()) + (labels.regions == LATTICE).mean() == pytest.approx(1, abs=0.01)
    (line,) = findings.of_regions(labels)
    assert f"{found['dirt']:.1%} dirt on the crystal" in line and "left out" in line
    clean, *_ = movie(np.random.default_rng(6), (10.0, 10.0, 0.1, 2.0, 0.05))
    assert findings.shares(fourier.label(clean, FourierConfig()))["dirt"] == 0


@pytest.mark.parametrize("times", [2.0, 3.5])
def test_heavy_atoms_beside_each_other_are_no_dirt(times):
    """Three of them make a window as bright and as rough as a thin film does, but the gaps between them stay dark."""
    rng = np.random.default_rng(11)
    frames, *_ = movie(rng, (10.0, 10.0, 0.1, 2.0, 0.05), frames=3, drift_px=(0.0, 0.0))
    grid = np.arange(frames.shape[1]) * PX_NM
    for angle in (0.4, 2.5, 4.6):
        y, x = 1.2 + 0.14 * np.sin(angle), 2.4 + 0.14 * np.cos(angle)
        spot = np.exp(-0.5 * (((grid[:, None] - y) / SIGMA_NM) ** 2 + ((grid[None] - x) / SIGMA_NM) ** 2))
        frames += rng.poisson(np.broadcast_to(COUNTS * times * spot, frames.shape))
    labels = fourier.label(frames, FourierConfig())
    assert labels.covered is None and not (labels.regions == AMORPHOUS).any()
