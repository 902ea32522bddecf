"""Shapes in signatures hold: functions at the core, called as they are, under a checker of types at run time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import TypeCheckError, jaxtyped

from stemdefects.analysis import bootstrap
from stemdefects.analysis.tracking import tracks
from stemdefects.inference.evidence import over_time, readings, state_levels
from stemdefects.io.tables import evidence
from stemdefects.models import peaks
from stemdefects.models.frames import normalization, resample
from stemdefects.models.probability import emissions, states
from stemdefects.numerics import forward_backward
from stemdefects.scoring import detection, matching, proportion
from stemdefects.simulation.optics import detector, scan
from stemdefects.simulation.specimen import fields

KEY = jax.random.key(0)
PLACE = jnp.linspace(1.0, 7.0, 5)
SCAN = scan.Scan(*(jnp.float32(value) for value in (0.1, 0.1, 4, 0.1, 0.2, 0.1, 0.5, 3)))
ROWS = scan.rows(KEY, SCAN, 8)
POINTS = np.random.default_rng(0).random((6, 2))
SEEN_BY = detector.Detector(*(jnp.float32(value) for value in (100, 0.2, 0.5, 0.01, 1, 2, 3)))

FEATURES = np.random.default_rng(1).normal(size=(30, 2))
SEEN = np.random.default_rng(2).random((4, 5, 3)) + 0.1  # frames, sites, states
PRIOR = np.array([0.9, 0.08, 0.02])
PLAN = readings.Plan(0, np.arange(3), np.array([0.0, 0.5, 1.0]), 1, (0, 1))
READING = readings.Reading(PLAN, np.ones(3), np.array([0.0, 2.0, 4.0]), 2.0)
GAUSSIANS = emissions.Emissions(np.arange(3), FEATURES[:3], np.eye(2)[None].repeat(3, 0))
LINE = FEATURES[:20, 0].reshape(4, 5)
LEVELS = state_levels.Levels(
    LINE,
    np.zeros((4, 5, 0)),
    np.zeros((4, 5, 1), int),
    np.array([0.0, 2.0, 4.0]),
    1.0,
    np.zeros(0, int),
    np.zeros(0),
    np.zeros(0),
)
HELD = evidence.Held().start(3, 4, 2, 1)
HELD.finish(np.zeros(4, evidence.SITE_DTYPE), {"sublattices": [{"name": "metal", "features": ["line", "light"]}]})
EVIDENCE = HELD.evidence
DRAWN = bootstrap.weights(6, 40, np.random.default_rng(3))
LINKED = tracks.build(np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.0, 1.0, 0.0]), POINTS[:3])
GRID = resample.plan((20, 20), 16, 4, 4)


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
        (detector.detect, (KEY, jnp.full((8, 16), 0.1), SEEN_BY, True, True, None)),
        (detector.line_gain, (KEY, SEEN_BY, 8)),
        (scan.distort, (SCAN, PLACE, PLACE, 8)),
        (scan.at_columns, (ROWS, PLACE, jnp.float32(0.8), 8)),
        (fields.upsampling, (16,)),
        (fields.control_points, (KEY, 0.2)),
        (states.site_mask, ([0, 0, 1], 2)),
        (states.normalize_by_site, (PRIOR, [0, 0, 1])),
        (states.balance_weights, (PRIOR, [0, 0, 0], 0.5)),
        (states.prior_shift, (np.array([5, 4, 3]), PRIOR, PRIOR, [0, 0, 0])),
        (
            states.floating_log_posterior,
            (jnp.zeros((4, 3)), jnp.zeros(4, int), states.site_mask([0, 0, 0], 1), jnp.zeros(4, int), jnp.full(4, 0.5)),
        ),
        (emissions.centre, (FEATURES,)),
        (emissions.log_ratios, (np.log(SEEN[0]), np.arange(3))),
        (emissions.ordered_states, (0, np.zeros(3, int), 1)),
        (emissions.Emissions.log_likelihood, (GAUSSIANS, SEEN[..., :2])),
        (normalization.normalize_frames, (jnp.ones((2, 8, 8)),)),
        (resample.weights, (8, 0.5, 4)),
        (resample.nearest, (8, 0.5, 4)),
        (resample.resample, (jnp.ones((2, 8, 6)), jnp.ones((4, 8)), jnp.ones((3, 6)))),
        (resample.square_pixels, (np.ones((2, 8, 6)), 1.5)),
        (resample.cut, (jnp.ones((2, 20, 20)), GRID)),
        (peaks.local_maxima, (jnp.zeros((6, 7, 2)),)),
        (over_time.likelihood, (np.log(SEEN),)),
        (over_time.forward_backward, (SEEN, PRIOR, 0.1)),
        (over_time.forward_backward, (SEEN, np.stack([PRIOR, PRIOR]), np.array([0.1, 0.2]), np.ones((4, 5), int))),
        (over_time.fit, (over_time.Given(np.log(SEEN)), PRIOR)),
        (readings.coordinates, (PLAN, LINE, np.stack([LINE, LINE], -1))),
        (readings.Reading.line, (READING, SEEN)),
        (readings.Reading.light_line, (READING, LINE)),
        (readings.Reading.network_line, (READING, SEEN)),
        (state_levels.Levels.log_likelihood, (LEVELS,)),
        (state_levels.read, (LEVELS, LINE, np.array([0.0, 2.0, 4.0]))),
        (evidence.Evidence.site_indices, (EVIDENCE, 0)),
        (evidence.Evidence.feature, (EVIDENCE, "light", np.array([0, 2]))),
        (evidence.Evidence.flag, (EVIDENCE, np.array([0, 2]))),
        (evidence.Evidence.scatters, (EVIDENCE,)),
        (bootstrap.weights, (6, 40, np.random.default_rng(3))),
        (bootstrap.t_interval, (1.0, DRAWN[:, 0], 6)),
        (bootstrap.degrees_of_freedom, (DRAWN, DRAWN[:, 0])),
        (bootstrap.positive_interval, (1.0, DRAWN[:, 0], DRAWN)),
        (bootstrap.percentile_interval, (DRAWN[:, 0],)),
        (tracks.build, (np.array([0, 0, 1]), np.array([0, 1, 0]), np.array([0.0, 1.0, 0.0]), POINTS[:3])),
        (tracks.Tracks.select, (LINKED, np.array([True, False]))),
        (tracks.majority, (LINKED, np.array(["a", "b", "b"]))),
        (fields.sample, (fields.control_points(KEY, 0.2), PLACE / 8, PLACE / 8)),
    ],
)
def test_signatures_hold(function, arguments):
    checked(function)(*arguments)


def test_a_wrong_shape_is_found():
    with pytest.raises(TypeCheckError):
        checked(matching.match)(POINTS.ravel(), POINTS, 0.1)
    with pytest.raises(TypeCheckError):
        checked(scan.distort)(SCAN, PLACE, PLACE[:3], 8)
    with pytest.raises(TypeCheckError):
        checked(over_time.forward_backward)(SEEN, PRIOR[:2], 0.1)
    with pytest.raises(TypeCheckError):
        checked(evidence.EvidenceWriter.write)(
            None, 0, np.zeros((3, 4, 2)), np.zeros((3, 5), np.uint8), np.zeros((3, 1))
        )
