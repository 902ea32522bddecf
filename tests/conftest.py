"""Compiled once per run of the suite: XLA's programs and Python's bytecode, for the tests and the processes they start.

Without this most of the time goes into compiling the same again.
"""

import os
import shutil
import sys
import tempfile
from importlib.metadata import version

FOLDER = tempfile.mkdtemp(prefix="stemdefects_tests_")

os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(FOLDER, "xla"))
# compiles three times as fast; tests that compare bits compare programs that were compiled alike
FLAGS = ["--xla_backend_optimization_level=0"]
if version("jaxlib").startswith("0.10."):  # an unknown flag ends the process
    FLAGS.append("--xla_cpu_use_fusion_emitters=false")
os.environ["XLA_FLAGS"] = " ".join([*FLAGS, os.environ.get("XLA_FLAGS", "")]).strip()
if sys.dont_write_bytecode:  # nothing beside the sources, then, but not again in each process
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = sys.pycache_prefix = os.path.join(FOLDER, "bytecode")
    sys.dont_write_bytecode = False


os.environ.setdefault("WANDB__SERVICE_WAIT", "300")  # on a busy machine the 30 s that it waits for itself are short


def pytest_unconfigure():
    shutil.rmtree(FOLDER, ignore_errors=True)
