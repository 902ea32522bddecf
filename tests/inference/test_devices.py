"""Frames shared out over local devices; a model of five frames from the command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from stemdefects.commands import detection
from stemdefects.io import runs
from stemdefects.io.tables import table
from tests.inference.small_network import LOOSE, hexagonal_frames, save_model

ROOT = Path(__file__).parents[2]


def test_two_devices_give_the_table_of_one(model_dir, tmp_path):
    np.save(tmp_path / "movie.npy", hexagonal_frames(7, (64, 72)))  # not a multiple of 2 devices x 2 frames
    script = [sys.executable, str(Path(__file__).with_name("detect_on_devices.py")), "2", str(model_dir)]
    ran = subprocess.run(
        [*script, str(tmp_path / "movie.npy"), str(tmp_path / "out.npz")], capture_output=True, text=True, timeout=300
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    common = {"progress": False, "presence": 0.14, "thresholds": {"defect": 0.05}, "exclude_regions": []}
    one = detection.detect(tmp_path / "movie.npy", model_dir, batch_size=2, **common)
    two = np.load(tmp_path / "out.npz")
    assert len(two["rows"]) == len(one) > 20 and len(two["over_time"]) == len(one.over_time)
    for name in ("frame", "y_px", "x_px", "score"):
        np.testing.assert_allclose(two["rows"][name], one.rows[name], atol=1e-3)
    assert (two["rows"]["kind"] == one.rows["kind"]).all() and (two["frames"]["doubt"] == one.frames["doubt"]).all()


def test_a_model_of_five_frames_from_the_command_line(tmp_path):
    """Drifting frames, from file to table: neighbours are aligned, the drift comes out."""
    model = save_model(tmp_path / "model", n_frames=5)
    large = hexagonal_frames(1, (110, 110), seed=None)[0]
    rng = np.random.default_rng(1)
    drift = np.array([(t, -2 * t) for t in range(6)])
    frames = [rng.poisson(large[20 - y : 84 - y, 20 - x : 84 - x]) for y, x in drift]
    np.save(tmp_path / "movie.npy", np.array(frames, np.uint16))
    command = [
        sys.executable,
        str(ROOT / "infer.py"),
        f"model={model}",
        f"input={tmp_path / 'movie.npy'}",
        "logging=disabled",
        f"runs_dir={tmp_path / 'runs'}",
        "inference.pictures.animation=false",
        "inference.pixel_size_nm=0.03",
        *LOOSE,
    ]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr[-2000:]
    found = table.DefectTable.read(runs.resolve(tmp_path / "runs", "latest", having="defects.h5").defects_path)
    assert len(found) > 20 and (found.frames["quality"] == 0).all() and found.attrs["config"]["name"] == "default"
    moved = np.stack([found.frames["drift_y_px"], found.frames["drift_x_px"]], 1)
    assert np.isfinite(moved).all()
