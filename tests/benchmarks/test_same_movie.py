"""One movie in other writing is the same movie: some ways of benchmarks/same_movie.py, on little."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import same_movie

EXACT = {
    "OME-TIFF, channels BF and HAADF first",
    "run and movie moved and renamed",
    "TrackMate spots, four header lines",
    "the pause told by unix times",
}
NEAR = {
    "the run's own CSV against its HDF5": 0.05
}  # the CSV has no phases of the lattice: drift is that of the defects


@pytest.fixture(scope="module")
def differences(tmp_path_factory):
    found = same_movie.run(tmp_path_factory.mktemp("same"), "ws2_mo", 112, 6, {*EXACT, *NEAR})
    return {one.way: one for one in found}


@pytest.mark.filterwarnings("ignore::stemdefects.StemdefectsWarning")
def test_one_movie_in_many_ways_is_one_table_and_one_D(differences):
    assert {*EXACT, *NEAR} < set(differences)
    for way, seen in differences.items():
        assert seen.n_rows > 40 and seen.n_other == 0, seen.line
        assert seen.position_nm < 1e-3 and seen.time_s < 0.01, seen.line
        assert abs(seen.D_relative) < NEAR.get(way, 2e-3), seen.line
