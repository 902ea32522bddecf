"""Strain maps against a strain that was applied, local displacements against relaxation that was simulated."""

import numpy as np
import pandas as pd
import pytest

from stemdefects import config
from stemdefects.analysis import synthetic
from stemdefects.analysis.crystallography import displacements as crystallography
from stemdefects.analysis.crystallography import strain
from stemdefects.analysis.data import detections
from stemdefects.crystal import bragg, material
from stemdefects.io.movie import Movie
from stemdefects.io.tables import table


def strained_field(rng, size=260, pixel=0.03, dose=60.0):
    """Frames of a lattice whose x axis is stretched by 2% more on the right than on the left, and sheared."""
    vectors = synthetic.hexagonal(angle=0.2) / pixel
    cells = np.stack(np.meshgrid(*[np.arange(-40, 41)] * 2, indexing="ij"), -1).reshape(-1, 2)
    ideal = cells @ vectors + size / 2
    centred = ideal - size / 2
    # u_x = 0.02 x^2 / (2 size): exx = 0.02 x / size; u_y = 0.004 x
    moved = ideal + np.column_stack([0.004 * centred[:, 1], 0.01 * centred[:, 1] ** 2 / size])
    moved = moved[((moved > -5) & (moved < size + 5)).all(1)]
    image = np.zeros((size, size))
    y, x = np.mgrid[:size, :size]
    for yy, xx in moved:
        a, b = slice(max(int(yy) - 6, 0), int(yy) + 8), slice(max(int(xx) - 6, 0), int(xx) + 8)
        image[a, b] += np.exp(-((y[a, b] - yy) ** 2 + (x[a, b] - xx) ** 2) / (2 * 1.7**2))
    return np.stack([rng.poisson(dose * (image + 0.1)) for _ in range(4)]).astype(np.float32), vectors


def test_strain_map_finds_the_applied_strain():
    frames, vectors = strained_field(np.random.default_rng(0))
    found = detections.Detections(table.empty(0), 4, np.arange(4.0), 0.03, 0.0, 1.0)
    crystal = material.load("ws2_mo")
    s = strain.from_movie(found, crystal, Movie(frames, 0.03, 1.0), np.zeros((4, 2)), vectors)
    inner = np.isfinite(s.exx)
    x = s.yx_nm[inner, 1] / 0.03 - 130
    slope = np.polyfit(x, s.exx[inner], 1)[0]
    assert slope * 260 == pytest.approx(0.02, rel=0.1)
    assert np.abs(s.eyy[inner]).max() < 0.004 and np.abs(s.exy[inner]).max() < 0.006
    z = (s.exx[inner] - slope * x - (s.exx[inner] - slope * x).mean()) / s.error[inner, 0]
    assert 0.3 < np.median(np.abs(z)) < 2.5
    # a shear 0.004 is half a turn: the mean lattice shows the rest as strain
    assert s.mean[0, 1] == pytest.approx(0.002, abs=0.0007)


@pytest.fixture(scope="module")
def relaxed():
    """Simulated images in which vacancies pull their neighbours (V_S2 by 10 pm) or push them, with true places."""
    import jax

    from stemdefects.simulation import images

    crystal = material.load("ws2_mo")
    cfg = config.load_group("simulation", "demo_movie")
    cfg.defects.density = {"V_S2": [0.012, 0.012], "Mo_W": [0.012, 0.012], "V_S": [0.0, 0.0], "V_W": [0.0, 0.0]}
    cfg.defects.complexes = {name: [0.0, 0.0] for name in ("Mo_W+V_S", "Mo_W+2V_S")}
    simulate = jax.jit(images.make_simulator(crystal, cfg, (192, 192)))
    frames, rows, lattices = [], [], []
    rng = np.random.default_rng(1)
    for k in range(14):
        image, truth = jax.tree.map(np.asarray, simulate(jax.random.key(k), 4000.0))
        kind = crystal.kind_of_state[truth.state]
        keep = truth.valid & (kind >= 0)
        some = table.empty(int(keep.sum()))
        some["frame"], some["track"] = k, 1000 * k + np.arange(len(some))
        some["y_px"], some["x_px"] = truth.y_px[keep], truth.x_px[keep]
        some["kind"] = np.array([n.encode() for n in crystal.kind_names])[kind[keep]]
        for axis in ("y_px", "x_px"):
            some[axis] += rng.normal(0, 0.4, len(some))
        rows.append(some)
        frames.append(image)
        lattices.append(
            (k, *(crystal.lattice_nm @ bragg.rotation(float(truth.angle_rad)) / truth.pixel_size_nm).ravel())
        )
    names = ["frame", "a1_y_px", "a1_x_px", "a2_y_px", "a2_x_px"]
    found = detections.Detections(
        np.concatenate(rows), 14, np.arange(14.0), 0.03, 0.0, 1.0, frames=pd.DataFrame(lattices, columns=names)
    )
    return found, Movie(np.stack(frames), 0.03, 1.0), crystal


def test_displacements_are_those_of_the_simulation(relaxed):
    found, movie, crystal = relaxed
    local = crystallography.run(found, crystal, movie, "Mo_W", np.random.default_rng(0))
    vacancy, dopant = local.classes["V_S2"], local.classes["Mo_W"]
    assert vacancy.radial_pm[0] == pytest.approx(-10, abs=2) and vacancy.radial_pm[2] < -5
    assert dopant.radial_pm[1] < 1.5 and dopant.radial_pm[2] > -1.5  # a Mo moves no one
    assert len(vacancy.position_nm) == 10 and vacancy.n > 20
    # bonds at 0.182 nm are drawn to the vacancy, the second shell rests
    outward = (vacancy.mean_pm * vacancy.position_nm / 0.182).sum(1)
    assert (outward[1:4] < -5).all()


def test_components_of_noise_are_chance_and_a_common_mode_is_not():
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((200, 12))
    explained, chance, _ = crystallography.components(noise, rng)
    assert explained[0] < 1.15 * chance[0]
    mode = rng.standard_normal(12)
    explained, chance, rows = crystallography.components(noise + np.outer(rng.standard_normal(200), mode), rng)
    assert explained[0] > 1.5 * chance[0]
    assert abs(rows[0] @ mode) / np.linalg.norm(mode) > 0.9


def test_what_is_missing_is_said(relaxed):
    found, movie, crystal = relaxed
    assert "movie is not there" in crystallography.run(found, crystal, None, "Mo_W", None).notes[0]
    few = found.select(np.arange(5))
    assert "no class has" in crystallography.run(few, crystal, movie, "Mo_W", None).notes[0]
    few.frames = None
    assert "no lattice vectors" in crystallography.run(few, crystal, movie, "Mo_W", None).notes[0]
