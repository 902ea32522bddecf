"""The thin shell around Hydra that every entry script shares.

It checks override keys before Hydra composes (a typo answers with what exists), keeps paths and run ids from being
read as numbers, validates the composed config, and turns `UserError` into one line and exit code 2.
"""

import logging
import os
import re
import sys
from collections.abc import Callable
from typing import Any

from stemdefects import config
from stemdefects.errors import UserError

_VERBATIM = ("run", "input", "output", "table", "truth")  # taken as text, whatever YAML would make of them
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
    failures: list[str] = []

    @hydra.main(version_base="1.3", config_path=str(config.config_dir()), config_name=config_name)
    def task(cfg):
        try:
            return function(config.to_object(cfg, schema_class))
        except UserError as error:
            if not multirun:
                _exit_with(error)
            print(f"error: {error}", file=sys.stderr, flush=True)  # one bad job must not cost the others
            failures.append(str(error))
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
    if failures:
        print(f"error: {len(failures)} job(s) failed", file=sys.stderr, flush=True)
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
        if not key.startswith("hydra") and "@" not in key and key not in groups:
            config.check_key(key.replace("/", "."), schema_class)
            if "/" not in key:  # a group inside a group (analysis/clustering=paper) is chosen, not set
                prefix = prefix or "++"  # what exists is said by the schema, not by what the YAML files happen to set
        if verbatim and not (sweeping and "," in value):
            value = _quoted(value)
        prepared.append(f"{prefix}{key}={value}")
    return prepared


def _quoted(value: str) -> str:
    """`value` in Hydra's single quotes; lists, quoted text, `null` and nothing stay as they are."""
    if value in ("", "null") or value[0] in "'\"[":
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _exit_with(error: UserError) -> None:
    print(f"error: {error}", file=sys.stderr, flush=True)
    sys.exit(2)
