"""The grid of a sweep (`train.py -m key=1,2`): every job's config is validated before the first one starts."""

import itertools
import math
import re
from collections.abc import Callable, Iterable
from typing import Any

from stemdefects import config
from stemdefects.errors import UserError

ALL_FILES = 16  # combinations of config files that are all composed, half a second each


def check(arguments: list[str], config_name: str, schema_class: type) -> None:
    """Validate the jobs that `arguments` (as `command_line.prepare` gives them, with `-m`) ask for: every combination
    of config files, every value of a setting in each.

    Raises UserError with the key, the value and what it may be. Values that a sweeper draws from an interval are tried
    at its two ends.
    """
    from hydra import compose, initialize_config_dir
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    own = [a for a in arguments if re.match(r"^(\+\+|\+|~)?[A-Za-z_]", a) and "=" in a]
    own = [a for a in own if not a.lstrip("+~").startswith("hydra") or a.lstrip("+").startswith("hydra.searchpath=")]
    fixed, groups, settings = [], [], []
    parser = OverridesParser.create()
    for override in parser.parse_overrides(own):
        text = override.input_line or ""
        name = text.split("=", 1)[0]
        values = _values(override) if override.is_sweep_override() else []
        if values:
            files = name.lstrip("+") in (*config.GROUPS, "experiment") or "/" in name
            (groups if files else settings).append([f"{name}={value}" for value in values])
        else:
            fixed.append(text)
    with initialize_config_dir(str(config.config_dir().resolve()), version_base="1.3"):
        for chosen in _jobs(groups):
            first = [values[0] for values in settings]
            composed: Any = _tried(lambda c=chosen, f=first: compose(config_name, [*fixed, *c, *f]), chosen)
            for job in _each(settings):
                for one in parser.parse_overrides(list(job)):
                    OmegaConf.update(composed, one.key_or_group, one.value(), merge=True, force_add=True)
                _tried(lambda c=composed: config.to_object(c, schema_class), (*chosen, *job))


def _tried(make: Callable[[], Any], job: tuple[str, ...]) -> Any:
    """What `make` gives; its error tells of which job."""
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    told = f"(a job of this sweep: {' '.join(one.lstrip('+') for one in job)}; none was started)"
    try:
        return make()
    except UserError as error:
        raise UserError(f"{error} {told}") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(f"{' '.join(line.strip() for line in str(error).splitlines()[:2])} {told}") from None


def _values(override: Any) -> list[str]:
    """The values that a swept override takes, as they are typed; the ends of an interval."""
    swept = override.value()
    if override.is_interval_sweep():
        return [repr(swept.start), repr(swept.end)]
    return [str(value) for value in override.sweep_string_iterator()]


def _jobs(varied: list[list[str]]) -> Iterable[tuple[str, ...]]:
    """Every combination of files, or of very many each file once."""
    return itertools.product(*varied) if math.prod(map(len, varied)) <= ALL_FILES else _each(varied)


def _each(varied: list[list[str]]) -> Iterable[tuple[str, ...]]:
    """Each value once, with the first ones of the others."""
    first = tuple(values[0] for values in varied)
    yield first
    for at, values in enumerate(varied):
        for value in values[1:]:
            yield (*first[:at], value, *first[at + 1 :])
