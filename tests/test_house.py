"""Rules of the house that a machine can hold. Where a file breaks one it stands in a list here that only gets shorter.

`python tests/test_house.py` prints the lists as they are now.
"""

import ast
import dataclasses
import re
from functools import cache
from pathlib import Path

import yaml

from stemdefects import config, schema

ROOT = Path(__file__).resolve().parents[1]

MOST_LINES = 300  # of a module: one that is longer has two subjects
LONG: dict[str, int] = {}
MOST_PARAMETERS = 7  # of a function, `self` aside: more belong into a named tuple or a config
MANY_PARAMETERS = {  # module: functions with more
    "io/movie.py": 1,  # `sd.Movie`, whose arguments readers of other packages give by name
}
UNEXPLAINED: dict[str, int] = {}  # module: numbers without a reason beside or above them, or in the module docstring
OWN_LAYOUT = {  # file: statements that the formatter leaves alone, for their rows say something
    "stemdefects/analysis/data/foreign_columns.py": 2,  # spellings of a unit in a row
    "stemdefects/io/readers/conventions/units.py": 2,
    "tests/inference/specimen/test_specimen.py": 1,  # the bars of a histogram
}
LINES_OF_A_SCRIPT = 60  # of an entry script, which only starts what the package does

# Files that say what `schema/` says already, and why they may.
LISTS_OF_SETTINGS = {
    "analysis/default",
    "analysis/clustering/default",
    "inference/default",
    "training/default",
    "model/unet_small",
    "labels/simulated",
    "logging/offline",
    "simulation/movie",
}
# What commands take unless told otherwise: read as the list of settings, and what the tab key and `--cfg job` show.
CARDS = {"material"}  # data of a crystal, whole in its file; a user's own begins as a copy of one


@cache
def modules() -> dict[str, tuple[str, ast.Module]]:
    """Path below stemdefects/ -> text and syntax tree of every module."""
    found = {}
    for path in sorted((ROOT / "stemdefects").rglob("*.py")):
        text = path.read_text()
        found[str(path.relative_to(ROOT / "stemdefects"))] = text, ast.parse(text)
    return found


def held_to(allowed: dict[str, int], found: dict[str, int], what: str) -> None:
    """Every module of `found` stands in `allowed` with at least its number; none stands there that is not found."""
    worse = [
        f"{name}: {n} {what}, {allowed.get(name, 'none')} allowed"
        for name, n in found.items()
        if n > allowed.get(name, 0)
    ]
    assert not worse, "; ".join(worse)
    assert not allowed.keys() - found.keys(), f"to be taken off the list: {sorted(allowed.keys() - found.keys())}"


def long_modules() -> dict[str, int]:
    lengths = {name: len(text.splitlines()) for name, (text, _) in modules().items()}
    return {name: n for name, n in lengths.items() if n > MOST_LINES}


def functions_with_many_parameters() -> dict[str, int]:
    found: dict[str, int] = {}
    for name, (_, tree) in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                if len([one for one in taken if one.arg not in ("self", "cls")]) > MOST_PARAMETERS:
                    found[name] = found.get(name, 0) + 1
    return found


def is_number(value: ast.expr | None) -> bool:
    """Whether `value` is a number, or a collection of numbers alone."""
    if isinstance(value, ast.Constant):
        return isinstance(value.value, int | float) and not isinstance(value.value, bool)
    if isinstance(value, ast.UnaryOp):
        return is_number(value.operand)
    if isinstance(value, ast.BinOp):
        return is_number(value.left) and is_number(value.right)
    if isinstance(value, ast.Tuple | ast.List | ast.Set | ast.Dict):
        numbers = value.values if isinstance(value, ast.Dict) else value.elts
        return bool(numbers) and all(map(is_number, numbers))
    return False


def has_reason(node: ast.Assign | ast.AnnAssign, names: list[str], lines: list[str], docstring: str) -> bool:
    """Whether a comment stands on the statement, or above it and its neighbours; or the docstring names it."""
    if any(re.search(r"#(?! *(noqa|fmt|type|pyright))", line) for line in lines[node.lineno - 1 : node.end_lineno]):
        return True
    above = node.lineno - 2
    while above >= 0 and re.match(r"[A-Z_]\w* *[:=]|[ )\]}]", lines[above]):  # one comment for a block of them
        above -= 1
    return lines[above].startswith("#") or any(re.search(rf"\b{name}\b", docstring) for name in names)


def unexplained_numbers() -> dict[str, int]:
    found: dict[str, int] = {}
    for name, (text, tree) in modules().items():
        lines, docstring = text.splitlines(), ast.get_docstring(tree) or ""
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AnnAssign) and is_number(node.value):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                names = [part.id for one in targets for part in ast.walk(one) if isinstance(part, ast.Name)]
                if not has_reason(node, names, lines, docstring):
                    found[name] = found.get(name, 0) + 1
    return found


