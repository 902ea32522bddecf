"""A table's movie is taken up again only when it holds what the table was made from."""

import os
import shutil

import numpy as np
import pytest

from stemdefects.io import opening, sources


@pytest.fixture
def made(tmp_path):
    """Folder, and attributes of a table made from the movie `m.npy` in it."""
    np.save(tmp_path / "m.npy", np.arange(2 * 8 * 8, dtype=np.float32).reshape(2, 8, 8))
    movie = opening.read(tmp_path / "m.npy")
    attrs = {"source": "m.npy", "source_shape": list(movie.shape)} | sources.record(movie)
    return tmp_path, attrs | {"source_sha256": sources.Hashing(movie).result()}


def test_the_movie_is_found_from_another_folder(made, tmp_path_factory, monkeypatch):
    folder, attrs = made
    other = tmp_path_factory.mktemp("other")
    np.save(other / "m.npy", np.ones((2, 8, 8), np.float32))
    monkeypatch.chdir(other)  # where a file of the same name lies
    found = sources.reopen(attrs)
    assert found.state == sources.FITS and found.movie.frames[1, 0, 0] == 64
    os.remove(folder / "m.npy")
    found = sources.reopen(attrs)
    assert found.state == sources.CHANGED and found.movie is None and "left out" in found.note


def test_another_content_of_the_same_size_is_told(made):
    folder, attrs = made
    np.save(folder / "m.npy", np.ones((2, 8, 8), np.float32))
    os.utime(folder / "m.npy", ns=(0, attrs["source_modified_ns"] + 10**9))
    assert sources.reopen(attrs).state == sources.CHANGED


def test_a_moved_or_renamed_movie_beside_the_table_fits(made):
    folder, attrs = made
    run = folder / "runs" / "one"
    run.mkdir(parents=True)
    shutil.move(folder / "m.npy", run / "renamed.npy")
    found = sources.reopen(attrs, run / "defects.h5")
    assert found.state == sources.FITS and found.path.name == "renamed.npy"
    os.remove(run / "renamed.npy")
    assert sources.reopen(attrs, run / "defects.h5").state == sources.MISSING


def test_the_same_signal_is_opened_again(tmp_path):
    one = np.random.default_rng(0).random((2, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "m.npz", haadf=one, bf=one + 1)
    movie = opening.read(tmp_path / "m.npz", "bf")
    attrs = sources.record(movie) | {"source_sha256": sources.Hashing(movie).result(), "config": {"signal": "bf"}}
    assert sources.reopen(attrs).movie.frames[0].min() >= 1


def test_a_folder_of_images_is_known_by_all_its_files(tmp_path):
    for k in range(3):
        np.save(tmp_path / f"{k}.npy", np.full((8, 8), k, np.float32))
    movie = opening.read(tmp_path)
    attrs = sources.record(movie) | {"source_sha256": sources.Hashing(movie).result()}
    assert sources.reopen(attrs).state == sources.FITS
    np.save(tmp_path / "1.npy", np.full((8, 8), 9, np.float32))
    os.utime(tmp_path / "1.npy", ns=(0, attrs["source_modified_ns"] + 10**9))
    assert sources.reopen(attrs).state == sources.CHANGED


def test_a_table_that_names_no_file_or_no_content_gets_no_movie(made, monkeypatch):
    folder, _ = made
    monkeypatch.chdir(folder)
    assert sources.reopen({"source": "array"}).state == sources.UNNAMED
    assert sources.reopen({}).state == sources.UNNAMED
    assert sources.reopen({"source": "m.npy"}).state == sources.UNCHECKED
