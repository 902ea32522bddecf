"""A disk that fills up while HDF5 writes is an OSError, not the end of the process."""

import errno
import resource

import h5py
import numpy as np
import pytest

from stemdefects.errors import reason_of
from stemdefects.io.tables.hdf5_output import Output
from stemdefects.io.tables.table import DefectTable, empty


@pytest.fixture
def small_disk():
    """Files of this process end at 20 kB, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("n", [1_000, 100_000])
def test_a_full_disk_is_an_error_of_its_own(tmp_path, small_disk, n):
    with pytest.raises(OSError) as caught:
        with Output(tmp_path / "a.h5") as file:
            packed = file.create_dataset("noise", (0,), "f8", maxshape=(None,), chunks=(1000,), compression="gzip")
            for start in range(0, 20 * n, n):
                packed.resize(start + n, axis=0)
                packed[start:] = np.random.default_rng(start).random(n)
                file.attrs[f"a{start}"] = "x" * 1000
    assert caught.value.errno == errno.EFBIG and str(tmp_path / "a.h5") in reason_of(caught.value)


def test_a_table_that_cannot_be_written_leaves_the_one_before(tmp_path, small_disk):
    path = tmp_path / "defects.h5"
    DefectTable(empty(3), attrs={"a": 1}).write(path)
    before = path.read_bytes()
    rows = empty(20_000)
    for name in ("y_px", "x_px", "score"):
        rows[name] = np.random.default_rng(0).random(len(rows))
    with pytest.raises(OSError):
        DefectTable(rows).write(path)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["defects.h5"]


def test_what_is_written_is_what_h5py_reads(tmp_path):
    values = np.random.default_rng(0).random((50, 70))
    output = Output(tmp_path / "a.h5")
    output.file.create_dataset("v", data=values, chunks=(10, 70), compression="gzip")
    output.flush()
    np.testing.assert_array_equal(output.file["v"][()], values)
    output.close()
    output.close()
    with h5py.File(tmp_path / "a.h5") as file:
        np.testing.assert_array_equal(file["v"][()], values)
