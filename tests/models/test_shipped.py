"""Networks are found by name, from a checkout and from an installed package."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import yaml

import stemdefects
from stemdefects.errors import UserError
from stemdefects.models import artifact, shipped

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", shipped.names())
def test_what_ships_is_whole_and_loads(name):
    assert sorted(p.name for p in (shipped.folder() / name).iterdir()) == sorted(shipped.FILES)
    model = artifact.load(shipped.locate(name))
    assert model.record["shipped_as"] == name and model.record["command"].startswith("python train.py ")
    card = (model.path / "README.md").read_text()
    for fact in (model.record["command"], f"seed {model.record['seed']}", model.record["hardware"], model.id):
        assert fact in card
    assert "/tmp" not in card and "/home" not in card


def test_all_that_ships_stays_small():
    assert sum(p.stat().st_size for p in shipped.folder().glob("*/*")) / 1e6 <= shipped.LARGEST_MB


def test_name_then_folder_then_run(saved, tmp_path, monkeypatch):
    package, runs = tmp_path / "pretrained", tmp_path / "runs"
    run = runs / "2026-01-01_10-00-00_aaaa"
    for place in (package / "ws2_mo", package / "mos2", run / "model", tmp_path / "mos2", tmp_path / "mine"):
        shutil.copytree(saved[0], place)
    monkeypatch.setattr(shipped, "folder", lambda: package)
    monkeypatch.chdir(tmp_path)
    assert shipped.names() == ["mos2", "ws2_mo"]
    assert shipped.locate("ws2_mo", runs) == package / "ws2_mo"
    assert shipped.locate("mos2", runs) == package / "mos2"
    assert shipped.locate("./mos2", runs) == tmp_path / "mos2"
    assert shipped.locate("mine", runs) == tmp_path / "mine"
    assert shipped.locate(run, runs) == shipped.locate(str(run), runs) == run / "model"
    assert shipped.locate("2026-01", runs) == shipped.locate("latest", runs) == run / "model"
    with pytest.raises(UserError, match=r"model=ws2_no: .*there are: mos2, ws2_mo.*nearest: 2026-01.*mean 'ws2_mo'"):
        shipped.locate("ws2_no", runs)
    with pytest.raises(UserError, match=r"training.init=x: .*there are: mos2, ws2_mo.*there are no runs in"):
        shipped.locate("x", tmp_path / "none", key="training.init")
    with pytest.raises(UserError, match=r"model=/nowhere/x: no such folder"):
        shipped.locate("/nowhere/x", runs)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"model=empty: no model in this folder"):
        shipped.locate("empty", runs)


def test_a_wheel_holds_networks_and_configs_and_finds_them_by_name(saved, tmp_path):
    pytest.importorskip("setuptools", reason="setuptools builds the wheel")
    source, target = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("stemdefects", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(saved[0], source / "stemdefects" / "models" / "pretrained" / "tiny")
    build = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, str(tmp_path)], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        wheel.extractall(target)
    inside = {p.relative_to(target).as_posix() for p in target.rglob("*") if p.is_file()}
    for name in [*shipped.names(), "tiny"]:
        assert {f"stemdefects/models/pretrained/{name}/{file}" for file in shipped.FILES} <= inside
    wanted = [p.relative_to(ROOT / "configs").as_posix() for p in (ROOT / "configs").rglob("*.yaml")]
    assert {f"stemdefects/configs/{p}" for p in wanted} <= inside
    there = {p.relative_to(ROOT).as_posix() for p in ROOT.glob("stemdefects/**/*.py")}
    assert there <= inside, f"modules that the wheel lacks: {there - inside}"
    assert next(target.glob("*.dist-info")).name == f"stemdefects-{stemdefects.__version__}.dist-info"
    look = (
        "import stemdefects; from stemdefects.commands.detection import load_model; m = load_model('tiny'); "
        "from stemdefects import config; print(m.id, m.path, config.config_dir())"
    )
    done = subprocess.run(
        [sys.executable, "-c", look],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(target), "JAX_PLATFORMS": "cpu"},
    )
    assert done.returncode == 0, done.stderr
    package = target / "stemdefects"
    assert done.stdout.split() == [saved[1], str(package / "models/pretrained/tiny"), str(package / "configs")]
    points = next(target.glob("*.dist-info/entry_points.txt")).read_text()
    assert "stemdefects = stemdefects.commands.applications:main" in points.splitlines()
    command = [sys.executable, "-c", "from stemdefects.commands.applications import main; main()"]
    for arguments, code, words in (
        (["infer", "model=tinny", "input=x.tif"], 2, "tiny"),
        (["--version"], 0, stemdefects.__version__),
        (["analyze", "--cfg", "job"], 0, "linking:"),
        (["inferr"], 2, "stemdefects infer"),
    ):
        done = subprocess.run(
            [*command, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=os.environ | {"PYTHONPATH": str(target)},
        )
        assert done.returncode == code and words in done.stdout + done.stderr, (arguments, done.stdout, done.stderr)


def test_the_citation_names_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert cited["version"] == stemdefects.__version__


def test_maps_of_a_shipped_network():
    """`sd.load_model(...).predict_maps`: probabilities of every cell, of an image of any size."""
    import stemdefects as sd
    from stemdefects.errors import UserError

    model = sd.load_model("ws2_mo")
    maps = model.predict_maps(np.random.default_rng(0).poisson(20, (70, 90)))
    assert {f"presence of {site.name}" for site in model.material.sites} <= set(maps)
    assert {m.shape for m in maps.values()} == {(-(-70 // model.stride), -(-90 // model.stride))}
    for g in range(model.material.n_sites):
        mine = [maps[model.material.state_names[s]] for s in np.flatnonzero(model.material.site_of_state == g)]
        assert np.allclose(np.sum(mine, 0), 1, atol=1e-5)
    with pytest.raises(UserError, match="the network sees 1 frame"):
        model.predict_maps(np.zeros((2, 64, 64)))
