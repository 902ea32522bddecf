"""Light of columns in drawn patches whose heights are known, and classes that come in three orientations."""

import itertools

import numpy as np
import pytest

from stemdefects.analysis.patches import classes, orientation_mixture, patch_fit, patch_light
from stemdefects.crystal import material
from stemdefects.schema import ClusteringConfig

PIXEL_NM = 0.03
WIDTH_NM = 0.05
ANGLE = 0.4


def draw(name, site, own, beside, rng, noise=0.0, moved_nm=0.0):
    """A patch (32, 32) centred on a column of sublattice `site`: Gaussians of 5 times the light, a tilted background,
    half a pixel off centre; and the lattice vectors in its pixels. `moved_nm`: the bonded columns stand nearer."""
    crystal = material.load(name)
    c, s = np.cos(ANGLE), np.sin(ANGLE)
    vectors = crystal.lattice_nm @ np.array([[c, -s], [s, c]]) / PIXEL_NM
    signal = {0: 1.0, 1: 1.0 if name == "graphene_si" else 0.16}
    y, x = np.mgrid[:32, :32] - 15.5
    image = 3.0 + 0.02 * y - 0.03 * x
    shift = rng.uniform(-0.5, 0.5, 2)
    bonds = []
    basis = [np.array(g.position) for g in crystal.sites]
    for i in range(-5, 6):
        for j in range(-5, 6):
            for g in (0, 1):
                at = (np.array([i, j]) + basis[g] - basis[site]) @ vectors
                distance = np.hypot(*at) * PIXEL_NM
                if distance < 1e-6:
                    bonds.append((None, at, own))
                elif distance < 1.05 * crystal.a_nm / np.sqrt(3):
                    bonds.append((np.mod(np.arctan2(*at) - ANGLE, 2 * np.pi), at * (1 - moved_nm / distance), None))
                else:
                    bonds.append((None, at, signal[g]))
    order = iter(beside)
    for _, at, light in sorted(bonds, key=lambda b: -1 if b[0] is None else b[0]):
        light = next(order) if light is None else light
        at = at + shift
        image += 5 * light * np.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / (2 * (WIDTH_NM / PIXEL_NM) ** 2))
    return image + noise * rng.standard_normal((32, 32)), vectors


@pytest.mark.parametrize(
    ("name", "site", "own", "beside"),
    [
        ("ws2_mo", 0, 0.42, (0.16, 0.08, 0.16)),
        ("ws2_mo", 0, 0.0, (0.16, 0.16, 0.16)),
        ("ws2_mo", 1, 0.08, (1.0, 1.0, 1.0)),
        ("ws2_mo", 1, 0.0, (1.0, 0.42, 1.0)),
        ("graphene_si", 1, 3.9, (1.0, 1.0, 1.0)),
    ],
)
def test_light_of_a_column_and_of_its_bonds_in_order(name, site, own, beside):
    rng = np.random.default_rng(0)
    drawn = [draw(name, site, own, beside, rng, noise=0.02, moved_nm=0.005) for _ in range(6)]
    patches, vectors = (np.array(v) for v in zip(*drawn, strict=True))
    found = patch_light.measure(patches, vectors, material.load(name), 32 * PIXEL_NM)
    assert (found.site == (0 if name == "graphene_si" else site)).all()
    np.testing.assert_allclose(found.own, own, atol=0.015)
    np.testing.assert_allclose(found.beside, np.tile(beside, (6, 1)), atol=0.02)


