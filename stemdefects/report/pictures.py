"""The pictures that inference leaves in a run: annotated frames, animation, contact sheet."""

import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
    whole_frames = set(good[frame_table["n_invalid_px"][frame_table["quality"] == 0] == 0].tolist())
    written = []
    for old in [p for end in ("png", "gif", "mp4") for p in folder.glob(f"*.{end}")]:  # of another movie
        old.unlink()
    shutil.rmtree(folder / "frames", ignore_errors=True)

    def enlarged(index: int, width: int) -> pictures.Enlarged:
        # pictures have square pixels, whatever the movie has
        image = movie.frame(index, whole=setup.straighten is None and index in whole_frames)
        return pictures.enlarge(square_pixels(image[None], setup.aspect)[0], width // len(tables))

    def annotated(index: int, width: int, image: pictures.Enlarged) -> np.ndarray:
        time = frame_table["time_s"][frame_table["frame"] == index][0]
        clock = "" if np.isnan(time) else f", {time:.4g} s"
        name = f"{Path(movie.source).name}  frame {index}{clock}"
        panels = []
        with h5py.File(table_path, "r") as file:
            regions = file["regions"][np.searchsorted(frame_table["frame"], index)]
            of_frame = {w: file[stored][starts[w][index] : starts[w][index + 1]] for w, stored in tables.items()}
        for way, rows in of_frame.items():
            rows["y_px"] *= setup.aspect
            title = name if not panels else way
            if len(tables) > 1 and not panels:
                title = f"{name}: {way}"
            panels.append(
                pictures.annotate(
                    image,
                    rows,
                    setup.calibration.pixel_size_nm,
                    kinds,
                    title,
                    width // len(tables),
                    pictures.Regions(regions, (region_step_px[0] * setup.aspect, region_step_px[1])),
                )
            )
        return np.concatenate(list(_same_height(panels)), axis=1)

    def stills(indices: Sequence[int], width: int) -> Iterator[np.ndarray]:
        """Frames are read and enlarged by a thread of their own, one ahead of those that are drawn on."""
        with ThreadPoolExecutor(1, "pictures") as reader:
            coming = reader.submit(enlarged, int(indices[0]), width)
            for index, following in zip(indices, [*indices[1:], None], strict=True):
                image = coming.result()
                if following is not None:
                    coming = reader.submit(enlarged, int(following), width)
                yield annotated(int(index), width, image)

    whole = settings.max_width_px * len(tables)
    if settings.frames and len(good):
        three = {"first": good[0], "middle": good[len(good) // 2], "last": good[-1]}
        three = {name: index for name, index in three.items() if name == "first" or index != good[0]}
        for (name, index), picture in zip(three.items(), stills([*three.values()], whole), strict=True):
            written.append(pictures.save(picture, folder / f"{name}_frame_{index:05d}.png"))
    if settings.every and len(good):
        chosen = good[:: settings.every]
        for index, picture in zip(chosen, stills(chosen, whole), strict=True):
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
        drawn = stills(chosen, min(settings.max_width_px, 640 * len(tables)))
        name = "detections.mp4" if animation.has_mp4() else "detections.gif"
        path = animation.save_animation(_same_size(drawn), folder / name, settings.animation_fps)
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
