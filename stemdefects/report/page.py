"""The page: one HTML file that needs no network, with a plain sentence for every number."""

import base64
import html
import time
from pathlib import Path

from stemdefects.analysis.estimates import number
from stemdefects.report import sections, slider, stage_sections

CITATION = (
    "A. Maksov, O. Dyck, K. Wang, K. Xiao, D. B. Geohegan, B. G. Sumpter, R. K. Vasudevan, S. Jesse, S. V. Kalinin and "
    "M. Ziatdinov, Deep learning analysis of defect and phase evolution during electron beam-induced "
    "transformations in "
    "WS<sub>2</sub>, npj Comput. Mater. 5, 12 (2019), doi:10.1038/s41524-019-0152-9"
)

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1d1d1f;max-width:1000px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin-bottom:.1em}h2{font-size:1.2em;margin-top:2em;border-bottom:1px solid
#ddd;padding-bottom:.2em}
.sub{color:#666;margin-top:0}.cards{display:flex;flex-wrap:wrap;gap:.8em;margin:1em 0}
.card{border:1px solid #ddd;border-radius:8px;padding:.6em .9em;min-width:150px}.card b{display:block;font-size:1.25em}
.card span{color:#555;font-size:.85em}.warn{background:#fff6e0;border-left:4px solid #e69f00;padding:.5em
1em;margin:1em 0}
table{border-collapse:collapse;margin:.6em 0;font-size:.9em}td,th{padding:.2em .8em .2em
0;text-align:left;border-bottom:1px solid #eee}
td.n,th.n{text-align:right}img{max-width:100%;height:auto}figure{margin:1em 0}figcaption{color:#555;font-size:.88em}
details{margin:.6em
0}pre{background:#f6f6f6;padding:.8em;overflow:auto;font-size:.8em}.good{color:#087d3d}.bad{color:#b3261e}
.dot{display:inline-block;width:.75em;height:.75em;border-radius:50%;margin:0 .25em}.kinds label{margin-right:1em}
.movie canvas{border:1px solid #ccc;display:block;max-width:100%}#frame{width:420px;max-width:70%}
"""


def write(path: Path, result, figures: dict[str, Path], title: str, config_yaml: str) -> Path:
    """Write the page of an analysis.

    Args:
        path: the HTML file.
        result: `analysis.pipeline.Analysis`.
        figures: PNG by figure name, as `report.figures.FIGURES` names them.
        title: what was analysed.
        config_yaml: the composed config, shown as it is.
    """
    body = [
        f"<h1>{html.escape(title)}</h1>", f'<p class="sub">{html.escape(_subtitle(result))}</p>', _cards(result),
        _notes(result),
    ]  # fmt: skip
    movie = slider.html(result, result.cfg.slider_frames)
    if movie:
        what = "over the frames" if result.movie is not None else "(the movie itself could not be read)"
        body.append(f"<h2>Detections {what}</h2>{movie}")
    for section in stage_sections.of(result):
        text = section.text(result)
        pictures = [(name, figures[name]) for name in section.figures if name in figures]
        if not text and not pictures:
            continue
        body.append(f"<h2>{html.escape(section.title)}</h2>")
        body.append(text)
        body += [figure(name, path, section.captions.get(name, "")) for name, path in pictures]
        hidden = [n for n in section.folded_figures if n in figures]
        if hidden:
            shown = "".join(figure(n, figures[n], section.captions.get(n, "")) for n in hidden)
            body.append(f"<details><summary>{html.escape(section.fold)}</summary>{shown}</details>")
    body.append(_all_numbers(result))
    body.append(
        f"<h2>Config</h2><details><summary>as composed and "
        f"validated</summary><pre>{html.escape(config_yaml)}</pre></details>"
    )
    body.append(
        f"<h2>How to cite</h2><p>The workflow follows: {CITATION}. Cite it, and this software (CITATION.cff).</p>"
    )
    return write_html(path, title, body)


def write_html(path: Path, title: str, body: list[str]) -> Path:
    """Write `body` (HTML) as one whole page in our style; it is never seen half written."""
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(body)}</body></html>"
    )
    partial = path.with_suffix(".partial")
    partial.write_text(page, encoding="utf-8")
    partial.replace(path)
    return path


def _subtitle(result) -> str:
    f = result.found
    size = f"{f.pixel_size_nm:.4g} nm/px" if f.pixel_size_nm else "pixel size unknown"
    if f.scale_yx[0] != f.scale_yx[1]:
        size = f"pixels of {f.scale_yx[0]:.4g} x {f.scale_yx[1]:.4g} nm (y, x)"
    if f.pixel_size_nm and f.pixel_size_relative_sigma:
        size += f" ± {100 * f.pixel_size_relative_sigma:.0f}%"
    step = f"{f.frame_time_s:.4g} s/frame" if f.frame_time_s else "frame time unknown"
    model, n = f.attrs.get("model_id"), int(f.observed.sum())
    frames = f"{n} frames" if n == f.n_frames else f"{n} of {f.n_frames} frames (the others were not looked at)"
    return (
        f"{len(f.rows)} detections in {frames}, {size}, {step}. Source: {Path(f.source).name}."
        + (f" Model: {model}." if model else "") + f" Analysed {time.strftime('%Y-%m-%d %H:%M')}."
    )  # fmt: skip


def _cards(result) -> str:
    cards = []
    for e in result.estimates:
        if not e.headline or e.value is None:
            continue
        unit = {"1": "", "nm^2/s": "nm²/s"}.get(e.unit, e.unit)
        interval = e.interval() or "no interval"
        name = f"{e.quantity}, {e.subject}" if e.subject else e.quantity
        label = "contradictory, between" if "range over gates" in e.method else "95%:"
        cards.append(
            f'<div class="card"><span>{html.escape(name)}</span><b>{number(e.value)} {html.escape(unit)}</b>'
            f"<span>{label} {interval}</span></div>"
        )
    return f'<div class="cards">{"".join(cards)}</div>' if cards else ""


def _notes(result) -> str:
    if not result.notes:
        return ""
    items = "".join(f"<li>{sections.nice(note)}</li>" for note in dict.fromkeys(result.notes))
    return f'<div class="warn"><b>Before you quote these numbers</b><ul>{items}</ul></div>'


def figure(name: str, path: Path, caption: str) -> str:
    """A picture inside the page, with its caption."""
    data = base64.b64encode(path.read_bytes()).decode()
    text = f"<figcaption>{html.escape(caption)}</figcaption>" if caption else ""
    return f'<figure><img alt="{html.escape(name)}" src="data:image/png;base64,{data}">{text}</figure>'


def _all_numbers(result) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(e.quantity)}</td><td>{html.escape(e.subject)}</td>"
        f'<td class="n">{number(e.value)}</td>'
        f'<td class="n">{"" if e.low is None else number(e.low)}</td>'
        f'<td class="n">{"" if e.high is None else number(e.high)}</td>'
        f"<td>{html.escape(e.unit)}</td><td>{html.escape(e.method)}</td>"
        f'<td class="n">{e.n} {html.escape(e.n_of)}</td></tr>'
        for e in result.estimates
    )
    head = "<tr><th>quantity</th><th>of</th><th>value</th><th>95% "
    "low</th><th>high</th><th>unit</th><th>method</th><th>from</th></tr>"
    return f"<h2>All numbers</h2><details><summary>{len(result.estimates)} "
    f"estimates</summary><table>{head}{rows}</table></details>"
