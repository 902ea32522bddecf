"""Fits to the rates of several runs: by their likelihood, with profile intervals, and what the data do not support.

A run's rate enters by the Gamma that has the mean and the variance of its posterior: `events` over an `exposure`, whose
uncertainty includes that of the histories and of the dose. Intervals are where the profile likelihood falls by 1.92
(95%); a parameter whose profile does not fall that far towards one end has a limit instead, 1.35 down (one-sided 95%).
What the dose of all runs has in common is one more unknown, of which every likelihood is the highest.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from stemdefects.analysis.damage import knock_on
from stemdefects.analysis.damage.series.points import Point, log_likelihood
from stemdefects.analysis.damage.series.profiles import (
    TWO_SIDED,
    Fit,
    Parameter,
    correlation,
    described,
    deviance,
    envelope,
    profile_of,
    widened,
)
from stemdefects.analysis.notes import Code, Note

N_GRID = 241  # steps of each parameter; thresholds are laid out a second time within what the first round leaves
BAND_POINTS, BAND_THRESHOLDS = 60, 16  # a band as smooth as a picture shows


class Target(NamedTuple):
    """The atom: charge and mass of its nucleus, mean square velocity along the beam in m^2/s^2, as a number, one for
    each run `(R,)`, or several such rows `(V, R)` where it is not known: the best of them counts everywhere."""

    charge: int
    mass_u: float
    velocity2: float | np.ndarray


def voltage(
    points: Sequence[Point], target: Target, shared_sigma: float = 0.0, search_ev: tuple[float, float] = (2.0, 40.0)
) -> Fit:
    """Emission threshold (eV) and excitation cross-section at 80 kV (barn) from cross-sections against voltage.

    shared_sigma: relative error of the dose that all runs have in common.
    """
    x = np.array([p.x for p in points])
    motions = np.atleast_2d(np.broadcast_to(target.velocity2, np.broadcast_shapes(np.shape(target.velocity2), x.shape)))
    top = max(
        (p.events + 3) / p.exposure * float(knock_on.beta_squared(p.x) / knock_on.beta_squared(80.0)) for p in points
    )
    excitation = np.concatenate([[0.0], np.geomspace(1e-5 * top, 2 * top, N_GRID)])
    excited = knock_on.excitation_barn(x, 1.0)

    def over(thresholds: np.ndarray) -> np.ndarray:
        """(V, thresholds, excitations)."""
        made = []
        for velocity2 in motions:
            knocked = knock_on.knock_on_barn(x, thresholds[:, None], target.charge, target.mass_u, velocity2)
            rates = knocked[:, None] + excitation[:, None] * excited + 1e-12
            made.append(log_likelihood(points, rates, shared_sigma))
        return np.stack(made)

    used = np.linspace(*search_ev, N_GRID)
    surface = over(used)
    inside = used[surface.max((0, 2)) > surface.max() - 2 * TWO_SIDED]  # once more, finely, where it is possible
    step = used[1] - used[0]
    used = np.linspace(max(inside[0] - 2 * step, search_ev[0]), min(inside[-1] + 2 * step, search_ev[1]), N_GRID)
    each = over(used)
    surface, best = each.max(0), float(each.max())
    by_threshold, by_excitation = surface.max(1), surface.max(0)
    ed = profile_of(
        "emission threshold",
        used,
        by_threshold,
        "eV",
        open_high=by_threshold[-1] > best - TWO_SIDED,
        open_low=by_threshold[0] > best - TWO_SIDED,
    )
    exc = profile_of(
        "excitation cross-section at 80 kV",
        excitation,
        by_excitation,
        "barn",
        open_low=by_excitation[0] > best - TWO_SIDED,
        floor=0.0,
    )
    cannot = []
    if ed.high is None:
        cannot.append(
            Note(
                "No run shows knock-on beyond what excitation explains: the threshold has a lower limit "
                "only; a higher voltage would show it.",
                Code.JOINT_LIMIT,
            )
        )
    if ed.low is None:
        cannot.append(
            Note(
                f"The threshold is not bounded from below within {search_ev[0]:g} to {search_ev[1]:g} eV: a "
                "lower voltage would tell.",
                Code.JOINT_LIMIT,
            )
        )
    if exc.low == 0.0:
        cannot.append(
            Note("The runs need no excitation channel: its cross-section has an upper limit only.", Code.JOINT_LIMIT)
        )
    weight = np.exp(surface - best)
    flat = np.concatenate([[0.0], np.gradient(excitation[1:])])  # the grid's own spacing taken off
    band = _voltage_band((x, motions), target, used, excitation, each - best)
    return Fit(
        (ed, exc),
        correlation(used, excitation, weight * flat),
        deviance(points, best, 2),
        band,
        tuple(cannot + described(points, best, 2)),
    )


def _voltage_band(runs: tuple[np.ndarray, np.ndarray], target: Target, thresholds, excitation, fall) -> np.ndarray:
    """(4, K): voltages, the best curve, the least and the greatest of all curves that the data allow.

    runs: voltages (R,) and velocities (V, R); fall: log-likelihood below its best, (V, thresholds, excitations).
    """
    x, motions = runs
    kv = np.linspace(0.9 * x.min(), 1.1 * x.max(), BAND_POINTS)
    excited = knock_on.excitation_barn(kv, 1.0)
    v, i, j = np.unravel_index(fall.argmax(), fall.shape)
    low, high, best = np.full(len(kv), np.inf), np.zeros(len(kv)), np.zeros(len(kv))
    for k, row in enumerate(motions):
        velocity2 = float(row.mean())
        if k == v:
            best = knock_on.knock_on_barn(kv, thresholds[i], target.charge, target.mass_u, velocity2)
            best = best + excitation[j] * excited
        allowed = fall[k] > -TWO_SIDED
        some = np.flatnonzero(allowed.any(1))
        some = some[np.unique(np.linspace(0, len(some) - 1, BAND_THRESHOLDS).astype(int))] if len(some) else some
        if not len(some):
            continue
        knocked = knock_on.knock_on_barn(kv, thresholds[some][:, None], target.charge, target.mass_u, velocity2)
        least, most = envelope(knocked, excited, excitation, allowed[some])
        low, high = np.minimum(low, least), np.maximum(high, most)
    return np.stack([kv, best, np.minimum(low, best), np.maximum(high, best)])


def log_linear(points: Sequence[Point], of_x: Callable[[np.ndarray], np.ndarray]) -> tuple:
    """Maximum of the likelihood of rates exp(a + b of_x): (a, b, covariance), by Newton's method."""
    n, t = np.array([p.events for p in points]), np.array([p.exposure for p in points])
    z = of_x(np.array([p.x for p in points]))
    middle = np.average(z, weights=n + 0.5)
    design = np.stack([np.ones(len(z)), z - middle], 1)
    theta = np.array([np.log((n.sum() + 0.5) / t.sum()), 0.0])
    for _ in range(200):
        mean = t * np.exp(np.clip(design @ theta, -300, 300))
        information = (design * mean[:, None]).T @ design + 1e-12 * np.eye(2)
        step = np.linalg.solve(information, design.T @ (n - mean))
        theta = theta + step * min(1.0, 2.0 / max(np.abs(design @ step).max(), 1e-9))
        if np.abs(step).max() < 1e-10:
            break
    mean = t * np.exp(design @ theta)
    covariance = np.linalg.inv((design * mean[:, None]).T @ design)
    shift = np.array([[1.0, -middle], [0.0, 1.0]])
    return theta[0] - theta[1] * middle, theta[1], shift @ covariance @ shift.T


