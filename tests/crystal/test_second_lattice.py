"""Images of one, two and partly two layers, made here; grains side by side are no second layer."""

import numpy as np
import pytest

from stemdefects.crystal import second_lattice
from stemdefects.crystal.bragg import fit_lattice, rotation

CELL = np.array([[0.0, 10.5], [9.0933, 5.25]])  # px
SIZE = 224


def layer(degrees, size=1.0):
    """(SIZE, SIZE) three cosines of a hexagonal lattice turned by `degrees`, `size` times as large."""
    k = np.linalg.inv(CELL @ rotation(np.radians(degrees)) * size).T
    place = np.stack(np.mgrid[:SIZE, :SIZE], -1)
    return np.exp(0.8 * sum(np.cos(2 * np.pi * place @ g) for g in (k[0], k[1], k[0] + k[1])))


def find(mean, dose=30):
    counts = np.random.default_rng(0).poisson(dose * mean).astype(np.float32)
    found = fit_lattice(counts, CELL * 0.03, 0.03)
    return second_lattice.find(counts, found.vectors_px, CELL * 0.03)


@pytest.mark.parametrize("degrees,size", [(7, 1), (15, 1), (25, 1), (30, 1), (0, 0.88), (12, 1.1), (20, 0.8)])
def test_two_layers(degrees, size):
    found = find(layer(10) + layer(10 + degrees, size))
    assert found is not None and found.on_top and found.share > 0.2
    turn = (found.angle_deg + 30) % 60 - 30
    # either of the two may have been taken for the frame's own
    assert min(abs(abs(turn) - t) for t in (degrees, 60 - degrees)) < 2.5
    assert min(abs(found.scale - s) for s in (size, 1 / size)) < 0.04


def test_a_second_layer_over_a_part_of_the_frame():
    part = layer(28)
    part[:, SIZE // 2 :] = 0
    found = find(layer(10) + part)
    assert found is not None and found.on_top and found.overlap == pytest.approx(0.5, abs=0.15)


def test_one_layer_a_strained_one_and_grains_have_none_on_top():
    assert find(layer(10)) is None
    assert find(layer(10), dose=0.5) is None
    y, x = np.mgrid[:SIZE, :SIZE]
    rows = np.cumsum(np.random.default_rng(1).normal(0, 0.05, SIZE))
    moved = (x + rows[:, None] + 0.5).astype(int).clip(0, SIZE - 1)
    assert find(layer(10)[y, moved]) is None, "an unsteady scan"
    for degrees in (8, 20, 30):
        grains = np.where(x + 0.4 * y > 0.7 * SIZE, layer(10 + degrees), layer(10))
        found = find(grains)
        assert found is None or not found.on_top
