"""A trained run becomes a network that is found by name."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from stemdefects.errors import UserError
from stemdefects.io.runs import Run
from stemdefects.models import artifact, shipped
from stemdefects.training.outcome import shipping


@pytest.fixture(scope="module")
def package(undisturbed, python, root, child_environment, tmp_path_factory):
    """Folder into which the script put the tiny run, as a user does it."""
    folder = tmp_path_factory.mktemp("package") / "pretrained"
    done = subprocess.run(
        [
            python,
            "benchmarks/ship.py",
            f"run={undisturbed.name}",
            f"runs_dir={undisturbed.parent}",
            "name=tiny",
            f"into={folder}",
        ],
        cwd=root,
        env=child_environment,
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    assert "tiny (model " in done.stdout and "float16" in done.stdout
    return folder


def test_the_same_network_in_half_the_space(package, undisturbed):
    folder = package / "tiny"
    assert sorted(p.name for p in folder.iterdir()) == sorted(shipped.FILES)
    before, after = artifact.load(undisturbed / "model"), artifact.load(folder)
    with np.load(folder / "weights.npz") as file:
        assert {file[n].dtype for n in file.files} == {np.dtype("float16")}
    assert after.id != before.id and after.record["weights"]["trained_id"] == before.id
    assert after.thresholds == before.thresholds and after.confusion == before.confusion
    assert after.record["weights"]["f1_change"] <= shipping.SAME
    card = (folder / "README.md").read_text()
    assert after.record["command"] == json.loads((folder / "model.json").read_text())["command"]
    for fact in (after.record["command"], "seed 0", after.record["hardware"], undisturbed.name[:10], "model=tiny"):
        assert fact in card
    assert str(undisturbed.parent) not in card + after.record["command"]  # runs_dir is nobody else's business


def test_what_cannot_ship(package, undisturbed, tmp_path, monkeypatch):
    run = Run(tmp_path / undisturbed.name)
    shutil.copytree(undisturbed / "model", run.model_dir)
    monkeypatch.setattr(shipping, "_storage", lambda model: ("float32", 0.0))  # measured above
    with pytest.raises(UserError, match="name=a/b: a name is a plain word"):
        shipping.ship(run, "a/b", into=package)
    with pytest.raises(UserError, match="which others cannot repeat"):
        shipping.ship(run, "other", "python train.py training.init=/tmp/x", into=package)
    monkeypatch.setattr(shipped, "LARGEST_MB", 1.5 * shipping.folder_mb(package / "tiny"))
    with pytest.raises(UserError, match=r"name=other: .* MB make .* MB of networks in all, more than"):
        shipping.ship(run, "other", into=package)
    assert [p.name for p in package.iterdir()] == ["tiny"]
    monkeypatch.setattr(shipped, "LARGEST_MB", 12.0)
    done = shipping.ship(run, "other", "python train.py experiment=other", into=package)
    assert done.dtype == "float32" and artifact.load(done.path).id == artifact.load(run.model_dir).id
    assert done.total_mb == pytest.approx(sum(shipping.folder_mb(p) for p in package.iterdir()))


def test_places_of_this_machine_stay_here():
    text = "training:\n  init: /some/where/runs/2026-01-01_10-00-00_aaaa/model\n  steps: 3\n"
    assert shipping._without_places(text) == "training:\n  init: 2026-01-01_10-00-00_aaaa\n  steps: 3\n"
    assert shipping._without_places("  init: ws2_mo\n") == "  init: ws2_mo\n"
