"""One field or many: sites with states drawn here, on lattices that drift or are drawn anew."""

import numpy as np
import pytest

from stemdefects.inference.evidence.field.field_changes import Fields
from stemdefects.inference.evidence.field.registration import FrameSites, Registrar

PRIOR = np.array([0.95, 0.05])  # one sublattice: ideal, defect
VECTORS = np.array([[0.0, 10.5], [9.0933, 5.25]])


def frame(defects, origin, rng, sure=0.97, wrong=0.02):
    """Columns of 20 x 20 cells; defects: (20, 20) bool."""
    cell = np.stack(np.meshgrid(np.arange(20), np.arange(20), indexing="ij"), -1).reshape(-1, 2)
    right = np.where(rng.random(400) >= wrong, sure, 1 - sure)
    prob = np.where(defects.ravel(), right, 1 - right)
    return FrameSites(cell, np.zeros(400, int), np.stack([1 - prob, prob], 1), VECTORS, np.asarray(origin, float))


def kinship(fields, origins, seed=0, wrong=0.02):
    rng = np.random.default_rng(seed)
    registrar = Registrar(PRIOR, np.array([0, 0]), 0.03)
    for defects, origin in zip(fields, origins, strict=True):
        registrar.add(frame(defects, origin, rng, wrong=wrong))
    return registrar.kinship


@pytest.mark.parametrize("n", [4, 10])
def test_frames_of_many_fields(n):
    rng = np.random.default_rng(1)
    fields = rng.random((n, 20, 20)) < 0.06
    assert kinship(fields, rng.uniform(0, 10, (n, 2))).unrelated
    assert not kinship([fields[0]] * n, rng.uniform(-8, 8, (n, 2))).unrelated, "one field, however it jumps"


def test_a_movie_whose_defects_hop_is_one_field():
    rng = np.random.default_rng(2)
    resting, fields = rng.random((20, 20)) < 0.03, []
    for _ in range(8):
        fields.append(resting | (rng.random((20, 20)) < 0.03))  # half of the defects are elsewhere each time
    assert not kinship(fields, np.cumsum(rng.normal(0, 0.5, (8, 2)), 0)).unrelated
    all_new = rng.random((8, 20, 20)) < 0.05
    still = np.cumsum(rng.normal(0, 0.3, (8, 2)), 0)
    assert not kinship(all_new, still).unrelated, "the lattice stays where it is: all have hopped"


def test_frames_without_defects_say_nothing_and_turned_lattices_do():
    places = np.random.default_rng(3).uniform(0, 10, (6, 2))
    assert not kinship(np.zeros((6, 20, 20), bool), places, wrong=0.0).unrelated
    other = Registrar(PRIOR, np.array([0, 0]), 0.03).kinship
    other.other_lattice()
    assert not other.unrelated, "one turned frame may be an accident"
    other.other_lattice()
    assert other.unrelated


def joined(parts, seed=0, wrong=0.02):
    rng = np.random.default_rng(seed)
    followed = Fields(lambda: Registrar(PRIOR, np.array([0, 0]), 0.03))
    for defects, origin in parts:
        followed.add(None if defects is None else frame(defects, origin, rng, wrong=wrong))
    followed.settle()
    return followed


@pytest.mark.parametrize("second", [2, 7])
def test_two_movies_in_one_file_are_told_apart(second):
    rng = np.random.default_rng(5)
    a, b = rng.random((2, 20, 20)) < 0.06
    parts = [(a, (0.3 * t, 0)) for t in range(10)] + [(b, (4.0, 0.2 * t)) for t in range(second)]
    found = joined(parts)
    assert found.others().tolist() == [False] * 10 + [True] * second and not found.kinship.unrelated
    assert np.allclose(found.placed[10].drift_px, 0), "its drift is its own"


def test_an_accident_or_many_hops_are_no_change_of_field():
    rng = np.random.default_rng(6)
    a, b = rng.random((2, 20, 20)) < 0.06
    once = [(a, (0, 0))] * 5 + [(b, (0, 0))] + [(a, (0, 0))] * 5
    assert not joined(once).others().any(), "one strange frame"
    moved = a & (rng.random((20, 20)) < 0.6) | (rng.random((20, 20)) < 0.02)
    assert not joined([(a, (0, 0))] * 6 + [(None, None)] * 2 + [(moved, (1, 1))] * 6).others().any(), "a pause"
