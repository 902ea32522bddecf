"""Configs: where the YAML files are, and how they become validated dataclasses.

Hydra composes; the dataclasses in `schema/` say what exists. Every mistake becomes a `UserError` that names the
key, the value and the choices. Nothing here imports JAX.
"""

import contextlib
import copy
import dataclasses
import difflib
import functools
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from stemdefects import extensions, schema
from stemdefects.errors import UserError

GROUPS = {
    "material": schema.MaterialConfig,
    "simulation": schema.SimulationConfig,
    "labels": schema.LabelsConfig,
    "model": schema.ModelConfig,
    "training": schema.TrainingConfig,
    "inference": schema.InferenceConfig,
    "analysis": schema.AnalysisConfig,
    "logging": schema.LoggingConfig,
}


def config_dir() -> Path:
    """Folder of the YAML files: `configs/` of a checkout, else the copy inside the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "configs"
    return checkout if (checkout / "train.yaml").exists() else package / "configs"


def group_names(group: str) -> list[str]:
    """Names of the config files of `group`, sorted."""
    return sorted(path.stem for path in (config_dir() / group).glob("*.yaml"))


def load_group(group: str, name: str) -> Any:
    """One config file as a validated dataclass, for use as a library (no Hydra). A material may also be a path, or a
    name that another package adds.

    Raises UserError when there is no such file, listing those that exist.
    """
    path = config_dir() / group / f"{name}.yaml"
    if not path.exists() and group == "material":
        path = extensions.material_file(name) or path
    if not path.exists():
        existing = [*group_names(group), *(extensions.found(extensions.MATERIALS) if group == "material" else ())]
        raise UserError(f"{group}={name}: no such config; there are: {', '.join(existing)}")
    return to_object(_with_base(path), GROUPS[group])


def default_with(group: str, settings: dict[str, Any]) -> Any:
    """The default config of `group` with `settings` in place, as a library is called: groups within it are given as
    dicts of what changes, or as dataclasses. Raises UserError for what does not exist."""
    return named_with(group, "default", settings)


def named_with(group: str, base: str, settings: dict[str, Any]) -> Any:
    """The config `base` of `group` with `settings` in place, as in `default_with`."""
    folder = config_dir() / group
    plain = copy.deepcopy(_plain(group, base, tuple((p, p.stat().st_mtime_ns) for p in sorted(folder.rglob("*.yaml")))))
    for name, value in settings.items():
        value = dataclasses.asdict(value) if dataclasses.is_dataclass(value) and not isinstance(value, type) else value
        plain[name] = plain[name] | value if isinstance(plain.get(name), dict) and isinstance(value, dict) else value
    return to_object(plain, GROUPS[group])


@functools.lru_cache(maxsize=16)
def _plain(group: str, base: str, files: tuple[tuple[Path, int], ...]) -> Any:
    """A group as plain dicts and lists, read once as long as its `files` are what they were."""
    return to_plain(load_group(group, base))


def _with_base(path: Path) -> Any:
    """A group file merged onto the files of its own `defaults` list, as Hydra does within a group."""
    cfg: Any = OmegaConf.load(path)
    merged: Any = OmegaConf.create({})
    placed = False
    for entry in cfg.pop("defaults", []):
        if entry == "_self_":
            merged, placed = OmegaConf.merge(merged, cfg), True
        elif OmegaConf.is_config(entry) and any(key.startswith("override ") for key in entry):
            continue  # a choice for another group, which is not asked for here
        elif OmegaConf.is_config(entry):  # `clustering: default`: a group inside the group
            for key, choice in entry.items():
                merged = OmegaConf.merge(merged, {key: _with_base(path.parent / key / f"{choice}.yaml")})
        else:
            merged = OmegaConf.merge(merged, _with_base(path.parent / f"{entry}.yaml"))
    return merged if placed else OmegaConf.merge(merged, cfg)


def to_object(cfg: Any, cls: type) -> Any:
    """Merge `cfg` (mapping or DictConfig) into dataclass `cls`; returns an instance of `cls`.

    Raises UserError on an unknown key, a wrong type or a missing value.
    """
    try:
        plain = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else dict(cfg)
        _check_mapping(plain, cls, "")
        made = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(cls), escaped(plain)))
    except OmegaConfBaseException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"config {error.full_key or ''}: {reason}") from None
    check(made)
    return made


def check(settings: Any, where: str | None = None) -> None:
    """Hold the values of a dataclass instance to what `schema/` says they may be.

    where: dotted key of the group; by default its name in the root configs. Raises UserError naming the key, the value
    and what is possible.
    """
    if where is None:
        where = next((f"{name}." for name, cls in GROUPS.items() if isinstance(settings, cls)), "")
    for item in dataclasses.fields(settings):
        value = getattr(settings, item.name, None)
        if dataclasses.is_dataclass(value):
            check(value, f"{where}{item.name}.")
        elif value is not None and item.metadata:
            _check_value(f"{where}{item.name}", value, item.metadata)


def _check_value(key: str, value: Any, allowed: Mapping[str, Any]) -> None:
    if "each" in allowed:
        items = value.items() if isinstance(value, Mapping) else enumerate(value)
        for name, one in items:
            _check_value(f"{key}.{name}" if isinstance(value, Mapping) else key, one, allowed["each"])
        return
    if "choices" in allowed and value not in allowed["choices"]:
        near = difflib.get_close_matches(str(value), map(str, allowed["choices"]), 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise UserError(f"{key}={value}: there are: {', '.join(map(str, allowed['choices']))}{hint}")
    if "positive" in allowed and not 0 < value < math.inf:
        raise UserError(f"{key}={value}: must be positive")
    if "bounds" in allowed:
        low, high = allowed["bounds"]
        if not low <= value <= high or math.isinf(value):
            raise UserError(f"{key}={value}: must {'be at least' if math.isinf(high) else 'lie in'} {_span(low, high)}")
    if "range" in allowed:
        check_range(key, value, *allowed["range"])


def check_range(key: str, value: Sequence[float], least: float, most: float) -> None:
    """`UserError` naming `key` unless `value` is two increasing numbers within [least, most]."""
    if len(value) != 2 or not all(map(math.isfinite, value)) or value[0] > value[1]:
        raise UserError(f"{key}: needs a range [lower, upper], got {list(value)}")
    if value[0] < least or value[1] > most:
        raise UserError(f"{key}: {list(value)} reaches outside {least:g}..{most:g}")


def _span(low: float, high: float) -> str:
    return f"{low:g}" if math.isinf(high) else f"{low:g}..{high:g}"


def known_part(stored: dict[str, Any], cls: type) -> tuple[Any, list[str]]:
    """(instance of `cls` with what it takes of `stored`, dotted keys left out: unknown, or of another type).

    For records written by another version of this software. `stored` must hold what `cls` cannot do without.
    """
    with contextlib.suppress(UserError):  # nearly always all of it is known, and looking at each key takes long
        return to_object(stored, cls), []
    left_out: list[str] = []
    return to_object(_pruned(stored, cls, "", left_out), cls), left_out


def _pruned(stored: dict[str, Any], cls: Any, where: str, left_out: list[str]) -> dict[str, Any]:
    types: dict[str, Any] = {f.name: f.type for f in dataclasses.fields(cls)}
    kept: dict[str, Any] = {}
    for name, value in stored.items():
        if name in types and dataclasses.is_dataclass(types[name]) and isinstance(value, dict):
            kept[name] = _pruned(value, types[name], f"{where}{name}.", left_out)
            continue
        try:
            _check_mapping({name: value}, cls, "")
            OmegaConf.merge(OmegaConf.structured(cls), {name: escaped(value)})
            if value is not None:
                _check_value(name, value, next(f.metadata for f in dataclasses.fields(cls) if f.name == name))
            kept[name] = value
        except (UserError, OmegaConfBaseException):
            left_out.append(f"{where}{name}")
    return kept


def escaped(value: Any) -> Any:
    """`value` (text, or lists and dicts of it) such that OmegaConf takes `${` in it as the two letters they are."""
    if isinstance(value, str):
        return re.sub(r"(\\*)\$\{", lambda found: found.group(1) * 2 + r"\${", value)
    if isinstance(value, dict):
        return {key: escaped(one) for key, one in value.items()}
    return [escaped(one) for one in value] if isinstance(value, list | tuple) else value


def to_plain(obj: Any) -> dict:
    """A dataclass instance as plain dicts and lists, ready for YAML, JSON or W&B."""
    plain: Any = OmegaConf.to_container(OmegaConf.create(escaped(dataclasses.asdict(obj))), resolve=True)
    return plain


def to_yaml(obj: Any) -> str:
    """A dataclass instance, or a plain mapping, as YAML text."""
    return OmegaConf.to_yaml(OmegaConf.create(escaped(obj if isinstance(obj, dict) else dataclasses.asdict(obj))))


def check_key(key: str, cls: type) -> None:
    """Check that the dotted `key` exists in dataclass `cls`.

    Raises UserError with the nearest names and the whole list of what exists at that level.
    """
    _type_of(key, cls)


def keys(cls: Any) -> list[str]:
    """Dotted keys of all settings of dataclass `cls`, groups too."""
    found = []
    for item in dataclasses.fields(cls):
        found.append(item.name)
        if dataclasses.is_dataclass(item.type):
            found += [f"{item.name}.{key}" for key in keys(item.type)]
    return found


def is_text(key: str, cls: type) -> bool:
    """Whether the setting at the dotted `key` is text: to be taken as typed, whatever YAML would make of it."""
    kind = _type_of(key, cls)
    return kind is str or kind == (str | None) or kind is Any


def _type_of(key: str, cls: type) -> Any:
    """Type of the setting at the dotted `key`; None for what stands in a free mapping."""
    where, current = "", cls
    names = key.split(".")
    for number, name in enumerate(names):
        fields = {f.name: f.type for f in dataclasses.fields(current)}
        if name not in fields:
            raise UserError(_unknown(name, where, list(fields), keys(cls), names[-1]))
        where = f"{where}.{name}" if where else name
        current = fields[name]
        if not dataclasses.is_dataclass(current):  # a value, or a free mapping below which anything may stand
            return current if number == len(names) - 1 else None
    return current


def _unknown(name: str, where: str, existing: list[str], everywhere: Sequence[str] = (), last: str = "") -> str:
    near = difflib.get_close_matches(name, existing, 1, cutoff=0.7)
    lasts = {key.rsplit(".", 1)[-1]: key for key in reversed(everywhere)}
    if not near and last in lasts:  # another command's name for what this one has too
        near = [lasts[last]]
    if not near:  # it may stand in another group
        near = [lasts[one] for one in difflib.get_close_matches(name, lasts, 1, cutoff=0.8)]
    near = near or difflib.get_close_matches(name, existing, 1)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    place = f"'{where}'" if where else "the config"
    return f"config key '{name}' does not exist in {place}.{hint} It has: {', '.join(sorted(existing))}"


def _check_mapping(values: Any, cls: Any, where: str) -> None:
    if not isinstance(values, dict):
        return
    fields: dict[str, Any] = {f.name: f.type for f in dataclasses.fields(cls)}
    for name, value in values.items():
        if name not in fields:
            raise UserError(_unknown(str(name), where, list(fields)))
        if dataclasses.is_dataclass(fields[name]):
            if not isinstance(value, dict):
                raise UserError(
                    f"config {where + '.' if where else ''}{name}: {value!r} is not a group; "
                    f"set one of its keys: {', '.join(f.name for f in dataclasses.fields(fields[name]))}"
                )
            _check_mapping(value, fields[name], f"{where}.{name}" if where else name)
