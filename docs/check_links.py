"""Does every link between the documents lead somewhere? Part of `make lint`; needs no package.

    python docs/check_links.py

Checked are relative links and anchors of README.md, CONTRIBUTING.md, CHANGELOG.md, docs/, its notebooks and the cards
of the networks; documents and scripts that code and text name, and tests that text names; and that every page is in
the site's navigation.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
NAMED = re.compile(r"(?<![\w/.])(?:docs|benchmarks)/[\w/]+\.(?:md|csv|png|ipynb|py)\b")
CODE = re.compile(r"`((?:[\w.]+/)*\w+\.py)?(?:::(\w+))?`")  # a module, a test in it, or another test in it
FENCE = re.compile(r"^(```|~~~).*?^\1[ \t]*$", re.MULTILINE | re.DOTALL)
NAMING = (".py", ".md", ".yaml", ".yml", ".toml", ".ipynb")
FOLDERS = ("", "stemdefects", "tests", "benchmarks")  # that names of modules begin below
OTHERWISE = {"CHANGELOG.md", "tests"}  # the first tells of what was, the others make documents of their own


def main(root: Path) -> list[str]:
    """What is wrong, one sentence each."""
    told = []
    for path in documents(root):
        text = prose(path)
        for target in LINK.findall(text):
            if (fault := broken(root, path, target)) is not None:
                told.append(f"{path.relative_to(root)}: ({target}) {fault}")
        told += [f"{path.relative_to(root)}: names {name}, which does not exist" for name in unknown_code(root, text)]
    for path in tracked(root):
        if path.suffix in NAMING and path.is_file() and not OTHERWISE & {path.name, path.relative_to(root).parts[0]}:
            for name in sorted(set(NAMED.findall(path.read_text(encoding="utf-8")))):
                if not (root / name).exists() and not (root / "tests" / name).exists():
                    told.append(f"{path.relative_to(root)}: names {name}, which does not exist")
    site = root / "mkdocs.yml"
    shown = site.read_text(encoding="utf-8") if site.exists() else ""
    for path in sorted((root / "docs").rglob("*.md")) if shown else []:
        if not re.search(rf"[ :]{re.escape(path.relative_to(root / 'docs').as_posix())}$", shown, re.MULTILINE):
            told.append(f"mkdocs.yml: nav does not have {path.relative_to(root)}")
    return told


def unknown_code(root: Path, text: str) -> list[str]:
    """Modules that a document names, from the root, the package, the tests or the benchmarks, that are not there, and
    tests that are not in them."""
    out: list[str] = []
    here: list[Path] = []
    for name, test in CODE.findall(text):
        if name:
            here = [path for folder in FOLDERS if (path := root / folder / name).exists()]
            if not here and "/" not in name:  # said of a folder of which the text speaks
                here = [path for folder in FOLDERS[1:] for path in (root / folder).rglob(name)]
        if name and not here:
            out.append(name)
        elif test and not any(f"def {test}(" in path.read_text(encoding="utf-8") for path in here):
            out.append(f"{name}::{test}")
    return sorted(set(out))


def documents(root: Path) -> list[Path]:
    """Markdown files and notebooks whose links are checked."""
    found = [root / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    found += sorted((root / "docs").rglob("*.md")) + sorted((root / "docs").rglob("*.ipynb"))
    found += sorted((root / "stemdefects" / "models" / "pretrained").glob("*/README.md"))
    return [path for path in found if path.exists() and ".ipynb_checkpoints" not in path.parts]


def tracked(root: Path) -> list[Path]:
    """Files of the repository; outside of one, all files."""
    listed = subprocess.run(["git", "-C", str(root), "ls-files"], capture_output=True, text=True, check=False)
    return [root / name for name in listed.stdout.splitlines()] if listed.returncode == 0 else sorted(root.rglob("*.*"))


def prose(path: Path) -> str:
    """Text of a document without code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return FENCE.sub("", text)


def broken(root: Path, document: Path, target: str) -> str | None:
    """Why a link leads nowhere, None where it does not; addresses of the network are not followed."""
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return None
    name, _, anchor = target.partition("#")
    path = (document.parent / name).resolve() if name else document
    if not path.is_relative_to(root.resolve()):
        return "leads out of the repository"
    if not path.exists():
        return "does not exist"
    if anchor and path.suffix in (".md", ".ipynb") and anchor not in anchors(path):
        return f"has no heading of that name; it has {', '.join(anchors(path)) or 'none'}"
    return None


def anchors(path: Path) -> list[str]:
    """Anchors of the headings of a document, as the code host and the site make them."""
    seen: dict[str, int] = {}
    out = []
    for heading in re.findall(r"^#{1,6}\s+(.+?)\s*#*$", prose(path), re.MULTILINE):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        number = seen.get(slug, 0)
        seen[slug] = number + 1
        out.append(f"{slug}-{number}" if number else slug)
    return out


if __name__ == "__main__":
    faults = main(Path(__file__).resolve().parents[1])
    print("\n".join(faults) or "links: every one leads somewhere")
    sys.exit(bool(faults))
