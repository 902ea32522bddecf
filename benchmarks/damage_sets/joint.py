"""Series of runs with known threshold, barrier or channels: do the intervals of the joint fits hold them?

Each run is what `analyze.py` leaves of one (`damage.csv`), from Poisson events of the true rate; they are fitted as
`analyze.py run=[a,b,...] damage.joint=` does. The dose of a run is wrong by 10%, in every second series by the same for
all of its runs.
"""

from typing import Any, NamedTuple

import numpy as np

from stemdefects.analysis.damage import knock_on, risks, stage
from stemdefects.analysis.damage.series import joint, profiles
from stemdefects.analysis.data.scales import Dose
from stemdefects.crystal.elements import atomic_number, mass_u

KV = (60.0, 70.0, 80.0, 90.0, 100.0)
KELVIN = (300.0, 400.0, 500.0, 600.0, 700.0)
ATOM = "S"
FLUXES = (1e7, 3e7, 1e8, 3e8, 1e9)  # e/nm2/s
DOSE_SIGMA = 0.1
FLUX = 1e8  # e/nm2/s; only its product with the exposure counts


class Beam(NamedTuple):
    """Of one run: its dose rate as its analysis takes it, and the relative error that it states."""

    flux: float = FLUX
    relative_sigma: float = 0.0


def found(process: str, rate_per_s: float, exposure_s: float, rng) -> risks.Found:
    """What the damage stage finds of a process whose histories are sure."""
    n = float(rng.poisson(rate_per_s * exposure_s))
    draws, code = risks.mixture(np.array([n]), np.array([exposure_s]), float(n == 0), rng)
    return risks.Found(process, risks.summary(draws, code, float(n == 0)), draws, n, exposure_s, float(n == 0), code)


def tables(processes: list[risks.Found], beam: Beam | None, rng) -> tuple[Any, Any]:
    """(damage.csv, estimates.csv) as an analysis writes them; beam None: the dose is not known."""
    import pandas as pd

    flux, sigma = (None, 0.0) if beam is None else beam
    said = [e for one in processes for e in stage._estimates(one, ATOM, flux, sigma, rng)]
    dose = None if flux is None else Dose(flux, sigma, "stated")
    return stage._table(processes, said, ATOM, flux, dose), pd.DataFrame([e.row() for e in said])


def barn_per_s(barn: float) -> float:
    """The rate per atom at `FLUX`."""
    return barn * FLUX * knock_on.BARN_NM2


class Truth(NamedTuple):
    threshold_ev: float
    excitation_barn: float
    debye_k: float


def voltage_runs(rng, truth: Truth, common: bool, voltages=KV) -> list[joint.Run]:
    """Runs at several voltages in which first atoms are lost; a run ends when some tens are."""
    mass = mass_u(ATOM)
    assert mass is not None
    v2 = knock_on.mean_square_velocity(mass, joint.ROOM_K, truth.debye_k)
    barn = knock_on.knock_on_barn(voltages, truth.threshold_ev, atomic_number(ATOM), mass, v2)
    barn = barn + knock_on.excitation_barn(voltages, truth.excitation_barn)
    made, error = [], np.exp(DOSE_SIGMA * rng.standard_normal())
    for kv, sigma in zip(voltages, barn, strict=True):
        one = found("first atom", barn_per_s(sigma), rng.uniform(8, 40) / barn_per_s(max(sigma, 0.1)), rng)
        wrong = error if common else np.exp(DOSE_SIGMA * rng.standard_normal())
        made.append(joint.Run(f"{kv:g} kV", *tables([one], Beam(FLUX * wrong, DOSE_SIGMA), rng), kv, joint.ROOM_K))
    return made


def voltage_series(rng, common: bool, stated: bool) -> tuple[profiles.Fit, float, float]:
    """Fit of a series at five voltages, its threshold (eV) and its excitation cross-section (barn at 80 kV).

    stated: the Debye temperature is known to the fit.
    """
    truth = Truth(
        rng.uniform(6.0, 7.2),
        float(np.exp(rng.uniform(np.log(0.05), np.log(1.0)))),
        float(np.exp(rng.uniform(np.log(220), np.log(900)))),
    )
    told = joint.fit(voltage_runs(rng, truth, common), "voltage", truth.debye_k if stated else None)
    return _first(told), truth.threshold_ev, truth.excitation_barn


