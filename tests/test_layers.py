"""Arrows between the rooms go one way, and no two modules import each other. `python tests/test_layers.py` draws it."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Lowest first: a room imports from those before it and from itself. Rooms of one line do not know each other.
LAYERS = (
    ("errors", "messages", "compiled"),
    ("schema", "plugins", "devices", "extensions", "needed", "numerics"),
    ("config",),
    ("command_line", "sweep_grid"),
    ("io",),
    ("crystal",),
    ("simulation",),
    ("models",),
    ("labels", "scoring"),
    ("training", "inference", "analysis"),
    ("limit", "report"),
    ("live",),
    ("entry",),
    ("commands",),
)
MOST_MODULES = 10  # in a folder
EVERYWHERE = {"stemdefects"}  # the package itself: its version


def modules() -> dict[str, Path]:
    """Dotted name -> file of everything below stemdefects/."""
    found = {}
    for path in sorted((ROOT / "stemdefects").rglob("*.py")):
        parts = list(path.relative_to(ROOT).with_suffix("").parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """Modules of this package that `path` imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names if a.name in known}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "stemdefects":
            assert not node.level, f"{name}: relative imports hide where an arrow goes"
            found |= {
                f"{node.module}.{a.name}" if f"{node.module}.{a.name}" in known else node.module for a in node.names
            }
    return found - {name}


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def graph() -> dict[str, set[str]]:
    known = modules()
    return {name: imports(name, path, known) for name, path in known.items()}


def test_no_arrow_goes_up():
    height = {one: n for n, layer in enumerate(LAYERS) for one in layer}
    wrong = []
    for name, others in graph().items():
        if room(name) in EVERYWHERE:
            continue
        assert room(name) in height, f"{name}: room {room(name)!r} has no place in LAYERS"
        for other in others:
            mine, its = room(name), room(other)
            if its not in EVERYWHERE and its != mine and height[its] >= height[mine]:
                wrong.append(f"{name} -> {other}")
    assert not wrong, "arrows that go up or sideways: " + "; ".join(sorted(wrong))


def test_no_circle():
    left = {name: set(others) for name, others in graph().items()}
    while free := [name for name, others in left.items() if not others & left.keys()]:
        for name in free:
            del left[name]
    # what is left lies on a circle or above one
    below = {name: {o for o in others if o in left} for name, others in left.items()}
    assert not left, f"circles among: {below}"


def test_rooms_are_neither_full_nor_empty():
    for folder in {path.parent for path in modules().values()}:
        n = len([p for p in folder.glob("*.py") if p.name != "__init__.py"])
        subfolders = [p for p in folder.iterdir() if (p / "__init__.py").exists()]
        place = folder.relative_to(ROOT)
        if folder.name not in ("stemdefects",):
            assert 1 <= n + len(subfolders), f"{place} holds nothing"
            assert n <= MOST_MODULES, f"{place} holds {n} modules"


if __name__ == "__main__":
    arrows = sorted({(room(a), room(b)) for a, others in graph().items() for b in others if room(a) != room(b)})
    for layer in reversed(LAYERS):
        for one in layer:
            print(f"{one:12s} -> {', '.join(b for a, b in arrows if a == one and b not in EVERYWHERE)}")
