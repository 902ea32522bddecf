"""infer.py from file to table, with a small real network. Its weights are random, so presence is asked for at a level
where it calls columns: what is tested here is the way, not the accuracy."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from stemdefects import config, schema
from stemdefects.errors import UserError
from stemdefects.inference import flow
from stemdefects.io import movie as movies
from stemdefects.io import runs, table

ROOT = Path(__file__).parents[2]
SMALL = {"filters": [8, 8], "depths": [1, 1], "stem": 4, "stride": 2, "name": "tiny"}
LOOSE = ["inference.presence=0.14", "+inference.thresholds.defect=0.05", "inference.exclude_regions=[]"]


def hexagonal_frames(n, shape, pixel_nm=0.03):
    """(n, *shape) counts of a hexagonal lattice of WS2's constant: three cosines and shot noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: shape[0], : shape[1]] * pixel_nm
    angles = np.radians([13, 73, 133])
    waves = [np.cos(2 * np.pi / 0.27306 * (y * np.sin(a) + x * np.cos(a))) for a in angles]
    return rng.poisson(3 * np.exp(np.sum(waves, 0)), (n, *shape)).astype(np.float32)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    import jax

    from stemdefects.models import artifact

    material = config.load_group("material", "ws2_mo")
    model = dataclasses.replace(config.load_group("model", "unet_small"), **SMALL)
    network = artifact.build(model, artifact.crystal.from_config(material))
    side = artifact.divisor(model)
    params = jax.device_get(network.init(jax.random.key(3), np.zeros((1, side, side, 1), np.float32)))
    n_states = len(material.states)
    folder = tmp_path_factory.mktemp("model")
    artifact.save(
        folder,
        params=params,
        sections={
            "model": model, "material": material, "simulation": config.load_group("simulation", "train"),
            "labels": config.load_group("labels", "simulated"), "training": config.load_group("training", "quick"),
        },
        calibration=artifact.Calibration(np.zeros(n_states, np.float32), 1.0, {"defect": 0.05}),
        confusion={}, record={}, card="tiny",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def movie_file(tmp_path_factory):
    """Frames of a clear lattice (so that calibration works), some of them bad; odd size."""
    path = tmp_path_factory.mktemp("movie") / "movie.h5"
    with h5py.File(path, "w") as file:
        file["frames"] = hexagonal_frames(11, (90, 121))
        file["frames"][4] = 7.0
        file["frames"][6, :40] = np.nan
        file.attrs.update(pixel_size_nm=0.03, frame_time_s=2.0)
    return path


def settings(model_dir, movie_file, tmp_path, **changes):
    inference = dataclasses.replace(
        config.load_group("inference", "default"), model=str(model_dir), block_frames=3, batch_size=2, presence=0.14,
        thresholds={"defect": 0.05}, exclude_regions=[], **changes,
    )  # fmt: skip
    logging = schema.LoggingConfig(name="disabled", mode="disabled")
    root = schema.InferRoot(input=str(movie_file), inference=inference, logging=logging)
    return dataclasses.replace(root, runs_dir=str(tmp_path / "runs"))


def test_from_file_to_table_with_bad_frames(model_dir, movie_file, tmp_path, capsys):
    run = flow.infer(settings(model_dir, movie_file, tmp_path))
    found = table.DefectTable.read(run.defects_path)
    assert len(found) > 20 and len(found.patches) == len(found)
    assert found.frames["frame"].tolist() == list(range(11))
    assert found.frames["quality"].tolist() == [0, 0, 0, 0, movies.CONSTANT, 0, movies.NOT_FINITE, 0, 0, 0, 0]
    assert not np.isin(found.rows["frame"], (4, 6)).any() and (np.diff(found.rows["frame"]) >= 0).all()
    np.testing.assert_array_equal(np.bincount(found.rows["frame"], minlength=11), found.frames["n_defects"])
    pixel = found.pixel_size_nm
    assert pixel == pytest.approx(0.03, rel=0.01)
    np.testing.assert_allclose(found.rows["y_nm"], found.rows["y_px"] * pixel, rtol=1e-5)
    np.testing.assert_allclose(found.rows["time_s"], 2.0 * found.rows["frame"])
    assert (found.rows["y_px"] > 0).all() and (found.rows["y_px"] < 90).all() and (found.rows["x_px"] < 121).all()
    assert (found.rows["score"] <= 1).all() and (found.rows["score"] >= found.rows["kind_prob"] - 1e-6).all()
    fractions = [found.frames[f"fraction_{n}"] for n in ("lattice", "hole", "amorphous", "1T")]
    np.testing.assert_allclose(np.sum(fractions, 0)[found.frames["quality"] == 0], 1, atol=1e-5)
    assert {"source_sha256", "model_id", "material", "config", "calibration"} <= set(found.attrs)
    assert len(found.attrs["source_sha256"]) == 64
    summary = run.read_summary()
    assert summary["n_frames_skipped"] == 2 and summary["skipped"] == {"constant": 1, "not finite": 1}
    assert not (run.path / "defects.partial").exists()
    pictures = {p.name for p in (run.path / "pictures").iterdir()}
    assert {"contact_sheet.png", "detections.gif", "first_frame_00000.png", "last_frame_00010.png"} <= pictures
    output = capsys.readouterr().out
    assert "2 frames skipped" in output and "defects.h5" in output
    rows = (run.path / "defects.csv").read_text().splitlines()
    assert len(rows) == len(found) + 1 and rows[0].split(",") == list(table.DEFECT_DTYPE.names)
    again = dataclasses.replace(settings(model_dir, movie_file, tmp_path), run=run.id)
    again.inference.model = None
    with pytest.raises(UserError, match="overwrite=true"):
        flow.infer(again)


def test_killed_and_resumed_gives_the_same_bytes(model_dir, movie_file, tmp_path):
    whole = flow.infer(settings(model_dir, movie_file, tmp_path / "whole"))
    folder = tmp_path / "killed" / "runs"
    run = runs.create(folder)
    (run.path / "model").symlink_to(model_dir)
    command = [
        sys.executable, str(ROOT / "infer.py"), f"run={run.id}", f"runs_dir={folder}", f"input={movie_file}",
        "logging=disabled", "inference.block_frames=3", "inference.batch_size=2", *LOOSE,
    ]  # fmt: skip
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=tmp_path)
    spool = run.path / "defects.partial"
    deadline = time.time() + 120
    while first.poll() is None and not list(spool.glob("block_*.npz")) and time.time() < deadline:
        time.sleep(0.002)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert not run.defects_path.exists(), "an unfinished table must not look finished"
    kept = len(list(spool.glob("block_*.npz")))
    assert 1 <= kept <= 4
    (spool / "block_000003.npz").write_bytes(b"half a block")  # as a full disk would leave it
    second = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=300)
    assert second.returncode == 0, second.stderr
    assert "going on after an interruption" in second.stdout
    ours, theirs = (table.DefectTable.read(r.defects_path) for r in (run, whole))
    for name in ("rows", "frames", "over_time"):
        a, b = getattr(ours, name), getattr(theirs, name)
        assert a.tobytes() == b.tobytes(), name
    assert ours.patches.tobytes() == theirs.patches.tobytes()


