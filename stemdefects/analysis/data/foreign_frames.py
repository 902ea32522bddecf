"""Frames and times of tables of other programs: numbers of frames, seconds, other units, clocks, told by content."""

from typing import NamedTuple

import numpy as np

from stemdefects.analysis.data import frame_times
from stemdefects.analysis.data.foreign_columns import TIMES_S, explicit, found, no_column, plain
from stemdefects.errors import UserError
from stemdefects.io.tables import text_table
from stemdefects.io.tables.text_table import TextTable
from stemdefects.schema import TableConfig

CLOCKS_S = ((3e8, 4e9, 1.0), (3e11, 4e12, 1e-3), (3e14, 4e15, 1e-6), (3e17, 4e18, 1e-9))  # unix times 1979-2096
FRAME_TIMES_S = (1e-3, 300.0)  # from one frame to the next; beyond, a column without a unit is hardly in seconds
SPARSE = 20  # frames per frame with detections: more are not kept, frames are then counted anew


class Timed(NamedTuple):
    """frame: (n,) of each row, -1: none; time_s: (n,) NaN: none; clock: of the frames; observed: (n_frames,) bool."""

    frame: np.ndarray
    time_s: np.ndarray
    clock: frame_times.Clock
    observed: np.ndarray
    notes: list[str]


def read(text: TextTable, cfg: TableConfig, stated_s: float | None) -> Timed:
    """Frames and times of a table's rows.

    stated_s: the stated frame time. Raises UserError where there is neither frame nor time, and where a column may be
    either.
    """
    notes: list[str] = []
    number, time = _columns(text, cfg, stated_s, notes)
    kept = None
    if number is None:
        assert time is not None  # a table has one or the other
        frame = _ranks(text, time)
    else:
        frame, kept = _counted(np.where(number >= 0, number, -1), notes)
    if time is None:
        time = np.full(len(frame), np.nan)
    n_frames, there = int(frame.max(initial=-1)) + 1, frame >= 0
    if kept is not None and not np.isfinite(time).any():  # the frames between are gone, their time is not
        clock = frame_times.Clock((kept - kept[0]) * (stated_s or 1.0), stated_s)
    else:
        clock = frame_times.resolve(n_frames, frame[there], time[there], stated_s)
    notes += [clock.note] if clock.note else []
    return Timed(frame, time, clock, _observed(frame, n_frames, kept is not None or number is None, notes), notes)


