"""The movie in the page: frames as pictures, detections drawn over them by a few lines of script."""

import base64
import io
import json

import numpy as np

from stemdefects.analysis.data import looked, square_pixels
from stemdefects.report.style import colours

MAX_SIDE = 640
MAX_DETECTIONS = 60_000


def html(result, n_frames: int) -> str:
    """A frame slider with the detections of `n_frames` evenly chosen frames, over the images when they can be read.

    Returns an HTML fragment without any link to the outside; empty without detections.
    """
    found, movie = square_pixels.view(result.found, result.movie)
    if found.n_frames == 0 or len(found.rows) == 0:
        return ""
    seen = looked.looked(found).frames
    chosen = seen[np.unique(np.linspace(0, len(seen) - 1, min(n_frames, len(seen))).round().astype(int))]
    pictures, shape = _pictures(movie, chosen)
    if shape is None:
        shape = _field(found)
    zoom = min(MAX_SIDE / max(shape), 4.0) if max(shape) < MAX_SIDE else MAX_SIDE / max(shape)
    kinds = result.counts.kinds
    colour = colours(kinds)
    index = {kind: k for k, kind in enumerate(kinds)}
    labels, rows = found.kinds, found.rows
    marks = []
    limit = max(1, MAX_DETECTIONS // len(chosen))
    for frame in chosen:
        here = np.flatnonzero(rows["frame"] == frame)[:limit]
        marks.append([
            [round(float(rows["x_px"][i]), 1), round(float(rows["y_px"][i]), 1), index[labels[i]],
             int(rows["track"][i]), round(float(rows["score"][i]), 2)] for i in here
        ])  # fmt: skip
    data = {
        "frames": [int(f) for f in chosen], "times": [round(float(found.times[f]), 3) for f in chosen],
        "unit": found.time_unit, "pictures": pictures, "marks": marks, "kinds": kinds,
        "colours": [colour[k] for k in kinds], "height": int(shape[0]), "width": int(shape[1]), "zoom": zoom,
        "bar": _scale_bar(found, shape),
    }  # fmt: skip
    boxes = "".join(
        f'<label><input type="checkbox" class="kind" value="{k}" checked> '
        f'<span class="dot" style="background:{colour[kind]}"></span>{_escape(kind)}</label> '
        for k, kind in enumerate(kinds)
    )
    text = json.dumps(data).replace("<", "\\u003c")
    return (
        '<div class="movie"><canvas id="movie"></canvas>'
        '<div><input type="range" id="frame" min="0" value="0" step="1" aria-label="frame"> '
        '<span id="when"></span></div>'
        f'<div class="kinds">{boxes}<label><input type="checkbox" id="marks" checked> detections</label></div></div>'
        f'<script type="application/json" id="movie-data">{text}</script><script>{_SCRIPT}</script>'
    )


def _escape(text: str) -> str:
    import html as library

    return library.escape(str(text))


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
            picture = picture.resize((round(image.shape[1] * scale), round(image.shape[0] * scale)), Image.LANCZOS)
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=82)
        pictures.append("data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode())
    return pictures, shape


_SCRIPT = """
(() => {
  const d = JSON.parse(document.getElementById('movie-data').textContent);
  const canvas = document.getElementById('movie'), slider = document.getElementById('frame');
  const ratio = window.devicePixelRatio || 1, z = d.zoom;
  canvas.width = d.width * z * ratio; canvas.height = d.height * z * ratio;
  canvas.style.width = d.width * z + 'px'; canvas.style.height = d.height * z + 'px';
  const c = canvas.getContext('2d'); c.scale(ratio, ratio);
  slider.max = d.frames.length - 1;
  const images = d.pictures.map(p => {
    if (!p) return null;
    const i = new Image(); i.onload = draw; i.src = p; return i;
  });
  function draw() {
    const k = +slider.value, w = d.width * z, h = d.height * z;
    c.fillStyle = images[k] ? '#000' : '#fff'; c.fillRect(0, 0, w, h);
    if (images[k] && images[k].complete) c.drawImage(images[k], 0, 0, w, h);
    const on = new Set([...document.querySelectorAll('.kind')].filter(b => b.checked).map(b => +b.value));
    if (document.getElementById('marks').checked) for (const [x, y, kind, track, score] of d.marks[k]) {
      if (!on.has(kind)) continue;
      c.strokeStyle = d.colours[kind]; c.lineWidth = 1.6; c.globalAlpha = 0.4 + 0.6 * score;
      c.beginPath(); c.arc((x + .5) * z, (y + .5) * z, 7, 0, 7); c.stroke(); c.globalAlpha = 1;
    }
    if (d.bar) {
      c.font = '12px sans-serif'; c.fillStyle = images[k] ? 'rgba(0,0,0,.6)' : 'rgba(255,255,255,.8)';
      c.fillRect(5, h - 34, Math.max(d.bar.px * z, c.measureText(d.bar.text).width) + 10, 29);
      c.fillStyle = images[k] ? '#fff' : '#000';
      c.fillRect(10, h - 14, d.bar.px * z, 4); c.fillText(d.bar.text, 10, h - 19);
    }
    const time = d.unit === 's' ? `, ${d.times[k].toFixed(1)} s` : '';
    document.getElementById('when').textContent = `frame ${d.frames[k]}${time}, ${d.marks[k].length} detections`;
  }
  slider.oninput = draw;
  document.querySelectorAll('.kind, #marks').forEach(b => b.onchange = draw);
  draw();
})();
"""