def temperature_runs(rng, barrier_ev: float, temperatures=KELVIN) -> list[joint.Run]:
    """Runs at several temperatures in which vacancies are filled, at .01 a second at 500 K."""
    made = []
    for kelvin in temperatures:
        rate = 0.01 * np.exp(barrier_ev / knock_on.BOLTZMANN_EV * (1 / 500.0 - 1 / kelvin))
        one = found("filling", rate, min(rng.uniform(8, 40) / rate, 2000.0), rng)
        made.append(joint.Run(f"{kelvin:g} K", *tables([one], None, rng), 80.0, kelvin))
    return made


def temperature_series(rng) -> tuple[profiles.Fit, float, float]:
    """Fit of a series at five temperatures, its barrier (eV) and its prefactor (1/s)."""
    barrier = rng.uniform(0.3, 0.8)
    told = joint.fit(temperature_runs(rng, barrier), "temperature")
    return _first(told), barrier, 0.01 * np.exp(barrier / (knock_on.BOLTZMANN_EV * 500.0))


def dose_rate_runs(rng, barn: float, rate_per_s: float, fluxes=FLUXES) -> list[joint.Run]:
    """Runs at several dose rates in which vacancies are filled, by the beam and without it; all state a dose that is
    wrong by the same."""
    made, error = [], np.exp(DOSE_SIGMA * rng.standard_normal())
    for flux in fluxes:
        rate = barn * flux * knock_on.BARN_NM2 + rate_per_s
        one = found("filling", rate, rng.uniform(10, 60) / rate, rng)
        made.append(joint.Run(f"{flux:.0e}", *tables([one], Beam(flux * error, DOSE_SIGMA), rng), 80.0, joint.ROOM_K))
    return made


def dose_rate_series(rng) -> tuple[profiles.Fit, float, float]:
    """Fit of a series at five dose rates, its cross-section (barn) and its rate without the beam (1/s)."""
    barn, share = float(np.exp(rng.uniform(np.log(0.3), np.log(3.0)))), rng.uniform(0.1, 0.9)
    rate = share / (1 - share) * barn * FLUX * knock_on.BARN_NM2  # so much of all at the middle dose rate
    return _first(joint.fit(dose_rate_runs(rng, barn, rate), "dose_rate")), barn, rate


def _first(told: joint.Joint) -> profiles.Fit:
    return next(series.fit for series in told.series if series.fit is not None)


def held(parameter: profiles.Parameter, truth: float) -> bool:
    low = -np.inf if parameter.low is None else parameter.low
    high = np.inf if parameter.high is None else parameter.high
    return bool(low <= truth <= high)


def report(n: int, seed: int = 0) -> str:
    """Table over `n` series of each kind."""
    lines = [
        "| series | parameter | holds the truth | bias | median width of the interval | limits only |",
        "|---|---|---|---|---|---|",
    ]
    kinds = {
        "voltage, Debye temperature stated": lambda rng, k: voltage_series(rng, k % 2 == 0, True),
        "voltage, not stated": lambda rng, k: voltage_series(rng, k % 2 == 0, False),
        "temperature": lambda rng, k: temperature_series(rng),
        "dose rate": lambda rng, k: dose_rate_series(rng),
    }
    for name, series in kinds.items():
        told = [series(np.random.default_rng([seed, k]), k) for k in range(n)]
        for p in (0, 1):
            found, truth = [fit.parameters[p] for fit, *_ in told], np.array([t[1 + p] for t in told])
            good = sum(held(q, t) for q, t in zip(found, truth, strict=True))
            ends = [(q.value, q.low, q.high, t) for q, t in zip(found, truth, strict=True)]
            both = [
                (v, a, b, t)
                for (v, a, b, t), q in zip(ends, found, strict=True)
                if not q.said and v is not None and a is not None and b is not None
            ]
            error = np.median([v / t - 1 for v, _, _, t in both])
            width = np.median([(b - a) / t for _, a, b, t in both])
            lines.append(
                f"| {name} | {found[0].name} | {good}/{n} | {100 * error:+.1f}% (median) | "
                f"{100 * width:.0f}% | {n - len(both)} |"
            )
    return "\n".join(lines)
