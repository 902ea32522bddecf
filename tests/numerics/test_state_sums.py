"""The loops of levels, against sums over arrays."""

import numpy as np

from stemdefects.numerics import state_sums

RNG = np.random.default_rng(0)
PROB = RNG.dirichlet(np.ones(4), (5, 7)).astype(np.float32)


def test_the_strongest_state_is_numpy_s():
    which, largest, total = state_sums.strongest(PROB[:, :, 1:])
    assert (which == PROB[..., 1:].argmax(-1)).all() and (largest == PROB[..., 1:].max(-1)).all()
    np.testing.assert_allclose(total, PROB[..., 1:].sum(-1), rtol=1e-6)


def test_moments_are_those_of_weighted_least_squares_over_what_was_seen():
    line, rest, counts = RNG.normal(size=(5, 7)), RNG.normal(size=(5, 7)), RNG.integers(0, 3, (5, 7, 2))
    line[2, 3] = rest[2, 3] = np.nan
    level, variance, common, seen = np.array([0.0, 1.5]), np.array([1.0, 2.0]), np.array([0, 2]), np.isfinite(line)
    found = state_sums.moments(PROB, common, line, rest, counts, (level, variance))
    prob, design = PROB[seen][:, common].astype(float), np.column_stack([np.ones(34), counts[seen]])
    precise = prob * level / variance
    np.testing.assert_allclose(found.scale, [(precise * rest[seen][:, None]).sum(), (precise * level).sum()])
    np.testing.assert_allclose(found.gram, (design.T * prob.sum(1)) @ design)
    np.testing.assert_allclose(found.line, design.T @ (line[seen] * prob.sum(1)))
    np.testing.assert_allclose(found.level, design.T @ (prob @ level))


def test_what_was_not_seen_has_no_density():
    log = state_sums.log_densities(np.array([0.5, np.nan]), np.array([0.0, 2.0]), np.array([1.0, 4.0]))
    expected = [-0.125, -0.5 * (2.25 / 4 + np.log(4))]
    np.testing.assert_allclose(log, [expected, [0, 0]], rtol=1e-6)
