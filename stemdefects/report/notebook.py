"""What a result shows of itself in a notebook."""

import base64
import io
from html import escape
from typing import Any

import numpy as np

from stemdefects.analysis.data import square_pixels
from stemdefects.analysis.estimates import number
from stemdefects.analysis.pipeline import Analysis
from stemdefects.errors import UserError
from stemdefects.report import frames, style
from stemdefects.report.drawings import registry
from stemdefects.report.rendering import nice

WIDTH_PX = 480  # of a frame in a notebook: a table has room beside it


def html(result: Analysis) -> str:
    """The first frame that was looked at, annotated, beside a table of the headlines."""
    rows = []
    for e in result.estimates:
        if e.headline and e.value is not None:
            name = escape(f"{e.quantity} of {e.subject}" if e.subject else e.quantity)
            unit = escape(nice("" if e.unit == "1" else e.unit))
            rows.append(f"<tr><td>{name}</td><td>{nice(number(e.value))} {unit}</td><td>{nice(e.interval())}</td></tr>")
    table = f"<table><tr><th>quantity</th><th>value</th><th>95% interval</th></tr>{''.join(rows)}</table>"
    picture = _picture(result)
    image = "" if picture is None else f'<img alt="first frame with its detections" src="{picture}">'
    return f'<div style="display:flex;gap:1em;flex-wrap:wrap;align-items:flex-start">{image}<div>{table}</div></div>'


def _picture(result: Analysis) -> str | None:
    from PIL import Image

    movie: Any
    found, movie = square_pixels.view(result.inputs.found, result.inputs.movie)
    seen = np.flatnonzero(found.observed)
    if movie is None or not len(seen) or found.pixel_size_nm is None:
        return None
    first = int(seen[0])
    material = result.inputs.material
    kinds = list(dict.fromkeys([*(material.kind_names if material else ()), *result.inputs.kinds]))
    here = found.rows[found.rows["frame"] == first]
    made = frames.annotate(movie.frame(first), here, found.pixel_size_nm, kinds, max_width_px=WIDTH_PX)
    out = io.BytesIO()
    Image.fromarray(made).save(out, "PNG")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def plot(result: Analysis, name: str | None) -> Any:
    """The figure `name`, or the names there are."""
    data = result.figures
    if name is None:
        return sorted(data)
    if name not in data:
        raise UserError(f"plot: there is no figure {name!r}; there are {', '.join(sorted(data))}")
    return registry.draw(name, data[name], style.colours(result.inputs))