def arrhenius(points: Sequence[Point], unit: str, shared_sigma: float = 0.0) -> Fit:
    """Barrier (eV) and prefactor from rates against temperature: rate = prefactor exp(-barrier / k T)."""
    slope, base, of_what = ("barrier", "eV"), ("prefactor", unit), "temperature"

    def of_x(kelvin):
        return -1 / (knock_on.BOLTZMANN_EV * kelvin)

    if len({p.x for p in points if p.events > 0}) < 2:
        nothing = tuple(Parameter(name, None, None, None, unit, "not determined") for name, unit in (slope, base))
        why = f"Events at fewer than two values of the {of_what}: nothing can be said of how it depends on it."
        return Fit(nothing, np.nan, np.nan, np.zeros((4, 0)), (Note(why, Code.JOINT_LIMIT),))
    a, b, covariance = log_linear(points, of_x)
    z = of_x(np.array([p.x for p in points]))
    spread = np.sqrt(np.diag(covariance))
    best = float(log_likelihood(points, np.exp(a + b * z)))
    along = np.linspace(-6, 6, 1201)
    b_grid, a_grid = b + spread[1] * along, a + spread[0] * along
    n, t = np.array([p.events for p in points]), np.array([p.exposure for p in points])
    # the other parameter at its best: of the base in closed form, of the slope along the ridge by Newton's steps
    ridge = np.log(n.sum() / (t * np.exp(b_grid[:, None] * (z - z.mean()))).sum(1)) - b_grid * z.mean()
    by_slope = log_likelihood(points, np.exp(ridge[:, None] + b_grid[:, None] * z))
    slopes = b + covariance[0, 1] / covariance[0, 0] * (a_grid - a)
    for _ in range(30):
        mean = t * np.exp(a_grid[:, None] + slopes[:, None] * z)
        slopes = slopes + np.clip(((n - mean) @ z) / (mean @ z**2), -spread[1], spread[1])
    by_base = log_likelihood(points, np.exp(a_grid[:, None] + slopes[:, None] * z))
    steep = profile_of(slope[0], b_grid, by_slope, slope[1])
    log_base = profile_of(base[0], a_grid, by_base, base[1])
    ends = {k: getattr(log_base, k) for k in ("value", "low", "high")}
    middle, low, high = ends["value"], ends["low"], ends["high"]
    if middle is not None and low is not None and high is not None:
        # what all runs share shifts the level alone
        ends |= {"low": widened(middle, low, shared_sigma), "high": widened(middle, high, shared_sigma)}
    level = log_base._replace(
        **{k: None if v is None else float(np.exp(np.clip(v, -700, 700))) for k, v in ends.items()}
    )
    x = np.linspace(min(p.x for p in points), max(p.x for p in points), 80)
    cannot = described(points, best, 2)
    if steep.low is not None and steep.high is not None and steep.low <= 0 <= steep.high:
        why = f"A dependence on {of_what} is not shown: the interval of the {slope[0]} holds 0."
        cannot.append(Note(why, Code.JOINT_LIMIT))
    design = np.stack([np.ones(len(x)), of_x(x)])
    error = np.sqrt(np.einsum("ik,ij,jk->k", design, covariance, design) + shared_sigma**2)
    curve = a + b * of_x(x)
    band = np.exp(curve + stats.norm.ppf([[0.5], [0.025], [0.975]]) * error)
    return Fit(
        (steep, level),
        float(covariance[0, 1] / spread.prod()),
        deviance(points, best, 2),
        np.concatenate([x[None], band]),
        tuple(cannot),
    )
