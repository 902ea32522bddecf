import json

import h5py
import numpy as np
import pytest

from stemdefects.errors import UserError
from stemdefects.io.tables import table, table_writer


def random_table(n=100, seed=0):
    rng = np.random.default_rng(seed)
    rows = table.empty(n)
    for name in ("y_px", "x_px", "y_nm", "x_nm", "score", "sigma_nm", "time_s", "kind_prob"):
        rows[name] = rng.random(n)
    rows["frame"] = np.sort(rng.integers(0, 10, n))
    rows["kind"] = rng.choice([b"V_S", b"Mo_W"], n)
    frames = table.empty_frames(10)
    frames["note"][3] = b"skipped"
    patches = rng.normal(size=(n, 32, 32)).astype("f2")
    attrs = {"pixel_size_nm": 0.03, "config": {"a": [1, 2]}, "source": "movie.h5", "frame_time_s": None}
    return table.DefectTable(rows, frames, patches, attrs)


def same(a, b):
    """Structured arrays equal, NaN equal to NaN."""
    assert a.dtype == b.dtype and len(a) == len(b)
    for name in a.dtype.names:
        np.testing.assert_array_equal(a[name], b[name])


def test_hdf5_round_trip(tmp_path):
    written = random_table()
    read = table.DefectTable.read(written.write(tmp_path / "defects.h5"))
    same(read.rows, written.rows)
    same(read.frames, written.frames)
    np.testing.assert_array_equal(read.patches, written.patches)
    assert read.pixel_size_nm == 0.03 and read.frame_time_s is None
    assert read.attrs["config"] == {"a": [1, 2]} and read.attrs["units"] == table.UNITS
    assert read.counts() == written.counts() and sum(read.counts().values()) == 100
    assert not list(tmp_path.glob(".*")), "temporary files stay behind"


def test_blocks_add_up_to_the_table(tmp_path):
    whole = random_table()
    cuts = ((slice(0, 1), slice(0, 4)), (slice(1, 1), slice(4, 5)), (slice(1, 100), slice(5, 10)))
    for name in ("a.h5", "b.h5"):
        writer = table_writer.TableWriter(tmp_path / name, whole.attrs)
        for rows, frames in cuts:
            writer.append(whole.rows[rows], whole.frames[frames], whole.patches[rows])
        assert not (tmp_path / name).exists(), "an unfinished table must not be seen"
        writer.finish()
    read = table.DefectTable.read(tmp_path / "a.h5")
    same(read.rows, whole.rows)
    same(read.frames, whole.frames)
    np.testing.assert_array_equal(read.patches, whole.patches)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_csv_has_the_same_columns_and_values(tmp_path):
    import pandas as pd

    written = random_table()
    frame = pd.read_csv(written.write_csv(tmp_path / "defects.csv"))
    assert tuple(frame.columns) == table.DEFECT_DTYPE.names
    np.testing.assert_array_equal(frame["kind"], [k.decode() for k in written.rows["kind"]])
    np.testing.assert_allclose(frame["y_px"], written.rows["y_px"], rtol=1e-6)


def test_an_empty_table_is_a_table(tmp_path):
    empty = table.DefectTable(table.empty(0), table.empty_frames(2), np.zeros((0, 32, 32), "f2"))
    read = table.DefectTable.read(empty.write(tmp_path / "defects.h5"))
    assert len(read) == 0 and read.n_frames == 2 and read.counts() == {}
    assert len(read.to_pandas()) == 0 and len(read.over_time_to_pandas()) == 0


def test_bad_files_say_what_is_wrong(tmp_path):
    with pytest.raises(UserError, match="no such defect table"):
        table.DefectTable.read(tmp_path / "none.h5")
    path = random_table().write(tmp_path / "defects.h5")
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:3000])
    with pytest.raises(UserError, match="cannot be read"):
        table.DefectTable.read(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(UserError, match="no table /defects"):
        table.DefectTable.read(tmp_path / "other.h5")
    with h5py.File(path, "a") as file:
        file.attrs["schema_version"] = 99
    with pytest.raises(UserError, match="newer version"):
        table.DefectTable.read(path)


def test_units_name_every_column():
    assert set(table.UNITS) == set(table.DEFECT_DTYPE.names)
    json.dumps(table.UNITS)
