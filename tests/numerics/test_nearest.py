"""The nearest points, against a search tree."""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from stemdefects.numerics.nearest import any_within, medians, nearest

RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    "points",
    [
        RNG.uniform(0, 100, (400, 2)),
        RNG.normal(0, 1, (300, 2)) ** 3 * [10, 1],  # dense in one place, thin around it
        np.column_stack([np.arange(60.0), np.full(60, 3.0)]),  # on a line
        RNG.uniform(0, 1, (7, 2)),
    ],
)
def test_nearest_points_and_medians_over_them_are_those_of_a_tree(points):
    asked = np.concatenate([points[::3], RNG.uniform(-150, 200, (50, 2)), points.mean(0, keepdims=True)])
    values, tree = RNG.normal(size=len(points)), cKDTree(points)
    for k in (1, 6, 7):
        expected, of = tree.query(asked, k=[*range(1, k + 1)])
        distance, index = nearest(points, asked, k)
        np.testing.assert_allclose(distance, expected, atol=1e-9)
        away = np.linalg.norm(points[index] - asked[:, None], axis=-1)
        np.testing.assert_allclose(away, expected, atol=1e-9)  # of two that are as far, either
        farther = tree.query(asked, k=[k + 1])[0][:, 0]
        clear = farther > expected[:, -1] + 1e-9
        assert clear.sum() > 50
        np.testing.assert_allclose(medians(values, points, asked, k)[clear], np.median(values[of], axis=1)[clear])


def test_fewer_points_than_asked_for_are_all_taken_and_none_is_said():
    distance, index = nearest(np.array([[0.0, 0], [3, 4]]), np.zeros((1, 2)), 6)
    assert distance.tolist() == [[0, 5]] and index.tolist() == [[0, 1]]
    assert medians(np.array([1.0, 3]), np.array([[0.0, 0], [3, 4]]), np.zeros((1, 2)), 37).tolist() == [2]
    with pytest.raises(ValueError, match="no points"):
        nearest(np.zeros((0, 2)), np.zeros((1, 2)), 1)


def test_whether_anything_is_near_is_what_a_tree_says():
    points = np.concatenate([RNG.uniform(0, 100, (400, 2)), RNG.normal(50, 1, (50, 2))])
    asked = np.concatenate([points[::9] + 0.1, RNG.uniform(-30, 130, (500, 2))])
    for reach in (0.2, 3.0, 40.0):
        near = cKDTree(points).query(asked)[0] <= reach
        assert near.any() and not near.all()
        assert (any_within(points, asked, reach) == near).all()
    assert not any_within(np.zeros((0, 2)), asked, 3.0).any()
