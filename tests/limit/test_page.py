"""The page of the limit and the options of its script."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from stemdefects.limit import page

KINDS = ("V_S", "V_S2", "Mo_W", "V_W")
ROOT = Path(__file__).parents[2]
FIGURES = {"n": 7, "sites": 600, "f1": 0.734, "counted_f1": np.nan, "ap": 0.8, "d_prime_low": 3.3, "d_prime_high": 4.0}
FIGURES |= {"f1_low": 0.73, "f1_high": 0.86}


def test_page_holds_tables_and_picture(tmp_path):
    results = {(d, n): dict.fromkeys(KINDS, FIGURES) for d in (130.0, 400.0) for n in (1, 5)}
    score = {
        "f1": 0.7,
        "observer_f1": 0.734,
        "ratio": 0.954,
        "ratio_low": 0.9,
        "ratio_high": 1.01,
        "ap": 0.75,
        "own_f1": 0.6,
    }
    network = {(400.0, 1, 8): dict.fromkeys(KINDS, score) | {"rmse_nm": {"W": 0.006}}}
    bounds = {130.0: {"W": 0.009}, 400.0: {"W": 0.005}}
    facts = {
        "images": 3,
        "seconds": 5,
        "command": "python benchmarks/limit.py",
        "models": "`some-run`",
        "light": "without the columns' light",
        "averaged": "",
    }
    path = page.write(
        tmp_path / "docs",
        {"limit": (results, network)},
        {"limit": bounds},
        facts,
        dict.fromkeys(KINDS, 0.01),
        ["W", "Mo"],
    )
    text = path.read_text()
    assert "| 400 | 5 | **.73** (-; .80) |" in text
    assert "| 130 | 3.3-4.0 (.73-.86) |" in text
    assert "**.95** (.90-1.01): .70 of .73; AP .75; .60" in text
    assert "| 400 | 1 | 8 | .0060 (1.20) | - (-) |" in text
    assert "{" not in text
    assert np.asarray(Image.open(tmp_path / "docs" / "limit.png")).std() > 5


def test_script_names_a_wrong_option_and_exits_2():
    script = [sys.executable, str(ROOT / "benchmarks" / "limit.py")]
    for argument in ("pictures=3", "images"):
        done = subprocess.run([*script, argument], capture_output=True, text=True, cwd=ROOT, env=environment())
        assert done.returncode == 2
        assert argument in done.stderr and "simulation=" in done.stderr and "Traceback" not in done.stderr


def environment():
    import os

    return os.environ | {"PYTHONPATH": str(ROOT)}
