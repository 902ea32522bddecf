"""Runs several commands in one process, each as if it were alone: <file with [[script, argument, ...], ...]>.

Prints for each [exit code, stdout, stderr] as JSON. For commands that end before any work: importing takes longer.
"""

import contextlib
import io
import json
import runpy
import sys
import traceback
from pathlib import Path


def one(script: str, *arguments: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `python script *arguments`."""
    sys.argv, code = [script, *arguments], 0
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as errors:
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
            code = 1
    if hydra := sys.modules.get("hydra.core.global_hydra"):
        hydra.GlobalHydra.instance().clear()
    return code, out.getvalue(), errors.getvalue()


if __name__ == "__main__":
    print(json.dumps([one(*command) for command in json.loads(Path(sys.argv[1]).read_text())]))
