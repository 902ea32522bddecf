"""Optimal matching against trying every assignment."""

import itertools

import numpy as np
import pytest

from stemdefects.scoring.matching import match


def brute_force(true, found, radius):
    """Most pairs, then least sum of squared distances, by enumeration."""
    distance = np.linalg.norm(true[:, None] - found[None], axis=-1)
    best = (0, 0.0)
    m, n = distance.shape
    for columns in itertools.permutations([*range(n), *([-1] * m)], m):
        used = [(i, j) for i, j in enumerate(columns) if j >= 0 and distance[i, j] <= radius]
        best = min(best, (-len(used), sum(distance[i, j] ** 2 for i, j in used)))
    return -best[0], best[1]


@pytest.mark.parametrize("seed", range(12))
def test_agrees_with_enumeration(seed):
    rng = np.random.default_rng(seed)
    true, found = rng.uniform(0, 2.0, (4, 2)), rng.uniform(0, 2.0, (rng.integers(1, 5), 2))
    a, b = match(true, found, 0.9)
    n_pairs, cost = brute_force(true, found, 0.9)
    distance = np.linalg.norm(true[a] - found[b], axis=1)
    assert len(a) == n_pairs and (distance <= 0.9).all()
    assert (distance**2).sum() == pytest.approx(cost, abs=1e-9)
    assert len(set(a)) == len(a) and len(set(b)) == len(b)


def test_greedy_would_lose_a_pair():
    true, found = np.array([[0.0, 0.0], [0.0, 1.0]]), np.array([[0.0, 0.45], [0.0, -0.9]])
    a, b = match(true, found, 1.0)
    assert list(a) == [0, 1] and list(b) == [1, 0]


def test_nothing_to_match():
    assert len(match(np.zeros((0, 2)), np.zeros((3, 2)), 1)[0]) == 0
    assert len(match(np.zeros((3, 2)), np.zeros((0, 2)), 1)[0]) == 0
    assert len(match(np.zeros((1, 2)), np.full((1, 2), 9.0), 1)[0]) == 0
