import logging
import sys

import numpy as np
import pytest
import tifffile

from benchmarks import fuzz_readers
from stemdefects.io import damage, opening
from stemdefects.io import movie as movies
from stemdefects.io.readers import tiff


def test_damaged_files_end_in_a_clear_error_or_in_frames():
    """The seeded fuzzer, briefly; `python benchmarks/fuzz_readers.py 1000` is the whole of it."""
    found, bad, peak_mb = fuzz_readers.run(60, seed=7)
    assert not bad, bad
    assert found["clear error"] > 20 and sum(found.values()) == 60
    assert peak_mb < 1500


def test_a_mistake_of_our_own_is_not_told_as_a_damaged_file(tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", np.arange(600, dtype=np.uint16).reshape(20, 30))
    movie = opening.read(tmp_path / "a.tif")

    def mistaken(*_):
        return [dict(a=np.arange(3))].index(dict(a=np.arange(3)))  # as of comparing dicts of arrays

    mistaken.__globals__["__name__"], own = "stemdefects.io.readers.tiff", __name__
    try:
        monkeypatch.setattr(tiff, "calibration", mistaken)
        with pytest.raises(ValueError, match="truth value"):
            opening.read(tmp_path / "a.tif")
        monkeypatch.setattr(movie.frames, "_get", mistaken)
        with pytest.raises(ValueError, match="truth value"):
            movie.frame(0)
    finally:
        mistaken.__globals__["__name__"] = own

    def of_a_library(*_):
        raise KeyError("no such tag")

    monkeypatch.setattr(tiff, "calibration", of_a_library)
    with pytest.raises(movies.UserError, match="damaged or not of this type"):
        opening.read(tmp_path / "a.tif")


def test_logging_of_the_process_is_left_alone(tmp_path, monkeypatch):
    """Workers read beside threads that log."""
    pytest.importorskip("rsciio")
    calls = []
    monkeypatch.setattr(logging, "disable", lambda *level: calls.append(level))
    (tmp_path / "a.dm3").write_bytes(b"\0" * 99)
    before = sys.stdout, sys.stderr
    with pytest.raises(movies.UserError, match="damaged"):
        opening.read(tmp_path / "a.dm3")
    assert not calls and (sys.stdout, sys.stderr) == before


def test_reason_is_one_line():
    assert damage.reason(ValueError("first\nsecond")) == "first" and damage.reason(KeyError()) == "KeyError"


def test_what_the_fuzzer_found(tmp_path):
    """An archive by the name of an array; labels of dimensions that lead nowhere (they ended the process); planes of
    another shape than promised."""
    import h5py
    import numpy as np
    import tifffile

    from stemdefects.errors import UserError

    images = np.random.default_rng(0).poisson(50, (3, 24, 32)).astype(np.uint16)
    np.savez(tmp_path / "a.npz", images=images)
    np.save(tmp_path / "b.npy", images)
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    (tmp_path / "b.npy").rename(tmp_path / "b.npz")
    for name in ("a.npy", "b.npz"):
        with opening.read(tmp_path / name) as movie:
            assert movie.shape == images.shape

    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["frames"] = images
        for axis, label in enumerate(("time", "y", "x")):
            file["frames"].dims[axis].label = label
    with opening.read(tmp_path / "labels.h5") as movie:
        assert movie.shape == images.shape
    data = bytearray((tmp_path / "labels.h5").read_bytes())
    heap = data.index(b"GCOL")
    data[heap : heap + 4] = bytes(4)
    (tmp_path / "labels.h5").write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        opening.read(tmp_path / "labels.h5")

    tifffile.imwrite(tmp_path / "grey.tif", np.repeat(images[:1, ..., None], 3, -1)[0], photometric="rgb")
    with opening.read(tmp_path / "grey.tif") as movie:
        assert movie.shape == (1, 24, 32)
