"""Compiled once per run of the suite: XLA's programs and Python's bytecode, for the tests and the processes they start.

Without this most of the time goes into compiling the same again. Tests of one file run one after the other in one
process (`pytest -n 2` of pytest-xdist shares out files), the longest files first, so that all processes end together.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
TINY = [  # a training small enough for tests: the real simulator, network and loop on 32 px images
    "model=unet_small",
    "model.filters=[8,8]",
    "model.depths=[1,1]",
    "training=quick",
    "training.steps=12",
    "training.batch_size=4",
    "training.size_px=32",
    "training.warmup_steps=2",
    "training.validation.every=6",
    "training.validation.images=2",
    "training.validation.size_px=32",
    # features whose compilation takes most of the time
    "simulation.regions.phase_1T_probability=0",
    "simulation.regions.twin_probability=0",
    "simulation.regions.amorphous_probability=0",
    "simulation.regions.hole_probability=0",
    "simulation.defects.line_probability=0",
]
# a process of pytest-xdist lives in the environment of the one that started it, and leaves the folder to that one
OWN = "PYTEST_XDIST_WORKER" not in os.environ
# one training serves them all
TOGETHER = ("test_whole_way", "test_processes", "test_resume", "test_loop", "test_shipping", "test_start")
# the compiled sampler serves these: two processes at once would both compile it, for a minute
SAMPLER = ("analysis/kinetics/", "analysis/damage/")
# what takes more than 15 s of a processor, so that no process ends with it alone
LONGEST_FIRST = (
    "test_images",
    "test_flow",
    "test_step",
    "test_movies",
    "test_movie",
    "test_page",
    "test_observer",
    "test_many",
    "test_devices",
    "test_multislice",
    "test_launchers",
    "test_compare",
    "test_config",
    "test_pipeline",
    "test_corrections",
    "test_notebooks",
)

if OWN:
    FOLDER = tempfile.mkdtemp(prefix="stemdefects_tests_")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(FOLDER, "xla"))
    # compiles three times as fast; tests that compare bits compare programs that were compiled alike
    FLAGS = ["--xla_backend_optimization_level=0"]
    if version("jaxlib").startswith("0.10."):  # an unknown flag ends the process
        FLAGS.append("--xla_cpu_use_fusion_emitters=false")
    os.environ["XLA_FLAGS"] = " ".join([*FLAGS, os.environ.get("XLA_FLAGS", "")]).strip()
    # programs without the places in the sources that they come from are made faster
    os.environ["JAX_TRACEBACK_IN_LOCATIONS_LIMIT"] = "0"
    os.environ["JAX_TRACEBACK_FILTERING"] = "off"
    if sys.dont_write_bytecode:  # nothing beside the sources, then, but not again in each process
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = os.path.join(FOLDER, "bytecode")
        sys.dont_write_bytecode = False

    os.environ.setdefault("WANDB__SERVICE_WAIT", "300")  # on a busy machine the 30 s that it waits for itself are short


@pytest.fixture(autouse=True, scope="session")
def shown():
    """What is said along the way, as the commands show it."""
    from stemdefects import messages

    messages.show()


@pytest.fixture
def browser():
    """Chromium driven by Playwright; CHROMIUM names one that Playwright did not install itself."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        try:
            opened = started.chromium.launch(executable_path=os.environ.get("CHROMIUM"), args=["--no-sandbox"])
        except playwright.Error as error:
            pytest.skip(f"no Chromium for playwright ({str(error).splitlines()[0]})")
        yield opened
        opened.close()


@pytest.fixture(scope="session")
def tiny():
    """Command-line overrides of the tiny training."""
    return list(TINY)


@pytest.fixture(scope="session")
def several_commands(tmp_path_factory):
    """`several_commands([(script, argument, ...), ...], cwd)`: what each exits with and says, all in one process."""

    def run(commands, cwd=ROOT):
        asked = tmp_path_factory.mktemp("commands") / "commands.json"
        asked.write_text(json.dumps([[str(ROOT / script), *map(str, rest)] for script, *rest in commands]))
        done = subprocess.run(
            [sys.executable, str(ROOT / "tests" / "several_commands.py"), str(asked)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=400,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stderr
        names = ("returncode", "stdout", "stderr")
        return [SimpleNamespace(**dict(zip(names, one, strict=True))) for one in json.loads(done.stdout)]

    return run


def pytest_collection_modifyitems(items):
    ranks = {name: n for n, name in enumerate((*TOGETHER, "sampler", *LONGEST_FIRST))}
    items.sort(key=lambda item: ranks.get(_scope(item.path.as_posix()), ranks.get(item.path.stem, len(ranks))))


def _scope(file: str) -> str:
    """What runs in one process, one after the other."""
    if Path(file).stem in TOGETHER:
        return "trainings"
    return "sampler" if any(folder in file for folder in SAMPLER) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Whole files to each process, in the order that they stand in."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            return _scope(nodeid.split("::")[0])

    config.option.loadscopereorder = False
    return Files(config, log)


def pytest_unconfigure():
    if OWN:
        shutil.rmtree(FOLDER, ignore_errors=True)