def test_modules_are_short():
    held_to(LONG, long_modules(), "lines")


def test_functions_take_few_parameters():
    held_to(MANY_PARAMETERS, functions_with_many_parameters(), f"functions with more than {MOST_PARAMETERS} parameters")


def test_numbers_have_a_reason():
    held_to(UNEXPLAINED, unexplained_numbers(), "module constants without a comment")


def test_the_formatter_lays_out_what_is_no_table():
    found: dict[str, int] = {}
    for folder in ("stemdefects", "tests", "benchmarks", "docs"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if n := path.read_text().count("# fmt" + ": skip"):
                found[path.relative_to(ROOT).as_posix()] = n
    held_to(OWN_LAYOUT, found, "statements with a layout of their own")


def test_modules_are_named_after_what_they_hold():
    nameless = {"utils", "util", "helpers", "helper", "misc", "common", "tools"}
    assert not [name for name in modules() if nameless & set(Path(name).with_suffix("").parts)]


def test_entry_scripts_only_start_the_package():
    scripts = sorted(ROOT.glob("*.py"))
    assert {"train.py", "infer.py", "analyze.py", "simulate.py"} <= {path.name for path in scripts}
    assert not [path.name for path in scripts if len(path.read_text().splitlines()) >= LINES_OF_A_SCRIPT]


def merged(base: dict, more: dict) -> dict:
    """`more` on top of `base`, as OmegaConf merges: dicts key by key, all else as a whole."""
    whole = dict(base)
    for key, value in more.items():
        both = isinstance(value, dict) and isinstance(whole.get(key), dict)
        whole[key] = merged(whole[key], value) if both else value
    return whole


def base_and_own(path: Path) -> tuple[dict, dict]:
    """(what the `defaults` list of a group file brings, what the file states itself)."""
    own = yaml.safe_load(path.read_text())
    base: dict = {}
    for entry in own.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            base = merged(base, merged(*base_and_own(path.parent / f"{entry}.yaml")))
        elif isinstance(entry, dict):
            for key, choice in entry.items():
                if not key.startswith("override "):
                    base = merged(base, {key: merged(*base_and_own(path.parent / key / f"{choice}.yaml"))})
    return base, own


def said_twice(own: dict, base: dict, cls: type | None, where: str = "") -> list[str]:
    """Dotted keys of `own` without which the config would be the same: `base` or the dataclass `cls` has the value."""
    fields = {one.name: one for one in dataclasses.fields(cls)} if cls else {}
    found = []
    for key, value in own.items():
        item = fields.get(key)
        kind = item.type if item and dataclasses.is_dataclass(item.type) else None
        if isinstance(value, dict) and value and (kind or isinstance(base.get(key), dict)):
            found += said_twice(value, base.get(key, {}), kind, f"{where}{key}.")
        elif key in base:
            found += [where + key] if base[key] == value else []
        elif item and item.default_factory is not dataclasses.MISSING:
            found += [where + key] if item.default_factory() == value else []
        elif item and item.default is not dataclasses.MISSING:
            found += [where + key] if item.default == value else []
    return found


def test_values_stand_once():
    """In the schema, or in the file a file is built on; experiments are left out: recipes of networks that ship."""
    folder = config.config_dir()
    types = {group: cls for group, cls in config.GROUPS.items() if group not in CARDS}
    found = []
    for group, cls in (types | {"analysis/clustering": schema.ClusteringConfig}).items():
        for path in sorted((folder / group).glob("*.yaml")):
            if f"{group}/{path.stem}" not in LISTS_OF_SETTINGS:
                base, own = base_and_own(path)
                found += [f"{group}/{path.name}: {key}" for key in said_twice(own, base, cls)]
    assert not found, f"{len(found)} values that stand elsewhere already: {'; '.join(found)}"


def test_what_stands_twice_is_found():
    base = {"name": "a", "view": {"strain": [0.0, 0.0], "size_px": [512, 512]}}
    own = {
        "name": "b",
        "view": {"strain": [0.0, 0.0], "size_px": [256, 256]},
        "detector": {"poisson": True, "gain": [2, 2]},
    }
    assert said_twice(own, base, schema.SimulationConfig) == ["view.strain", "detector.poisson"]


if __name__ == "__main__":
    for found in (long_modules(), functions_with_many_parameters(), unexplained_numbers()):
        print("{\n" + "".join(f'    "{name}": {n},\n' for name, n in sorted(found.items())) + "}")
