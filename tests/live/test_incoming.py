"""What is whole and what is not, whatever writes it, and a journal that survives being cut off."""

import json
import os
import struct

import h5py
import numpy as np
import pytest
import tifffile

from stemdefects.errors import UserError
from stemdefects.io import opening
from stemdefects.live.incoming import journal, mrc_series
from stemdefects.live.incoming.watch import Watch


def frame(seed, shape=(12, 16)):
    return np.random.default_rng(seed).poisson(20, shape).astype(np.uint16)


def write(path, *seeds):
    tifffile.imwrite(path, np.stack([frame(s) for s in seeds]) if len(seeds) > 1 else frame(seeds[0]), metadata=None)


def names(arrived):
    return [(os.path.basename(a.file), a.first, a.stop) for a in arrived]


def test_a_file_is_taken_once_it_has_rested(tmp_path):
    watch = Watch(str(tmp_path), None, settle_s=0.5)
    assert watch.look(0.0) == []
    write(tmp_path / "f2.tif", 2)
    assert watch.look(10.0) == [] and watch.look(10.4) == []
    write(tmp_path / "f2.tif", 2, 3)  # it was not whole
    assert watch.look(10.6) == [] and watch.look(11.0) == []
    assert names(watch.look(11.1)) == [("f2.tif", 0, 2)]
    assert watch.look(99.0) == [] and watch.rest(99.0) == []


def test_frames_count_in_the_order_of_the_folder(tmp_path):
    watch = Watch(str(tmp_path), None, settle_s=0.5)
    write(tmp_path / "f1.tif", 1)
    write(tmp_path / "f10.tif", 10)
    watch.look(0.0)
    write(tmp_path / "f2.tif", 2)  # seen later than the tenth, which rests already
    assert names(watch.look(0.5)) == [("f1.tif", 0, 1)]
    assert names(watch.look(1.0)) == [("f2.tif", 0, 1), ("f10.tif", 0, 1)]


def test_half_a_file_is_a_bad_frame_in_its_place_and_what_becomes_of_it_is_noticed(tmp_path):
    watch = Watch(str(tmp_path), None, settle_s=0.5)
    whole = tmp_path / "whole.bin"
    write(whole, 1)
    (tmp_path / "f1.tif").write_bytes(whole.read_bytes()[:100])
    write(tmp_path / "f2.tif", 2)
    watch.look(0.0)
    assert watch.look(1.0) == []  # it may still be written, and the second has to wait
    first, second = watch.look(3.0)
    assert first.bad and "f1.tif" in first.bad and (first.first, first.stop) == (0, 1)
    assert second.bad is None
    (tmp_path / "f1.tif").write_bytes(whole.read_bytes())
    watch.look(4.0)
    assert watch.look(5.0) == [] and watch.changed == [str(tmp_path / "f1.tif")]


def test_what_is_not_whole_at_the_end_counts_too(tmp_path):
    watch = Watch(str(tmp_path), None, settle_s=60.0)
    write(tmp_path / "a1.tif", 1)
    (tmp_path / "a2.tif").write_bytes(b"II*\0half")
    assert watch.look(0.0) == []
    assert [(a.stop, a.bad is not None) for a in watch.rest(1.0)] == [(1, False), (1, True)]


def test_a_file_that_grows(tmp_path):
    """Pages appended to a TIFF: the last one only once the file rests."""
    path = tmp_path / "movie.tif"
    with tifffile.TiffWriter(path) as file:
        file.write(frame(0), contiguous=False)
        file.write(frame(1), contiguous=False)
    watch = Watch(str(path), None, settle_s=0.5)
    assert names(watch.look(0.0)) == [("movie.tif", 0, 1)]
    assert names(watch.look(0.6)) == [("movie.tif", 1, 2)]
    with tifffile.TiffWriter(path, append=True) as file:
        for seed in (2, 3):
            file.write(frame(seed), contiguous=False)
    os.utime(path, ns=(1, 1))  # whatever the clock of the files does
    assert names(watch.look(1.0)) == [("movie.tif", 2, 3)]
    assert names(watch.look(1.6)) == [("movie.tif", 3, 4)]


def test_a_file_laid_out_beforehand_with_empty_frames(tmp_path):
    path = tmp_path / "movie.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = np.zeros((40, 12, 16), np.uint16)
        file["frames"][0] = frame(0)
    watch = Watch(str(path), None, settle_s=0.5)
    assert names(watch.look(0.0)) == [("movie.h5", 0, 1)]
    with h5py.File(path, "r+") as file:
        file["frames"][1], file["frames"][3] = frame(1), frame(3)  # the second was blanked
    os.utime(path, ns=(5, 5))
    assert names(watch.look(1.0)) == [("movie.h5", 1, 4)]
    assert watch.look(2.0) == []
    assert names(watch.rest(3.0)) == [("movie.h5", 4, 40)]


def mrc(n, stated):
    """Header (MRC2014) that states so many images, and n of them."""
    head = bytearray(1024)
    struct.pack_into("<4i", head, 0, 16, 12, stated, 6)
    struct.pack_into("<3i", head, 28, 16, 12, stated)
    struct.pack_into("<3f", head, 40, 16 * 0.3, 12 * 0.3, stated)
    struct.pack_into("<3i", head, 64, 1, 2, 3)
    head[208:214] = b"MAP DD"
    return bytes(head) + b"".join(frame(seed).astype("<u2").tobytes() for seed in range(n))


@pytest.mark.parametrize("stated", [lambda n: n, lambda n: 6, lambda n: 1], ids=["true", "as it will be", "as it was"])
def test_an_mrc_series_that_grows_whatever_its_header_says(stated, tmp_path):
    path = tmp_path / "series.mrc"
    path.write_bytes(mrc(2, stated(2))[:-10])  # the second is half written
    watch = Watch(str(path), None, settle_s=0.5)
    assert names(watch.look(0.0)) == []
    path.write_bytes(mrc(4, stated(4)))
    assert names(watch.look(0.1)) == [("series.mrc", 0, 3)]
    path.write_bytes(mrc(6, 6))
    os.utime(path, ns=(7, 7))
    assert names(watch.look(0.2)) == [("series.mrc", 3, 5)]
    assert names(watch.look(0.8)) == [("series.mrc", 5, 6)]
    path.write_bytes(mrc(6, 5))
    with mrc_series.open_growing(path, None) as by_size:
        path.write_bytes(mrc(6, 6))
        with opening.open_one(path, None) as by_reader:
            np.testing.assert_array_equal(by_size.frames[0:6], by_reader.frames[0:6])
            assert by_size.pixel_size_nm == pytest.approx(by_reader.pixel_size_nm) == pytest.approx(0.03)


def test_no_such_folder(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        Watch(str(tmp_path / "none"), None, 0.5)


@pytest.mark.parametrize("torn", [b'{"taken": tr', b'{"taken": 1}', b"\0\0\0\n", b""])
def test_a_journal_forgets_a_torn_line_alone(tmp_path, torn):
    path = tmp_path / journal.NAME
    first = journal.Journal(path)
    first.write({"begun": {"watch": "x"}})
    first.write({"taken": True, "file": "ü"})
    first.close()
    with open(path, "ab") as file:
        file.write(torn)
    assert [*journal.read(path)][-1]["file"] == "ü"
    again = journal.Journal(path)
    again.write({"called": 0})
    again.close()
    assert [*journal.read(path)] == [json.loads(line) for line in path.read_text().splitlines()]
    assert len([*journal.read(path)]) == 3
