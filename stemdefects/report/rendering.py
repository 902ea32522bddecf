"""Pages from templates (`templates/`) with their style and scripts (`assets/`): one file each, without a link out."""

import base64
import json
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stemdefects.analysis.estimates import number

HERE = Path(__file__).parent


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, auto_reload=False,
    )  # fmt: skip
    made.filters |= {"nice": nice, "number": number, "json": _json}
    made.globals["asset"] = _asset
    return made


def write(path: Path, template: str, **values: Any) -> Path:
    """Fill `template` and write the page; it is never seen half written."""
    partial = path.with_suffix(".partial")
    partial.write_text(_environment().get_template(template).render(**values), encoding="utf-8")
    partial.replace(path)
    return path


def nice(text: str) -> str:
    """Powers as such."""
    return text.replace("^2", "²").replace("^4", "⁴")


def data_uri(picture: Path) -> str:
    """A PNG as the source of an image inside the page."""
    return "data:image/png;base64," + base64.b64encode(picture.read_bytes()).decode()


def _json(data: Any) -> Markup:
    """JSON that cannot end the element it stands in."""
    return Markup(json.dumps(data).replace("<", "\\u003c"))


def _asset(name: str) -> Markup:
    """Text of a file of ours, as it is."""
    return Markup((HERE / "assets" / name).read_text(encoding="utf-8"))
