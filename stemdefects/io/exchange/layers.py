"""napari: layers as plain tuples (data, keywords, type), which need no napari to be made."""

from typing import Any

import numpy as np

from stemdefects.errors import UserError
from stemdefects.io.exchange.frames import UNKNOWN
from stemdefects.io.tables.table_columns import empty

SYMBOLS = ("o", "square", "diamond", "triangle_up")
SIZE_PX = 10  # of a mark in napari, its own default


def to_napari(table: Any, movie: Any = None) -> list[tuple]:
    """Image (where the movie is given), Points with kind, score and track of each, and Tracks where rows are linked."""
    rows = table.rows
    layers: list[tuple] = []
    if movie is not None:
        frames = movie.frames if hasattr(movie, "frames") else movie
        layers.append((frames, {"name": "movie", "colormap": "gray"}, "image"))
    kinds = np.char.decode(rows["kind"], "utf-8") if len(rows) else np.zeros(0, str)
    numbers = np.unique(kinds, return_inverse=True)[1] if len(rows) else np.zeros(0, int)
    at = np.column_stack([rows["frame"], rows["y_px"], rows["x_px"]]).astype(float)
    features = {"kind": kinds, **{name: rows[name] for name in ("score", "kind_prob", "track")}}
    look = {
        "name": "defects",
        "features": features,
        "size": SIZE_PX,
        "face_color": "transparent",
        "border_color": "kind",
        "symbol": [SYMBOLS[n % len(SYMBOLS)] for n in numbers],
    }
    layers.append((at, look, "points"))
    linked = rows["track"] >= 0
    if linked.any():
        order = np.lexsort((rows["frame"][linked], rows["track"][linked]))
        tracks = np.column_stack([rows["track"][linked], at[linked]])[order]
        layers.append((tracks, {"name": "tracks"}, "tracks"))
    return layers


def from_points(points: Any) -> np.ndarray:
    """Rows of a napari Points layer, of a tuple of one, or of an array (n, 3) of frame, y, x; `kind` and `track` from
    its features where it has them. Raises UserError for other shapes."""
    features: Any = {}
    if isinstance(points, tuple):
        data, features = points[0], points[1].get("features", {})
    elif hasattr(points, "features"):
        data, features = points.data, points.features
    else:
        data = points
    data = np.asarray(data, float)
    if data.ndim != 2 or data.shape[1] not in (2, 3):
        raise UserError(f"points: an array of shape {data.shape}; (n, 3) of frame, y, x is needed, or (n, 2) of y, x")
    rows = empty(len(data))
    rows["frame"] = np.rint(data[:, 0]) if data.shape[1] == 3 else 0
    rows["y_px"], rows["x_px"] = data[:, -2], data[:, -1]
    rows["score"] = rows["kind_prob"] = 1
    rows["kind"] = UNKNOWN.encode()
    if "kind" in features:
        rows["kind"] = [UNKNOWN.encode() if v is None or v != v else str(v).encode() for v in features["kind"]]
    if "track" in features:
        rows["track"] = [-1 if v is None or v != v else int(v) for v in features["track"]]
    return rows[np.argsort(rows["frame"], kind="stable")]