def by_images(patch, at, free, stiff, width, ridge, rounds):
    """What `patch_fit.fit` does for one patch, with every function drawn as an image."""
    side, k, f = len(patch), len(at), len(free)
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    plane = [np.ones_like(y), y / side, x / side]
    moved, height, left = np.zeros_like(at), np.zeros(k), 0.0
    for round_ in range(rounds):
        place = at + moved
        bells = [np.exp(-((y - p[0]) ** 2 + (x - p[1]) ** 2) / (2 * width**2)) for p in place]
        images = [*bells, *plane]
        if round_:
            for axis, grid in enumerate((y, x)):
                images += [height[j] * bells[j] * (grid - place[j, axis]) / width**2 for j in free]
        design = np.array(images).reshape(len(images), -1).T
        normal, target = design.T @ design + ridge * np.eye(len(images)), design.T @ patch.ravel()
        for axis in range(2 if round_ else 0):
            part = slice(k + 3 + axis * f, k + 3 + (axis + 1) * f)
            normal[part, part] += left * stiff
            target[part] -= left * stiff @ moved[free, axis]
        found = np.linalg.solve(normal, target)
        left, height = np.mean((patch.ravel() - design @ found) ** 2), found[:k]
        if round_:
            moved[free] += np.clip(found[k + 3 :].reshape(2, f).T, -1, 1)
            moved[np.setdiff1d(np.arange(k), free)] = moved[free].mean(0)
    return height, left


@pytest.mark.parametrize(("width", "rounds"), [(1.6, 1), (1.6, 2), (1.6, 5), (0.6, 4), (3.0, 3)])
def test_products_of_two_axes_fit_as_images_do(width, rounds):
    rng = np.random.default_rng(8)
    patches = 1 + 0.1 * rng.standard_normal((3, 20, 20))
    at = rng.uniform(-6, 6, (3, 7, 2))
    at[:, 6] = 40.0, -90.0  # far outside: adds nothing, and no overflow either
    free, stiff = np.array([0, 2, 3]), 4 * np.eye(3) - 1
    heights, lefts = patch_fit.fit(patches, at, free, stiff, width, 1e-3, rounds)
    for patch, place, height, left in zip(patches, at, heights, lefts, strict=True):
        wanted, unexplained = by_images(patch, place.copy(), free, stiff, width, 1e-3, rounds)
        np.testing.assert_allclose(height, wanted, rtol=1e-6, atol=1e-8)
        assert left == pytest.approx(unexplained, rel=1e-6)


def test_light_is_unknown_without_a_lattice():
    rng = np.random.default_rng(1)
    patch, vectors = draw("ws2_mo", 0, 0.4, (0.16, 0.16, 0.16), rng)
    crystal = material.load("ws2_mo")
    found = patch_light.measure(np.stack([patch] * 2), np.stack([vectors, vectors * np.nan]), crystal, 32 * PIXEL_NM)
    assert found.known.tolist() == [True, False]
    assert not patch_light.measure(patch[None], vectors[None] * np.nan, crystal, 32 * PIXEL_NM).known.any()
    assert patch_light.measure(patch[None], vectors[None], None, 32 * PIXEL_NM) is None


def test_counts_have_the_same_scatter_on_the_even_scale():
    """Anscombe's root, against Poisson numbers of a few electrons."""
    rng = np.random.default_rng(2)
    electrons, floor = 40.0, 0.4
    light = np.array([0.0, 0.4, 1.0])
    seen = rng.poisson(electrons * (light + floor)[:, None], (3, 20000)) / electrons - floor
    found = patch_light.Light(seen[0], np.zeros((20000, 3)), np.zeros(20000, int), floor)
    even = np.array([found.even(s).std() for s in seen])
    assert seen.std(1).max() / seen.std(1).min() > 1.7
    assert even.max() / even.min() < 1.05
    assert np.allclose(found.even(np.array([0.001])), 0.001, rtol=0.01)


def columns(rng, noise=0.03):
    """Own light, bonds, truth and orientation of Mo, Mo with a vacancy beside it, and a metal vacancy."""
    n = 360
    truth = rng.integers(0, 3, n)
    turn = rng.integers(0, 3, n)
    own = np.where(truth == 2, 0.0, 0.4) + noise * rng.standard_normal(n)
    beside = 0.16 + noise * rng.standard_normal((n, 3))
    beside[np.arange(n), turn] -= np.where(truth == 1, 0.10, 0.0)
    return own, beside, truth, turn


