"""The page of an analysis: one HTML file that needs no network, with a plain sentence for every number."""

import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from stemdefects.analysis.estimates import Estimate, number
from stemdefects.analysis.pipeline import Analysis
from stemdefects.analysis.stage import Block, Figure, Fold, Grid, Items, Quoted, Section
from stemdefects.report import rendering, style
from stemdefects.report.drawings import curves
from stemdefects.report.viewer import data as viewer

FILES = (
    "estimates.csv",
    "defects.csv",
    "defects.h5",
    "tracks.csv",
    "pathways.graphml",
    "queue.csv",
    "corrections.csv",
    "analysis.h5",
)
LEARNED = Section(
    "What the network learned from",
    [
        Figure(
            "labels",
            "Labels made from the movie's first frames (docs/labels.md): frame, Bragg peaks, what repeats, "
            "what does not, labels, the part held out.",
        )
    ],
)


class Shown(NamedTuple):
    """What blocks may ask for."""

    pictures: Mapping[str, rendering.Shown]
    curves: Mapping[str, dict[str, Any]]
    estimates: list[Estimate]


def write(path: Path, result: Analysis, pictures: Mapping[str, Path], title: str, config_yaml: str) -> Path:
    """Write the page of an analysis.

    Args:
        path: the HTML file.
        result: what was found.
        pictures: PNG by name of the figure.
        title: what was analysed.
        config_yaml: the composed config, shown as it is.
    """
    estimates, colours = result.estimates, style.colours(result.inputs)
    drawn = {name: data for name, data in result.figures.items() if name in pictures}
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # what packs a picture lets other threads work
        packed = dict(zip(pictures, pool.map(rendering.shown, pictures.values()), strict=True))
    shown = Shown(packed, curves.of(drawn, colours), estimates)
    filled = [(s.title, blocks) for s in (LEARNED, *result.sections) if (blocks := _fill(s.blocks, shown))]
    sections = [{"title": name, "anchor": _anchor(name), "blocks": blocks} for name, blocks in filled]
    data = viewer.data(result, result.cfg.slider_frames, colours)
    over = "over the frames" if result.inputs.movie is not None else "(the movie itself could not be read)"
    movie = None
    if data:
        title_of = f"Detections {over}" if len(data["frames"]) > 1 else "Detections"
        movie = {"title": title_of, "data": data, "found": result.inputs.kinds, "colour": dict(colours)}
    contents = [("Detections", "detections")] if movie else []
    contents += [(one["title"], one["anchor"]) for one in sections]
    contents += [("All numbers", "numbers"), ("Config", "config"), ("How to cite", "cite")]
    cards = _cards(estimates, result.inputs.found.n_frames)
    return rendering.write(
        path,
        "page.html.j2",
        title=title,
        subtitle=_subtitle(result),
        cards=cards,
        notes=result.notes,
        contents=contents,
        movie=movie,
        sections=sections,
        estimates=estimates,
        config=config_yaml,
        curves=bool(shown.curves),
        files=[name for name in FILES if (path.parent / name).exists()],
    )


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower()).strip("-")


def _fill(blocks: Sequence[Block], shown: Shown) -> list[Any]:
    """The blocks that have something in them: with the pictures of figures, and what is quoted."""
    filled = (_filled(block, shown) for block in blocks)
    return [block for block in filled if block]


def _filled(block: Block, shown: Shown) -> Any:
    """The block as the template takes it; None where it is empty."""
    match block:
        case str() | Items(lines=[_, *_]) | Grid(rows=[_, *_]):
            return block
        case Quoted(quantities=wanted):
            said = [e.sentence() for e in shown.estimates if e.quantity in wanted]
            return Items(said) if said else None
        case Figure(name=name) if name in shown.pictures:
            return {
                "kind": block.kind,
                "name": name,
                "caption": block.caption,
                "curve": shown.curves.get(name),
                "picture": shown.pictures[name],
            }
        case Fold(summary=summary, blocks=inner) if within := _fill(inner, shown):
            return Fold(summary, within)
    return None


def _subtitle(result: Analysis) -> str:
    f = result.inputs.found
    size = f"{f.pixel_size_nm:.4g} nm/px" if f.pixel_size_nm else "pixel size unknown"
    if f.scale_yx[0] != f.scale_yx[1]:
        size = f"pixels of {f.scale_yx[0]:.4g} x {f.scale_yx[1]:.4g} nm (y, x)"
    if f.pixel_size_nm and f.pixel_size_relative_sigma:
        size += f" ± {100 * f.pixel_size_relative_sigma:.0f}%"
    step = f"{f.frame_time_s:.4g} s/frame" if f.frame_time_s else "frame time unknown"
    model, n = f.attrs.get("model") or f.attrs.get("model_id"), int(f.observed.sum())
    if f.n_frames == 1:
        frames, step = "one image", ""
    else:
        frames = f"{n} frames" if n == f.n_frames else f"{n} of {f.n_frames} frames (the others were not looked at)"
    return (
        f"{len(f.rows)} detections in {frames}, {size}{step and f', {step}'}. Source: {Path(f.source).name}."
        + (f" Model: {model}." if model else "")
        + f" Analysed {time.strftime('%Y-%m-%d %H:%M')}."
    )


def _cards(estimates: list[Estimate], n_frames: int) -> list[dict[str, str]]:
    """The headlines."""
    cards = []
    for e in estimates:
        if e.headline and e.value is not None:
            label = "contradictory, between" if "range over gates" in e.method else "95%:"
            unit, interval = "" if e.unit == "1" else e.unit, e.interval()
            if e.value == 0 and e.low == 0 and e.high is not None:  # a limit, whose unit belongs to its end
                unit, interval = "", f"at most {number(e.high)} {unit}".rstrip()
            quantity = e.quantity.removesuffix(" per frame") if n_frames == 1 else e.quantity
            name = f"{quantity}, {e.subject}" if e.subject else quantity
            told = f"{label} {interval}" if interval else "no interval" if n_frames > 1 else "in this image"
            value = f"{e.value:.0f}" if e.unit == "defects" and n_frames == 1 else number(e.value)
            cards.append({"name": name, "value": value, "unit": unit, "interval": told})
    return cards
