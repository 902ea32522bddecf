"""A whole watch with a small network: the table is that of an offline run, whatever happens in between."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile

from stemdefects import schema
from stemdefects.commands import infer
from stemdefects.commands.watch import watch
from stemdefects.errors import UserError
from stemdefects.inference.tables.partial_results import PartialResults
from stemdefects.io import locks, runs
from stemdefects.live.incoming import journal
from tests.inference.small_network import LOOSE, hexagonal_frames, settings

ROOT = Path(__file__).parents[2]
N = 14


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Frames as files, one of another size, one blank, one half written, one of another magnification."""
    path = tmp_path_factory.mktemp("frames")
    rng = np.random.default_rng(0)
    (base,) = hexagonal_frames(1, (90, 121))  # of one field: what is called once is called again
    for i, frame in enumerate(base + rng.normal(0, 0.3, (N, *base.shape))):
        frame = frame[:80] if i == 10 else np.full_like(frame, 7) if i == 11 else frame
        write(path / f"f{i}.tif", frame.astype(np.float32), 0.03 if i != 9 else 0.031)
    half = (path / "f12.tif").read_bytes()
    (path / "f12.tif").write_bytes(half[: len(half) // 2])
    return path


def write(path, frame, pixel_nm=0.03):
    tifffile.imwrite(path, frame, resolution=(1e7 / pixel_nm,) * 2, resolutionunit="CENTIMETER", metadata=None)


def asked(model_dir, folder, tmp_path, first_frames=None, **live):
    cfg = settings(model_dir, "none", tmp_path, first_frames=first_frames, dose_e_per_px=100.0)
    cfg.inference.pictures = schema.PicturesConfig(frames=False, contact_sheet=False, animation=False)
    cfg.inference.batch_size = None  # other batches may differ in the last bit
    live = schema.LiveConfig(**{"settle_s": 0.05, "poll_s": 0.01, "stop_after_s": 0.2, "port": None} | live)
    return dataclasses.replace(cfg, input=None, watch=str(folder), live=live)


@pytest.fixture(scope="module")
def offline(model_dir, folder, tmp_path_factory):
    """Runs of `infer.py input=`, by what is learned from."""
    made = {}
    for first in (None, 8):
        cfg = asked(model_dir, folder, tmp_path_factory.mktemp("offline"), first)
        made[first] = infer.infer(dataclasses.replace(cfg, watch=None, input=str(folder)))
    return made


def assert_same(run, other):
    for name in ("defects.csv", "defects_over_time.csv"):
        assert (run.path / name).read_bytes() == (other.path / name).read_bytes(), name
    with h5py.File(run.defects_path) as one, h5py.File(other.defects_path) as two:
        seen = []

        def compare(name, item):
            seen.append(name)
            if isinstance(item, h5py.Dataset):
                assert item.dtype == two[name].dtype and item[()].tobytes() == two[name][()].tobytes(), name

        one.visititems(compare)
        assert "defects" in seen and "evidence" in " ".join(seen)
        others = []
        two.visit(others.append)
        assert sorted(seen) == sorted(others)
        assert {k: str(v) for k, v in one.attrs.items()} == {k: str(v) for k, v in two.attrs.items()}


@pytest.mark.parametrize("first", [None, 8])
def test_the_table_is_that_of_an_offline_run(first, model_dir, folder, offline, tmp_path, capsys):
    run = watch(asked(model_dir, folder, tmp_path, first, publish="stdout"))
    assert_same(run, offline[first])
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["frame"] for line in lines] == list(range(N))
    assert {line["frame"] for line in lines if line["quality"]} == {10, 11, 12}
    assert all(line["latency_s"] is not None and "sentence" in line for line in lines)
    for said in (
        "80 x 121 px where the first has 90 x 121",
        "f12.tif: left out",
        "f11.tif: left out, all pixels are 7",
        "0.031 nm/px",
    ):
        assert len([line for line in err.split("Movie(")[0].splitlines() if said in line]) == 1, (said, err)
    assert not list(run.path.glob("*.partial")) and not list(run.path.glob(".*"))[2:]
    assert [*journal.read(run.path / journal.NAME)][-1] == {"done": True}


class Killed(BaseException):
    """As if the process were gone."""


@pytest.mark.parametrize("first", [None, 8])
def test_killed_anywhere_nothing_is_lost_and_nothing_double(first, model_dir, folder, offline, tmp_path, monkeypatch):
    """Ends at random writes, before and after them, some with half a line written; the next one goes on."""
    rng, left = np.random.default_rng(0 if first else 1), [0]

    def mortal(act):
        def wrapped(*args):
            left[0] -= 1
            if left[0] == 0:
                if rng.random() < 0.5:
                    act(*args)
                elif isinstance(args[0], journal.Journal):
                    os.write(args[0]._file, b'{"taken": true, "file": "f')
                raise Killed
            return act(*args)

        return wrapped

    monkeypatch.setattr(journal.Journal, "write", mortal(journal.Journal.write))
    monkeypatch.setattr(PartialResults, "write", mortal(PartialResults.write))
    monkeypatch.setattr(PartialResults, "drop", mortal(PartialResults.drop))
    kills = 0
    for _ in range(20):
        left[0] = int(rng.integers(2, 25))
        with contextlib.suppress(Killed):
            run = watch(asked(model_dir, folder, tmp_path, first))
            break
        kills += 1
    else:
        left[0] = -1
        run = watch(asked(model_dir, folder, tmp_path, first))
    assert kills >= 3
    assert_same(run, offline[first])
    assert len(runs.list_ids(tmp_path / "runs")) == 1
    taken = [r["file"] for r in journal.read(run.path / journal.NAME) if "taken" in r]
    assert len(taken) == len(set(taken)) == N


def test_killed_for_good(model_dir, folder, offline, tmp_path):
    """SIGKILL while frames come, two writers, and the same command again."""
    arrive = tmp_path / "arrive"
    arrive.mkdir()
    names = sorted(folder.iterdir(), key=lambda p: int(p.stem[1:]))
    for name in names[:9]:
        os.link(name, arrive / name.name)
    command = [
        sys.executable,
        str(ROOT / "infer.py"),
        f"watch={arrive}",
        f"model={model_dir}",
        f"runs_dir={tmp_path / 'runs'}",
        "logging=disabled",
        "live.settle_s=0.05",
        "live.port=null",
        "live.publish=stdout",
        "inference.block_frames=3",
        "inference.first_frames=8",
        "inference.dose_e_per_px=100",
        *LOOSE,
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert json.loads(process.stdout.readline())["frame"] == 0
    cfg = asked(model_dir, arrive, tmp_path)
    (name,) = runs.list_ids(tmp_path / "runs")
    with pytest.raises(UserError, match="at work on it"), locks.held(runs.Run(tmp_path / "runs" / name), "infer"):
        pass
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    about = next(journal.read(tmp_path / "runs" / name / journal.NAME))["begun"]
    cfg.inference = dataclasses.replace(cfg.inference, first_frames=8)
    cfg.inference.pictures = schema.PicturesConfig()
    assert about["watch"] == str(arrive)
    for later in names[9:]:
        os.link(later, arrive / later.name)
    cfg.inference.pictures = schema.PicturesConfig(frames=False, contact_sheet=False, animation=False)
    run = watch(cfg)
    assert run.id == name  # the same settings: it goes on
    with h5py.File(run.defects_path) as one, h5py.File(offline[8].defects_path) as two:
        assert one["defects"][()].tobytes() == two["defects"][()].tobytes()


def test_a_folder_that_stays_empty(model_dir, tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(UserError, match="no frame came"):
        watch(asked(model_dir, tmp_path / "in", tmp_path))
    for wrong, said in (({"input": "x"}, "both given"), ({"cluster": "local"}, "one movie")):
        with pytest.raises(UserError, match=said):
            watch(dataclasses.replace(asked(model_dir, tmp_path / "in", tmp_path), **wrong))


def test_clocks_that_jump(model_dir, folder, offline, tmp_path, monkeypatch):
    """The system's clock is set back and forth, and files come with times of the future and of 1980."""
    arrive, rng, real = tmp_path / "in", np.random.default_rng(0), time.time
    arrive.mkdir()
    monkeypatch.setattr(time, "time", lambda: real() + float(rng.normal(0, 1e5)))

    def feed():
        for number, name in enumerate(sorted(folder.iterdir(), key=lambda p: int(p.stem[1:]))):
            new = arrive / f".{name.name}"
            new.write_bytes(name.read_bytes())
            os.utime(new, (4e9, 4e9) if number % 2 else (3.2e8, 3.2e8))
            new.rename(arrive / name.name)
            time.sleep(0.02)

    thread = threading.Thread(target=feed)
    thread.start()
    run = watch(asked(model_dir, arrive, tmp_path, 8, stop_after_s=3.0, stop_frames=N))
    thread.join()
    assert [r["called"] for r in journal.read(run.path / journal.NAME) if "called" in r] == list(range(N))
    with h5py.File(run.defects_path) as one, h5py.File(offline[8].defects_path) as two:
        assert one["defects"][()].tobytes() == two["defects"][()].tobytes()


def test_files_in_another_order_and_a_page_that_ends_it(model_dir, folder, offline, tmp_path):
    """Out of order, the blocks of the watch are of no use for the table, which is right all the same."""
    arrive = tmp_path / "in"
    arrive.mkdir()
    names = sorted((p for p in folder.iterdir()), key=lambda p: int(p.stem[1:]))

    def feed():
        for name in (*names[2:12], *names[:2], *names[12:]):
            time.sleep(0.03 if name is not names[0] else 1.0)
            os.link(name, arrive / name.name)

    thread = threading.Thread(target=feed)
    thread.start()
    cfg = asked(model_dir, arrive, tmp_path, 8, stop_after_s=3.0, stop_frames=N)
    run = watch(cfg)
    thread.join()
    cfg = dataclasses.replace(cfg, watch=None, input=str(arrive), runs_dir=str(tmp_path / "other"))
    assert_same(run, infer.infer(cfg))
