"""What invalid pixels hide: no columns, no states over time; statistics of the rest stay as they are."""

import jax.numpy as jnp
import numpy as np

from stemdefects.inference import hidden
from stemdefects.inference.columns.lattice.sites import SiteView
from stemdefects.inference.network import align
from stemdefects.models.frames.normalization import normalize, normalize_frames
from tests.inference.small_network import hexagonal_frames


def test_sites_on_and_beside_invalid_pixels():
    invalid = np.zeros((60, 80), bool)
    invalid[30, :] = True
    view = SiteView(np.zeros((0, 2)), np.diag([10.0, 10.0]), np.array([5.0, 5.0]), 0.0, np.zeros(0), 0, None, None)
    basis = np.array([[0, 0], [0.5, 0.5]])
    found = hidden.sites(hidden.by(invalid), view, basis, 4.9, frame=7)
    assert set(found["site"].tolist()) == {1} and (found["cell"][:, 0] == 2).all() and len(found) == 8, "the row at 30"
    wider = hidden.sites(hidden.by(invalid), view, basis, 5.1, frame=7)
    assert {(g, c) for g, c in zip(wider["site"].tolist(), wider["cell"][:, 0].tolist(), strict=True)} == {
        (1, 2),
        (0, 2),
        (0, 3),
    }
    tall = hidden.by(invalid, aspect=2.0)
    assert tall.near(np.array([60.0, 50.0]), np.array([5.0, 5.0]), 5.0).tolist() == [True, False]


def test_regions_are_unknown_where_hidden():
    invalid = np.zeros((64, 64), bool)
    invalid[:, :16] = True
    hole = np.where(np.arange(8) < 2, 1, 0)[None].repeat(8, 0)
    known, fraction = hidden.regions(hidden.by(invalid), hole, [8.0, 8.0])
    assert (known[:, :2] == 255).all() and (known[:, 2:] == 0).all() and fraction[0] == 1.0


def test_normalisation_leaves_invalid_pixels_out():
    image = hexagonal_frames(1, (128, 128))[0]
    spoiled = image.copy()
    spoiled[:, :40] = 2000
    counted = np.ones(image.shape, bool)
    counted[:, :40] = False
    out = normalize(spoiled, jnp.asarray(counted))
    ideal = normalize(image)
    np.testing.assert_allclose(out[:, 40:], ideal[:, 40:], atol=0.08)
    assert np.abs(normalize(spoiled)[:, 40:] - ideal[:, 40:]).max() > 1
    np.testing.assert_allclose(normalize_frames(image[None], jnp.ones((1, 128, 128), bool))[0], ideal, atol=1e-5)


def test_the_middle_frame_stands_in_for_invalid_pixels_of_its_neighbours():
    frames = hexagonal_frames(3, (64, 64))
    bad = np.zeros((64, 64), bool)
    bad[10:20] = True
    frames[0][bad] = 9999
    out = align.stack(list(frames), None, [bad, None, None])
    np.testing.assert_array_equal(out[0][bad], frames[1][bad])
    np.testing.assert_array_equal(out[0][~bad], frames[0][~bad])
