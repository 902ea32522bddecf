"""The arguments of a command, checked and made ready for Hydra before it composes anything.

Hydra has a grammar of its own, in which brackets, blanks, `=`, `$` and `~` mean something. What is text in the schema
(paths, ids, names of signals) is taken as it was typed; the rest is parsed as Hydra does, and every mistake becomes a
`UserError` with the nearest names that exist.
"""

import atexit
import difflib
import os
import re
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from stemdefects import config, extensions, plugins
from stemdefects.errors import UserError

_OVERRIDE = re.compile(r"^(\+\+|\+|~)?([A-Za-z_][\w./@:]*)=(.*)$", re.DOTALL)
_SPACED = re.compile(r"^(?:\+\+|\+)?([A-Za-z_][\w./@]*)\s*=\s*(.*)$", re.DOTALL)
_PLAIN = re.compile(r"^[A-Za-z_./][\w./-]*$", re.ASCII)  # the same to Hydra, to YAML and to us
_WORDS = ("null", "true", "false", "yes", "no", "on", "off", "nan", "inf", "y", "n")  # that are no text to them
_TAKE_A_VALUE = (
    "-p",
    "--package",
    "-cp",
    "--config-path",
    "-cn",
    "--config-name",
    "-cd",
    "--config-dir",
    "-c",
    "--cfg",
    "-i",
    "--info",
    "--experimental-rerun",
)


def prepare(arguments: list[str], schema_class: type, aliases: dict[str, str]) -> list[str]:
    """Check and rewrite command-line `arguments` for Hydra.

    `aliases` are replaced; text is quoted; unknown keys and choices, blanks around `=`, and several values without
    `-m` raise UserError. Options (`-m`, `--help`) pass as they are.
    """
    sweeping = any(argument in ("-m", "--multirun") for argument in arguments)
    arguments = _with_materials(arguments)
    folders = _config_folders(arguments)
    prepared, previous = [], ""
    for number, argument in enumerate(arguments):
        match = _OVERRIDE.match(argument)
        if previous in _TAKE_A_VALUE or argument.startswith("-"):
            prepared.append(argument)
        elif not match:
            if not argument.startswith("~") or os.path.exists(argument):
                _refuse_alone(argument, previous, arguments[number + 1 :], schema_class)
            prepared.append(argument)
        else:
            prefix, key, value = match.group(1) or "", match.group(2), match.group(3)
            following = arguments[number + 1] if number + 1 < len(arguments) else ""
            if value == "" and following and not _OVERRIDE.match(following) and not following.startswith(("-", "~")):
                raise UserError(f"'{key}= {following}': no blank after '='; write {key}={_shell(following)}")
            prepared.append(_override(prefix, key, value, schema_class, aliases, sweeping, folders))
        previous = argument
    prepared += plugins.defaults(prepared)
    _parse(prepared, sweeping)
    return prepared


def parts_of_list(text: str) -> list[str] | None:
    """The parts of `[a, b]`, quotes taken off; None when `text` is no list, or names a file that exists."""
    text = str(text).strip()
    if not (text.startswith("[") and text.endswith("]")) or Path(text).exists():
        return None
    return [_unquoted(part.strip()) for part in _split(text[1:-1])]


