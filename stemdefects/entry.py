"""The thin shell around Hydra that every entry script shares.

It checks override keys before Hydra composes (a typo answers with what exists), keeps paths and run ids from being
read as numbers, validates the composed config, and turns `UserError` into one line and exit code 2.
"""

import logging
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from stemdefects import config, plugins
from stemdefects.errors import UserError

_VERBATIM = ("run", "input", "output", "table", "truth")  # taken as text, whatever YAML would make of them
FAILED_JOBS: set[str] = set()  # folders of a sweep's jobs that failed
ERROR_FILE = "error.txt"
_OVERRIDE = re.compile(r"^(\+\+|\+|~)?([A-Za-z_][\w./@]*)=(.*)$", re.DOTALL)


def hydra_main(
    config_name: str, schema_class: type, function: Callable[[Any], Any], aliases: dict[str, str] | None = None
) -> None:
    """Run `function(cfg)` with `cfg` a validated instance of `schema_class`, composed by Hydra from the command line.

    `aliases` maps short command-line keys to config keys (infer.py: `model` -> `inference.model`).
    Exit codes: 0 done, 2 a `UserError` (one line on stderr), 130 interrupted.
    """
    try:
        sys.argv[1:] = prepare_arguments(sys.argv[1:], schema_class, aliases or {})
    except UserError as error:
        _exit_with(error)
    import hydra

    multirun = any(argument in ("-m", "--multirun") for argument in sys.argv[1:])

    @hydra.main(version_base="1.3", config_path=str(config.config_dir()), config_name=config_name)
    def task(cfg):
        try:
            return function(config.to_object(cfg, schema_class))
        except UserError as error:
            if not multirun:
                _exit_with(error)
            print(f"error: {error}", file=sys.stderr, flush=True)  # one bad job must not cost the others
            _leave(error)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr, flush=True)
            sys.exit(130)
        return None

    for name in ("jax", "absl", "orbax"):  # Hydra shows every logger's INFO
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        task()
    except BrokenPipeError:  # `python train.py --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    if FAILED_JOBS:
        first = Path(min(FAILED_JOBS, key=lambda folder: (len(folder), folder))) / ERROR_FILE
        reason = f"; the first: {first.read_text().strip()} ({first})" if first.is_file() else ""
        print(f"error: {len(FAILED_JOBS)} job(s) failed{reason}", file=sys.stderr, flush=True)
        sys.exit(2)


def prepare_arguments(arguments: list[str], schema_class: type, aliases: dict[str, str]) -> list[str]:
    """Check and rewrite command-line `arguments` for Hydra.

    Paths and ids are quoted, aliases replaced, and unknown keys refused with a UserError. Options (`-m`, `--help`,
    `hydra.*`) and group choices pass as they are.
    """
    sweeping = any(argument in ("-m", "--multirun") for argument in arguments)
    groups = {*config.GROUPS, "experiment"}
    prepared = []
    for argument in arguments:
        match = _OVERRIDE.match(argument)
        if argument.startswith("-") or not match:
            if not argument.startswith(("-", "~")) and os.path.exists(argument):
                raise UserError(f"'{argument}' stands alone; say what it is, e.g. input={argument}")
            prepared.append(argument)
            continue
        prefix, key, value = match.group(1) or "", match.group(2), match.group(3)
        verbatim = key in _VERBATIM or key in aliases
        key = aliases.get(key, key)
        if key in ("hydra/launcher", "hydra/sweeper"):
            plugins.check(key, value)
        if not key.startswith("hydra") and "@" not in key and key not in groups:
            config.check_key(key.replace("/", "."), schema_class)
            if "/" not in key:  # a group inside a group (analysis/clustering=paper) is chosen, not set
                prefix = prefix or "++"  # what exists is said by the schema, not by what the YAML files happen to set
        if verbatim and not (sweeping and "," in value):
            value = (
                value if key == "input" and value.startswith("[") else _quoted(value)
            )  # input may be a list of files
        prepared.append(f"{prefix}{key}={value}")
    return prepared + plugins.defaults(prepared)


def _leave(error: UserError) -> None:
    """Note that this job of a sweep failed, in its folder, which the process that started it will look into."""
    from hydra.core.hydra_config import HydraConfig

    folder = Path(HydraConfig.get().runtime.output_dir)
    FAILED_JOBS.add(str(folder.resolve()))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ERROR_FILE).write_text(f"{error}\n")
    except OSError:  # a full disk: it was printed
        pass


def command() -> str:
    """What the user typed to start this work (of a sweep: what would start this job alone), `-` from Python."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:  # whose process may be any
        return shlex.join(["python", "train.py", *(o.lstrip("+") for o in HydraConfig.get().overrides.task)])
    arguments = list(sys.orig_argv)  # Hydra's own are rewritten
    at = next((i for i, a in enumerate(arguments) if Path(a).name == "train.py"), None)
    return "-" if at is None else shlex.join(["python", "train.py", *arguments[at + 1 :]])


def collect_failures(sweep_dir: Path) -> None:
    """Count the jobs under `sweep_dir` that failed in other processes."""
    FAILED_JOBS.update(str(path.parent.resolve()) for path in Path(sweep_dir).glob(f"*/{ERROR_FILE}"))


def _quoted(value: str) -> str:
    """`value` in Hydra's single quotes; quoted text, `null` and nothing stay as they are."""
    if value in ("", "null") or value[0] in "'\"":
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _exit_with(error: UserError) -> None:
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.exit(2)