def test_an_interrupted_inference_with_other_settings_is_not_mixed(model_dir, movie_file, tmp_path):
    cfg = settings(model_dir, movie_file, tmp_path)
    run = runs.create(cfg.runs_dir)
    (run.path / "model").symlink_to(model_dir)
    cfg.run, cfg.inference.model = run.id, None
    from stemdefects.inference.spool import Spool

    Spool(run.path / "defects.partial").start({"fingerprint": {"source": "another.h5"}})
    with pytest.raises(UserError, match=r"another\.h5"):
        flow.infer(cfg)
    cfg.overwrite = True
    assert len(table.DefectTable.read(flow.infer(cfg).defects_path)) > 0


def test_an_image_and_part_of_a_movie(model_dir, movie_file, tmp_path):
    with movies.read(movie_file) as movie:
        np.save(tmp_path / "one.npy", movie.frame(0))
    cfg = settings(model_dir, tmp_path / "one.npy", tmp_path, frames="0")
    run = flow.infer(cfg)
    one = table.DefectTable.read(run.defects_path)
    assert one.n_frames == 1 and np.isnan(one.rows["time_s"]).all()
    assert [p.name for p in sorted((run.path / "pictures").iterdir())] == ["contact_sheet.png", "first_frame_00000.png"]
    part = table.DefectTable.read(flow.infer(settings(model_dir, movie_file, tmp_path, frames="1:10:4")).defects_path)
    assert part.frames["frame"].tolist() == [1, 5, 9] and set(part.rows["frame"]) <= {1, 5, 9}


def test_frames_do_not_depend_on_their_neighbours_or_the_batch(model_dir, movie_file, tmp_path):
    a = table.DefectTable.read(flow.infer(settings(model_dir, movie_file, tmp_path)).defects_path)
    cfg = settings(model_dir, movie_file, tmp_path)
    cfg.inference.batch_size, cfg.inference.block_frames = 3, 5
    b = table.DefectTable.read(flow.infer(cfg).defects_path)
    assert len(a) == len(b)
    for name in ("y_px", "x_px", "score"):
        np.testing.assert_allclose(a.rows[name], b.rows[name], atol=1e-3)


@pytest.mark.parametrize(
    "change,message",
    [
        ({"calibration": "guess"}, "lattice, metadata"),
        ({"frames": "9:1"}, "selects no frames"),
        ({"frames": "a:b"}, "start:stop:step"),
        ({"tile_px": 8}, "tile_px"),
        ({"batch_size": 0}, "batch_size"),
        ({"patch_nm": -1.0}, "patch_nm"),
        ({"exclude_regions": ["moon"]}, "no region 'moon'"),
        ({"thresholds": {"V_Q": 0.5}}, "no such kind"),
    ],
)
def test_settings_that_make_no_sense(model_dir, movie_file, tmp_path, change, message):
    cfg = settings(model_dir, movie_file, tmp_path)
    for name, value in change.items():
        setattr(cfg.inference, name, value)
    with pytest.raises(UserError, match=message):
        flow.infer(cfg)


def test_command_line_errors_are_one_line_and_exit_2(model_dir, tmp_path):
    noise = np.random.default_rng(0).poisson(5.0, (64, 64)).astype(np.uint8)
    np.save(tmp_path / "noise.npy", noise)
    np.save(tmp_path / "constant.npy", np.ones((3, 64, 64)))
    cases = {"missing.tif": "no such file", "noise.npy": "inference.pixel_size_nm", "constant.npy": "no usable frame"}
    for name, message in cases.items():
        found = subprocess.run(
            [sys.executable, str(ROOT / "infer.py"), f"inference.model={model_dir}", f"input={tmp_path / name}",
             f"runs_dir={tmp_path / 'runs'}", "logging=disabled"],
            capture_output=True, text=True, cwd=tmp_path, timeout=120, env=os.environ | {"JAX_PLATFORMS": "cpu"},
        )  # fmt: skip
        assert found.returncode == 2, found.stderr
        lines = found.stderr.strip().splitlines()
        assert lines[-1].startswith("error: ") and message in lines[-1] and "Traceback" not in found.stderr
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir()), "nothing is left of a failure"
