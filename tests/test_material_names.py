"""No generic code names a material, a kind or a species: these come from the material's file, the table or the data."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
# Where a name stands in code, and why it may.
EXCEPTIONS = {
    "analysis/synthetic.py": {"V_S"},  # tables with known truth for tests and benchmarks, of one kind unless told
    "simulation/optics/multislice.py": {"Mo", "S2"},  # the kinds of columns in the reference file that it reads
    "crystal/elements.py": {"Ti", "Mo", "Se", "Si", "Te"},  # the periodic table
    "commands/simulate.py": {"ws2_mo"},  # what is simulated unless told, as configs/simulate.yaml has it
    "commands/results.py": {"ws2_mo"},  # the material of a table that names none, as configs/analyze.yaml has it
}


def names() -> set[str]:
    """Files of materials, their kinds, complexes, states and species. One letter says nothing by itself: `S` is also a
    type of numpy's."""
    found = set()
    for path in (ROOT / "configs" / "material").glob("*.yaml"):
        material = yaml.safe_load(path.read_text())
        found |= {
            path.stem,
            *(n for group in ("species", "states", "kinds", "complexes") for n in material.get(group, ())),
        }
    return {name for name in found if len(name) > 1}


def strings(path: Path) -> Iterator[tuple[int, str]]:
    """(line, text) of what code says, docstrings left out: examples in prose are welcome."""
    tree = ast.parse(path.read_text())
    prose = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in prose:
            yield node.lineno, node.value


def test_generic_code_names_no_material():
    known = names()
    assert {"ws2_mo", "V_S", "Mo_W", "Mo"} <= known
    wrong, used = [], set()
    for path in sorted((ROOT / "stemdefects").rglob("*.py")):
        place = str(path.relative_to(ROOT / "stemdefects"))
        for line, text in strings(path):
            for name in known & set(re.findall(r"\w+", text)):
                if name in EXCEPTIONS.get(place, ()):
                    used.add((place, name))
                else:
                    wrong.append(f"{place}:{line}: {name}")
    assert not wrong, "\n".join(wrong)
    assert used == {(place, name) for place, found in EXCEPTIONS.items() for name in found}, (
        "exceptions no longer needed"
    )
