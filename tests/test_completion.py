"""A shell's tab key: Hydra's completion, of scripts and of the wheel's one command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WHEEL = [
    sys.executable,
    "-c",
    "import sys; sys.argv[0] = 'stemdefects'\nfrom stemdefects.commands.applications import main; main()",
]


@pytest.mark.parametrize(
    "command, line, choices",
    [
        ([sys.executable, "train.py"], "python train.py labels=", {"labels=corrections", "labels=fourier"}),
        (WHEEL, "stemdefects infer inference.av", {"inference.average_frames="}),
        (WHEEL, "stemdefects an", {"analyze"}),
    ],
)
def test_what_may_follow_is_said(command, line, choices):
    done = subprocess.run(
        [*command, "-sc", "query=bash"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
        env=os.environ | {"COMP_LINE": line, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0 and choices <= set(done.stdout.split()), done


def test_the_line_that_installs_it():
    done = subprocess.run(
        [*WHEEL, "-sc", "install=bash"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=100,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.rstrip().endswith("hydra_bash_completion stemdefects") and not done.stderr