def _columns(
    text: TextTable, cfg: TableConfig, stated_s: float | None, notes: list[str]
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """(frame numbers (n,) or None, seconds (n,) or None), not both None."""
    frames = [name for name in found(text, cfg, "frame") if _unit(text, name) not in TIMES_S]
    values = {name: text_table.numbers(text, name) for name in frames}
    # ImageJ has Slice and Frame, one of which is 1 throughout
    name = next((n for n in frames if len(np.unique(values[n][np.isfinite(values[n])])) > 1), (frames or [None])[0])
    times = [n for n in found(text, cfg, "time_s") if n != name]
    if name is None and not times:
        raise no_column(text, "frame column", "frame")
    if name is None and _unit(text, times[0]) not in TIMES_S and not explicit(cfg, "time_s", times[0]):
        name = times.pop(0)  # a time without a unit may be the number of the frame
        values[name] = text_table.numbers(text, name)
    if name is not None and _is_time(text, cfg, name, values[name], stated_s, explicit(cfg, "frame", name), times):
        return None, _seconds(text, cfg, name, stated_s, notes)
    number = None if name is None else values[name]
    for candidate in times:
        if _unit(text, candidate).startswith("frame"):
            continue
        said: list[str] = []
        time = _seconds(text, cfg, candidate, stated_s, said)
        if np.isfinite(time).any() and not (number is not None and _same_count(number, time)):
            notes += said
            return number, time
    if number is None:
        raise no_column(text, "frame column", "frame")
    return number, None


def _unit(text: TextTable, name: str) -> str:
    unit = (text.units.get(name, "") or plain(name)[1]).strip().lower().rstrip(".")
    return unit if unit in TIMES_S else unit.removesuffix("s")


def _is_time(
    text: TextTable,
    cfg: TableConfig,
    name: str,
    values: np.ndarray,
    stated_s: float | None,
    said: bool,
    times: list[str],
) -> bool:
    """Does the column of frames hold times? UserError where it may hold either."""
    finite = values[np.isfinite(values)]
    way = f"say analysis.table.columns.frame=[{name}] for frame numbers, analysis.table.columns.time_s=[{name}] (and "
    way += ".frame=[]) for seconds"
    if not len(values):
        return False
    if not len(finite):
        if _clock_times(text.columns[name]) is not None:
            return True
        raise UserError(f"{text.path}: column {name} holds no frame number (e.g. {_example(text.columns[name])})")
    whole = (finite == np.rint(finite)).all()
    if not whole and said:
        raise UserError(f"{text.path}: column {name} holds {finite[finite != np.rint(finite)][0]:g}, no frame number")
    if said:
        return False
    if any(low <= finite.min() and finite.max() < high for low, high, _ in CLOCKS_S):
        return True
    either = name in found(text, cfg, "time_s")
    if not whole:
        if either:
            return True
        raise UserError(
            f"{text.path}: column {name} holds {finite[finite != np.rint(finite)][0]:g}, no frame number; {way}"
        )
    numbers = np.unique(finite)
    step = np.diff(numbers)
    if not either or times or len(step) == 0 or np.median(step) == 1:
        return False
    if name.strip().lower() != "t":
        return True
    if stated_s and abs(np.median(step) / stated_s - 1) <= frame_times.AGREE:
        return True
    shown = ", ".join(f"{n:g}" for n in numbers[:3])
    raise UserError(f"{text.path}: column {name} holds {shown}, ...: frame numbers or seconds? {way}")


def _seconds(text: TextTable, cfg: TableConfig, name: str, stated_s: float | None, notes: list[str]) -> np.ndarray:
    """(n,) s of a column of times; its unit by name, by a clock's range, by the stated frame time, else seconds."""
    values = text_table.numbers(text, name)
    if not np.isfinite(values).any():
        clock = _clock_times(text.columns[name])
        return values if clock is None else clock
    unit = _unit(text, name)
    if unit in TIMES_S:
        return values * TIMES_S[unit]
    finite = values[np.isfinite(values)]
    for low, high, factor in CLOCKS_S:
        if low <= finite.min() and finite.max() < high:
            return (values - finite.min()) * factor
    if name.strip().lower() == "time_s":
        return values
    if stated_s and (step := np.diff(np.unique(finite))).size:
        for factor in (1.0, 1e-3, 60.0, 1e-6, 3600.0):
            if abs(np.median(step) * factor / stated_s - 1) <= frame_times.AGREE:
                return values * factor
    usual = float(np.median(np.diff(np.unique(finite)))) if np.ptp(finite) > 0 else 1.0
    if not explicit(cfg, "time_s", name) and not FRAME_TIMES_S[0] <= usual <= FRAME_TIMES_S[1]:
        raise UserError(
            f"{text.path}: column {name} states no unit, and frames would be {usual:.4g} s apart; say the unit in its "
            f"name, e.g. {name} (ms), or analysis.table.columns.time_s=[{name}] for seconds"
        )
    notes.append(f"Column {name} states no unit; its times are taken as seconds.")
    return values


def _clock_times(texts: np.ndarray) -> np.ndarray | None:
    """(n,) s since the first of dates or times of day, None where the texts are neither."""
    import warnings

    import pandas as pd

    some = pd.Series([t or None for t in texts], dtype=object)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of formats that pandas had to guess
        for make in (pd.to_timedelta, pd.to_datetime):
            times = make(some, errors="coerce")
            if times.notna().any() and times.notna().sum() >= 0.9 * some.notna().sum():
                return ((times - times.min()) / pd.Timedelta(seconds=1)).to_numpy(float)
    return None


def _same_count(number: np.ndarray, time: np.ndarray) -> bool:
    """Is the time only the number of the frame again?"""
    both = np.isfinite(number) & np.isfinite(time)
    return bool(both.any() and np.ptp((time - number)[both]) == 0)


def _example(texts: np.ndarray) -> str:
    return next((repr(str(t)) for t in texts if t), "nothing")


def _ranks(text: TextTable, time: np.ndarray) -> np.ndarray:
    """(n,) frame of each row by the rank of its time, -1 without."""
    good = np.isfinite(time)
    frame = np.full(len(time), -1, np.int64)
    distinct, frame[good] = np.unique(time[good], return_inverse=True)
    if len(distinct) > 50 and len(distinct) == good.sum():
        raise UserError(
            f"{text.path}: every row has a time of its own and there is no frame column; give each row its frame, "
            "analysis.table.columns.frame=[name]"
        )
    return frame


def _counted(number: np.ndarray, notes: list[str]) -> tuple[np.ndarray, np.ndarray | None]:
    """(frame (n,), None), or frames counted anew with their own numbers (n_frames,) where nearly all numbers between
    are missing: memory follows the frames that are there, not their numbers."""
    number = np.floor(number)
    kept = np.unique(number[number >= 0])
    if not len(kept) or kept[-1] <= 1000 + SPARSE * len(kept):
        return number.astype(np.int64), None
    frame = np.full(len(number), -1, np.int64)
    frame[number >= 0] = np.searchsorted(kept, number[number >= 0])
    notes.append(f"Frames {kept[0]:.0f} to {kept[-1]:.0f} are counted from 0 to {len(kept) - 1} here.")
    return frame, kept


def _observed(frame: np.ndarray, n_frames: int, counted_anew: bool, notes: list[str]) -> np.ndarray:
    """(n_frames,) frames that were looked at as far as the rows tell: from the first to the last with a detection, and
    only every k-th where all numbers are k apart."""
    out = np.zeros(n_frames, bool)
    numbers = np.unique(frame[frame >= 0])
    if not len(numbers) or counted_anew:
        return ~out
    step = int(np.gcd.reduce(np.diff(numbers))) if len(numbers) > 4 else 1
    out[numbers[0] :: max(step, 1)] = True
    if numbers[0] > 1:
        notes.append(f"The first detection is in frame {numbers[0]}; the frames before count as not looked at.")
    if step > 1:
        notes.append(f"Detections are in every {step}. frame only; the frames between count as not looked at.")
    return out
