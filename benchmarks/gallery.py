# python benchmarks/gallery.py run=latest
"""The pictures of docs/gallery.md, from a finished run of the demo's movie: small ones of what its page shows."""

import sys
from pathlib import Path

from PIL import Image

from stemdefects.errors import UserError
from stemdefects.io import runs

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "gallery"
FIGURES = (
    "trajectories",
    "diffusion",
    "gate_scan",
    "counts",
    "kinetics_lattice",
    "kinetics_D",
    "transitions",
    "light",
    "classes",
    "strain",
    "scores",
)
WIDTH_PX, WIDE_PX, FRAME_PX, COLOURS = 460, 720, 380, 128
MOST_BYTES = 400_000  # of all together: they travel with every clone


def main(arguments: list[str]) -> None:
    options = dict(argument.split("=", 1) for argument in arguments)
    run = runs.resolve(options.get("runs_dir", "runs"), options.get("run", "latest"), having="analysis")
    frames = sorted((run.path / "pictures").glob("first_frame_*.png"))
    figures = {name: run.analysis_dir / "figures" / f"{name}.png" for name in FIGURES}
    missing = [name for name, path in figures.items() if not path.exists()] + ([] if frames else ["first_frame"])
    if missing:
        raise UserError(f"run={run.id}: has no picture {', '.join(missing)}; infer and analyze the demo's movie first")
    FOLDER.mkdir(parents=True, exist_ok=True)
    sizes = {"frame": kept(cropped(Image.open(frames[0]).convert("RGB")), "frame")}
    for name, path in figures.items():
        sizes[name] = kept(scaled(Image.open(path).convert("RGB")), name)
    print(f"wrote {len(sizes)} pictures, {sum(sizes.values()) // 1000} kB in all")
    if sum(sizes.values()) > MOST_BYTES:
        raise UserError(f"more than {MOST_BYTES // 1000} kB; the largest is {max(sizes, key=lambda n: sizes[n])}")


def cropped(picture: Image.Image) -> Image.Image:
    """Upper left part of an annotated frame, at the size that single columns are seen at."""
    side = min(picture.size) * 2 // 3
    return picture.crop((0, 0, side, side)).resize((FRAME_PX, FRAME_PX), Image.Resampling.LANCZOS)


def scaled(picture: Image.Image) -> Image.Image:
    """A figure at the width of half the page, several panels in a row at that of the page."""
    width = WIDE_PX if picture.width > 2.2 * picture.height else WIDTH_PX
    return picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)


def kept(picture: Image.Image, name: str) -> int:
    """Write it with few colours; how many bytes it takes."""
    path = FOLDER / f"{name}.png"
    picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    return path.stat().st_size


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
