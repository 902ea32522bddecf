"""Pictures as an animation: a GIF, or MP4 where there is an ffmpeg."""

import contextlib
import itertools
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def save_animation(pictures: Iterable[np.ndarray], path: str | Path, fps: float = 8.0) -> Path | None:
    """Write pictures (h, w, 3) uint8 of one size as a GIF that repeats, or as MP4 (H.264) by the suffix of `path`; None
    when there is no picture. They are taken one by one. MP4 needs imageio-ffmpeg, see `has_mp4`."""
    path = Path(path)
    stream = iter(pictures)
    first = next(stream, None)
    if first is None:
        return None
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mp4":
        _save_mp4(itertools.chain([first], stream), first.shape, path, fps)
        return path
    packed = (
        Image.fromarray(p).quantize(96, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE) for p in stream
    )
    start = Image.fromarray(first).quantize(96, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    start.save(path, save_all=True, append_images=packed, duration=round(1000 / fps), loop=0)
    return path


def has_mp4() -> bool:
    """Is there an ffmpeg that can write MP4 (the wheel of imageio-ffmpeg brings one)?"""
    try:
        import imageio_ffmpeg

        with _forking():
            imageio_ffmpeg.get_ffmpeg_exe()
    except Exception:  # not installed, or no ffmpeg for this machine
        return False
    return True


def _save_mp4(pictures: Iterable[np.ndarray], shape: tuple[int, ...], path: Path, fps: float) -> None:
    import imageio_ffmpeg

    height, width = (n // 2 * 2 for n in shape[:2])  # the codec's colour planes are half as large
    # of noise the slower presets make no smaller files, and one picture foretells next to nothing of the next: each by
    # itself (-g 1) takes a quarter less work for 4% more bytes, and can be shown at once when it is sought
    quality = ["-crf", "21", "-preset", "superfast", "-g", "1", "-movflags", "+faststart"]
    write_frames: Any = imageio_ffmpeg.write_frames  # its hints are its defaults: other numbers and None are taken too
    writer = write_frames(
        str(path),
        (width, height),
        fps=fps,
        codec="libx264",
        quality=None,
        macro_block_size=2,
        output_params=quality,
        ffmpeg_log_level="error",
    )
    with _forking():
        writer.send(None)
    try:
        for picture in pictures:
            writer.send(np.ascontiguousarray(picture[:height, :width]))
    finally:
        writer.close()


@contextlib.contextmanager
def _forking():
    """Without JAX's warning of forks: ffmpeg takes the place of the fork at once, and nothing of JAX runs there."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
        yield
