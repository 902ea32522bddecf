"""Sampling of a movie whose lattice no single frame shows."""

from pathlib import Path

import numpy as np
import pytest

from stemdefects.errors import UserError
from stemdefects.inference.network import calibration

FAINT = Path(__file__).parents[4] / "shared" / "data" / "real" / "graphene_si_single_128.npz"
A_NM, FIELD_NM = 0.2461, 2.0  # of graphene, and of the frames by their authors


@pytest.mark.skipif(not FAINT.exists(), reason="shared movie is not there")
def test_a_lattice_that_all_frames_show_together_calibrates_where_it_is_asked_for():
    with np.load(FAINT) as stored:
        frames = stored["images"][:8].astype(np.float32)
    lattice_nm = A_NM * np.array([[0.0, 1.0], [np.sqrt(3) / 2, 0.5]])
    with pytest.raises(UserError, match="no lattice can be seen"):
        calibration.calibrate(frames, lattice_nm)
    found = calibration.calibrate(frames, lattice_nm, trust=calibration.Trust(faint=True))
    assert found.origin == "lattice"
    assert found.pixel_size_nm == pytest.approx(FIELD_NM / 128, rel=0.05)
