import numpy as np
import pytest

from stemdefects.numerics import rows


@pytest.mark.parametrize("spread", [3, 10**6])
def test_different_rows_are_those_of_numpy(spread):
    some = np.random.default_rng(0).integers(-spread, spread, (200, 3))
    some[100:150] = some[:50]
    found, index = rows.unique(some)
    expected, inverse = np.unique(some, axis=0, return_inverse=True)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(index, inverse.ravel())
    assert rows.unique(some[:0])[0].shape == (0, 3)
