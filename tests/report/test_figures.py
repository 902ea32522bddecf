"""Figures are saved by several processes as by one."""

import subprocess
import sys

SCRIPT = """
import os, sys
from pathlib import Path
from stemdefects.report import style

folder, save, parent = Path(sys.argv[1]), style.save, os.getpid()
os.sched_getaffinity = lambda _: {0, 1}

def drawn(n):
    figure, axes = style.pyplot().subplots(figsize=(1, 1))
    axes.plot([0, n, 1])
    return figure

def save_here_only(figure, folder, name):
    return os._exit(1) if os.getpid() != parent else save(figure, folder, name)

alone = {f"figure_{n}": style.save(drawn(n), folder / "alone", f"figure_{n}").read_bytes() for n in range(3)}
for one in (save, save_here_only):  # the second: a copy that ends before its work is done
    style.save = one
    paths = style.save_all({f"figure_{n}": drawn(n) for n in range(3)}, folder / one.__name__)
    assert {name: path.read_bytes() for name, path in paths.items()} == alone
    assert len(list((folder / one.__name__).glob("*.svg"))) == 3
assert "jax" not in sys.modules and not style.pyplot().get_fignums()
"""


def test_figures_of_several_processes_are_those_of_one(tmp_path):
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
