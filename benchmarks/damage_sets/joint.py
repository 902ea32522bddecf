"""Series of runs with known threshold or barrier: do the intervals of the joint fits hold them?"""

import numpy as np

from stemdefects.analysis.damage import fits, knock_on, risks

KV = (60.0, 70.0, 80.0, 90.0, 100.0)
KELVIN = (300.0, 400.0, 500.0, 600.0, 700.0)
S_Z, S_U, S_V2 = 16, 32.06, 8.8e4  # sulfur at 300 K


def draws(rng, n: int, exposure: float) -> tuple[np.ndarray, bool]:
    """A run's posterior draws of a rate as the damage stage has them, from its number of events."""
    shape = 1.0 if n == 0 else n + risks.SHAPE
    return rng.gamma(shape, size=4000) / exposure, n == 0


def voltage_series(rng, relative_sigma: float = 0.1) -> tuple[fits.Fit, float, float]:
    """Fit of a series at five voltages, its threshold (eV) and its excitation cross-section (barn at 80 kV)."""
    threshold, excitation = rng.uniform(6.0, 7.2), float(np.exp(rng.uniform(np.log(0.05), np.log(1.0))))
    barn = knock_on.knock_on_barn(KV, threshold, S_Z, S_U, S_V2) + knock_on.excitation_barn(KV, excitation)
    points = []
    for kv, sigma in zip(KV, barn, strict=True):
        exposure = rng.uniform(8, 40) / max(sigma, 0.1)  # per barn: a run is ended when some tens of atoms are gone
        dose_error = np.exp(relative_sigma * rng.standard_normal())
        told, none = draws(rng, rng.poisson(sigma * exposure), exposure * dose_error)
        points.append(fits.point(kv, told, none, relative_sigma))
    return fits.voltage(points, S_Z, S_U, S_V2), threshold, excitation


def temperature_series(rng) -> tuple[fits.Fit, float, float]:
    """Fit of a series at five temperatures, its barrier (eV) and its prefactor (1/s)."""
    barrier = rng.uniform(0.3, 0.8)
    prefactor = 0.01 * np.exp(barrier / (knock_on.BOLTZMANN_EV * 500.0))
    points = []
    for kelvin in KELVIN:
        rate = prefactor * np.exp(-barrier / (knock_on.BOLTZMANN_EV * kelvin))
        exposure = min(rng.uniform(8, 40) / rate, 2000.0)
        points.append(fits.point(kelvin, *draws(rng, rng.poisson(rate * exposure), exposure)))
    return fits.arrhenius(points, "1/s"), barrier, prefactor


def held(parameter: fits.Parameter, truth: float) -> bool:
    low = -np.inf if parameter.low is None else parameter.low
    high = np.inf if parameter.high is None else parameter.high
    return bool(low <= truth <= high)


def report(n: int, seed: int = 0) -> str:
    """Table over `n` series of each kind."""
    lines = ["| parameter | series | holds the truth | bias | median width of the interval | limits only |",
             "|---|---|---|---|---|---|"]  # fmt: skip
    for series in (voltage_series, temperature_series):
        told = [series(np.random.default_rng([seed, k])) for k in range(n)]
        for p in (0, 1):
            found, truth = [fit.parameters[p] for fit, *_ in told], np.array([t[1 + p] for t in told])
            good = np.array([held(q, t) for q, t in zip(found, truth, strict=True)])
            both = [k for k, q in enumerate(found) if not q.said]
            error = [found[k].value / truth[k] - 1 for k in both]
            width = [(found[k].high - found[k].low) / truth[k] for k in both]
            lines.append(f"| {found[0].name} | {n} | {good.sum()}/{n} | {100 * np.median(error):+.1f}% (median) | "
                         f"{100 * np.median(width):.0f}% | {n - len(both)} |")  # fmt: skip
    return "\n".join(lines)
