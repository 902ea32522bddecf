"""Pictures of detections: annotated frames, a contact sheet.

Kinds differ in colour (that of the page's figures) and in the shape of the mark, so that a grey print can be read too.
Marks are open, so that what is marked stays visible, and have a rim, so that they can be seen on dark and bright.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from stemdefects.report.style import COLOURS

SHAPES = ("circle", "square", "diamond", "triangle")
MARK_NM = 0.19  # half size of a mark: the neighbours stay outside
BAR_NM = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)  # round lengths for the scale bar, 1-2-5
REGION_COLOURS = {"hole": "#FF5555", "amorphous": "#FFB86C", "1T": "#8BE9FD"}
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

DARK = 120  # brightness of 255 below which a colour is hard to see on a dark frame
BACKGROUND, INK = (16, 16, 16), (235, 235, 235)  # RGB, short of black and white: easier on the eye


def style(kinds: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Colour and shape of each kind, by its place in `kinds` (the material's order, so that pictures agree)."""
    n = len(COLOURS)
    return {kind: (COLOURS[i % n], SHAPES[(i + i // n) % len(SHAPES)]) for i, kind in enumerate(kinds)}


def grey(image: np.ndarray, low: float = 0.5, high: float = 99.7) -> np.ndarray:
    """(H, W) any values -> uint8, stretched between two percentiles; what is not finite is black."""
    image = np.asarray(image, np.float32)
    finite = np.isfinite(image)
    if not finite.any():
        return np.zeros(image.shape, np.uint8)
    bottom, top = np.percentile(image[finite], (low, high))
    stretched = np.where(finite, (image - bottom) / max(top - bottom, 1e-30), 0)
    return (stretched.clip(0, 1) * 255).astype(np.uint8)


class Enlarged(NamedTuple):
    """A frame as it is drawn: grey, `zoom` px per pixel of the frame."""

    grey: Image.Image
    zoom: float


def enlarge(image: np.ndarray, max_width_px: int) -> Enlarged:
    """(H, W) counts up to four times as large, about 900 px wide, at most `max_width_px`."""
    height, width = image.shape
    zoom = min(max(1, min(4, round(900 / width))), max_width_px / width)
    size = (max(1, round(width * zoom)), max(1, round(height * zoom)))
    how = Image.Resampling.BICUBIC if zoom >= 1 else Image.Resampling.BOX
    return Enlarged(Image.fromarray(grey(image)).resize(size, how), zoom)


class Regions(NamedTuple):
    """Map of a frame's regions, (ny, nx) of `DefectTable.regions`, and pixels of the frame per cell of it (y, x)."""

    regions: np.ndarray
    step_px: Sequence[float]


def annotate(
    image: np.ndarray | Enlarged,
    rows: np.ndarray,
    pixel_size_nm: float,
    kinds: Sequence[str],
    title: str = "",
    max_width_px: int = 1200,
    regions: Regions | None = None,
) -> np.ndarray:
    """One frame with its detections, a scale bar and a legend with counts; what is no lattice is outlined.

    image: (H, W) counts, or `enlarge`d; rows: detections of this frame (`DEFECT_DTYPE`); kinds: the material's kind
    names. Rows of one complex are joined by a line.
    Returns (h, w, 3) uint8, at most `max_width_px` wide (small frames are enlarged).
    """
    scaled, zoom = image if isinstance(image, Enlarged) else enlarge(image, max_width_px)
    size = scaled.size
    looks = style(kinds)
    present = [k for k in kinds if (rows["kind"] == k.encode()).any()]
    text_px = max(12, min(24, size[0] // 45))
    entries = [f"{k} {(rows['kind'] == k.encode()).sum()}" for k in present] or ["no defects called"]
    outlined = {} if regions is None else outlines(*regions)
    entries += [f"{name} {n} ({share:.1%})" for name, (_, n, share) in outlined.items()]
    font = _font(text_px)
    lines = _wrap(entries, font, size[0] - 2 * text_px, text_px)
    header = round(1.7 * text_px) if title else 0
    canvas = Image.new("RGB", (size[0], header + size[1] + round((1.6 * len(lines) + 0.6) * text_px)), BACKGROUND)
    canvas.paste(scaled.convert("RGB"), (0, header))
    draw = ImageDraw.Draw(canvas)

    def at(row: np.void) -> tuple[float, float]:  # pixel 0 is the centre of the first pixel
        return (row["x_px"] + 0.5) * zoom, (row["y_px"] + 0.5) * zoom + header

    for name, (lines_px, _, _) in outlined.items():
        for line_px in lines_px:
            points = [((x + 0.5) * zoom, (y + 0.5) * zoom + header) for y, x in line_px]
            draw.line(points, fill=REGION_COLOURS[name], width=max(1, round(text_px / 8)))
    radius = min(max(MARK_NM / pixel_size_nm * zoom, 4), 40)
    line = max(1, round(text_px / 9))
    _scale_bar(draw, (size[0], header + size[1]), pixel_size_nm / zoom, font, text_px)  # marks stay above it
    for number in np.unique(rows["complex"][rows["complex"] >= 0]):
        members = rows[rows["complex"] == number]
        points = [at(row) for row in members]
        for point in points[1:]:
            draw.line([points[0], point], fill=INK, width=line)
    for row in rows:
        colour, shape = looks.get(row["kind"].decode(), ("#FFFFFF", "circle"))
        _mark(draw, at(row), radius, shape, colour, line)
    draw.rectangle([0, header + size[1], size[0], canvas.height], fill=BACKGROUND)  # marks end at the frame
    if title:
        draw.rectangle([0, 0, size[0], header - 1], fill=BACKGROUND)
        draw.text((text_px // 2, round(0.3 * text_px)), title, fill=INK, font=font)
    y = header + size[1] + round(0.5 * text_px)
    for names in lines:
        x = text_px
        for name in names:
            kind = name.split(" ", 1)[0]
            if kind in outlined:
                middle = y + text_px * 0.6
                draw.line([(x, middle), (x + text_px, middle)], fill=REGION_COLOURS[kind], width=2 * line)
            elif present:
                colour, shape = looks[kind]
                _mark(draw, (x + text_px * 0.5, y + text_px * 0.6), text_px * 0.45, shape, colour, line)
            draw.text((x + 1.3 * text_px, y), name, fill=INK, font=font)
            x += round(font.getlength(name) + 2.6 * text_px)
        y += round(1.6 * text_px)
    return np.asarray(canvas)


def outlines(regions: np.ndarray, step_px: Sequence[float]) -> dict[str, tuple[list[np.ndarray], int, float]]:
    """What is no lattice, by its name: its outlines (m, 2) y, x in pixels of the frame, how many pieces, share of the
    area. regions: (ny, nx) of `DefectTable.regions`; step_px: pixels per cell (y, x)."""
    import contourpy
    from scipy import ndimage

    found = {}
    for value, name in enumerate(REGION_COLOURS, 1):
        mask = np.pad(regions == value, 1)
        if mask.any():
            lines = contourpy.contour_generator(z=mask.astype(float)).lines(0.5)
            places = [
                ((np.asarray(line)[:, ::-1] - 0.5) * step_px - 0.5) for line in lines
            ]  # cell 0 begins at pixel -1/2
            found[name] = places, int(ndimage.label(mask)[1]), float((regions == value).mean())
    return found


def contact_sheet(
    patches: np.ndarray, rows: np.ndarray, kinds: Sequence[str], patch_nm: float, per_kind: int = 16, zoom: int = 2
) -> np.ndarray:
    """For each kind a row of patches, the surest first and evenly thinned out; (h, w, 3) uint8.

    The intensity scale is one for all patches, so that a dark column is dark beside the others. The last picture of a
    row is the mean of its kind (of 2,000 at most). patches: (n, 32, 32) array or HDF5 data set.
    """
    present = [k for k in kinds if (rows["kind"] == k.encode()).any()]
    font, text_px = _font(14), 14
    side, gap, label = patches.shape[1] * zoom, 3, 150
    width = label + (per_kind + 1) * (side + gap) + 3 * gap
    canvas = Image.new("RGB", (width, max(1, len(present)) * (side + gap) + 2 * text_px + gap), BACKGROUND)
    draw = ImageDraw.Draw(canvas)
    draw.text((6, 4), f"each {patch_nm:.2f} nm wide; surest left, then thinned out; last: mean", fill=INK, font=font)
    if not present:
        draw.text((6, 2 * text_px + 4), "no defects called", fill=INK, font=font)
        return np.asarray(canvas)
    shown, means = {}, {}
    for kind in present:
        index = np.flatnonzero(rows["kind"] == kind.encode())
        index = index[np.argsort(-rows["score"][index], kind="stable")]
        shown[kind] = _read_patches(patches, _thinned(index, per_kind))
        means[kind] = _read_patches(patches, _thinned(index, 2000)).mean(0)
    low, high = np.percentile(np.concatenate(list(shown.values())), (1, 99.5))
    to_grey = lambda p: ((np.asarray(p, np.float32) - low) / max(high - low, 1e-6)).clip(0, 1) * 255  # noqa: E731
    looks = style(kinds)
    for i, kind in enumerate(present):
        y = 2 * text_px + i * (side + gap)
        _mark(draw, (14, y + side / 2), 8, looks[kind][1], looks[kind][0], 2)
        draw.text((30, y + side / 2 - 16), kind, fill=INK, font=font)
        draw.text((30, y + side / 2), f"{(rows['kind'] == kind.encode()).sum()} found", fill=INK, font=font)
        for j, picture in enumerate([*shown[kind], means[kind]]):
            last = j == len(shown[kind])
            x = label + (per_kind * (side + gap) + 2 * gap if last else j * (side + gap))
            tile = Image.fromarray(to_grey(picture).astype(np.uint8)).resize((side, side), Image.Resampling.BICUBIC)
            canvas.paste(tile, (x, y))
    return np.asarray(canvas)


def _thinned(index: np.ndarray, number: int) -> np.ndarray:
    return index[np.unique(np.linspace(0, len(index) - 1, min(number, len(index))).astype(int))]


def _read_patches(patches: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Patches in the order of `index`, float32; HDF5 wants its indices sorted."""
    order = np.argsort(index)
    found = np.empty((len(index), *patches.shape[1:]), np.float32)
    found[order] = patches[index[order]]
    return found


def save(picture: np.ndarray, path: str | Path) -> Path:
    """Write an (h, w, 3) uint8 picture as PNG."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(path, compress_level=2)  # noise gets no smaller with more work
    return path


def _font(size: int) -> Font:
    return ImageFont.load_default(size)


def _wrap(entries: list[str], font: Font, width: float, text_px: int) -> list[list[str]]:
    lines, used = [[]], 0.0
    for entry in entries:
        need = font.getlength(entry) + 2.6 * text_px
        if lines[-1] and used + need > width:
            lines.append([])
            used = 0.0
        lines[-1].append(entry)
        used += need
    return lines


def _mark(draw: ImageDraw.ImageDraw, centre, radius: float, shape: str, colour: str, width: int) -> None:
    """An open mark with a rim: light around dark colours, dark around light ones."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    rim = INK if 0.3 * red + 0.59 * green + 0.11 * blue < DARK else BACKGROUND
    _outline(draw, centre, radius + 0.5, shape, rim, width + 2)
    _outline(draw, centre, radius, shape, colour, width)


def _outline(draw: ImageDraw.ImageDraw, centre, radius: float, shape: str, colour, width: int) -> None:
    x, y = centre
    corners = {
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "diamond": [(0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)],
        "triangle": [(0, -1.25), (1.1, 0.8), (-1.1, 0.8)],
    }.get(shape)
    if corners is None:
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], outline=colour, width=width)
    else:
        points = [(x + radius * a, y + radius * b) for a, b in corners]
        draw.line([*points, points[0], points[1]], fill=colour, width=width, joint="curve")


def _scale_bar(draw: ImageDraw.ImageDraw, corner, nm_per_px: float, font: Font, text_px: int) -> None:
    """A bar of a round length, about a fifth of the width, in the lower left corner of the image."""
    width, bottom = corner
    length = max([b for b in BAR_NM if b <= 0.3 * width * nm_per_px] or [BAR_NM[0]])
    pixels = length / nm_per_px
    x, y = text_px, bottom - text_px
    thickness = max(3, text_px // 3)
    label = f"{length:g} nm"
    box = [x - 6, y - thickness - 1.45 * text_px, x + max(pixels, font.getlength(label)) + 6, y + 5]
    draw.rectangle(box, fill=(0, 0, 0))
    draw.rectangle([x, y - thickness, x + pixels, y], fill=(255, 255, 255))
    draw.text((x, y - thickness - 1.3 * text_px), label, fill=(255, 255, 255), font=font)
