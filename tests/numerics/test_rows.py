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


def test_rows_are_found_among_others_and_what_is_none_of_them_is_the_last():
    known, _ = rows.unique(np.random.default_rng(1).integers(-4, 5, (60, 3)))
    asked = np.concatenate([known[::-1], known[:3] + 20, known[:3] - [20, 0, 0]])
    expected = {tuple(row): i for i, row in enumerate(known.tolist())}
    assert rows.found(known, asked).tolist() == [expected.get(tuple(row), len(known)) for row in asked.tolist()]
    assert rows.found(known[:0], asked[:2]).tolist() == [0, 0] and len(rows.found(known, asked[:0])) == 0
