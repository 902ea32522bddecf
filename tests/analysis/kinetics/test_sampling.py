"""When sampling stops, and what is then said."""

import numpy as np

from stemdefects.analysis import kinetics
from stemdefects.analysis.kinetics import Evidence
from stemdefects.analysis.kinetics.sampling import CHUNK, Settings


def test_a_run_whose_time_is_up_tells_that_its_chains_do_not_agree_yet():
    """One chunk is kept even where the time was up during the warm-up."""
    n = 7
    turn = np.arange(6) * np.pi / 3
    yx = np.concatenate([[[0.0, 0.0]], np.stack([np.sin(turn), np.cos(turn)], 1)]) * 0.3
    distance = np.hypot(*(yx[:, None] - yx).transpose(2, 0, 1))
    near = np.full((n, 6), -1)
    for i in range(n):
        found = np.flatnonzero((distance[i] > 0) & (distance[i] < 0.33))
        near[i, : len(found)] = found
    line = np.random.default_rng(0).normal(size=(6, n))
    line[:, 0] -= 4
    evidence = Evidence(
        yx, near, np.full((n, 3), -1), np.zeros(1), line, np.float64(1.0), np.array([-4.0, -8.0]), 0.8, 1.25,
        np.arange(6.0), np.ones((6, n), bool), np.zeros(n, bool),
    )  # fmt: skip
    found = kinetics.infer(evidence, Settings(seconds=0.0))
    assert found.code == kinetics.Code.NOT_CONVERGED
    assert found.rates.shape[1] == CHUNK
    assert found.estimate("single per frame").code == kinetics.Code.NOT_CONVERGED
