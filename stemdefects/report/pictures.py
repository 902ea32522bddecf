"""The pictures that inference leaves in a run: annotated frames, animation, contact sheet."""

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from stemdefects.inference.setup import Setup
from stemdefects.io.movie import Movie
from stemdefects.models.frames.resample import square_pixels
from stemdefects.report import animation
from stemdefects.report import frames as pictures


def draw(movie: Movie, table_path: Path, setup: Setup, folder: Path) -> list[Path]:
    """Annotated first, middle and last frame, a folder of more of them, animation (MP4 where there is an ffmpeg, else
    GIF) and contact sheet, as the settings say; returns the files and the folder."""
    settings, kinds = setup.settings.pictures, setup.model.material.kind_names
    with h5py.File(table_path, "r") as file:
        frame_table = file["frames"][()]
        region_step_px = setup.region_step_px
        names = {"each frame on its own": "defects", "all frames together": "defects_over_time"}
        tables = {way: name for way, name in names.items() if name in file}
        starts = {way: np.searchsorted(file[name]["frame"], np.arange(len(movie) + 1)) for way, name in tables.items()}
    good = frame_table["frame"][frame_table["quality"] == 0]
    written = []
    for old in [p for end in ("png", "gif", "mp4") for p in folder.glob(f"*.{end}")]:  # of another movie
        old.unlink()
    shutil.rmtree(folder / "frames", ignore_errors=True)

    def annotated(index: int, width: int) -> np.ndarray:
        # pictures have square pixels, whatever the movie has
        image = square_pixels(movie.frame(index)[None], setup.aspect)[0]
        enlarged = pictures.enlarge(image, width // len(tables))
        time = frame_table["time_s"][frame_table["frame"] == index][0]
        clock = "" if np.isnan(time) else f", {time:.4g} s"
        name = f"{Path(movie.source).name}  frame {index}{clock}"
        panels = []
        with h5py.File(table_path, "r") as file:
            regions = file["regions"][np.searchsorted(frame_table["frame"], index)]
        for way, stored in tables.items():
            with h5py.File(table_path, "r") as file:
                rows = file[stored][starts[way][index] : starts[way][index + 1]]
            rows["y_px"] *= setup.aspect
            title = name if not panels else way
            if len(tables) > 1 and not panels:
                title = f"{name}: {way}"
            panels.append(
                pictures.annotate(
                    enlarged,
                    rows,
                    setup.calibration.pixel_size_nm,
                    kinds,
                    title,
                    width // len(tables),
                    pictures.Regions(regions, (region_step_px[0] * setup.aspect, region_step_px[1])),
                )
            )
        return np.concatenate(list(_same_height(panels)), axis=1)

    if settings.frames and len(good):
        for name, index in {"first": good[0], "middle": good[len(good) // 2], "last": good[-1]}.items():
            if name == "first" or index != good[0]:
                picture = annotated(int(index), settings.max_width_px * len(tables))
                written.append(pictures.save(picture, folder / f"{name}_frame_{index:05d}.png"))
    if settings.every and len(good):
        for index in good[:: settings.every]:
            picture = annotated(int(index), settings.max_width_px * len(tables))
            pictures.save(picture, folder / "frames" / f"frame_{index:05d}.png")
        written.append(folder / "frames")
    if settings.contact_sheet:
        with h5py.File(table_path, "r") as file:
            sheet = pictures.contact_sheet(
                file["patches"], file["defects"].fields(["kind", "score"])[()], kinds, setup.settings.patch_nm
            )
        written.append(pictures.save(sheet, folder / "contact_sheet.png"))
    if settings.animation and len(good) > 1:
        chosen = good[np.unique(np.linspace(0, len(good) - 1, min(settings.animation_frames, len(good))).astype(int))]
        stills = (annotated(int(i), min(settings.max_width_px, 640 * len(tables))) for i in chosen)
        name = "detections.mp4" if animation.has_mp4() else "detections.gif"
        path = animation.save_animation(_same_size(stills), folder / name, settings.animation_fps)
        written.append(path)
    return written


def _same_size(pictures: Any):
    """Pictures cut or filled at the bottom to the size of the first: legends differ in height."""
    shape = None
    for picture in pictures:
        shape = shape or picture.shape
        if picture.shape != shape:
            filled = np.zeros(shape, np.uint8)
            height = min(shape[0], picture.shape[0])
            filled[:height] = picture[:height]
            picture = filled
        yield picture


def _same_height(panels: list[np.ndarray]):
    """Panels filled at the bottom to the height of the tallest."""
    height = max(len(panel) for panel in panels)
    for panel in panels:
        yield np.pad(panel, ((0, height - len(panel)), (0, 0), (0, 0)))
