"""Classes of patches whose kinds are known."""

import numpy as np
import pytest

from stemdefects.analysis.patches import classes, patch_features
from stemdefects.schema import ClusteringConfig


def patches(rng, n, noise=0.15):
    """Three kinds of patches on a triangular lattice; the third comes in three orientations."""
    y, x = np.mgrid[:32, :32] - 15.5
    kind = rng.integers(0, 3, n)
    out = np.empty((n, 32, 32), np.float32)
    for k in range(n):
        turn = rng.integers(0, 3)
        image = np.zeros((32, 32))
        for j in range(3):
            angle = 2 * np.pi * j / 3
            strength = 0.4 if kind[k] == 2 and j == turn else 1.0
            image += strength * np.exp(-((y - 7 * np.sin(angle)) ** 2 + (x - 7 * np.cos(angle)) ** 2) / 8)
        image += (0.2 if kind[k] == 0 else 1.5) * np.exp(-(y**2 + x**2) / 8)
        out[k] = image + noise * rng.standard_normal((32, 32))
    return out, kind


def test_threefold_features_join_the_orientations_and_raw_pixels_split_them():
    from sklearn.metrics import adjusted_rand_score

    data, kind = patches(np.random.default_rng(0), 600)
    score = {}
    for features in ("threefold", "raw"):
        cfg = ClusteringConfig(features=features, max_classes=6, n_resamples=3)
        found = classes.classify(data, cfg, 0, kind)
        score[features] = adjusted_rand_score(kind, found.label)
        if features == "threefold":
            assert len(found.averages) == 3 and found.counts.sum() + (found.label < 0).sum() == 600
            assert found.agreement == pytest.approx(score[features], abs=0.02)
    assert score["threefold"] > 0.95 > score["raw"]


def test_labels_stay_the_same_with_the_same_seed():
    data, _ = patches(np.random.default_rng(1), 300)
    cfg = ClusteringConfig(max_classes=4, n_resamples=2)
    assert (classes.classify(data, cfg, 3).label == classes.classify(data, cfg, 3).label).all()


@pytest.mark.parametrize("features", ["threefold", "zernike"])
def test_features_do_not_change_under_rotation_by_a_third(features):
    from scipy.ndimage import rotate

    data, _ = patches(np.random.default_rng(2), 20, noise=0.0)
    turned = np.stack([rotate(p, 120, reshape=False, order=3) for p in data])
    a, b = patch_features.features(data, features), patch_features.features(turned, features)
    assert np.abs(a - b).mean() < 0.12 * np.abs(a - a.mean(0)).mean() + 0.05


def test_noise_is_one_class_and_few_patches_are_none():
    noise = np.random.default_rng(3).standard_normal((200, 32, 32)).astype(np.float32)
    found = classes.classify(noise, ClusteringConfig(max_classes=4, n_resamples=3))
    assert len(found.averages) == 1 and found.note
    assert classes.classify(noise[:20], ClusteringConfig()) is None


def test_hdbscan_is_an_option():
    data, kind = patches(np.random.default_rng(4), 300, noise=0.05)
    found = classes.classify(data, ClusteringConfig(method="hdbscan", n_pca=4), 0, kind)
    assert found.agreement > 0.5
