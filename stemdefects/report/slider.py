"""The movie in the page: frames as pictures, detections drawn over them by a few lines of script."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np

from stemdefects.analysis.data import looked, square_pixels
from stemdefects.analysis.inputs import Inputs

MAX_SIDE = 640  # px of the frames in the page
MAX_DETECTIONS = 60_000  # marks in the page, which would grow too large


def data(inputs: Inputs, n_frames: int, colours: Mapping[str, str]) -> dict[str, Any] | None:
    """What `assets/slider.js` shows: `n_frames` evenly chosen frames, as pictures where they can be read, with their
    detections; None without detections."""
    found, movie = square_pixels.view(inputs.found, inputs.movie)
    if found.n_frames == 0 or len(found.rows) == 0:
        return None
    seen = looked.looked(found).frames
    chosen = seen[np.unique(np.linspace(0, len(seen) - 1, min(n_frames, len(seen))).round().astype(int))]
    pictures, shape = _pictures(movie, chosen)
    if shape is None:
        shape = _field(found)
    zoom = min(MAX_SIDE / max(shape), 4.0) if max(shape) < MAX_SIDE else MAX_SIDE / max(shape)
    index: dict[Any, int] = {kind: k for k, kind in enumerate(inputs.kinds)}
    labels, rows = found.kinds, found.rows
    marks = []
    limit = max(1, MAX_DETECTIONS // len(chosen))
    for frame in chosen:
        here = np.flatnonzero(rows["frame"] == frame)[:limit]
        marks.append([
            [round(float(rows["x_px"][i]), 1), round(float(rows["y_px"][i]), 1), index[labels[i]],
             int(rows["track"][i]), round(float(rows["score"][i]), 2)] for i in here
        ])  # fmt: skip
    return {
        "frames": [int(f) for f in chosen], "times": [round(float(found.times[f]), 3) for f in chosen],
        "unit": found.time_unit, "pictures": pictures, "marks": marks, "kinds": inputs.kinds,
        "colours": [colours[k] for k in inputs.kinds], "height": int(shape[0]), "width": int(shape[1]), "zoom": zoom,
        "bar": _scale_bar(found, shape),
    }  # fmt: skip


def _field(found) -> tuple[int, int]:
    margin = 1.04
    return (
        int(np.ceil(max(found.rows["y_px"].max() * margin, 16))),
        int(np.ceil(max(found.rows["x_px"].max() * margin, 16))),
    )


def _scale_bar(found, shape) -> dict | None:
    """A bar of a round length near a fifth of the field, in px of the movie."""
    if found.pixel_size_nm is None:
        return None
    target = 0.2 * shape[1] * found.pixel_size_nm
    power = 10.0 ** np.floor(np.log10(target))
    length = max(step * power for step in (1, 2, 5) if step * power <= target)
    return {"px": length / found.pixel_size_nm, "text": f"{length:g} nm"}


def _pictures(movie, chosen) -> tuple[list, tuple | None]:
    """JPEGs of the frames as data URIs, None for frames that cannot be read."""
    if movie is None:
        return [None] * len(chosen), None
    from PIL import Image

    from stemdefects.errors import UserError

    pictures = []
    shape = movie.shape[1:]
    for frame in chosen:
        try:
            image = movie.frame(int(frame))
        except (UserError, IndexError):
            pictures.append(None)
            continue
        shape = image.shape
        low, high = np.quantile(image, [0.005, 0.998])
        grey = (np.clip((image - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8)
        picture = Image.fromarray(grey)
        scale = min(1.0, MAX_SIDE / max(image.shape))
        if scale < 1:
            picture = picture.resize(
                (round(image.shape[1] * scale), round(image.shape[0] * scale)), Image.Resampling.LANCZOS
            )
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=82)
        pictures.append("data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode())
    return pictures, shape
