"""A training small enough for tests: the real simulator, network and loop on 32 px images."""

import os
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

ROOT = Path(__file__).resolve().parents[2]
TINY = [
    "model=unet_small", "model.filters=[8,8]", "model.depths=[1,1]", "training=quick", "logging=disabled",
    "training.steps=12", "training.batch_size=4", "training.size_px=32", "training.warmup_steps=2",
    "training.validation.every=6", "training.validation.images=2", "training.validation.size_px=32",
    "training.validation.pictures=0",
    # features whose compilation takes most of the time
    "simulation.regions.phase_1T_probability=0", "simulation.regions.twin_probability=0",
    "simulation.regions.amorphous_probability=0", "simulation.regions.hole_probability=0",
    "simulation.defects.line_probability=0",
]  # fmt: skip


@pytest.fixture(scope="session")
def tiny():
    """Command-line overrides of the tiny training."""
    return list(TINY)


@pytest.fixture
def tiny_config(tmp_path):
    """The tiny training as a `TrainRoot`; `tiny_config(key=value, ...)` with dotted keys as `a__b`."""
    from stemdefects import config, schema

    def make(**changes):
        groups = {"material": "ws2_mo", "simulation": "train", "labels": "simulated", "logging": "disabled"}
        pairs = [o.split("=", 1) for o in TINY]
        groups |= {k: v for k, v in pairs if "." not in k}
        root = schema.TrainRoot(
            runs_dir=str(tmp_path / "runs"), **{g: config.load_group(g, n) for g, n in groups.items()}
        )
        root.inference = config.load_group("inference", "default")
        dots = [f"{k}={v}" for k, v in pairs if "." in k] + [f"{k.replace('__', '.')}={v}" for k, v in changes.items()]
        return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(root), OmegaConf.from_dotlist(dots)))

    return make


@pytest.fixture(scope="session")
def child_environment(tmp_path_factory):
    """Environment of child processes: they share compiled programs and find the package."""
    cache = tmp_path_factory.mktemp("compiled")
    return os.environ | {
        "JAX_COMPILATION_CACHE_DIR": os.environ.get("JAX_COMPILATION_CACHE_DIR", str(cache)),
        "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1",
        "XLA_FLAGS": "--xla_backend_optimization_level=0",  # compiles twice as fast
    }  # fmt: skip


@pytest.fixture(scope="session")
def root():
    """The project's folder."""
    return ROOT


@pytest.fixture(scope="session")
def python():
    """This Python."""
    return sys.executable
