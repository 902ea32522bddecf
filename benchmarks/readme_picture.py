# python benchmarks/readme_picture.py run=latest
"""The README's picture, from a finished run: an annotated frame beside what the report makes of the movie."""

import sys
from pathlib import Path

from PIL import Image

from stemdefects.errors import UserError
from stemdefects.io import runs

HEIGHT_PX = 640
FIGURES = ("trajectories", "diffusion", "counts")


def main(arguments: list[str]) -> None:
    options = dict(argument.split("=", 1) for argument in arguments)
    run = runs.resolve(options.get("runs_dir", "runs"), options.get("run", "latest"))
    frames = sorted((run.path / "pictures").glob("first_frame_*.png"))
    figures = [run.analysis_dir / "figures" / f"{name}.png" for name in FIGURES]
    figures = [path for path in figures if path.exists()][:2]
    if not frames or not figures:
        raise UserError(f"run={run.id}: has no pictures yet; infer and analyze a movie first")
    left = scaled(Image.open(frames[0]).convert("RGB"), height=HEIGHT_PX)
    column = [scaled(Image.open(path).convert("RGB"), height=HEIGHT_PX // len(figures)) for path in figures]
    width = max(picture.width for picture in column)
    whole = Image.new("RGB", (left.width + width, HEIGHT_PX), "white")
    whole.paste(left, (0, 0))
    top = 0
    for picture in column:
        whole.paste(picture, (left.width + (width - picture.width) // 2, top))
        top += picture.height
    path = Path(__file__).resolve().parents[1] / "docs" / "pictures" / "readme.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"wrote {path.name}: {whole.width} x {whole.height} px, {path.stat().st_size // 1024} KiB")


def scaled(picture: Image.Image, height: int) -> Image.Image:
    return picture.resize((round(picture.width * height / picture.height), height), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except UserError as error:
        sys.exit(f"error: {error}")
