"""What the documentation site adds to docs/: pages of files that lie elsewhere, and notebooks as pages.

mkdocs calls these functions (mkdocs.yml). Links to files of the repository that are no page become plain words.
"""

import json
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CARDS = "stemdefects/models/pretrained"
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)")


def elsewhere() -> dict[str, str]:
    """{path in the repository: page} of what is shown on the site and does not lie in docs/."""
    pages = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md", "README.md": "index.md"}
    for card in sorted((ROOT / CARDS).glob("*/README.md")):
        pages[card.relative_to(ROOT).as_posix()] = f"cards/{card.parent.name}.md"
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        pages[notebook.relative_to(ROOT).as_posix()] = f"notebooks/{notebook.stem}.md"
    return pages


def on_files(files: Any, config: Any) -> Any:
    """Add the pages of `elsewhere`; the site has a first page of its own, README.md stays with the code."""
    from mkdocs.structure.files import File

    for source, page in elsewhere().items():
        if source != "README.md":
            path = ROOT / source
            text = notebook_page(path) if path.suffix == ".ipynb" else path.read_text(encoding="utf-8")
            files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Links as the site needs them, see `linked`."""
    return linked(markdown, page.file.src_uri, config.repo_url)


def linked(markdown: str, page: str, repository: str | None = None) -> str:
    """Markdown of `page` whose links lead to pages of the site, to the repository's address where it has one, or
    nowhere; a link to a file that does not exist is left as it is, so that mkdocs complains of it."""
    pages = elsewhere()
    source = next((path for path, name in pages.items() if name == page and path != "README.md"), f"docs/{page}")

    def replaced(match: re.Match) -> str:
        picture, text, target, anchor = match.groups()
        if re.match(r"[a-z]+:", target):
            return match.group()
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        own = source.endswith(".ipynb") and path == source  # the file itself, to be taken along
        if path in pages and not own:
            path = pages[path]
        elif path.startswith("docs/"):
            path = path.removeprefix("docs/")
        elif (ROOT / path).exists():
            return f"[{text}]({repository}/blob/main/{path})" if repository else text
        else:
            return match.group()
        return f"{picture}[{text}]({posixpath.relpath(path, posixpath.dirname(page) or '.')}{anchor or ''})"

    return LINK.sub(replaced, markdown)


def notebook_page(path: Path) -> str:
    """A notebook as Markdown: its words and its code, and a link to the file."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = []
    for cell in cells:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    title, *rest = parts
    return "\n\n".join([title, f"The notebook itself: [{path.name}]({path.name}).", *rest]) + "\n"
