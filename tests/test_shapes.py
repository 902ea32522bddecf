"""Shapes in signatures hold: functions at the core, called as they are, under a checker of types at run time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from stemdefects.numerics import forward_backward
from stemdefects.scoring import detection, matching, proportion
from stemdefects.simulation.optics import detector, scan
from stemdefects.simulation.specimen import fields

KEY = jax.random.key(0)
PLACE = jnp.linspace(1.0, 7.0, 5)
SCAN = scan.Scan(*(jnp.float32(value) for value in (0.1, 0.1, 4, 0.1, 0.2, 0.1, 0.5, 3)))
ROWS = scan.rows(KEY, SCAN, 8)
POINTS = np.random.default_rng(0).random((6, 2))
READING = detector.Detector(*(jnp.float32(value) for value in (100, 0.2, 0.5, 0.01, 1, 2, 3)))


def checked(function):
    return jaxtyped(typechecker=beartype)(function)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (matching.match, (POINTS, POINTS[:4] + 0.01, 0.1)),
        (matching.assign, (np.array([0, 0, 1]), np.array([0, 1, 1]), np.array([1.0, 2.0, 1.5]))),
        (detection.curve, ([0.2, 0.9, 0.4], [False, True, True])),
        (detection.f1, (np.array([0.5, 1.0]), np.array([1.0, 0.2]))),
        (proportion.proportion, (np.array([True, False, True]), np.array([0, 1, 1]))),
        (forward_backward.forward, (2, lambda t: np.ones((3, 2)), np.full((1, 2), 0.5), lambda t, chances: chances)),
        (detector.poisson, (KEY, jnp.full((3, 4), 2.0))),
        (detector.detect, (KEY, jnp.full((8, 16), 0.1), READING, True, True, None)),
        (detector.line_gain, (KEY, READING, 8)),
        (scan.distort, (SCAN, PLACE, PLACE, 8)),
        (scan.at_columns, (ROWS, PLACE, jnp.float32(0.8), 8)),
        (fields.upsampling, (16,)),
        (fields.control_points, (KEY, 0.2)),
        (fields.sample, (fields.control_points(KEY, 0.2), PLACE / 8, PLACE / 8)),
    ],
)  # fmt: skip
def test_signatures_hold(function, arguments):
    checked(function)(*arguments)


def test_a_wrong_shape_is_found():
    with pytest.raises(TypeCheckError):
        checked(matching.match)(POINTS.ravel(), POINTS, 0.1)
    with pytest.raises(TypeCheckError):
        checked(scan.distort)(SCAN, PLACE, PLACE[:3], 8)
