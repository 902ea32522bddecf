"""The reader of napari's plugin (stemdefects/napari.yaml)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from stemdefects.io import sources
from stemdefects.io.exchange.layers import to_napari
from stemdefects.io.tables.table import DefectTable


def get_reader(path: str | list[str]) -> Callable[[Any], list[tuple]] | None:
    """napari's hook: a reader of our defect tables, with the movie where it is still there; None for other files."""
    import h5py

    first = Path(path if isinstance(path, str) else path[0])
    try:
        with h5py.File(first, "r") as file:
            return _layers_of if "defects" in file else None
    except OSError:
        return None


def _layers_of(path: str | list[str]) -> list[tuple]:
    paths = [path] if isinstance(path, str) else path
    layers: list[tuple] = []
    for one in paths:
        table = DefectTable.read(one, patches=False)
        movie = sources.reopen(table.attrs, Path(one)).movie
        layers += to_napari(table, None if movie is None else np.stack([movie.frame(i) for i in range(len(movie))]))
    return layers
