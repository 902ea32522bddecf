"""Which extrema are labels."""

import numpy as np

from stemdefects.labels.fourier.points import certainty
from stemdefects.labels.fourier.points.defects import Extrema


def test_beside_dirt_only_what_stands_out_is_a_label():
    """Thin film at its rim makes spots like faint atoms, bright and dark ones; a heavy atom is more than these."""
    region = np.full((200, 200), certainty.LATTICE, np.int8)
    region[:, :50] = certainty.AMORPHOUS
    x = np.array([60.0, 75.0, 85.0, 120.0])  # 1 to 7 spacings from it
    yx = np.stack([np.linspace(40, 160, 4), x], 1)
    level = np.full(4, 5.0)
    for sign in (-1, 1):
        faint = certainty.accepted(Extrema(yx, np.full(4, sign * 8.0)), level, region, 10.0)
        assert faint.tolist() == [False, False, True, True]
        assert certainty.accepted(Extrema(yx, np.full(4, sign * 12.0)), level, region, 10.0).all()
    region[region == certainty.AMORPHOUS] = certainty.LATTICE
    assert certainty.accepted(Extrema(yx, np.full(4, 8.0)), level, region, 10.0).all()
