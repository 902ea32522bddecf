"""HDF5: movies of this software (`/frames`) and plain data sets of others."""

from pathlib import Path

import h5py

from stemdefects.errors import UserError
from stemdefects.io.movie import LazyFrames, Movie
from stemdefects.io.readers import pick

_PREFERRED = ("frames", "haadf", "adf", "movie", "image", "stack", "data")


def open_file(path: Path, signal: str | None) -> Movie:
    """The data set `signal`, else `/frames`, else the most likely 2-D or 3-D data set; frames stay in the file."""
    file = h5py.File(path, "r")
    try:
        names: list[str] = []

        def visit(name: str, item: object) -> None:
            if isinstance(item, h5py.Dataset) and item.ndim in (2, 3) and item.dtype.kind in "buif":
                if min(item.shape) > 0 and min(item.shape[-2:]) >= 8 and not name.startswith("truth/"):
                    names.append(name)

        file.visititems(visit)
        if not names:
            raise UserError(f"{path}: no image or movie among its data sets")
        names.sort(key=lambda name: -file[name].size)
        data = file[names[pick(names, signal, path, _PREFERRED)]]
        attributes = {}
        for holder in (file, data.parent, data):
            for key, value in holder.attrs.items():
                attributes[key] = value.decode(errors="replace") if isinstance(value, bytes) else value
        metadata = {"dataset": data.name, "attributes": attributes}
        frames = data
        if data.ndim == 3:
            frames = LazyFrames(lambda i: data[i], data.shape, data.dtype, file.close)
        elif data.ndim == 2:
            frames = LazyFrames(lambda i: data[()], (1, *data.shape), data.dtype, file.close)
        return Movie(
            frames,
            attributes.get("pixel_size_nm"),
            attributes.get("frame_time_s"),
            attributes.get("dose_e_per_px"),
            str(path),
            metadata,
        )
    except BaseException:
        file.close()
        raise
