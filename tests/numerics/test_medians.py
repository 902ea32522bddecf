"""Compiled medians, against numpy's."""

import itertools

import numpy as np
import pytest

from stemdefects.numerics import medians

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 8, 501, 1000])
def test_they_are_numpy_s_to_the_last_bit(n, dtype):
    for values in (RNG.normal(size=(n, 3)), RNG.integers(0, 4, (n, 3)), np.full((n, 3), 2.5)):
        values = values.astype(dtype)
        found, expected = medians.median(values[:, 0]), np.median(values[:, 0])
        assert found == expected and found.dtype == dtype
        columns = medians.of_columns(values)
        assert columns.dtype == dtype and (columns == np.median(values, 0)).all()
        spread = np.median(np.abs(values[:, 0] - expected))
        assert medians.deviation(values[:, 0]) == spread
        assert medians.deviation(np.append(values[:, 0], np.full(5, np.nan, dtype))) == spread
        for share in (0.0, 0.005, 0.3, 1.0):
            assert medians.quantile(values[:, 1], share) == pytest.approx(np.quantile(values[:, 1], share), abs=1e-6)
        assert medians.deviation(values[:, 0], 0.5) == np.median(np.abs(values[:, 0] - dtype(0.5)))


def test_of_none_and_of_nan_there_is_no_median():
    assert np.isnan(medians.median([])) and np.isnan(medians.median([1.0, np.nan]))
    assert np.isnan(medians.of_columns(np.array([[1.0, np.nan], [3, 4]]))).tolist() == [False, True]
    assert np.isnan(medians.deviation([np.nan]))


def test_a_network_that_sorts_all_zeros_and_ones_sorts_everything():
    for n in (1, 2, 3, 7, 9):
        values = np.array(list(itertools.product((0.0, 1.0), repeat=n))).T
        for low, high in medians.network(n):
            values[[low, high]] = np.minimum(values[low], values[high]), np.maximum(values[low], values[high])
        assert (np.diff(values, axis=0) >= 0).all()  # Knuth's zero-one principle
    values = np.random.default_rng(0).integers(0, 30, (37, 500)).astype(float)
    expected = np.sort(values, axis=0)
    for low, high in medians.network(37):
        values[[low, high]] = np.minimum(values[low], values[high]), np.maximum(values[low], values[high])
    assert (values == expected).all()
