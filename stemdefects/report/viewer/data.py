"""What the viewer of the page is given: frames as pictures, detections, tracks, evidence, places worth a look."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np

from stemdefects.analysis.corrections import applied
from stemdefects.analysis.corrections import evidence as site_evidence
from stemdefects.analysis.data import looked, square_pixels
from stemdefects.analysis.pipeline import Analysis
from stemdefects.io.tables import corrections as files
from stemdefects.report import frames, rendering

MAX_SIDE = 640  # px, of the longer side of a frame: the page stays small enough to send
MAX_DETECTIONS = 60_000  # in the page, shared among its frames: a browser stays quick
MAX_TRACKED = 60_000  # points of tracks; the longest tracks of the frames shown come first


def data(result: Analysis, n_frames: int, colours: Mapping[str, str]) -> dict[str, Any] | None:
    """What `assets/viewer.js` shows: `n_frames` evenly chosen frames and those of the queue, as pictures where they can
    be read, with their detections; None without detections."""
    inputs = result.inputs
    found, movie = square_pixels.view(inputs.found, inputs.movie)
    if found.n_frames == 0 or len(found.rows) == 0:
        return None
    stretch = np.array([inputs.found.scale_yx[0] / inputs.found.scale_yx[1], 1.0])  # of the square pixels shown
    seen, queue = looked.looked(found).frames, result.of("queue")
    chosen = seen[np.unique(np.linspace(0, len(seen) - 1, min(n_frames, len(seen))).round().astype(int))]
    if queue is not None and n_frames:
        chosen = np.union1d(chosen, queue["frame"].to_numpy(int))
    pictures, shape = _pictures(movie, chosen)
    shape = _field(found) if shape is None else shape
    names = list(dict.fromkeys([*inputs.kinds, *(inputs.material.kind_names if inputs.material else ())]))
    index: dict[Any, int] = {kind: k for k, kind in enumerate(names)}
    limit = max(1, MAX_DETECTIONS // max(len(chosen), 1))
    marks = [_marks(found.rows[found.rows["frame"] == frame][:limit], index) for frame in chosen]
    together = None
    if found.over_time is not None and len(found.over_time):
        rows = found.over_time.copy()
        rows["y_px"] *= stretch[0]
        together = [_marks(rows[rows["frame"] == frame][:limit], index) for frame in chosen]
    done = found.corrected
    given = () if done is None else done.given.items
    drift_px = applied.drift(inputs.found)
    looks = frames.style([*colours, *(k for k in names if k not in colours)])
    out = {
        "frames": [int(f) for f in chosen],
        "times": [round(float(found.times[f]), 3) for f in chosen],
        "unit": found.time_unit,
        "pictures": pictures,
        "marks": marks,
        "together": together,
        "kinds": names,
        "colours": [colours[k] for k in names],
        "shapes": [looks[k][1] for k in names],
        "height": int(shape[0]),
        "width": int(shape[1]),
        "bar": _scale_bar(found, shape),
        "stretch": [round(float(v), 6) for v in stretch],
        "drift": np.round(drift_px[chosen] * stretch, 2).tolist(),
        "reach": applied.REACH_PX if found.pixel_size_nm is None else applied.REACH_NM / found.scale_yx[1],
        "cell": inputs.lattice_constant / (found.scale_yx[1] if found.pixel_size_nm else 1.0),
        "tracks": _tracks(found, chosen, index),
        "evidence": _evidence(inputs, chosen, drift_px),
        "queue": [] if queue is None else _queue(queue, stretch),
        "table": files.digest(inputs.found.rows) if done is None else done.given.table,
        "version": files.SCHEMA_VERSION,
        "columns": files.COLUMNS,
        "given": [{k: v for k, v in asdict(one).items() if v is not None and k != "line"} for one in given],
    }
    return out


def _marks(rows: np.ndarray, index: Mapping[Any, int]) -> list[list]:
    """x, y, kind, track, score, probability of the kind and light (None: unknown) of each row."""
    return [
        [
            round(float(r["x_px"]), 2),
            round(float(r["y_px"]), 2),
            index[r["kind"].decode()],
            int(r["track"]),
            round(float(r["score"]), 3),
            round(float(r["kind_prob"]), 3),
            _or_none(r["light"]),
        ]
        for r in rows
        if r["kind"].decode() in index
    ]


def _or_none(value) -> float | None:
    return round(float(value), 3) if np.isfinite(value) else None


def _queue(queue, stretch: np.ndarray) -> list[dict]:
    return [
        {
            "frame": int(r.frame),
            "y": round(r.y_px * stretch[0], 2),
            "x": round(r.x_px * stretch[1], 2),
            "kind": r.kind,
            "track": int(r.track),
            "why": r.why,
        }
        for r in queue.itertuples()
    ]


def _tracks(found, chosen: np.ndarray, index: Mapping[Any, int]) -> dict[int, list]:
    """track -> its detections in the whole movie: frame, x, y, kind, probability, light."""
    rows = found.rows[found.rows["track"] >= 0]
    shown = np.unique(rows["track"][np.isin(rows["frame"], chosen)])
    number, length = np.unique(rows["track"], return_counts=True)
    order = number[np.argsort(-length, kind="stable")]
    of = {int(k): n for k, n in zip(number, length, strict=True)}
    out, points = {}, 0
    by_track = rows[np.argsort(rows["track"], kind="stable")]
    start = np.searchsorted(by_track["track"], number)
    where = {int(k): int(s) for k, s in zip(number, start, strict=True)}
    shown_set = set(shown.tolist())
    for track in order.tolist():
        if track not in shown_set:
            continue
        points += of[track]
        if points > MAX_TRACKED:
            break
        mine = by_track[where[track] : where[track] + of[track]]
        out[track] = [
            [
                int(r["frame"]),
                round(float(r["x_px"]), 1),
                round(float(r["y_px"]), 1),
                index[r["kind"].decode()],
                round(float(r["kind_prob"]), 2),
                _or_none(r["light"]),
            ]
            for r in mine[np.argsort(mine["frame"])]
        ]
    return out


def _evidence(inputs, chosen: np.ndarray, drift_px: np.ndarray) -> dict[str, Any] | None:
    """What every shown frame says of the site that a track is at most often: probability of its kind there (percent),
    and how far the light lies below that of ideal columns, in units of their scatter; -1 or None: not seen."""
    found, evidence = inputs.found, inputs.found.evidence
    if evidence is None or found.pixel_size_nm is None or found.frames is None or not inputs.tracks.n_tracks:
        return None
    frame_row = {int(f): k for k, f in enumerate(found.frames["frame"])}
    chosen_rows = np.array([frame_row.get(int(f), -1) for f in chosen], int)
    site, _ = site_evidence.sites_of(found, found.rows, drift_px)
    sublattices = evidence.description["sublattices"]
    out: dict[str, Any] = {}
    track, kind = found.rows["track"], found.kinds
    wanted: dict[tuple[int, str], list[tuple[int, int]]] = {}
    usable = np.flatnonzero((track >= 0) & (site >= 0))
    usable = usable[np.argsort(track[usable], kind="stable")]
    parts = np.split(usable, np.flatnonzero(np.diff(track[usable])) + 1) if len(usable) else []
    for rows in parts[: 2 * MAX_TRACKED // max(len(chosen), 1)]:
        names, number = np.unique(kind[rows], return_counts=True)
        name = str(names[number.argmax()])
        places, number = np.unique(site[rows], return_counts=True)
        place = int(places[number.argmax()])
        own = int(evidence.sites["sublattice"][place])
        if name in sublattices[own]["features"]:
            wanted.setdefault((own, name), []).append((int(track[rows[0]]), place))
    for (_, name), pairs in wanted.items():
        places = np.array([place for _, place in pairs])
        prob, line = (evidence.feature(f, places)[chosen_rows] for f in (name, "line"))
        prob = np.where(np.isfinite(prob) & (chosen_rows >= 0)[:, None], np.round(100 * prob), -1).astype(int)
        for k, (number_of, _) in enumerate(pairs):
            out[str(number_of)] = {
                "kind": name,
                "prob": prob[:, k].tolist(),
                "line": [_short(v) for v in line[:, k].tolist()],
            }
    return out


def _short(value: float) -> float | None:
    return round(value, 1) if np.isfinite(value) else None


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
    """Pictures of the frames as data URIs, None for frames that cannot be read."""
    if movie is None:
        return [None] * len(chosen), None
    from stemdefects.errors import UserError

    pictures, shape = [], movie.shape[1:]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # frames are read one by one, and packed beside that
        for frame in chosen:
            try:
                image = movie.frame(int(frame))
            except (UserError, IndexError):
                pictures.append(None)
                continue
            shape = image.shape
            pictures.append(pool.submit(_picture, image))
    return [None if picture is None else picture.result() for picture in pictures], shape


def _picture(image: np.ndarray) -> str:
    """The data URI of a frame."""
    from PIL import Image

    low, high = np.quantile(image, [0.005, 0.998])
    picture = Image.fromarray((np.clip((image - low) / max(high - low, 1e-9), 0, 1) * 255).astype(np.uint8))
    scale = min(1.0, MAX_SIDE / max(image.shape))
    if scale < 1:
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        picture = picture.resize(size, Image.Resampling.LANCZOS)
    return rendering.frame_uri(picture)
