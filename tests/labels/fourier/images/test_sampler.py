"""Training images from labelled frames: every label lies on what it names, whatever was done to the image."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from stemdefects.config import load_group
from stemdefects.labels.fourier import label as fourier
from stemdefects.labels.fourier.images import augment, sampler
from stemdefects.labels.fourier.images import scenes as fourier_scenes
from stemdefects.labels.fourier.periodic.lattice import ImageLattice
from stemdefects.labels.fourier.points import certainty, moving
from stemdefects.labels.fourier.points.defects import Extrema, Levels

SHAPE, SIZE = (96, 96), 48
VECTORS = np.array([[0.0, 10.0], [10.0, 0.0]])


@pytest.fixture(scope="module")
def cfg():
    return dataclasses.replace(load_group("labels", "fourier").fourier, zoom=0.1)


@pytest.fixture(scope="module")
def labels():
    """Frames of value 100 with labelled dips to about 0: a label is right where the image is dark."""
    lattice = ImageLattice(
        VECTORS, np.linalg.inv(VECTORS).T, np.array([[1, 0], [0, 1]]), np.array([50.0, 50.0]), 0.0, 0.0
    )
    yx = np.array([[20.0, 20.0], [30.0, 60.0], [60.0, 40.0], [70.0, 70.0], [45.0, 15.0]])
    grid = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), -1)
    dip = sum(np.exp(-0.5 * ((grid - p) ** 2).sum(-1) / 1.5**2) for p in yx).astype(np.float32)
    frames = np.stack([100 - 90 * dip, 100 - 90 * dip])
    regions = np.zeros((2, *SHAPE), np.int8)
    regions[1, :10] = fourier.UNKNOWN
    cell = (np.rint(grid / 10.0) * 10).transpose(2, 0, 1).astype(np.float32)
    return fourier.MovieLabels(
        frames=frames,
        indices=np.arange(2),
        lattice=lattice,
        shift_px=np.zeros((2, 2)),
        defects=Extrema(yx, -yx[:, 0]),
        frame=np.full(5, moving.ALL),
        yx=np.stack([yx, yx]),
        sure=np.ones((2, 5), bool),
        unsure_yx=np.zeros((0, 2)),
        regions=regions,
        residuals=np.stack([-90 * dip] * 2),
        clean=np.full(SHAPE, 100.0, np.float32),
        cell=cell,
        sigma_px=1.5,
        gain=1e-6,
        read_variance=1e-6,
        row_jitter_px=0.0,
        levels=(Levels(4.0, 4.0, np.zeros(2)),),
        false=np.zeros(2),
        strongest=70.0,
        steps={"residual": -90 * dip, "rest": np.zeros(SHAPE, np.float32), "regions": regions[0]},
    )


def draw(labels, cfg, allowed=None, n=24, **options):
    allowed = np.ones(labels.frames.shape, bool) if allowed is None else allowed
    columns = sampler.defect_columns(labels)
    sample = sampler.make_sampler(labels, columns, cfg, SIZE, 0.03, sampler.Use(allowed, **options))
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(1), n)))


def at(image, y, x):
    return image[int(np.rint(y)), int(np.rint(x))]


def test_plain_pieces_are_the_frame(labels, cfg):
    images, truth = draw(labels, cfg, augment=False)
    pixels = set(np.round(labels.frames.ravel(), 3))
    assert all(set(np.round(i.ravel(), 3)) <= pixels for i in images)  # nothing interpolated, nothing added
    assert truth.valid.sum() > 24
    for i in range(len(images)):
        for y, x in zip(truth.y_px[i][truth.valid[i]], truth.x_px[i][truth.valid[i]], strict=True):
            assert at(images[i], y, x) == pytest.approx(10.0, abs=1.5)
            assert y == pytest.approx(round(y), abs=1e-3)
    # and no dip without a label
    for image, t_y, t_x, valid, region in zip(images, truth.y_px, truth.x_px, truth.valid, truth.regions, strict=True):
        for y, x in np.argwhere(image < 12):
            near = np.hypot(t_y[valid] - y, t_x[valid] - x).min(initial=99)
            assert near < 2 or region[y, x] == fourier.UNKNOWN


def test_turned_zoomed_planted_and_broken_labels_stay_on_their_defects(labels, cfg):
    images, truth = draw(labels, cfg, n=48)
    assert np.isfinite(images).all()
    off, zoomed, crystal = [], 0, truth.regions == fourier.LATTICE
    for i in range(len(images)):
        typical = np.median(images[i][crystal[i]])
        for y, x in zip(truth.y_px[i][truth.valid[i]], truth.x_px[i][truth.valid[i]], strict=True):
            assert at(crystal[i], np.clip(y, 0, SIZE - 1), np.clip(x, 0, SIZE - 1))  # no label in a hole
            if 2 < min(y, x) and max(y, x) < SIZE - 3:
                off.append(at(images[i], y, x) < 0.55 * typical)
        zoomed += abs(truth.pixel_size_nm[i] - 0.03) > 1e-4
    assert np.mean(off) > 0.97 and len(off) > 50
    assert 10 < zoomed < 40  # some pieces are turned by quarters and keep their size
    hole = truth.regions == certainty.HOLE
    assert 0.01 < hole.mean() < 0.3
    assert 3 < hole.any((1, 2)).sum() < 40


def test_scenes_hold_copies_of_the_defects_in_other_cells(labels):
    """Dips as deep as the labelled ones, where each sort can sit, a label on each and none elsewhere."""
    allowed = np.ones(SHAPE, bool)
    allowed[:, 70:] = False
    sorts = fourier_scenes.sorts(labels, np.ones(5, bool))
    assert sorted(len(s.z) for s in sorts) == [1, 4]  # the fifth sits in the middle of the cell
    for sort in sorts:
        np.testing.assert_allclose(sort.heights, -90, rtol=0.08)
    scenes = fourier_scenes.make(labels, allowed, 3, seed=0)
    assert scenes.there.sum(1).min() >= 2
    for picture, yx, there in zip(scenes.pictures, scenes.yx, scenes.there, strict=True):
        yx = yx[there]
        assert (yx[:, 1] < 70).all()
        on_lattice = np.abs(yx / 5 - np.rint(yx / 5)).max(1) < 0.1  # corners and centres of cells of 10 px
        assert on_lattice.all()
        for y, x in yx:
            assert at(picture, y, x) < 45
        for y, x in np.argwhere(picture < 50):
            assert np.hypot(*(yx - [y, x]).T).min() < 2.5
    assert not np.array_equal(scenes.yx[0], scenes.yx[1])


def test_nothing_is_said_outside_the_allowed_part(labels, cfg):
    allowed = np.zeros(labels.frames.shape, bool)
    allowed[:, :, :50] = True
    images, truth = draw(labels, cfg, allowed=allowed, augment=False)
    column = np.where(truth.valid, np.tile(labels.yx[0][:, 1], (len(images), 1)), 0)
    assert column.max() < 50
    assert (truth.regions == fourier.UNKNOWN).any()


def test_interpolation_knows_what_it_does_to_noise():
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(64, 64)).astype(np.float32)
    place = rng.uniform(2, 60, (20000, 2)).astype(np.float32)
    value, kept = augment.linear(noise, place)
    assert np.asarray(value).var() == pytest.approx(float(np.mean(kept)), rel=0.1)
    exact = np.stack(np.meshgrid(np.arange(5, 60), np.arange(5, 60), indexing="ij"), -1).astype(np.float32)
    value, kept = augment.linear(noise, exact)
    np.testing.assert_array_equal(value, noise[5:60, 5:60])
    assert (np.asarray(kept) == 1).all()


@pytest.mark.parametrize("electrons", [0.4, 4.0])
def test_fresh_noise_is_as_skewed_as_counts_are(electrons):
    level = jnp.full((1000, 1000), electrons)
    made = np.asarray(augment.counting_noise(jax.random.key(0), level, level**-0.5))
    counts = np.random.default_rng(0).poisson(electrons, (1000, 1000)) - electrons

    def moments(x):
        return [x.mean(), x.var(), (x**3).mean()]

    assert moments(made) == pytest.approx(moments(counts), abs=0.04 * electrons)


def test_random_fields_have_unit_variance_and_the_wavelengths_asked_for():
    fields = np.stack([augment.field(jax.random.key(i), 64, 12.0, 20.0) for i in range(20)])
    assert fields.std() == pytest.approx(1.0, rel=0.15)
    power = (np.abs(np.fft.fft2(fields)) ** 2).mean(0)
    frequency = np.hypot(np.fft.fftfreq(64)[:, None], np.fft.fftfreq(64))
    inside = (frequency > 1 / 30) & (frequency < 1 / 9)
    assert power[inside].sum() > 0.9 * power.sum()
