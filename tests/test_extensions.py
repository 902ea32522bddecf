"""A package of the user's own, installed for the test, adds a material, a network, a loss, a reader and a stage of
the analysis."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from stemdefects import command_line, config, extensions, schema
from stemdefects.analysis import pipeline, synthetic
from stemdefects.analysis.data import detections
from stemdefects.analysis.notes import Code, codes
from stemdefects.analysis.stage import StageResult
from stemdefects.crystal import material as crystal
from stemdefects.errors import UserError
from stemdefects.io import opening
from stemdefects.models import architecture, unet
from stemdefects.report import output
from stemdefects.training import losses

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder that tests/example_package is installed into, by pip as users do."""
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "tests" / "example_package", source)
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*install, "--target", str(target), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def installed(site, monkeypatch):
    monkeypatch.syspath_prepend(str(site))
    return site


def test_a_material_of_another_package_or_by_its_path(installed):
    by_name = crystal.load("wte2")
    by_path = crystal.load(str(installed / "my_lab" / "wte2.yaml"))
    assert by_name.name == by_path.name == "wte2" and "V_Te" in by_name.kind_names
    arguments = command_line.prepare(["material=wte2", "seed=1"], schema.TrainRoot, {})
    assert "material=wte2" in arguments and any(a.startswith("hydra.searchpath=") for a in arguments)
    with pytest.raises(UserError, match=r"material=wte: no such config.*wte2"):
        config.load_group("material", "wte")
    with pytest.raises(UserError, match="no such file"):
        config.load_group("material", "nowhere/else.yaml")


def test_the_command_takes_it_too(site, tmp_path):
    shutil.copyfile(site / "my_lab" / "wte2.yaml", tmp_path / "own one.yaml")
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}"}
    for choice in ("wte2", str(tmp_path / "own one.yaml")):
        done = subprocess.run(
            [sys.executable, str(ROOT / "simulate.py"), f"material={choice}", "--cfg", "job"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        assert "name: wte2" in done.stdout


def test_a_network_and_a_loss_of_another_package(installed):
    material = crystal.load("wte2")
    cfg = config.load_group("model", "unet_small")
    cfg.architecture, cfg.options = "plain", {"width": 4}
    module = architecture.build(cfg, material)
    frames = np.zeros((1, 32, 32, 1), np.float32)
    outputs = jax.eval_shape(module.init_with_output, jax.random.key(0), frames)[0]
    assert isinstance(outputs, unet.Outputs) and outputs.state.shape == (1, 16, 16, material.n_states)
    cfg.architecture = "plane"
    with pytest.raises(UserError, match=r"model.architecture=plane: no such thing. Did you mean 'plain'"):
        architecture.build(cfg, material)
    assert losses.named("default") is losses.sums
    assert losses.named("calm").__module__ == "my_lab.loss"
    with pytest.raises(UserError, match=r"training.loss.name=colm.*calm"):
        losses.named("colm")


def test_what_cannot_be_imported_is_said(installed, monkeypatch):
    monkeypatch.setitem(sys.modules, "my_lab.loss", None)
    with pytest.raises(UserError, match=r"training.loss.name=calm: my_lab.loss:calm cannot be imported"):
        extensions.load(extensions.LOSSES, "calm", "training.loss.name")


def test_a_reader_of_another_package(installed, tmp_path):
    frames = np.random.default_rng(0).poisson(9, (3, 16, 20)).astype("<u2")
    for name in ("b 2.raw16", "b 10.raw16"):
        (tmp_path / name).write_bytes(b"3 16 20 0.03 2.25\n" + frames.tobytes())
    movie = opening.read(tmp_path / "b 2.raw16")
    assert movie.shape == (3, 16, 20) and movie.pixel_size_nm == 0.03 and movie.frame_time_s == 2.25
    np.testing.assert_array_equal(movie.frame(1), frames[1])
    assert opening.read(tmp_path).shape == (6, 16, 20)  # a folder of them is a movie too
    (tmp_path / "short.raw16").write_bytes(b"3 16 20 0.03 2.25\n")
    with pytest.raises(UserError, match="0 pixels where its first line promises 960"):
        opening.read(tmp_path / "short.raw16")
    (tmp_path / "a.raw32").write_bytes(b"1")
    with pytest.raises(UserError, match=r"unknown file type '.raw32'.*raw16"):
        opening.read(tmp_path / "a.raw32")


def few_defects():
    """A square lattice of defects 0.9 nm apart, alike in every frame."""
    yx = 0.9 * np.stack(np.meshgrid(np.arange(4), np.arange(4)), -1).reshape(-1, 2)
    frame = np.repeat(np.arange(5), len(yx))
    rows = synthetic.defect_rows(frame, np.tile(yx, (5, 1)), 0.03)
    return detections.Detections(rows, 5, np.arange(5) * 2.0, 0.03, 0.0, 2.0, "movie.h5")


def test_a_stage_of_another_package(installed, tmp_path):
    cfg = config.load_group("analysis", "default")
    cfg.leave_out = [name for name in pipeline.STAGES if name != "counts"]
    result = pipeline.analyse(few_defects(), cfg, crystal.load("ws2_mo"))
    assert list(result.stages) == ["counts", "crowding"]
    [said] = [e for e in result.estimates if e.quantity == "distance to the next defect"]
    assert said.value == pytest.approx(0.9, rel=1e-6) and said.low == said.high == pytest.approx(0.9, rel=1e-6)
    page = output.write(result, tmp_path, "Ours", "a: 1\n").read_text()
    assert (
        'href="#crowding"' in page and "distance to the next defect = 0.900 nm" in page and "One value a frame." in page
    )
    assert (tmp_path / "figures" / "crowding.png").exists()
    assert "distance to the next defect" in (tmp_path / "estimates.csv").read_text()
    cfg.leave_out = ["crowdin"]
    with pytest.raises(UserError, match=r"analysis.leave_out=crowdin: no such thing. Did you mean 'crowding'"):
        pipeline.analyse(few_defects(), cfg)


@pytest.mark.parametrize("module", ["network", "loss", "reader", "crowding"])
def test_the_page_on_extending_shows_what_was_run(module):
    code = (ROOT / "tests" / "example_package" / "my_lab" / f"{module}.py").read_text()
    assert f"```python\n{code}```" in (ROOT / "docs" / "extending.md").read_text()


def test_what_a_stage_of_another_package_does_wrong_costs_its_own_numbers(installed, monkeypatch):
    cfg = config.load_group("analysis", "default")
    cfg.leave_out = [name for name in pipeline.STAGES if name != "counts"]
    import pandas as pd

    for wrong in (lambda *_: 1 / 0, lambda *_: None, lambda *_: StageResult(tables={"counts": pd.DataFrame()})):
        monkeypatch.setattr("my_lab.crowding.crowding", wrong)
        result = pipeline.analyse(few_defects(), cfg, crystal.load("ws2_mo"))
        [note] = [n for n in result.notes if Code.STAGE_FAILED in codes(n)]
        assert "crowding" in note and result.estimates and "counts" in result.tables
