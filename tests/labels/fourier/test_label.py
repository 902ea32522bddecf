"""The whole labelling on frames with planted defects, and on the simulator's; warnings and refusals."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from stemdefects.config import load_group
from stemdefects.errors import UserError
from stemdefects.io.movie import Movie
from stemdefects.labels.fourier import checks, findings
from stemdefects.labels.fourier import label as fourier
from stemdefects.labels.fourier.points import certainty, moving

MULTISLICE = Path(__file__).parents[4] / "shared" / "data" / "multislice" / "ws2_multislice.h5"
SIGMA, SPACING = 1.6, 10.0
VECTORS = np.array([[1.9, 9.82], [9.45, 3.26]])  # hexagonal, turned by 11 degrees


@pytest.fixture(scope="module")
def cfg():
    return load_group("labels", "fourier").fourier


def scene(rng, shape=(160, 160), vectors=VECTORS, n_dark=14, n_bright=3):
    """Sites (n, 2), their heights in electrons, and which are dark and bright; none within 12 px of the border."""
    i, j = np.meshgrid(np.arange(-40, 40), np.arange(-40, 40), indexing="ij")
    yx = np.stack([i.ravel(), j.ravel()], 1) @ vectors + [3.0, 4.0]
    yx = yx[((yx > -20) & (yx < np.array(shape) + 20)).all(1)]
    inner = np.flatnonzero(((yx > 14) & (yx < np.array(shape) - 15)).all(1))
    chosen = []
    for n in rng.permutation(inner):  # apart from each other, so that each is a point defect
        if all(np.linalg.norm(yx[n] - yx[m]) > 1.6 * SPACING for m in chosen):
            chosen.append(n)
    dark, bright = np.array(chosen[:n_dark], int), np.array(chosen[n_dark : n_dark + n_bright], int)
    height = np.full(len(yx), 10.0)
    height[dark], height[bright] = 3.0, 19.0
    return yx, height, dark, bright


def expose(rng, yx, height, shape=(160, 160)):
    rows = np.exp(-0.5 * ((np.arange(shape[0])[:, None] - yx[:, 0]) / SIGMA) ** 2) * height
    columns = np.exp(-0.5 * ((np.arange(shape[1])[:, None] - yx[:, 1]) / SIGMA) ** 2)
    return (20.0 * rng.poisson(rows @ columns.T + 1.0) + 50.0).astype(np.float32)


def paired(found, true, radius=2.0):
    """How many of `true` (n, 2) have a point of `found` within `radius`, and how many of `found` have none."""
    distance = np.linalg.norm(found[:, None] - true[None], axis=2)
    return int((distance.min(0) < radius).sum()), int((distance.min(1) >= radius).sum())


def test_dark_and_bright_defects_in_drifting_frames(cfg):
    rng = np.random.default_rng(1)
    yx, height, dark, bright = scene(rng)
    drift = np.array([[0.0, 0.0], [1.2, -0.7], [2.9, -1.1], [3.6, -2.4]])
    labels = fourier.label(np.stack([expose(rng, yx + d, height) for d in drift]), cfg)
    assert np.abs(labels.shift_px - drift).max() < 0.15
    for t, d in enumerate(drift):
        for sites, is_dark in ((dark, True), (bright, False)):
            of_kind = (labels.defects.z < 0) == is_dark
            hits, false = paired(labels.yx[t][of_kind & labels.sure[t]], yx[sites] + d, 1.0)
            assert hits == len(sites)
            assert false <= 3
    assert labels.warnings == ()
    assert set(np.unique(labels.regions)) <= {-1, 0}
    assert (labels.regions[0] == 0).mean() > 0.8
    # the clean picture holds the crystal, neither defects nor noise
    truth = expose_mean(yx, np.full(len(yx), 10.0))
    made = (labels.clean - 50) / 20
    assert np.sqrt(((made - truth)[15:-15, 15:-15] ** 2).mean()) < 0.25 * np.sqrt(truth.mean())


def expose_mean(yx, height, shape=(160, 160)):
    rows = np.exp(-0.5 * ((np.arange(shape[0])[:, None] - yx[:, 0]) / SIGMA) ** 2) * height
    return rows @ np.exp(-0.5 * ((np.arange(shape[1])[:, None] - yx[:, 1]) / SIGMA) ** 2).T + 1.0


def test_a_defect_that_hops_counts_only_where_it_is(cfg):
    rng = np.random.default_rng(2)
    yx, height, dark, _ = scene(rng, n_bright=0)
    hopper, height_after = dark[0], height.copy()
    height_after[hopper] = 10.0
    frames = [expose(rng, yx, height if t < 3 else height_after) for t in range(6)]
    labels = fourier.label(np.stack(frames), cfg)
    for t in range(6):
        near = np.linalg.norm(labels.yx[t][labels.sure[t]] - yx[hopper], axis=1) < 1.5
        assert near.sum() == (t < 3)
    place = tuple(np.rint(yx[hopper]).astype(int))
    assert (labels.regions[(slice(3, 6), *place)] == fourier.LATTICE).all()  # it is not there, which can be learned
    stay = labels.frame == moving.ALL
    assert stay.sum() >= len(dark) - 1 and labels.sure[:, stay].mean() > 0.97


def test_holes_are_regions_and_no_defects(cfg):
    rng = np.random.default_rng(3)
    yx, height, dark, _ = scene(rng, n_dark=8, n_bright=0)
    centre = np.array([80.0, 45.0])
    height = np.where(np.linalg.norm(yx - centre, axis=1) < 26, 0.0, height)
    labels = fourier.label(expose(rng, yx, height)[None], cfg)
    assert labels.regions[0][80, 45] == certainty.HOLE
    hole = labels.regions[0] == certainty.HOLE
    distance = np.linalg.norm(np.argwhere(hole) - centre, axis=1)
    assert hole.sum() > 0.1 * np.pi * 26**2 and distance.max() < 26  # its rim is called neither hole nor crystal
    outside = dark[np.linalg.norm(yx[dark] - centre, axis=1) > 50]
    hits, _ = paired(labels.yx[0][labels.sure[0]], yx[outside])
    assert hits >= len(outside) - 1
    inside = np.linalg.norm(labels.yx[0][labels.sure[0]] - centre, axis=1) < 20
    assert not inside.any()


@pytest.mark.skipif(not MULTISLICE.exists(), reason="shared multislice images are not there")
def test_defects_of_multislice_images(cfg):
    """Images of another simulator, with the noise and blur of a movie: all V_W and nearly all Mo are labelled."""
    import h5py

    rng = np.random.default_rng(4)
    hits, true, false, area = 0, 0, 0, 0
    with h5py.File(MULTISLICE) as file:
        for n in (2, 4):
            image, pixel_nm = file["images"][n], float(file["px_nm"][n])
            rows = file[f"defects_{n:03d}"][:]
            electrons = ndimage.gaussian_filter(image, 0.04 / pixel_nm) * 1500
            labels = fourier.label((20 * rng.poisson(electrons) + 50.0)[None], cfg)
            yx = np.stack([rows["y_nm"], rows["x_nm"]], 1) / pixel_nm
            inner = ((yx > 8) & (yx < 279)).all(1)
            heavy = inner & np.isin(rows["cls"].astype(str), ["Mo_W", "V_W", "Mo_W+V_S"])
            found, _ = paired(labels.yx[0][labels.defects.z < 0], yx[heavy], 0.09 / pixel_nm)
            both = np.concatenate([yx, np.stack([rows["y2_nm"], rows["x2_nm"]], 1) / pixel_nm])
            hits, true = hits + found, true + heavy.sum()
            false, area = false + paired(labels.yx[0], both, 0.12 / pixel_nm)[1], area + 1
    assert true >= 8
    assert hits >= 0.85 * true
    assert false <= 6 * area


def test_what_cannot_be_labelled_says_why(cfg):
    rng = np.random.default_rng(5)
    yx, height, _, _ = scene(rng)
    good = expose(rng, yx, height)
    blank = Movie(np.stack([np.zeros_like(good), good]), source="m.h5")
    with pytest.raises(UserError, match=r"m\.h5, frame 0: all pixels are 0.*labels.fourier.first_frame"):
        fourier.read_frames(blank, cfg)
    frames, indices, warnings, _ = fourier.read_frames(Movie(np.stack([good, np.zeros_like(good), good])), cfg)
    assert len(frames) == 2 and indices.tolist() == [0, 2]
    assert [w.code for w in warnings] == [checks.Code.FRAMES_LEFT_OUT]
    with pytest.raises(UserError, match=r"first_frame=9: the movie has frames 0\.\.1"):
        fourier.read_frames(blank, dataclasses.replace(cfg, first_frame=9))
    with pytest.raises(UserError, match="no lattice found"):
        fourier.label(rng.poisson(5.0, (1, 128, 128)), cfg)
    with pytest.raises(UserError, match="too small"):
        fourier.label(good[None, :20, :20], cfg)
    perfect = expose(rng, yx, np.full(len(yx), 10.0))
    none = fourier.label(perfect[None], cfg)
    with pytest.raises(UserError, match=r"no defect to learn from.*the strongest .* help: a network trained on"):
        findings.needed(none, cfg, "m.h5")  # one frame: the movie has no more
    nine = dataclasses.replace(none, frames=np.repeat(none.frames, 9, 0))
    with pytest.raises(UserError, match=r"no defect to learn from in 9 frame.* help: more frames.*; fewer"):
        findings.needed(nine, dataclasses.replace(cfg, n_frames=9), "m.h5")
    with pytest.raises(UserError, match="recipe=guess: there are: local, paper"):
        fourier.label(good[None], dataclasses.replace(cfg, recipe="guess"))


def test_warnings(cfg):
    rng = np.random.default_rng(6)
    yx, height, _, _ = scene(rng, n_dark=2, n_bright=0)
    few = fourier.label(expose(rng, yx, height)[None], cfg)
    assert [w.code for w in few.warnings] == [checks.Code.FEW_LABELS]
    crowded = np.where(rng.random(len(yx)) < 0.35, 1.0, 10.0)
    full = fourier.label(expose(rng, yx, crowded)[None], cfg)
    assert "NOT_ONLY_NOISE" in checks.codes(full.warnings)


def test_two_grains_are_crystal_with_a_boundary_and_dirt_is_a_region(cfg):
    """Each grain is taken apart with its own lattice; a bright patch has no row of labels along its rim."""
    rng = np.random.default_rng(8)
    shape = (288, 288)
    turn = np.array([[np.cos(0.35), np.sin(0.35)], [-np.sin(0.35), np.cos(0.35)]])  # by 20 degrees
    parts, defects = [], []
    for number, vectors in enumerate((VECTORS, VECTORS @ turn)):
        yx, height, dark, _ = scene(rng, shape, vectors, n_dark=24, n_bright=0)
        left = (yx[:, 1] < 150) == (number == 0)
        parts.append((yx[left], height[left]))
        defects.append(yx[dark][left[dark] & (np.abs(yx[dark][:, 1] - 150) > 30)])
    mean = sum(expose_mean(yx, height, shape) for yx, height in parts)
    y, x = np.meshgrid(*map(np.arange, shape), indexing="ij")
    mean = mean + 60 * (y + 0.3 * x > 290)
    labels = fourier.label(rng.poisson(mean)[None].astype(np.float32), cfg)
    assert len(labels.grains) == 2
    assert np.abs(labels.grains.turn_deg[1]) == pytest.approx(np.degrees(0.35), abs=0.5)
    clean = y + 0.3 * x < 250
    for inner in (x < 125, x > 175):
        region = labels.regions[0][clean & inner]
        assert (region == fourier.LATTICE).mean() > 0.75 and not (region == certainty.AMORPHOUS).any()
    assert (labels.regions[0][y + 0.3 * x > 310] == certainty.AMORPHOUS).mean() > 0.9
    length = labels.seam[1]
    assert length == pytest.approx(245 - 2 * SPACING, rel=0.15)  # from the upper border to the rim of the dirt
    found = labels.yx[0]
    seen = [p for d in defects for p in d if p[0] + 0.3 * p[1] < 255]
    hits, false = paired(found, np.array(seen), 1.5)
    assert hits >= 0.9 * len(seen)
    rim = np.abs(found[:, 0] + 0.3 * found[:, 1] - 290) < 25
    assert not rim.any()
    assert false <= 2 + sum(len(d) for d in defects) - len(seen)


def test_one_hopping_atom_is_labelled_where_it_is(cfg):
    """It changes place in every frame: its mean is at many places, each frame has it at one, and noise has none."""
    rng = np.random.default_rng(21)
    yx, height, *_ = scene(rng, n_dark=0, n_bright=0)
    inner = np.flatnonzero(((yx > 40) & (yx < 120)).all(1))
    at = rng.choice(inner, 6)
    frames = []
    for place in at:
        now = height.copy()
        now[place] = 40.0
        frames.append(expose(rng, yx, now))
    labels = fourier.label(np.stack(frames), cfg)
    for t, place in enumerate(at):
        sure = labels.yx[t][labels.sure[t]]
        assert len(sure) == 1 and np.linalg.norm(sure[0] - yx[place]) < 0.5
    assert (labels.defects.z > 0).all() and labels.false.sum() < 0.5


def test_paper_recipe_labels_the_first_frame(cfg):
    rng = np.random.default_rng(7)
    yx, height, dark, _ = scene(rng)
    frames = np.stack([expose(rng, yx, height) for _ in range(2)])
    labels = fourier.label(frames, load_group("labels", "fourier_paper").fourier)
    assert len(labels.frames) == 1 and labels.sure.all()
    hits, _ = paired(labels.yx[0], yx[dark], 3.0)
    assert hits >= 0.6 * len(dark)


def test_a_frame_of_another_field_does_not_blur_the_others(cfg):
    rng = np.random.default_rng(10)
    yx, height, dark, _ = scene(rng, n_bright=0)
    other = height[rng.permutation(len(yx))]
    frames = [expose(rng, yx, other if t == 2 else height) for t in range(5)]
    labels = fourier.label(np.stack(frames), cfg)
    assert labels.indices.tolist() == [0, 1, 3, 4] and labels.warnings[0].code is checks.Code.FRAMES_LEFT_OUT
    hits, _ = paired(labels.yx[0][labels.frame == moving.ALL], yx[dark], 1.0)
    assert hits == len(dark)


def test_a_column_that_a_vacancy_has_moved_is_no_second_vacancy():
    vectors, places = np.array([[0.0, 10.0], [8.66, 5.0]]), np.array([[0.0, 0.0], [1 / 3, 1 / 3]])
    cells = np.array([(0, 0), (4, 1), (-3, 5), (6, -4), (2, 7)])
    at = np.array([0, 0, 1, 1, 1])
    alone = (cells + places[at]) @ vectors
    beside = np.array([alone[2] + [0.0, -5.77], alone[4] + [4.9, 5.4]])  # on the other place; moved by 0.15 of a vector
    yx = np.concatenate([alone, beside])
    found = certainty.Extrema(yx, -np.array([20.0, 19.0, 7.0, 6.5, 7.2, 5.5, 5.6]))
    phase = np.mod(yx @ np.linalg.inv(vectors) + 0.3, 1.0)
    far = np.abs((phase[5] - phase[0] + 0.5) % 1 - 0.5).max()
    told = certainty.displaced(found, phase, vectors, 9.3)
    assert told[6] and not told[:5].any() and told[5] == (far > 0.1)
    # where nothing stands alone, nothing is known of places
    pair = certainty.Extrema(yx[[4, 6]], found.z[[4, 6]])
    assert not certainty.displaced(pair, phase[[4, 6]], vectors, 9.3).any()