def test_a_complex_is_one_class_and_its_orientation_is_told():
    own, beside, truth, turn = columns(np.random.default_rng(3))
    path = list(itertools.islice(orientation_mixture.search(own, beside, len(own)), 4))
    best = min(path, key=lambda m: orientation_mixture.bic(m, len(own)))
    assert len(best.classes) == 3
    contrast = sorted(c.contrast or 0.0 for c in best.classes)
    assert contrast[0] == pytest.approx(-0.067, abs=0.01) and contrast[1:] == [0.0, 0.0]  # 2/3 of what is missing
    label, found = best.assign(own, beside)
    name = [np.bincount(truth[label == k]).argmax() for k in range(3)]
    assert np.mean(np.array(name)[label] == truth) > 0.93
    right = (truth == 1) & (np.array(name)[label] == 1)
    assert np.mean(found[right] == turn[right]) > 0.97
    again, turned = best.assign(own, np.roll(beside, 1, axis=1))
    assert np.mean(again == label) > 0.98 and np.mean(turned[right] == (turn[right] + 1) % 3) > 0.97


def test_noise_of_the_columns_is_one_class():
    rng = np.random.default_rng(4)
    own, beside = 0.03 * rng.standard_normal(600), 0.16 + 0.03 * rng.standard_normal((600, 3))
    path = list(itertools.islice(orientation_mixture.search(own, beside, 600), 3))
    best = min(path, key=lambda m: orientation_mixture.bic(m, 600))
    assert len(best.classes) == 1 and best.classes[0].contrast is None


def test_classes_of_light_and_their_averages_are_turned_onto_each_other():
    rng = np.random.default_rng(5)
    own, beside, truth, turn = columns(rng)
    pictures = {
        (k, t): draw("ws2_mo", 0, 0.4 * (k < 2), np.where((np.arange(3) == t) & (k == 1), 0.0, 0.16), rng)[0]
        for k in range(3)
        for t in range(3)
    }
    patches = np.array([pictures[k, t] for k, t in zip(truth, turn, strict=True)])
    light = patch_light.Light(own, beside, np.zeros(len(own), int))
    found = classes.classify(patches, ClusteringConfig(n_resamples=1, max_classes=4), 0, truth, light)
    assert len(found.counts) == 3 and found.agreement > 0.75
    with_vacancy = int(np.argmin(found.light[:, 1]))
    np.testing.assert_allclose(found.light[with_vacancy], [0.4, 0.06, 0.16, 0.16], atol=0.015)
    # the bond that differs, by angle 0.4 + 30 degrees from x towards y, is darker than the two others in the mean
    y, x = np.mgrid[:32, :32] - 15.5
    reach = 0.3153 / np.sqrt(3) / PIXEL_NM
    bonds = []
    for k in range(3):
        angle = ANGLE + np.pi / 6 + 2 * np.pi * k / 3
        near = np.hypot(y - reach * np.sin(angle), x - reach * np.cos(angle)) < 1.5
        bonds.append(found.averages[with_vacancy][near].mean())
    assert bonds[0] < min(bonds[1:]) - 0.3


def test_patches_of_unknown_light_fall_back_to_whole_patches():
    rng = np.random.default_rng(6)
    own, beside, truth, _ = columns(rng)
    own[: 3 * len(own) // 4] = np.nan
    light = patch_light.Light(own, beside, np.zeros(len(own), int))
    patches = rng.standard_normal((len(own), 32, 32)) + truth[:, None, None]
    found = classes.classify(patches, ClusteringConfig(n_resamples=1, max_classes=3), 0, truth, light)
    assert found.light is None and "too few" in found.note and "threefold" in found.method


def test_defects_seen_again_and_again_are_no_classes_of_their_own():
    """Ten defects of one kind, each with its own neighbourhood, in 40 frames each."""
    rng = np.random.default_rng(7)
    owner = np.repeat(np.arange(10), 40)
    own = 0.4 + 0.02 * rng.standard_normal(10)[owner] + 0.004 * rng.standard_normal(400)
    beside = 0.16 + 0.004 * rng.standard_normal((400, 3))
    light = patch_light.Light(own, beside, np.zeros(400, int))
    patches, cfg = np.zeros((400, 32, 32), np.float32), ClusteringConfig(n_resamples=2, max_classes=4)
    assert len(classes.classify(patches, cfg, 0, light=light).counts) > 1
    assert len(classes.classify(patches, cfg, 0, light=light, owner=owner).counts) == 1
