"""The tiny training as a config and as a command."""

import functools
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tiny(tiny):
    """Command-line overrides of the tiny training, without pictures and W&B."""
    return [*tiny, "logging=disabled", "training.validation.pictures=0"]


@pytest.fixture(scope="session")
def tiny_root(tiny):
    """`tiny_root(runs_dir, key=value, ...)`: the tiny training as a `TrainRoot`, with dotted keys as `a__b`."""
    from stemdefects import config, schema

    def make(runs_dir, **changes):
        groups = {"material": "ws2_mo", "simulation": "train", "labels": "simulated", "logging": "disabled"}
        pairs = [o.split("=", 1) for o in tiny]
        groups |= {k: v for k, v in pairs if "." not in k}
        root = schema.TrainRoot(runs_dir=str(runs_dir), **{g: config.load_group(g, n) for g, n in groups.items()})
        root.inference = config.load_group("inference", "default")
        dots = [f"{k}={v}" for k, v in pairs if "." in k] + [f"{k.replace('__', '.')}={v}" for k, v in changes.items()]
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(root), OmegaConf.from_dotlist(dots)))

    return make


@pytest.fixture
def tiny_config(tiny_root, tmp_path):
    """`tiny_root` with runs of this test's own."""
    return functools.partial(tiny_root, tmp_path / "runs")


@pytest.fixture(scope="session")
def child_environment():
    """Environment of child processes: they find the package."""
    return os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@pytest.fixture(scope="session")
def root():
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def python():
    """This Python."""
    return sys.executable


class Trainings:
    """Starts `train.py` as a user does."""

    def __init__(self, python, root, environment, overrides, runs_dir):
        self.command = [python, "train.py", f"runs_dir={runs_dir}"]
        self.overrides, self.root, self.environment, self.runs_dir = overrides, root, environment, Path(runs_dir)

    def start(self, *arguments):
        return subprocess.Popen(
            [*self.command, *arguments],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def new(self, *extra):
        return self.start(*self.overrides, *extra)

    def finish(self, child):
        out, errors = child.communicate(timeout=400)
        assert child.returncode == 0, errors
        return out, errors

    def wait_for_step(self, child, run_id, step):
        folder = self.runs_dir / run_id / "checkpoints"
        deadline = time.time() + 300
        while time.time() < deadline and child.poll() is None:
            if any(p.name.isdigit() and int(p.name) >= step for p in folder.glob("*")):
                return
            time.sleep(0.01)
        raise AssertionError(f"no checkpoint {step}: {child.communicate()}")

    def newest(self):
        from stemdefects.io import runs

        return runs.list_ids(self.runs_dir)[-1]


@pytest.fixture(scope="session")
def trainings(python, root, child_environment, tiny, tmp_path_factory):
    """Trainings as a user starts them, all in one `runs_dir`."""
    return Trainings(python, root, child_environment, tiny, tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def undisturbed(trainings):
    """Folder of a tiny run that nothing disturbed."""
    out, _ = trainings.finish(trainings.new())
    run_id = trainings.newest()
    assert run_id in out and "| Mo_W |" in out
    return trainings.runs_dir / run_id
