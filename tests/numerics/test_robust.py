"""Scatter of the bulk."""

import numpy as np
import pytest

from stemdefects.numerics import robust


def test_scatter_is_the_standard_deviation_of_the_bulk_and_leaves_out_nan():
    values = np.random.default_rng(0).normal(5, 2, (20_000, 2))
    values[:1000] = 1e6
    assert robust.scatter(values[:, 0]) == pytest.approx(2, rel=0.1)
    assert robust.scatter([1, 2, 3, np.nan]) == pytest.approx(1.4826)
    assert robust.scatter(np.array([-1.0, 1, 1]), 0.0) == pytest.approx(1.4826)
    by_column = robust.scatter(values * [1, 10], axis=0)
    assert by_column.shape == (2,) and by_column[1] == pytest.approx(20, rel=0.1)
