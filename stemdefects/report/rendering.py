"""Pages from templates (`templates/`) with their style and scripts (`assets/`): one file each, without a link out."""

import base64
import io
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from stemdefects.analysis.estimates import number

HERE = Path(__file__).parent
# of WebP and of JPEG: both err by half of the shot noise of a frame of 24 electrons a pixel (rms 7 of 255 against 13),
# WebP with 31% fewer bytes; method 1 is four times as fast as the usual 4 and no larger
FRAME_QUALITY = 50, 82
# px of the page for one of a figure: letters of 9 pt at 160 dpi are then as high as the page's own small ones, 13.5 px
PAGE_SCALE = 0.675
NBSP = "\u00a0"  # a number is not parted at the end of a line
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {"nice": nice, "number": number, "json": _json}
    made.globals["asset"] = _asset
    return made


def write(path: Path, template: str, **values: Any) -> Path:
    """Fill `template` and write the page; it is never seen half written."""
    partial = path.with_suffix(".partial")
    partial.write_text(filled(template, **values), encoding="utf-8")
    partial.replace(path)
    return path


def filled(template: str, **values: Any) -> str:
    """The text of a page from `template`."""
    return _environment().get_template(template).render(**values)


def nice(text: str) -> str:
    """Powers as such, numbers as people write them: `7.7e-04 nm^2/s` -> `7.7 × 10⁻⁴ nm²/s`, `0.02 1/s` -> `.02 s⁻¹`."""
    text = re.sub(
        r"(?<![\w.])(-?\d(?:\.\d+)?)e([+-]\d+)\b",
        lambda found: f"{found[1]}{NBSP}×{NBSP}10{str(int(found[2])).translate(SUPERSCRIPT)}",
        text,
    )
    text = re.sub(r"(?:^|(?<=[\d⁰¹²³⁴⁵⁶⁷⁸⁹,(] )|(?<=\())1/(s|nm|cm|px)(?:\^(\d))?(?![\w^])", _inverse, text)
    return re.sub(r"\^(-?\d+)", lambda found: found[1].translate(SUPERSCRIPT), text)


def _inverse(found: re.Match) -> str:
    return found[1] + f"-{found[2] or 1}".translate(SUPERSCRIPT)


class Shown(NamedTuple):
    """A picture inside the page: its source, and the size it is shown at, px of the page."""

    source: str
    width: int
    height: int


def shown(picture: Path) -> Shown:
    """A PNG inside the page: as WebP without loss where that is smaller."""
    from PIL import Image, features

    data, kind = picture.read_bytes(), "png"
    with Image.open(picture) as image:
        width, height = (round(PAGE_SCALE * side) for side in image.size)
        if features.check("webp"):
            out = io.BytesIO()
            # what every page shows is opaque; other modes than these WebP turns into RGB itself
            image.convert("RGB").save(out, "WEBP", lossless=True, quality=50, method=3)
            if len(out.getvalue()) < len(data):
                data, kind = out.getvalue(), "webp"
    return Shown(f"data:image/{kind};base64," + base64.b64encode(data).decode(), width, height)


def frame_uri(grey: Any) -> str:
    """A grey frame of a movie (a PIL image) as the source of an image: its noise costs most of the page, so what is
    lost lies well below it."""
    from PIL import features

    out = io.BytesIO()
    if features.check("webp"):
        grey.convert("RGB").save(out, "WEBP", quality=FRAME_QUALITY[0], method=1)
        kind = "webp"
    else:
        grey.save(out, "JPEG", quality=FRAME_QUALITY[1])
        kind = "jpeg"
    return f"data:image/{kind};base64," + base64.b64encode(out.getvalue()).decode()


def _json(data: Any) -> Markup:
    """JSON that cannot end the element it stands in."""
    return Markup(json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"))


def _asset(name: str) -> Markup:
    """Text of a file of ours, as it is."""
    return Markup((HERE / "assets" / name).read_text(encoding="utf-8"))
