"""`make lint` checks the types of the whole package; what is public says its types."""

import ast
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMPILED = "analysis/kinetics/sampler/"  # Numba infers the types of what it compiles


def test_no_file_is_left_unchecked():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["basedpyright"]
    assert told["include"] == ["stemdefects"] and "exclude" not in told and "ignore" not in told


def unannotated(tree: ast.Module | ast.ClassDef) -> list[str]:
    """Public functions and methods that leave the type of a parameter, or of what they return, open."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found += [f"{node.name}.{name}" for name in unannotated(node)]
        if isinstance(node, ast.FunctionDef) and (
            not node.name.startswith("_") or node.name in ("__init__", "__call__")
        ):
            taken = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            open_ = [one.arg for one in taken if one and one.annotation is None and one.arg not in ("self", "cls")]
            if open_ or (node.returns is None and node.name != "__init__"):
                found.append(node.name)
    return found


def test_public_functions_are_annotated():
    found = []
    for path in sorted((ROOT / "stemdefects").rglob("*.py")):
        name = path.relative_to(ROOT / "stemdefects").as_posix()
        if not name.startswith(COMPILED):
            found += [f"{name}: {function}" for function in unannotated(ast.parse(path.read_text()))]
    assert not found, "; ".join(found)


def undescribed(tree: ast.Module | ast.ClassDef) -> list[str]:
    """Public functions, classes and methods of more than a line or two that have no docstring."""
    found = []
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            short = isinstance(tree, ast.ClassDef) and isinstance(node, ast.FunctionDef) and len(node.body) <= 2
            found += [node.name] if not short and ast.get_docstring(node) is None else []
            found += undescribed(node) if isinstance(node, ast.ClassDef) else []
    return found


def test_what_is_public_says_what_it_is():
    found = []
    for path in sorted((ROOT / "stemdefects").rglob("*.py")):
        name, tree = path.relative_to(ROOT / "stemdefects").as_posix(), ast.parse(path.read_text())
        if not name.startswith(COMPILED):
            found += [f"{name}: {one}" for one in undescribed(tree)] + ([] if ast.get_docstring(tree) else [name])
    assert not found, "; ".join(found)
    assert undescribed(ast.parse("def f(): ...\n\nclass A:\n    def g(self):\n        ...\n")) == ["f", "A"]


def test_what_is_not_annotated_is_found():
    tree = ast.parse("class A:\n    def f(self, a) -> int: ...\n\ndef g(a: int): ...\n\ndef h(a: int) -> int: ...\n")
    assert unannotated(tree) == ["A.f", "g"]
