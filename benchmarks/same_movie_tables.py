"""The ways in which others write a table of detections: each writes one, and the table that it must equal."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd


class Way(NamedTuple):
    """write(folder, our defects.csv) -> (table, the table it must equal, settings of analysis)."""

    name: str
    write: Callable[[Path, Path], tuple[Path, Path, dict]]


def _seconds(rows: pd.DataFrame) -> float:
    """Per frame."""
    first = rows.drop_duplicates("frame")
    return float(np.median(np.diff(first["time_s"]) / np.diff(first["frame"])))


def _nm(rows: pd.DataFrame) -> float:
    return float(np.median(rows["x_nm"] / rows["x_px"]))


FREE = ["kind", "frame", "time_s", "y_px", "x_px", "y_nm", "x_nm"]  # what tables of others hold: no complexes


def _as_others(folder: Path, csv: Path) -> Path:
    """Our CSV with what others know: vacancies beside a centre count as free there, and D is of all of them."""
    pd.read_csv(csv)[FREE].to_csv(folder / "expected.csv", index=False)
    return folder / "expected.csv"


def changed(change: Callable[[pd.DataFrame], pd.DataFrame], name: str = "edited.csv", **to_csv) -> Callable:
    """Our CSV after `change`, written as `to_csv` says."""

    def write(folder: Path, csv: Path):
        rows = change(pd.read_csv(csv))
        rows.to_csv(folder / name, **{"index": False} | to_csv)
        return folder / name, csv if "complex" in rows else _as_others(folder, csv), {}

    return write


def _stated(write_rows: Callable[[pd.DataFrame, Path], None]) -> Callable:
    """A table that states neither pixel size nor frame time: both are given as settings."""

    def write(folder: Path, csv: Path):
        rows = pd.read_csv(csv)
        write_rows(rows, folder / "table.csv")
        expected = _as_others(folder, csv)
        return folder / "table.csv", expected, {"table": {"pixel_size_nm": _nm(rows), "frame_time_s": _seconds(rows)}}

    return write


def _trackpy(rows: pd.DataFrame, path: Path) -> None:
    rows.rename(columns={"y_px": "y", "x_px": "x"})[["y", "x", "frame", "kind"]].to_csv(path)


def counted_from_one(folder: Path, csv: Path):
    """Frames keep their numbers, as the first may have been empty: all is as in our table one frame later."""
    rows, seconds = pd.read_csv(csv), _seconds(pd.read_csv(csv))
    later = rows.assign(frame=rows["frame"] + 1, time_s=rows["time_s"] + seconds)
    later[FREE].to_csv(folder / "expected.csv", index=False)
    later[["frame", "y_px", "x_px", "kind"]].to_csv(folder / "table.csv", index=False, sep="\t")
    units = {"pixel_size_nm": _nm(rows), "frame_time_s": seconds}
    return folder / "table.csv", folder / "expected.csv", {"table": units}


def trackmate(folder: Path, csv: Path):
    rows = pd.read_csv(csv)
    n = len(rows)
    spots = pd.DataFrame(
        {
            "LABEL": [f"ID{k}" for k in range(n)],
            "ID": np.arange(n),
            "TRACK_ID": "",
            "QUALITY": 1.0,
            "POSITION_X": rows["x_nm"],
            "POSITION_Y": rows["y_nm"],
            "POSITION_Z": 0.0,
            "POSITION_T": rows["time_s"],
            "FRAME": rows["frame"],
            "KIND": rows["kind"],
        }
    )
    units = ["", "", "", "(quality)", "(nm)", "(nm)", "(nm)", "(sec)", "", ""]
    text = spots.to_csv(index=False).splitlines()
    path = folder / "spots.csv"
    path.write_text("\n".join([text[0], text[0].title(), text[0], ",".join(units), *text[1:]]) + "\n")
    return path, _as_others(folder, csv), {}


def _paused(rows: pd.DataFrame) -> pd.DataFrame:
    """A pause of 900 s in the middle."""
    return rows.assign(time_s=rows["time_s"] + 900.0 * (rows["frame"] > rows["frame"].max() // 2))


def irregular(times: Callable[[pd.DataFrame], pd.DataFrame], **to_csv) -> Callable:
    """A pause, told by our column `time_s`, must equal the same told by `times`."""

    def write(folder: Path, csv: Path):
        rows = _paused(pd.read_csv(csv))
        rows[FREE].to_csv(folder / "expected.csv", index=False)
        times(rows).to_csv(folder / "table.csv", index=False, **to_csv)
        return folder / "table.csv", folder / "expected.csv", {}

    return write


def moved(folder: Path, csv: Path):
    """The run elsewhere under another name, its movie renamed in the folder above it."""
    import h5py

    whole = csv.with_name("defects.h5")
    with h5py.File(whole) as table:
        movie = Path(table.attrs["source_path"])
    shutil.copytree(csv.parent, folder / "our run, of [Monday]")
    shutil.copy(movie, folder / "zone 7 = best.h5")
    return folder / "our run, of [Monday]" / "defects.h5", whole, {}


def _only(rows: pd.DataFrame, *columns: str) -> pd.DataFrame:
    return rows[[*columns, "y_nm", "x_nm", "kind"]]


WAYS = (
    Way("run and movie moved and renamed", moved),
    Way("the run's own CSV against its HDF5", lambda folder, csv: (csv, csv.with_name("defects.h5"), {})),
    Way(
        "our CSV, columns removed and rows shuffled",
        changed(lambda rows: rows[["complex", *FREE]].sample(frac=1, random_state=3)),
    ),
    Way("our CSV, positions in nm alone", changed(lambda rows: _only(rows, "frame", "time_s"))),
    Way("semicolons and decimal commas", changed(lambda rows: rows[FREE], sep=";", decimal=",")),
    Way("TrackMate spots, four header lines", trackmate),
    Way("trackpy", _stated(_trackpy)),
    Way("tabs, frames counted from 1", counted_from_one),
    Way("times with a pause, in our column", irregular(lambda rows: _only(rows, "frame", "time_s"))),
    Way(
        "the pause told by `t` in seconds, no frame numbers",
        irregular(lambda rows: _only(rows.assign(t=rows["time_s"]), "t")),
    ),
    Way("the pause told by unix times", irregular(lambda rows: _only(rows.assign(t=1.7e9 + rows["time_s"]), "t"))),
)
