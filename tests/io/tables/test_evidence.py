"""Evidence in the defect table: written block by block, read when asked for, absent from older tables."""

import itertools

import h5py
import numpy as np
import pytest

from stemdefects.io.tables import evidence, table, table_writer

SITES, FRAMES = 9, 7
DESCRIPTION = {
    "headline": "V",
    "centre": ["D"],
    "sublattices": [
        {"name": "metal", "features": ["line", "light", "D"]},
        {"name": "chalcogen", "features": ["line", "light", "V", "V2"]},
    ],
}


def made(seed=0):
    rng = np.random.default_rng(seed)
    sites = np.zeros(SITES, evidence.SITE_DTYPE)
    sites["sublattice"] = np.arange(SITES) % 2
    sites["cell_1"], sites["y_nm"] = np.arange(SITES), rng.random(SITES)
    values = rng.normal(size=(FRAMES, SITES, 4)).astype(np.float16)
    values[2, 3] = np.nan
    flags = rng.integers(0, 3, (FRAMES, SITES)).astype(np.uint8)
    return evidence.Evidence(sites, DESCRIPTION, values, flags, rng.random((FRAMES, 2)).astype(np.float32))


def test_round_trip_reads_only_what_is_asked_for(tmp_path):
    held = made()
    whole = table.DefectTable(table.empty(0), table.empty_frames(FRAMES), evidence=held)
    read = table.DefectTable.read(whole.write(tmp_path / "defects.h5")).evidence
    assert read.values is None and read.n_frames == FRAMES and read.description == DESCRIPTION
    np.testing.assert_array_equal(read.sites, held.sites)
    mine = read.site_indices(1)
    np.testing.assert_array_equal(mine, [1, 3, 5, 7])
    np.testing.assert_array_equal(read.feature("V2", mine), held.values[:, mine, 3].astype(np.float32))
    assert np.isnan(read.feature("line", mine)[2, 1])
    np.testing.assert_array_equal(read.flag(mine), held.flags[:, mine])
    np.testing.assert_array_equal(read.scatters(), held.scatter)
    assert read.sublattice("chalcogen")["number"] == 1
    with pytest.raises(KeyError, match="no sublattice"):
        read.sublattice("oxygen")
    # a table that was read is written again, evidence included
    again = table.DefectTable.read(tmp_path / "defects.h5").write(tmp_path / "again.h5")
    np.testing.assert_array_equal(table.DefectTable.read(again).evidence.flag(mine), held.flags[:, mine])


def test_the_same_blocks_give_the_same_bytes_and_any_cut_the_same_values(tmp_path):
    held = made()
    for name, cuts in (("a.h5", (0, 3, 4, 7)), ("b.h5", (0, 3, 4, 7)), ("c.h5", (0, 7))):
        writer = table_writer.TableWriter(tmp_path / name, {}, patches=False)
        writer.append(table.empty(0), table.empty_frames(FRAMES), None)
        into = writer.start_evidence(FRAMES, SITES, 4, 2)
        for low, high in itertools.pairwise(cuts):
            into.write(low, held.values[low:high], held.flags[low:high], held.scatter[low:high])
        into.finish(held.sites, DESCRIPTION)
        writer.finish()
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()
    ours, theirs = (next(table.DefectTable.read(tmp_path / n).evidence.blocks()) for n in ("a.h5", "c.h5"))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a, b)


def test_older_tables_and_cut_ones_have_no_evidence(tmp_path):
    whole = table.DefectTable(table.empty(0), table.empty_frames(FRAMES), evidence=made())
    path = whole.write(tmp_path / "defects.h5")
    with h5py.File(path, "a") as file:
        del file["sites"]
        file.attrs["schema_version"] = 1
    assert table.DefectTable.read(path).evidence is None
    plain = table.DefectTable(table.empty(0), table.empty_frames(2)).write(tmp_path / "plain.h5")
    assert table.DefectTable.read(plain).evidence is None
