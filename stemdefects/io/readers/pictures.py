"""PNG, JPEG, GIF and other pictures through Pillow."""

from pathlib import Path

import numpy as np
from PIL import Image

from stemdefects.io.movie import LazyFrames, Movie

Image.MAX_IMAGE_PIXELS = None  # Movie has its own limit, checked before any pixel is read


def open_file(path: Path, signal: str | None) -> Movie:
    """A picture, or each frame of an animated one. Grey stored as RGB counts as grey; no calibration."""
    picture = Image.open(path)
    shape = (getattr(picture, "n_frames", 1), picture.height, picture.width)

    def get(index: int) -> np.ndarray:
        picture.seek(index)
        mode = picture.mode
        image = picture.convert("RGB") if mode in ("P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr") else picture
        if mode in ("LA", "La"):
            image = picture.convert("L")
        return np.asarray(image)

    movie = Movie(LazyFrames(get, shape, np.uint8, picture.close), source=str(path), metadata={"mode": picture.mode})
    movie.frames[0]  # a truncated picture shows itself only here
    return movie
