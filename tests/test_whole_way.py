"""The whole way once, as a user runs it: simulate, train, infer, analyze, each a process of its own.

The network is trained for seconds only: what is checked here are the seams, not the quality of detection.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml

from stemdefects.io.tables.table import DEFECT_DTYPE

ROOT = Path(__file__).resolve().parents[1]
BRIEF = {"warmup": 6, "sweeps": 20, "max_sweeps": 20}  # sweeps of the lattice model: it is tested elsewhere


def succeed(script, *arguments, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "WANDB_API_KEY"} | {"PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=400,
        env=environment,
    )
    assert result.returncode == 0, f"{script}: {result.stderr[-3000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def way(tmp_path_factory, tiny):
    """Folder in which the four commands have run, and their stdout."""
    cwd = tmp_path_factory.mktemp("way")
    said = {
        "simulate": succeed(
            "simulate.py",
            "simulation=demo_movie",
            "output=movie.h5",
            "simulation.movie.n_frames=6",
            "simulation.view.size_px=[128,128]",
            cwd=cwd,
        ),
        "train": succeed("train.py", *tiny, cwd=cwd),
        "infer": succeed("infer.py", "run=latest", "input=movie.h5", "inference.pictures.animation=false", cwd=cwd),
        "analyze": succeed(
            "analyze.py", "run=latest", *(f"analysis.kinetics.{k}={v}" for k, v in BRIEF.items()), cwd=cwd
        ),
    }
    [run] = (cwd / "runs").glob("2*")
    return cwd, run, said


def test_run_folder_is_as_the_design_says(way):
    _, run, _ = way
    for name in ("config.yaml", "metrics.csv", "summary.json", "model", "checkpoints", "defects.h5", "defects.csv"):
        assert (run / name).exists(), name
    assert (run / "analysis" / "report.html").exists()
    assert yaml.safe_load((run / "config.yaml").read_text())["model"]["name"] == "unet_small"
    metrics = pd.read_csv(run / "metrics.csv")
    assert {"train", "infer", "analyze"} >= set(metrics.stage)
    assert np.isfinite(metrics[metrics.stage == "train"].filter(like="loss").to_numpy()).any()
    assert json.loads((run / "summary.json").read_text())


def test_one_offline_wandb_run_per_stage_under_the_same_id(way):
    _, run, said = way
    folders = list((run / "wandb").glob("offline-run-*"))
    assert len(folders) == 3
    assert all(folder.name.endswith(run.name) for folder in folders)
    for stage in ("train", "infer", "analyze"):
        assert "wandb sync" in said[stage]


def test_defect_table_keeps_the_contract(way):
    _, run, _ = way
    with h5py.File(run / "defects.h5") as file:
        assert file["defects"].dtype == DEFECT_DTYPE
        assert len(file["frames"]) == 6
        assert len(file["patches"]) == len(file["defects"])
        attributes = dict(file.attrs)
        rows = file["defects"][()]
    for name in ("schema_version", "units", "pixel_size_nm", "calibration", "source", "source_sha256", "model_id"):
        assert name in attributes, name
    assert np.allclose(rows["y_nm"], rows["y_px"] * attributes["pixel_size_nm"], rtol=1e-4)
    csv = pd.read_csv(run / "defects.csv")
    assert set(DEFECT_DTYPE.names) <= set(csv.columns) and len(csv) == len(rows)


def test_the_report_needs_no_network(way):
    _, run, said = way
    page = (run / "analysis" / "report.html").read_text()
    assert not re.search(r'(src|href)="(https?:)?//[^"]+\.(js|css|png)', page)
    assert "data:image" in page and "report.html" in said["analyze"]


def test_found_against_true_is_printed(way):
    _, _, said = way
    assert "Mo_W" in said["analyze"] and "recall" in said["analyze"]


def test_the_four_lines_of_the_readme(way, tmp_path):
    import stemdefects as sd

    cwd, run, _ = way
    movie = sd.read(cwd / "movie.h5")
    table = sd.detect(movie, run=run.name, runs_dir=run.parent, progress=False)
    result = sd.analyze(table, progress=False, kinetics=BRIEF)
    page = result.report(tmp_path / "out.html")

    with h5py.File(run / "defects.h5") as file:
        assert table.rows.tobytes() == file["defects"][()].tobytes(), "the library and the script must agree"
    assert "data:image" in page.read_text() and "recall" in str(result)
    assert {"value", "low", "high", "unit", "method"} <= set(result.tables["estimates"].columns)


REFUSED = {
    ("infer.py", "run=latest", "input=movie.h5"): "overwrite=true",
    ("analyze.py", "run=latest"): "overwrite=true",
    ("simulate.py", "simulation=demo_movie", "output=movie.h5"): "overwrite=true",
    ("infer.py", "run=latest", "input=nothing.tif", "overwrite=true"): "nothing.tif",
    ("infer.py", "run=1e5", "input=movie.h5"): "run=1e5",
    ("infer.py", "input=movie.h5"): "run=",
    ("infer.py", "run=latest", "input=text.dm3", "overwrite=true"): "text.dm3",
    ("analyze.py", "run=nosuchrun"): "nosuchrun",
    ("analyze.py", "table=nothing.csv"): "nothing.csv",
    ("train.py", "model=unet_small", "training.batch_size=-1"): "batch_size",
    ("simulate.py", "output=x.h5", "simulation.detector.dose_e_per_px=[-1.0,-1.0]"): "dose_e_per_px",
}


@pytest.fixture(scope="module")
def refused(way, several_commands):
    """What the commands that must be refused say, and whether the table is the one from before."""
    cwd, run, _ = way
    (cwd / "text.dm3").write_text("not an image")
    before = (run / "defects.h5").stat().st_mtime_ns
    done = dict(zip(REFUSED, several_commands(REFUSED, cwd), strict=True))
    return done, (run / "defects.h5").stat().st_mtime_ns == before


@pytest.mark.parametrize("command", REFUSED, ids=" ".join)
def test_bad_input_is_one_line_and_exit_code_2(refused, command):
    done, untouched = refused
    result = done[command]
    assert result.returncode == 2, result.stderr[-2000:]
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and REFUSED[command] in lines[0]
    assert "Traceback" not in result.stderr
    assert untouched