def _with_materials(arguments: list[str]) -> list[str]:
    """Where `material=` names a file, or a material of another package: that file's folder is where Hydra looks too."""
    taken, changed = {}, []
    for argument in arguments:
        if argument.startswith("material="):
            choices = []
            for choice in _split(argument.removeprefix("material=")):
                choice = _unquoted(choice.strip())
                own = choice in config.group_names("material")
                file = None if own or re.search(r"[(*?\[]", choice) else extensions.material_file(choice)
                taken |= {file.stem: file} if file else {}
                choices.append(file.stem if file else choice)
            argument = f"material={','.join(choices)}"
        changed.append(argument)
    if not taken:
        return changed
    folder = Path(tempfile.mkdtemp(prefix="stemdefects_material_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "material").mkdir()
    for name, file in taken.items():
        shutil.copyfile(file, folder / "material" / f"{name}.yaml")
    at = next(n for n, a in enumerate(changed) if a.startswith("material="))  # beside it: options may stand elsewhere
    asked = [a for a in changed if a.lstrip("+").startswith("hydra.searchpath=")]
    paths = [part for a in asked for part in parts_of_list(a.split("=", 1)[1]) or [a.split("=", 1)[1]]]
    changed[at:at] = [f"hydra.searchpath=[{','.join([*paths, f'file://{folder}'])}]"]
    return [a for a in changed if a not in asked]


def _override(
    prefix: str, key: str, value: str, schema_class: type, aliases: dict, sweeping: bool, folders: list[Path] | None
) -> str:
    """One `key=value` as Hydra should see it."""
    key = aliases.get(key, key)
    if key in ("hydra/launcher", "hydra/sweeper"):
        plugins.check(key, value)
    if key.startswith("hydra") or "@" in key or ":" in key:
        return f"{prefix}{key}={value}"
    group = key if key in (*config.GROUPS, "experiment") or "/" in key else None
    if group != "experiment":
        _check_alias(key, schema_class, aliases)
        config.check_key(key.replace("/", "."), schema_class)
    if group is not None:
        _check_choice(group, value, sweeping, folders)
        return f"{prefix}{key}={value}"
    prefix = prefix or "++"  # what exists is said by the schema, not by what the YAML files happen to set
    if not config.is_text(key, schema_class):
        return f"{prefix}{key}={value}"
    if value.startswith("~/") and not os.path.exists(value):  # shells expand it at the beginning of a word alone
        value = os.path.expanduser(value)
    if sweeping and "," in value and not os.path.exists(value) and not re.match(r"^\w+\(.*\)$", value):
        parts = _split(value)  # a sweep over several texts
        return f"{prefix}{key}={','.join(_quoted(part) for part in parts)}"
    return f"{prefix}{key}={_quoted(value)}"


def _check_alias(key: str, schema_class: type, aliases: dict[str, str]) -> None:
    """Raise UserError where a key that does not exist is most like an alias (`modle=` of infer.py)."""
    known = [*(name for name in config.keys(schema_class) if "." not in name), *aliases]
    if "." not in key and key not in known and (near := difflib.get_close_matches(key, known, 1, cutoff=0.7)):
        raise UserError(f"config key '{key}' does not exist. Did you mean '{near[0]}'? There are: {', '.join(known)}")


def _quoted(value: str) -> str:
    """`value` as text for Hydra and OmegaConf; quoted text, `null` and nothing stay as they are."""
    from hydra.core.override_parser.types import Quote, QuotedString

    if value in ("", "null"):
        return value
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" and not os.path.exists(value):
        value = value[1:-1]
    elif _PLAIN.match(value) and value.lower() not in _WORDS:
        return value
    return QuotedString(config.escaped(value), Quote.single).with_quotes()


def _unquoted(part: str) -> str:
    return part[1:-1] if len(part) > 1 and part[0] == part[-1] and part[0] in "'\"" else part


def _split(text: str) -> list[str]:
    """`text` at its commas, but for those within quotes, brackets and parentheses."""
    parts, depth, quote = [""], 0, ""
    for at, letter in enumerate(text):
        # an apostrophe within a name (it's.tif) opens nothing
        if quote or (letter in "'\"" and not parts[-1].strip() and letter in text[at + 1 :]):
            quote = "" if letter == quote else quote or letter
        elif letter in "([{":
            depth += 1
        elif letter in ")]}":
            depth = max(depth - 1, 0)
        if letter == "," and not quote and not depth:
            parts.append("")
        else:
            parts[-1] += letter
    return parts


def _shell(value: str) -> str:
    import shlex

    return shlex.quote(value)


def _refuse_alone(argument: str, previous: str, following: list[str], schema_class: type) -> None:
    """Raise UserError for an `argument` that is no `key=value`."""
    if argument == "=" or argument.startswith("="):
        value = argument[1:] or (following[0] if following else "<value>")
        key = previous if previous and "=" not in previous and not previous.startswith("-") else "<key>"
        raise UserError(f"'{key} = {value}': no blanks around '='; write {key}={_shell(value)}")
    if following and following[0].startswith("=") and not os.path.exists(argument):
        value = following[0][1:] or (following[1] if len(following) > 1 else "<value>")
        raise UserError(f"'{argument} = {value}': no blanks around '='; write {argument}={_shell(value)}")
    if os.path.exists(argument):
        keys = config.keys(schema_class)
        key = next((key for key in ("input", "table", "output") if key in keys), "<key>")
        raise UserError(f"'{argument}' stands alone; say what it is, e.g. {key}={_shell(argument)}")
    if spaced := _SPACED.match(argument):
        key, value = spaced.groups()
        raise UserError(f"'{argument}': no blanks around '='; write {key}={_shell(value)}")
    if "=" in argument:
        raise UserError(f"'{argument}': {argument.split('=', 1)[0]!r} is no key; arguments are written key=value")
    raise UserError(f"'{argument}' is not understood; arguments are written key=value{_hint(argument, schema_class)}")


def _hint(word: str, schema_class: type) -> str:
    near = difflib.get_close_matches(word, config.keys(schema_class), 1)
    return f", e.g. {near[0]}=..." if near else ""


def _check_choice(group: str, value: str, sweeping: bool, folders: list[Path] | None) -> None:
    """Raise UserError when a file of `group` does not exist, with those that do and the nearest."""
    if folders is None or re.search(r"[(*?]", value) or (group == "experiment" and value in ("null", "")):
        return  # from a package, say, or a glob of a sweep: Hydra looks for itself
    names = parts_of_list(value) or _split(value)
    if len(names) > 1 and not sweeping and not value.startswith("["):
        raise UserError(f"{group}={value}: several values are tried one after the other with -m; without it give one")
    existing = sorted({p.stem for folder in folders for p in (folder / group).glob("*.yaml")})
    for name in (_unquoted(name.strip()) for name in names):
        name = name.removesuffix(".yaml")
        if name not in existing and not any((folder / group / f"{name}.yaml").is_file() for folder in folders):
            near = difflib.get_close_matches(name, existing, 1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise UserError(f"{group}={name}: no such config.{hint} There are: {', '.join(existing) or 'none'}")


def _config_folders(arguments: list[str]) -> list[Path] | None:
    """Folders in which Hydra will look for YAML files; None when only Hydra can tell."""
    folders: list[Path] = [config.config_dir()]
    for number, argument in enumerate(arguments):
        name, _, value = argument.partition("=")
        if name in ("--config-dir", "-cd"):
            value = value or (arguments[number + 1] if number + 1 < len(arguments) else "")
            folders.append(Path(value))
        elif name in ("--config-path", "-cp"):
            return None
        elif name.lstrip("+") == "hydra.searchpath":
            for part in parts_of_list(value) or [value]:
                if part.startswith("pkg:") or "$" in part:
                    return None
                folders.append(Path(part.removeprefix("file://")))
    return folders


def _parse(prepared: Iterable[str], sweeping: bool) -> None:
    """Raise UserError for what Hydra cannot read, and for several values without `-m`."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser, previous = OverridesParser.create(), ""
    for text in prepared:
        option = text.startswith("-") or previous in _TAKE_A_VALUE
        previous = text
        if option:
            continue
        shown = text.removeprefix("++")
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            reason = str(error).strip().splitlines()[0]
            raise UserError(
                f"{shown}: cannot be read ({reason}); text with brackets, commas or blanks is written "
                f"{shown.split('=', 1)[0]}=\"'...'\""
            ) from None
        if override.is_sweep_override() and not sweeping:
            raise UserError(
                f"{shown}: several values are tried one after the other with -m; without it give one value, or a list "
                "in brackets where the setting is one"
            )


def command() -> str:
    """What the user typed to start this work (of a sweep: what would start this job alone), `-` from Python."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:  # whose process may be any
        return shlex.join(["python", "train.py", *(o.lstrip("+") for o in HydraConfig.get().overrides.task)])
    arguments = list(sys.orig_argv)  # Hydra's own are rewritten
    names = [Path(argument).name for argument in arguments]
    if "train.py" in names:
        return shlex.join(["python", "train.py", *arguments[names.index("train.py") + 1 :]])
    if "stemdefects" in names and "train" in names:
        return shlex.join(["stemdefects", *arguments[names.index("train") :]])
    return "-"
