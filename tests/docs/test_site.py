"""The site is built offline and without a warning, where its packages are installed (extra `docs`)."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_site_is_built_and_asks_the_network_for_nothing(tmp_path):
    for package in ("material", "mkdocstrings_handlers"):
        pytest.importorskip(package, reason="make docs installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    pages = {path.relative_to(tmp_path).as_posix(): path.read_text() for path in tmp_path.rglob("*.html")}
    assert {"index.html", "reference.html", "statistics.html", "cards/ws2_mo.html"} <= set(pages)
    loaded = r'<(?:script|img|link)[^>]+(?:src|href)="https?://'
    assert not [name for name, text in pages.items() if re.search(loaded, text)]
    assert "Tracks, classes, diffusion and transitions of a defect table" in pages["reference.html"]
