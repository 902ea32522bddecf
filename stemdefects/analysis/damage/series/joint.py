"""Damage of several runs together: cross-sections against the beam's voltage, rates against temperature or dose rate.

Each run hands on what its analysis found (`damage.csv`, `estimates.csv`). A run that cannot take part is named with the
reason, and what the runs together do not support is said and gets no number.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from stemdefects.analysis.damage import knock_on, risks
from stemdefects.analysis.damage.series import channels, fits
from stemdefects.analysis.damage.series.points import Point, of_interval, of_moments
from stemdefects.analysis.damage.series.profiles import Fit
from stemdefects.analysis.kinetics.quantities import Code as Answer
from stemdefects.analysis.kinetics.statements import METHOD
from stemdefects.analysis.notes import Code, Note
from stemdefects.crystal.elements import ELEMENTS, atomic_number, mass_u

ROOM_K = 295.0  # of a specimen whose temperature nobody states
DEBYE_K = (200.0, 280.0, 400.0, 550.0, 750.0, 1000.0)  # layered crystals of heavy atoms to strong light bonds
LIGHT_Z = 28  # from here on McKinley and Feshbach's series is off by several percent (their paper; Seitz & Koehler)
SAME = 1e-3  # relative, of voltages, temperatures and dose rates
RATES = (*risks.HEADLINES, "filling", risks.ARRIVAL)  # processes whose rates are fitted over temperature or dose rate
TAKEN = (Answer.OK.value, Answer.NONE.value)
BARN, PER_S = "barn", "1/s"
WHAT = {  # in words, with its unit, and how a table calls it
    "voltage": ("voltage", "kV", "voltage_kv"),
    "temperature": ("temperature", "K", "temperature_k"),
    "dose_rate": ("dose rate", "e/nm2/s", "flux_e_per_nm2_s"),
}


class Run(NamedTuple):
    """One analysis: `damage` and `estimates` are its tables (`damage` None: it has none); None: not known."""

    name: str
    damage: Any
    estimates: Any
    voltage_kv: float | None
    temperature_k: float | None


class Told(NamedTuple):
    """What one run says: the point that is fitted, and value and interval as its analysis gives them."""

    run: str
    point: Point
    value: float
    low: float
    high: float
    relative_sigma: float = 0.0


class Series(NamedTuple):
    """One process over the runs; fit None: what it would rest on is missing."""

    subject: str
    unit: str
    told: tuple[Told, ...]
    fit: Fit | None
    notes: tuple[Note, ...]  # without the name of the process, which `remarks` puts before them


class Joint(NamedTuple):
    """Of all processes: `over` is a key of `WHAT`; notes of the runs, those of a process stand with it."""

    over: str
    series: tuple[Series, ...]
    notes: tuple[Note, ...]


def fit(runs: Sequence[Run], over: str, debye_k: float | None = None) -> Joint:
    """Threshold and excitation from runs at several voltages, barriers from several temperatures, or what happens per
    electron and per second from several dose rates.

    Args:
        runs: in the order in which they are named.
        over: `voltage`, `temperature` or `dose_rate`.
        debye_k: Debye temperature of the moving atoms (over voltage); None: whatever fits best counts.
    """
    what, unit, _ = WHAT[over]
    why = [_left_out(run, over) for run in runs]
    notes = [note for note in why if note is not None]
    usable = [run for run, note in zip(runs, why, strict=True) if note is None]
    values = [_condition(run, over) for run in usable]
    if len(usable) < 2:
        text = f"{len(usable)} of {len(runs)} runs can take part: nothing is fitted over the {what}."
        return Joint(over, (), (*notes, Note(text, Code.JOINT_NO_RATES)))
    if _alike(values):
        text = f"All runs are at {values[0]:g} {unit}: they cannot tell how anything depends on the {what}."
        return Joint(over, (), (*notes, Note(text, Code.JOINT_ALIKE)))
    if over == "voltage":
        return Joint(over, tuple(_of_voltage(usable, name, debye_k) for name in risks.HEADLINES), tuple(notes))
    notes += _mixed(usable, over)
    of_rates = _of_temperature if over == "temperature" else _of_dose_rate
    found = [*(of_rates(usable, name) for name in RATES), *_hops(usable, over)]
    return Joint(over, tuple(s for s in found if s.told or s.notes), tuple(notes))


def _left_out(run: Run, over: str) -> Note | None:
    """Why a run cannot take part; None: it can."""
    what, _, column = WHAT[over]
    if run.damage is None or "atom" not in run.damage:
        why = "the lattice model did not answer, or it is older than joint fits: overwrite=true"
        return Note(f"{run.name}: its analysis has no damage rates ({why}); left out.", Code.JOINT_NO_RATES)
    if over != "temperature" and not (run.damage["flux_e_per_nm2_s"] > 0).any():
        text = "its dose is not known, so that nothing can be told of it per electron; left out."
        return Note(f"{run.name}: {text} analysis.table.dose_e_per_nm2_per_frame states it.", Code.NO_DOSE)
    if _condition(run, over) is None:
        key = f"damage.{column}=[...]"
        text = f"its {what} is not known; left out. {key} states it for every run, in their order."
        return Note(f"{run.name}: {text}", Code.JOINT_NO_CONDITION)
    return None


def _condition(run: Run, over: str) -> float | None:
    if over == "dose_rate":
        assert run.damage is not None  # such runs were left out
        return float(run.damage["flux_e_per_nm2_s"].max())
    return run.voltage_kv if over == "voltage" else run.temperature_k


def _alike(values: Sequence[float | None]) -> bool:
    known = [v for v in values if v is not None]
    return not known or max(known) <= min(known) * (1 + SAME)


def _mixed(runs: Sequence[Run], over: str) -> list[Note]:
    """What else the runs differ in."""
    out, what = [], WHAT[over][0]
    if not _alike([run.voltage_kv for run in runs]):
        out.append(f"The runs differ in voltage, too: what depends on it is taken for the {what}'s.")
    if over == "dose_rate" and not _alike([run.temperature_k for run in runs]):
        out.append(f"The runs differ in temperature, too: what depends on it is taken for the {what}'s.")
    flux = [f if (f := float(run.damage["flux_e_per_nm2_s"].max())) > 0 else None for run in runs]
    if over == "temperature" and not _alike(flux):
        out.append("The runs differ in dose rate, too: what the beam drives is mixed into rates per second.")
    return [Note(text, Code.JOINT_ASSUMED) for text in out]


def _rows(runs: Sequence[Run], process: str, over: str, unit: str) -> tuple[list[Told], list[Note], str]:
    """What each run says of a process in a unit, why some say nothing, and how the process is called."""
    told, notes, subject = [], [], process
    for run in runs:
        of_process = run.damage[run.damage["process"] == process]
        if not len(of_process):
            continue
        row = of_process.iloc[0]
        subject = str(row["subject"])
        if row["code"] not in TAKEN or not row["mean_per_s"] > 0:
            why = "the chains do not agree on it" if row["code"] == Answer.NOT_CONVERGED.value else "it is not told"
            code = Code.NOT_CONVERGED if row["code"] == Answer.NOT_CONVERGED.value else Code.CANNOT_TELL
            notes.append(Note(f"{run.name}: {why}; left out.", code))
            continue
        x = _condition(run, over)
        assert x is not None  # only such runs are asked
        none = row["code"] == Answer.NONE.value or row["rate_per_s"] == 0
        scale, sigma, of = 1.0, 0.0, ("rate_per_s", "low_per_s", "high_per_s")
        if unit == BARN:
            scale = 1 / (float(row["flux_e_per_nm2_s"]) * knock_on.BARN_NM2)
            sigma = float(row["dose_relative_sigma"]) if row["dose_relative_sigma"] > 0 else 0.0
            of = ("cross_section_barn", "low_barn", "high_barn")
        point = of_moments(x, row["mean_per_s"] * scale, row["variance_per_s2"] * scale**2, bool(none), sigma)
        value, low, high = (float(row[c]) for c in of)
        told.append(Told(run.name, point, value, low, high, sigma))
    return told, notes, subject


def _of_voltage(runs: Sequence[Run], process: str, debye_k: float | None) -> Series:
    dosed = [run for run in runs if (run.damage["flux_e_per_nm2_s"] > 0).any()]
    told, notes, subject = _rows(dosed, process, "voltage", BARN)
    series = Series(subject, BARN, tuple(told), None, ())
    taking = [run for run in dosed if run.name in {one.run for one in told}]
    atoms = {str(run.damage.loc[run.damage["process"] == process, "atom"].iloc[0]) for run in taking}
    if _alike([one.point.x for one in told]) or len(told) < 2:
        why = "fewer than two voltages have a cross-section; nothing is fitted."
        return series._replace(notes=(*notes, Note(why, Code.JOINT_ALIKE)))
    if len(atoms) != 1 or (atom := atoms.pop()) not in ELEMENTS or (mass := mass_u(atom)) is None:
        why = "which one atom leaves is not known, or not the same in all runs; no threshold is fitted."
        return series._replace(notes=(*notes, Note(why, Code.JOINT_ATOM)))
    by_run = {run.name: run.temperature_k or ROOM_K for run in runs}
    kelvin = [by_run[one.run] for one in told]
    assumed = []
    if any(run.temperature_k is None for run in runs):
        assumed.append(
            f"Specimens whose temperature is not stated (damage.temperature_k=[...]) are taken as at {ROOM_K:g} K."
        )
    if debye_k is None:
        assumed.append(
            f"Thermal motion: any Debye temperature of {DEBYE_K[0]:g} to {DEBYE_K[-1]:g} K is allowed, "
            "and the intervals hold for all of them; damage.debye_k=<K> states one."
        )
    charge = atomic_number(atom)
    if charge >= LIGHT_Z:
        assumed.append(f"{atom} is heavy for McKinley and Feshbach's formula: its error is not in the interval.")
    notes += [Note(text, Code.JOINT_ASSUMED) for text in assumed]
    allowed = DEBYE_K if debye_k is None else (debye_k,)
    velocity2 = np.array([[knock_on.mean_square_velocity(mass, t, d) for t in kelvin] for d in allowed])
    shared = max(one.relative_sigma for one in told)
    found = fits.voltage([one.point for one in told], fits.Target(charge, mass, velocity2), shared)
    return series._replace(fit=found, notes=(*notes, *found.cannot))


def _of_temperature(runs: Sequence[Run], process: str) -> Series:
    dosed = all((run.damage["flux_e_per_nm2_s"] > 0).any() for run in runs)
    of_beam = any(run.damage.loc[run.damage["process"] == process, "cross_section_barn"].notna().any() for run in runs)
    per_dose = dosed and of_beam
    told, notes, subject = _rows(runs, process, "temperature", BARN if per_dose else PER_S)
    return _arrhenius(subject, BARN if per_dose else PER_S, told, notes)


def _of_dose_rate(runs: Sequence[Run], process: str) -> Series:
    told, notes, subject = _rows(runs, process, "dose_rate", PER_S)
    return _channels(subject, told, notes, _dose_error(runs))


def _dose_error(runs: Sequence[Run]) -> float:
    """Relative error of the dose that the runs may have in common."""
    sigma = [float(run.damage["dose_relative_sigma"].max()) for run in runs]
    return max((s for s in sigma if s > 0), default=0.0)


def _hops(runs: Sequence[Run], over: str) -> list[Series]:
    """Hop rates by the lattice model, one series a kind."""
    told: dict[str, list[Told]] = {}
    for run in runs:
        by_model = run.estimates["method"].astype(str).str.startswith(METHOD)
        rows = run.estimates[(run.estimates["quantity"] == "hop rate") & by_model]
        for row in rows.drop_duplicates("subject").itertuples():
            if row.code in TAKEN and np.isfinite([row.value, row.low, row.high]).all() and row.high > 0:
                point = of_interval(float(_condition(run, over) or ROOM_K), row.value, row.low, row.high)
                told.setdefault(str(row.subject), []).append(Told(run.name, point, row.value, row.low, row.high))
    named = [(f"hop rate of {subject}", some) for subject, some in told.items()]
    if over == "dose_rate":
        return [_channels(name, some, [], _dose_error(runs)) for name, some in named]
    return [_arrhenius(name, PER_S, some, []) for name, some in named]


def _channels(subject: str, told: list[Told], notes: list[Note], shared: float) -> Series:
    return _fitted(Series(subject, PER_S, tuple(told), None, tuple(notes)), "dose_rate", channels.channels, shared)


def _arrhenius(subject: str, unit: str, told: list[Told], notes: list[Note]) -> Series:
    def law(points: list[Point], shared: float) -> Fit:
        return fits.arrhenius(points, unit, shared)

    shared = max((one.relative_sigma for one in told), default=0.0)
    return _fitted(Series(subject, unit, tuple(told), None, tuple(notes)), "temperature", law, shared)


def _fitted(series: Series, over: str, law: Callable[[list[Point], float], Fit], shared: float) -> Series:
    """With the law fitted to what the runs say, or why it cannot be."""
    if not series.told:
        return series
    if len(series.told) < 2 or _alike([one.point.x for one in series.told]):
        why = f"fewer than two {WHAT[over][0]}s have a rate; nothing is fitted."
        return series._replace(notes=(*series.notes, Note(why, Code.JOINT_ALIKE)))
    found = law([one.point for one in series.told], shared)
    return series._replace(fit=found, notes=(*series.notes, *found.cannot))
