"""The sums over hidden paths against adding up every path one by one."""

import itertools

import numpy as np
import pytest

from stemdefects.numerics import forward_backward


def by_hand(seen, start, kernels):
    """Log likelihood (n,), posterior (T, n, S) and P(state at t - 1, state at t) of traces that see `seen` (T, n, S)
    and step by `kernels` (T - 1, n, S, S): every path, one after another."""
    steps, n, size = seen.shape
    posterior, pairs = np.zeros(seen.shape), np.zeros((steps - 1, n, size, size))
    for path in itertools.product(range(size), repeat=steps):
        chance = start[:, path[0]] * seen[0, :, path[0]]
        for t in range(1, steps):
            chance = chance * kernels[t - 1, :, path[t - 1], path[t]] * seen[t, :, path[t]]
        for t, s in enumerate(path):
            posterior[t, :, s] += chance
        for t in range(steps - 1):
            pairs[t, :, path[t], path[t + 1]] += chance
    total = posterior[0].sum(-1)
    return np.log(total), posterior / total[:, None], pairs / total[:, None, None]


@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 2e-5)])
def test_all_paths_added_up(dtype, tolerance):
    rng = np.random.default_rng(0)
    steps, size = 5, 3
    lengths = np.array([5, 5, 3, 1])  # those that go on stand first
    seen = rng.uniform(0.01, 1, (steps, 4, size)).astype(dtype)
    seen[2, 0] = 1  # not seen
    kernels = rng.dirichlet(np.ones(size), (steps - 1, 4, size)).astype(dtype)
    start = rng.dirichlet(np.ones(size), 4).astype(dtype)
    live = [int((lengths > t).sum()) for t in range(steps)]

    def step(t):
        return seen[t, : live[t]]

    chances, total = forward_backward.forward(
        steps, step, start, lambda t, p: (p[:, None] @ kernels[t - 1, : live[t]])[:, 0]
    )
    smooth = list(
        forward_backward.backward(chances, step, lambda t, w: (kernels[t - 1, : live[t]] @ w[..., None])[..., 0])
    )
    assert [s.t for s in smooth] == [4, 3, 2, 1, 0] and all(s.posterior.dtype == dtype for s in smooth)
    for trace, length in enumerate(lengths):
        one = slice(trace, trace + 1)
        log, posterior, pairs = by_hand(
            *(a.astype(float) for a in (seen[:length, one], start[one], kernels[: length - 1, one]))
        )
        assert total[trace] == pytest.approx(log[0], abs=tolerance * 10)
        for s in smooth:
            if s.t < length:
                np.testing.assert_allclose(s.posterior[trace], posterior[s.t, 0], atol=tolerance)
            if 0 < s.t < length:
                pair = chances[s.t - 1][trace][:, None] * kernels[s.t - 1, trace] * s.ahead[trace]
                np.testing.assert_allclose(pair / pair.sum(), pairs[s.t - 1, 0], atol=tolerance)


def test_likelihoods_beyond_the_numbers_that_a_float_holds():
    seen = np.full((400, 1, 2), 1e-30, np.float32)
    seen[:, :, 0] = 3e-30
    same = np.eye(2, dtype=np.float32)
    chances, total = forward_backward.forward(
        400, seen.__getitem__, np.full((1, 2), 0.5, np.float32), lambda t, p: p @ same
    )
    assert total[0] == pytest.approx(400 * np.log(3e-30) + np.log(0.5), rel=1e-6)
    assert next(forward_backward.backward(chances, seen.__getitem__, lambda t, w: w @ same)).posterior[0, 0] == 1
